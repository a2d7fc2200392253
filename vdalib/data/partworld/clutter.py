"""Things of no class, in arbitrary colours: distractors that stand behind the objects, occluders that stand before them."""

from __future__ import annotations

from .dice import Dice
from .ground import Ground, muted, near
from .palette import COLOURS, jittered, tint
from .shapes import Shape, box, capsule, ellipse, polygon

_LOOK = {"outline": 0.3, "shade": 0.25}


def cloud(g: Ground, x: float, y: float, r: float, dice: Dice) -> None:
    """A white cloud about (x, y), some 3 r wide."""
    lobes = ((-0.9, 0, 0.6), (0, 0.25, 0.8), (0.9, 0, 0.65))
    puffs = [ellipse(x + r * d, y - r * h, r * w, r * w * 0.7) for d, h, w in lobes]
    white, alpha = near((242, 242, 244), dice, 8), dice.uniform(0.55, 0.9)
    g.paint(puffs, white, blend=r * 0.3, shade=0.1, alpha=alpha, soft=2)


def distractor(g: Ground, scene: str, dice: Dice) -> None:
    """Something behind the objects."""
    low = g.horizon if g.horizon < g.height else 20.0
    x, y, r = dice.uniform(4, g.width - 4), dice.uniform(low, g.height - 2), dice.uniform(4, 12)
    things = ("stone", "box", "bush", "ball", "cone")
    thing = dice.choice(things if scene == "room" else (*things, "cloud"))
    if thing == "stone":
        g.paint([ellipse(x, y, r, r * 0.6, dice.uniform(-15, 15))], muted(dice), **_LOOK)
    elif thing == "box":
        g.paint([box(x, y, r, r * dice.uniform(0.5, 1.1), 1, dice.uniform(-10, 10))], muted(dice), **_LOOK)
    elif thing == "bush":
        g.paint(_bush(x, y, r), muted(dice), blend=1.5, **_LOOK)
    elif thing == "ball":
        g.paint([ellipse(x, y, r * 0.7, r * 0.7)], muted(dice), **_LOOK)
    elif thing == "cone":
        g.paint([polygon((x - r * 0.7, y + r), (x + r * 0.7, y + r), (x, y - r))], muted(dice), **_LOOK)
    else:
        cloud(g, x, dice.uniform(4, g.height * 0.5), r, dice)


def occluder(g: Ground, x: float, y: float, r: float, dice: Dice, owner: int) -> None:
    """Something in front of the objects, some 2 r wide, about (x, y); all that it covers gets `owner`."""
    colour = jittered(dice.choice(COLOURS), dice)
    look = _LOOK | {"part": owner, "owner": owner}
    thing = dice.choice(("bush", "post", "fence", "rock", "crate", "canopy", "reeds"))
    if thing == "bush":
        g.paint(_bush(x, y, r), colour, blend=1.5, **look)
        leaves = [
            ellipse(x + d * r, y + h * r, r * 0.13, r * 0.1) for d, h in ((-0.6, 0.1), (-0.1, -0.4), (0.3, 0.1), (0.7, -0.1))
        ]
        g.paint(leaves, tint(colour, 0.7))
    elif thing == "post":
        half, top = r * dice.uniform(0.18, 0.4), y - r * dice.uniform(0.8, 2.2)
        g.paint([box(x, (top + g.height + 4) / 2, half, (g.height + 4 - top) / 2, 1)], colour, **look)
        g.paint([box(x, top + r * 0.25, half, r * 0.09)], tint(colour, 1.5))
    elif thing == "fence":
        rails = [box(x, y + d * r, r * 1.6, r * 0.09) for d in (-0.2, 0.3)]
        g.paint(rails, tint(colour, 0.8), **look)
        g.paint([box(x + n * r * 0.45, y + r * 0.1, r * 0.13, r * 0.7) for n in range(-3, 4)], colour, **look)
    elif thing == "rock":
        lumps = [ellipse(x, y, r, r * 0.7, dice.uniform(-15, 15)), ellipse(x + r * 0.6, y + r * 0.3, r * 0.6, r * 0.4)]
        g.paint(lumps, colour, **look)
        g.paint([capsule(x - r * 0.3, y - r * 0.3, r * 0.04, x + r * 0.1, y + r * 0.2, r * 0.04)], tint(colour, 0.6))
    elif thing == "crate":
        g.paint([box(x, y, r * 0.8, r * 0.8, 1)], colour, **look)
        g.paint([box(x, y + d * r, r * 0.78, r * 0.05) for d in (-0.3, 0.25)], tint(colour, 0.62))
    elif thing == "canopy":
        g.paint([capsule(x, y, r * 0.06, x, y + r * 2.2, r * 0.06)], tint(colour, 0.5), **look)
        rim, low, high = y + r * 0.3, y - r * 0.35, y - r * 0.6
        g.paint([polygon((x - r, rim), (x - r * 0.6, low), (x, high), (x + r * 0.6, low), (x + r, rim))], colour, **look)
        g.paint([polygon((x - r * 0.3, rim), (x, high), (x + r * 0.3, rim))], tint(colour, 1.5))
    else:
        blades: list[Shape] = [
            capsule(x + d * r, y + r, r * 0.13, x + (d + dice.uniform(-0.25, 0.25)) * r, y - r * dice.uniform(0.2, 1.0), r * 0.04)
            for d in (-0.8, -0.5, -0.2, 0.1, 0.4, 0.7)
        ]
        g.paint(blades, colour, **look)


def _bush(x: float, y: float, r: float) -> list[Shape]:
    puffs = [ellipse(x + d * r, y - h * r, r * 0.62, r * 0.6) for d, h in ((-0.7, 0), (0, 0.45), (0.7, 0))]
    return [*puffs, box(x, y + r * 0.3, r, r * 0.3, r * 0.2)]
