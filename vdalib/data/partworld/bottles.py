"""Bottles: carafe, flask, jug and vial."""

from __future__ import annotations

from .patterns import pattern
from .shapes import box, capsule, ellipse, path, polygon
from .sketch import Sketch


def _gleam(k: Sketch, x: float, y: float, length: float) -> None:
    """A streak of light on the glass."""
    k.add("body", capsule(x, y, 0.018, x - 0.01, y + length, 0.022), shade=1.75, outlined=False)


def carafe(k: Sketch) -> None:
    """Wide flat-bottomed drop, long slender neck that opens into a lip, ball for a stopper."""
    wide, neck = k.vary(0.26, 0.1), k.vary(0.36, 0.12)
    top = 0.06 - neck
    k.add("cap", ellipse(0, top - 0.12, 0.085, 0.085), pattern=pattern("checks", 0.06, 0.5, degrees=45))
    k.add("cap", box(0, top - 0.03, 0.035, 0.04), shade=0.8)
    k.add(
        "neck",
        *path((0, 0.14, 0.11), (0, top + 0.12, 0.05), (0, top + 0.04, 0.065)),
        blend=0.04,
        pattern=pattern("stripes", 0.05, 0.35),
    )
    k.add("neck", box(0, top, 0.095, 0.022, 0.02), shade=1.3)
    k.add("body", ellipse(0, 0.3, wide, 0.19), box(0, 0.42, wide * 0.78, 0.07, 0.05), ellipse(0, 0.17, 0.13, 0.1), blend=0.06)
    k.add("body", ellipse(0, 0.37, wide * 0.9, 0.11), shade=0.6, outlined=False)
    k.add("label", polygon((0, 0.22), (0.1, 0.31), (0, 0.4), (-0.1, 0.31)), pattern=pattern("stripes", 0.05, 0.5, degrees=90))
    _gleam(k, -wide * 0.66, 0.22, 0.1)


def flask(k: Sketch) -> None:
    """Cone of glass with a level in it and marks, straight neck with a rim, cork."""
    wide, tall, neck = k.vary(0.32, 0.1), k.vary(0.5, 0.08), k.vary(0.16, 0.15)
    top = 0.46 - tall
    k.add(
        "cap",
        polygon((-0.085, top - neck - 0.14), (0.085, top - neck - 0.14), (0.06, top - neck + 0.02), (-0.06, top - neck + 0.02)),
        pattern=pattern("speckle", 0.03, 0.7),
    )
    k.add(
        "neck",
        box(0, top - neck / 2 + 0.02, 0.075, neck / 2 + 0.03),
        pattern=pattern("stripes", 0.06, 0.4, degrees=90, share=0.4),
    )
    k.add("neck", box(0, top - neck + 0.01, 0.105, 0.026, 0.02), shade=1.3)
    k.add("body", polygon((-0.075, top), (0.075, top), (wide, 0.44), (wide - 0.04, 0.49), (-wide + 0.04, 0.49), (-wide, 0.44)))
    share = k.dice.uniform(0.35, 0.6)
    x, y = 0.075 + (wide - 0.075) * share, top + (0.44 - top) * share
    k.add(
        "body",
        polygon(
            (-x + 0.02, y), (x - 0.02, y), (wide - 0.025, 0.44), (wide - 0.05, 0.47), (-wide + 0.05, 0.47), (-wide + 0.025, 0.44)
        ),
        shade=0.6,
        outlined=False,
        pattern=pattern("spots", 0.09, -0.6, share=0.4),
    )
    k.add("label", box(0.02, 0.32, 0.11, 0.07, 0.01))
    k.add("label", *[box(0.02, yy, 0.075, 0.009) for yy in (0.295, 0.345)], shade=0.3, outlined=False)
    _gleam(k, -wide * 0.45, 0.22, 0.12)


def jug(k: Sketch) -> None:
    """Round-bellied pot with a big handle behind and a spout in front, glazed bands."""
    wide, neck, arm = k.vary(0.27, 0.1), k.vary(0.17, 0.15), k.vary(0.2, 0.12)
    top = -0.1 - neck
    loop = (
        (-0.1, top + 0.05, 0.035),
        (-wide - arm * 0.6, top + 0.04, 0.035),
        (-wide - arm * 0.75, 0.1, 0.035),
        (-wide * 0.8, 0.26, 0.035),
    )
    k.add("handle", *path(*loop), blend=0.03, pattern=pattern("stripes", 0.07, 0.5, degrees=70))
    k.add("neck", polygon((-0.14, 0.02), (0.14, 0.02), (0.12, top), (-0.13, top)), pattern=pattern("zigzag", 0.09, 0.45))
    k.add("neck", polygon((0.08, top + 0.12), (0.06, top - 0.02), (0.25, top - 0.06), (0.22, top)), shade=0.9)
    k.add("neck", capsule(-0.13, top, 0.03, 0.2, top - 0.03, 0.025), shade=1.3)
    k.add(
        "body",
        ellipse(0, 0.18, wide, 0.25),
        box(0, 0.42, wide * 0.62, 0.05, 0.03),
        blend=0.04,
        pattern=pattern("stripes", 0.15, 0.5, degrees=90, share=0.35),
    )
    k.add("label", ellipse(0.02, 0.19, 0.13, 0.1))
    k.add("label", ellipse(0.02, 0.19, 0.07, 0.05), shade=0.5, outlined=False)
    _gleam(k, -wide * 0.6, 0.06, 0.12)


def vial(k: Sketch) -> None:
    """Small straight tube with a round bottom, ribbed screw cap as wide as itself, wrapped label."""
    wide, tall, cap = k.vary(0.145, 0.1), k.vary(0.33, 0.08), k.vary(0.09, 0.12)
    top = 0.5 - 2 * tall
    k.add("neck", box(0, top - 0.03, wide * 0.62, 0.07), pattern=pattern("stripes", 0.035, 0.5, degrees=90))
    k.add("body", box(0, 0.5 - tall, wide, tall, wide * 0.8))
    level = k.dice.uniform(0.3, 0.7)
    k.add("body", box(0, 0.48 - tall * level, wide - 0.025, tall * level, wide * 0.7), shade=0.55, outlined=False)
    k.add(
        "label", box(0, 0.48 - tall, wide * 1.02, tall * 0.4, 0.0), pattern=pattern("stripes", 0.055, 0.6, degrees=90, share=0.35)
    )
    k.add("label", box(0, 0.48 - tall - tall * 0.3, wide * 1.02, 0.025), shade=0.5, outlined=False)
    k.add("cap", box(0, top - 0.08 - cap, wide * 1.05, cap, 0.02), pattern=pattern("stripes", 0.055, 0.55))
    _gleam(k, -wide * 0.6, top + 0.08, 0.12)
