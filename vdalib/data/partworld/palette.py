"""Nine named colours, shared by all classes."""

from __future__ import annotations

from .dice import Dice

RGB = tuple[float, float, float]

_RGB: dict[str, RGB] = {
    "red": (216, 44, 42),
    "orange": (243, 138, 30),
    "yellow": (247, 214, 56),
    "green": (62, 160, 72),
    "blue": (44, 104, 208),
    "purple": (132, 66, 178),
    "pink": (244, 142, 186),
    "brown": (128, 80, 46),
    "white": (245, 242, 235),
}
COLOURS: tuple[str, ...] = tuple(_RGB)


def tint(colour: RGB, factor: float) -> RGB:
    """Darker for a factor in 0..1 (0 is black), lighter for one in 1..2 (2 is white)."""
    if factor <= 1:
        return tuple([c * factor for c in colour])
    return tuple([c + (255 - c) * (factor - 1) for c in colour])


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """(1 - share) a + share b."""
    return tuple([p + (q - p) * share for p, q in zip(a, b)])


def jittered(name: str, dice: Dice) -> RGB:
    """The named colour as it comes out this time: a little lighter or darker, a little off in hue."""
    light = dice.uniform(0.9, 1.06)
    return tuple([min(c * light + dice.uniform(-12, 12), 255.0) for c in _RGB[name]])
