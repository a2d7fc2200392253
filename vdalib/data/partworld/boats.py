"""Boats: canoe, sailboat, steamer and tugboat."""

from __future__ import annotations

from .patterns import pattern
from .shapes import box, capsule, ellipse, limb, path, polygon
from .sketch import Sketch


def canoe(k: Sketch) -> None:
    """Low crescent with upturned ends and a painted band, a pair of crossed paddles."""
    half, rise, deep = k.vary(0.5, 0.08), k.vary(0.13, 0.2), k.vary(0.075, 0.12)
    for side, shade in ((-1, 0.8), (1, 1.0)):
        turn = 180 + side * k.dice.uniform(32, 50)
        shaft = limb(side * 0.14, 0.1, k.vary(0.46, 0.12), turn, 0.022, 0.022)
        k.add("oar", shaft, shade=shade)
        tip = shaft.points[1]
        k.add("oar", ellipse(*tip, 0.06, 0.12, 180 - turn), shade=shade, pattern=pattern("stripes", 0.08, 0.5, degrees=90))
    curve = (
        (-half, -rise, 0.03),
        (-half * 0.72, 0.02, deep * 0.8),
        (0, 0.07, deep),
        (half * 0.72, 0.02, deep * 0.8),
        (half, -rise, 0.03),
    )
    k.add("hull", *path(*curve), blend=0.06, pattern=pattern("stripes", 0.05, 0.3, degrees=90, share=0.3))
    k.add(
        "hull",
        *path((-half * 0.7, -0.01, 0.025), (0, 0.02, 0.03), (half * 0.7, -0.01, 0.025)),
        shade=0.45,
        outlined=False,
        pattern=pattern("zigzag", 0.09, -0.9, degrees=90),
    )


def sailboat(k: Sketch) -> None:
    """Tall mast, two triangular sails with seams, shallow hull with a pointed bow."""
    deep, tall = k.vary(0.085, 0.15), k.vary(0.72, 0.1)
    left, right = k.vary(0.34, 0.15), k.vary(0.38, 0.15)
    top = 0.16 - tall
    seams = pattern("stripes", 0.12, 0.4, degrees=90, share=0.2)
    k.add("mast", box(0, (top - 0.06 + 0.2) / 2, 0.024, (0.26 - top) / 2, 0.02))
    k.add("mast", polygon((0.0, top - 0.06), (0.0, top + 0.03), (-0.13, top - 0.015)), shade=0.8)
    k.add(
        "sail",
        polygon((0.04, top + 0.06), (0.04, 0.13), (0.04 + right, 0.14)),
        shade=0.9,
        pattern=pattern("stripes", 0.1, 0.35, degrees=-35, share=0.2),
    )
    k.add("sail", polygon((-0.04, top + 0.02), (-0.04, 0.1), (-0.06 - left, 0.1), (-0.12, (top + 0.1) * 0.55)), pattern=seams)
    k.add("mast", capsule(-0.08 - left, 0.125, 0.018, 0, 0.125, 0.018), shade=0.8)
    k.add("cabin", box(-0.1, 0.16, 0.14, 0.05, 0.03))
    k.add("hull", polygon((-0.42, 0.18), (0.56, 0.16), (0.3, 0.2 + 2 * deep), (-0.34, 0.2 + 2 * deep)))
    k.add("hull", polygon((-0.42, 0.18), (0.56, 0.16), (0.51, 0.2), (-0.4, 0.22)), shade=1.5, outlined=False)


def steamer(k: Sketch) -> None:
    """Long ship: rows of portholes, decks stacked in steps, two to three raked banded funnels, smoke."""
    half, deep, high = k.vary(0.56, 0.06), k.vary(0.085, 0.15), k.vary(0.22, 0.12)
    k.add("mast", capsule(0.36, 0.08, 0.02, 0.34, -0.34, 0.014), capsule(-0.42, 0.08, 0.02, -0.44, -0.26, 0.014))
    number = k.dice.integer(2, 3)
    for n in range(number):
        x, y = -0.2 + 0.36 * n / (number - 1), -0.08
        stack = polygon((x - 0.055, y), (x + 0.055, y), (x + 0.02, y - high), (x - 0.09, y - high))
        k.add("funnel", stack, pattern=pattern("stripes", 0.14, 0.75, degrees=98, share=0.35, at=(x, y - high)))
    k.add("cabin", box(-0.02, -0.07, 0.27, 0.05, 0.015), shade=1.15, pattern=pattern("stripes", 0.06, 0.55, share=0.4))
    k.add("cabin", box(-0.02, 0.03, 0.39, 0.065, 0.015), pattern=pattern("checks", 0.07, 0.7, share=0.5))
    k.add("cabin", box(0.28, -0.08, 0.05, 0.07, 0.01), shade=0.8)
    plates = pattern("bricks", 0.16, 0.25, share=0.14, ratio=0.45)
    k.add(
        "hull",
        polygon((-half, 0.08), (half + 0.06, 0.05), (half - 0.06, 0.12 + 2 * deep), (-half + 0.06, 0.12 + 2 * deep)),
        pattern=plates,
    )
    k.add(
        "hull",
        polygon(
            (-half + 0.03, 0.07 + 2 * deep),
            (half - 0.04, 0.07 + 2 * deep),
            (half - 0.06, 0.12 + 2 * deep),
            (-half + 0.06, 0.12 + 2 * deep),
        ),
        shade=0.5,
        outlined=False,
    )
    k.add("hull", *[ellipse(-0.4 + 0.16 * n, 0.14, 0.026, 0.026) for n in range(6)], shade=0.25, outlined=False)


def tugboat(k: Sketch) -> None:
    """Short and stout: high round bow, tyres along the side, tall wheelhouse, one fat funnel."""
    half, deep, house = k.vary(0.42, 0.08), k.vary(0.14, 0.1), k.vary(0.15, 0.1)
    k.add("mast", capsule(-0.34, 0.1, 0.022, -0.34, -0.26, 0.016), capsule(-0.34, -0.2, 0.012, -0.2, 0.06, 0.01))
    k.add(
        "funnel",
        box(-0.15, -0.12, 0.09, 0.2, 0.03, 4),
        pattern=pattern("stripes", 0.17, 0.7, degrees=94, share=0.4, at=(-0.15, -0.3)),
    )
    k.add("funnel", box(-0.14, -0.31, 0.105, 0.03, 0.02, 4), shade=0.4)
    k.add("cabin", box(-0.02, 0.06, 0.27, 0.09, 0.02), shade=0.8, pattern=pattern("stripes", 0.05, 0.35))
    k.add("cabin", box(0.12, -0.12, house, 0.16, 0.02))
    k.add("cabin", box(0.12, -0.29, house + 0.05, 0.03, 0.02), shade=0.6)
    k.add(
        "cabin", *[box(0.12 + d * house, -0.16, house * 0.25, 0.055, 0.015) for d in (-0.6, 0, 0.6)], shade=0.25, outlined=False
    )
    bow = polygon((0.1, 0.1), (half + 0.02, -0.06), (half + 0.12, -0.06), (half - 0.04, 0.12 + 2 * deep), (0.1, 0.14 + 2 * deep))
    k.add(
        "hull",
        polygon((-half - 0.02, 0.1), (half, 0.1), (half - 0.1, 0.14 + 2 * deep), (-half + 0.06, 0.14 + 2 * deep)),
        bow,
        pattern=pattern("stripes", 0.07, 0.35, degrees=90, share=0.3),
    )
    k.add("hull", *path((-half, 0.12, 0.03), (half * 0.4, 0.1, 0.03), (half + 0.07, -0.03, 0.035)), shade=1.5, outlined=False)
    tyres = [(-0.28 + 0.2 * n, 0.24) for n in range(4)]
    k.add("hull", *[ellipse(x, y, 0.075, 0.085) for x, y in tyres], shade=0.3)
    k.add("hull", *[ellipse(x, y, 0.034, 0.04) for x, y in tyres], shade=0.9, outlined=False)
