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


def noun(thing: ObjectFactors, dice: Dice, colour: bool = True, part: bool = False) -> str:
    """E.g. "dog", "red dog" or "red dog with a white tail"; only what can be seen is named."""
    phrase = f"{thing.main_colour} {thing.class_name}" if colour else thing.class_name
    visible = [p for p in thing.part_colours if p in thing.parts]
    if part and len(visible) > 1:
        name = dice.choice(visible[1:])
        phrase += f" with a {thing.part_colours[name]} {name}" if dice.chance(0.7) else f" with a {name}"
    return phrase


def captions(factors: Factors, dice: Dice) -> list[str]:
    """Five sentences, from the plain class name of one object to all objects and the scene."""
    where = SCENE_PHRASES[factors.scene]
    one = dice.choice(factors.objects)
    listed = " and a ".join(noun(thing, dice, part=dice.chance(0.4)) for thing in factors.objects)
    return [
        dice.choice(TEMPLATES).format(one.class_name),
        dice.choice(TEMPLATES).format(noun(one, dice)),
        dice.choice(TEMPLATES).format(noun(one, dice, colour=dice.chance(0.5), part=True)),
        dice.choice(TEMPLATES).format(f"{noun(one, dice, colour=dice.chance(0.5))} {where}"),
        dice.choice(TEMPLATES).format(f"{listed} {where}"),
    ]
