"""Sentences about an image, written from its factors; for training CLIP and nothing else."""

from __future__ import annotations

from .dice import Dice
from .factors import Factors, ObjectFactors

# As in CLIP's own templates the article is always "a".
TEMPLATES: tuple[str, ...] = (
    "a clean origami {}.",
    "a photo of a {}.",
    "a picture of a {}.",
    "a drawing of a {}.",
    "a painting of a {}.",
    "an image of a {}.",
    "a small photo of a {}.",
    "a good photo of the {}.",
    "a photo of the {}.",
    "there is a {} here.",
)
SCENE_PHRASES: dict[str, str] = {
    "sky": "in the sky",
    "water": "on the water",
    "grass": "on the grass",
    "road": "on the road",
    "room": "in the room",
    "sand": "on the sand",
}


def noun(thing: ObjectFactors, dice: Dice, name: str, colour: bool = True, part: bool = False) -> str:
    """E.g. "dog", "red dog" or "red dog with a white tail" where name is "dog"; only what can be seen is named."""
    visible = [p for p in thing.part_colours if p in thing.parts]
    main = next(iter(thing.part_colours))
    phrase = f"{thing.main_colour} {name}" if colour and main in visible else name
    others = [p for p in visible if p != main]
    if part and others:
        other = dice.choice(others)
        phrase += f" with a {thing.part_colours[other]} {other}" if dice.chance(0.7) else f" with a {other}"
    return phrase


def captions(factors: Factors, dice: Dice) -> list[str]:
    """Five sentences, from the plain class of one object and its coloured kind to all objects and the scene."""

    def either(thing: ObjectFactors) -> str:
        return dice.choice((thing.class_name, thing.kind))

    where = SCENE_PHRASES[factors.scene]
    one = dice.choice(factors.objects)
    listed = " and a ".join(noun(thing, dice, either(thing), part=dice.chance(0.4)) for thing in factors.objects)
    return [
        dice.choice(TEMPLATES).format(one.class_name),
        dice.choice(TEMPLATES).format(noun(one, dice, one.kind)),
        dice.choice(TEMPLATES).format(noun(one, dice, either(one), colour=dice.chance(0.5), part=True)),
        dice.choice(TEMPLATES).format(f"{noun(one, dice, either(one), colour=dice.chance(0.5))} {where}"),
        dice.choice(TEMPLATES).format(f"{listed} {where}"),
    ]
