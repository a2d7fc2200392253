"""Buses and cars: coach, minibus and tram; hatchback, jeep, racer and van."""

from __future__ import annotations

from .patterns import pattern
from .shapes import box, capsule, ellipse, path, polygon
from .sketch import Sketch


def _wheels(k: Sketch, xs: tuple[float, ...], y: float, r: float, knobs: bool = False) -> None:
    """Tyres in a dark shade of the part's colour with light hubs."""
    k.add("wheel", *[ellipse(x, y, r, r) for x in xs], shade=0.4, pattern=pattern("checks", r * 0.5, 0.5) if knobs else None)
    k.add("wheel", *[ellipse(x, y, r * 0.52, r * 0.52) for x in xs], shade=1.3)
    k.add("wheel", *[ellipse(x, y, r * 0.16, r * 0.16) for x in xs], shade=0.3, outlined=False)


def coach(k: Sketch) -> None:
    """Long and high: one dark band of glass, luggage hatches, mirror, three axles, raked front."""
    half, tall, wheel = k.vary(0.56, 0.06), k.vary(0.2, 0.1), k.vary(0.075, 0.1)
    k.add("roof", box(-0.06, -tall - 0.035, half * 0.55, 0.045, 0.03), pattern=pattern("stripes", 0.06, 0.5))
    k.add("roof", box(-0.04, -tall, half - 0.05, 0.03, 0.02), shade=0.8)
    k.add(
        "body",
        polygon((-half, -tall), (half - 0.09, -tall), (half, -tall * 0.3), (half, tall), (-half, tall)),
        pattern=pattern("bricks", 0.22, 0.35, share=0.1, ratio=0.75),
    )
    k.add(
        "body", polygon((-half, 0.05), (-half * 0.3, 0.05), (half * 0.3, tall), (-half * 0.4, tall)), shade=0.55, outlined=False
    )
    k.add(
        "window",
        box(-0.06, -tall * 0.45, half - 0.12, tall * 0.38, 0.03),
        shade=0.75,
        pattern=pattern("stripes", 0.17, 0.6, share=0.12),
    )
    k.add(
        "window",
        polygon(
            (half - 0.13, -tall * 0.85),
            (half - 0.09, -tall * 0.85),
            (half - 0.02, -tall * 0.25),
            (half - 0.02, 0.05),
            (half - 0.13, 0.05),
        ),
    )
    k.add("door", box(half - 0.17, tall * 0.2, 0.055, tall * 0.7, 0.01), pattern=pattern("stripes", 0.11, 0.5, share=0.2))
    k.add(
        "body",
        *path((half - 0.08, -tall + 0.02, 0.016), (half + 0.06, -tall + 0.04, 0.016), (half + 0.06, -tall * 0.45, 0.025)),
        shade=0.5,
    )
    _wheels(k, (-half * 0.62, -half * 0.34, half * 0.5), tall + 0.01, wheel)


def minibus(k: Sketch) -> None:
    """Short with a sloping bonnet, three separate windows, rack on the roof, sliding door with a rail."""
    tall, nose, wheel = k.vary(0.26, 0.08), k.vary(0.17, 0.15), k.vary(0.11, 0.1)
    top = -tall * 1.1
    k.add(
        "roof",
        *[capsule(x, top, 0.016, x, top - 0.09, 0.016) for x in (-0.34, -0.1, 0.12)],
        capsule(-0.38, top - 0.09, 0.022, 0.16, top - 0.09, 0.022),
    )
    k.add("roof", box(-0.1, top, 0.3, 0.035, 0.03), shade=0.85, pattern=pattern("stripes", 0.05, 0.5))
    k.add(
        "body",
        box(-0.1, 0.01, 0.34, tall * 1.05, 0.1),
        polygon((0.1, top + 0.03), (0.2, top + 0.03), (0.33, -0.02), (0.1, 0.1)),
        box(0.2 + nose / 2, 0.12, 0.15 + nose / 2, 0.14, 0.06),
        blend=0.02,
    )
    k.add("body", box(0.03, 0.1, 0.42 + nose / 3, 0.045), shade=1.5, outlined=False)
    pane = -tall * 0.45
    k.add(
        "window",
        *[box(x, pane, 0.085, tall * 0.32, 0.035) for x in (-0.32, -0.11)],
        polygon((0.01, pane - 0.08), (0.17, pane - 0.08), (0.27, -0.03), (0.01, -0.03)),
    )
    k.add("door", box(-0.1, 0.1, 0.105, tall * 0.55, 0.03), pattern=pattern("stripes", 0.045, 0.45, degrees=90))
    k.add("body", box(0.43 + nose / 2, 0.08, 0.03, 0.035, 0.02), shade=1.75)
    k.add("body", box(0.02, tall * 1.02, 0.46 + nose / 3, 0.025, 0.02), shade=0.5)
    _wheels(k, (-0.28, 0.27), tall + 0.03, wheel)


def tram(k: Sketch) -> None:
    """Two coupled cars with bowed ends, a pantograph, many narrow windows, skirts over small wheels."""
    half, tall, arm = k.vary(0.6, 0.05), k.vary(0.18, 0.1), k.vary(0.17, 0.15)
    x = k.dice.uniform(-0.25, 0.2)
    k.add(
        "roof",
        *path((x - 0.08, -tall, 0.014), (x + 0.07, -tall - arm * 0.5, 0.014), (x - 0.05, -tall - arm, 0.014)),
        capsule(x - 0.14, -tall - arm, 0.02, x + 0.06, -tall - arm, 0.02),
    )
    k.add(
        "roof",
        *[box(side * half * 0.5, -tall, half * 0.38, 0.045, 0.02) for side in (-1, 1)],
        shade=0.8,
        pattern=pattern("stripes", 0.05, 0.45),
    )
    k.add("wheel", *[ellipse(w * half, tall + 0.03, 0.052, 0.052) for w in (-0.8, -0.6, -0.25, 0.25, 0.6, 0.8)], shade=0.45)
    k.add("body", box(0, 0, 0.06, tall * 0.85), shade=0.35, pattern=pattern("stripes", 0.03, 0.6))
    for side in (-1, 1):
        car = box(side * half * 0.36, 0, half * 0.32, tall, 0.02), ellipse(side * half * 0.66, 0.04, half * 0.34, tall * 0.95)
        k.add("body", *car, blend=0.02, pattern=pattern("stripes", 0.2, 0.4, degrees=90, share=0.3, at=(0, 0.09)))
    panes = [
        box(side * half * (0.17 + 0.135 * n), -tall * 0.35, half * 0.05, tall * 0.36, 0.015)
        for side in (-1, 1)
        for n in (0, 1, 3)
    ]
    k.add(
        "window",
        *panes,
        *[
            polygon((s * half * 0.8, -tall * 0.6), (s * half * 0.85, -tall * 0.6), (s * half * 0.96, 0.0), (s * half * 0.8, 0.0))
            for s in (-1, 1)
        ],
    )
    k.add(
        "door",
        *[box(side * half * 0.44, 0.02, half * 0.065, tall * 0.85, 0.01) for side in (-1, 1)],
        pattern=pattern("stripes", half * 0.07, 0.55, share=0.25),
    )
    k.add("body", box(0, tall * 0.95, half * 0.88, 0.03), shade=0.45)


def hatchback(k: Sketch) -> None:
    """Small and round: domed cabin that falls off steeply behind, short bonnet."""
    tall, roof, wheel = k.vary(0.125, 0.1), k.vary(0.27, 0.1), k.vary(0.115, 0.08)
    k.add(
        "roof", polygon((-0.45, 0.04), (-0.36, -roof * 0.85), (-0.24, -roof), (0.06, -roof), (0.15, -roof * 0.88), (0.33, 0.04))
    )
    sill, pane = -0.01, -roof + 0.06
    k.add(
        "window",
        polygon((-0.36, sill), (-0.3, pane), (-0.11, pane), (-0.11, sill)),
        polygon((-0.05, sill), (-0.05, pane), (0.06, pane), (0.23, sill)),
    )
    k.add("body", box(-0.02, 0.02 + tall, 0.47, tall, 0.1), ellipse(0.3, 0.02 + tall, 0.23, tall * 0.92), blend=0.04)
    k.add("body", box(-0.08, 0.1, 0.01, tall * 0.7), box(-0.14, 0.07, 0.04, 0.012), shade=0.45, outlined=False)
    k.add("body", box(0, 0.02 + 1.7 * tall, 0.44, 0.025), shade=0.55, outlined=False, pattern=pattern("stripes", 0.04, 0.5))
    k.add("light", ellipse(0.45, tall * 0.75, 0.055, 0.05), ellipse(-0.47, tall * 0.75, 0.03, 0.05))
    _wheels(k, (-0.3, 0.28), 0.03 + 2 * tall, wheel)


def jeep(k: Sketch) -> None:
    """All corners: flat bonnet, upright windscreen, canvas top on bars, spare wheel behind, high knobbly tyres."""
    tall, roof, wheel = k.vary(0.12, 0.1), k.vary(0.3, 0.1), k.vary(0.15, 0.08)
    k.add("wheel", box(-0.55, 0.06, 0.05, 0.15, 0.04), shade=0.4, pattern=pattern("stripes", 0.05, 0.6, degrees=90))
    k.add("roof", *[capsule(x, 0.02, 0.022, x, -roof, 0.022) for x in (-0.44, -0.16)])
    k.add(
        "roof",
        box(-0.18, -roof, 0.31, 0.045, 0.01),
        box(-0.4, -roof * 0.55, 0.07, roof * 0.5),
        pattern=pattern("checks", 0.06, 0.5, degrees=45),
    )
    k.add(
        "window",
        polygon((0.1, 0.02), (0.1, -roof + 0.04), (0.14, -roof + 0.04), (0.19, 0.02)),
        box(-0.03, -roof * 0.45, 0.1, roof * 0.36),
    )
    k.add(
        "body",
        box(-0.15, 0.02 + tall, 0.36, tall),
        box(0.3, 0.05 + tall, 0.24, tall * 0.82),
        pattern=pattern("spots", 0.19, 0.45, share=0.85, ratio=0.7),
    )
    k.add(
        "body",
        box(0.24, 0.06, 0.02, 0.06),
        box(0.52, 0.06 + tall, 0.025, tall * 0.8),
        shade=0.45,
        outlined=False,
        pattern=pattern("stripes", 0.05, 0.6, degrees=90),
    )
    for x in (-0.3, 0.3):
        k.add(
            "body",
            polygon(
                (x - 0.22, 0.06 + 2 * tall),
                (x - 0.15, -0.02 + 1.3 * tall),
                (x + 0.15, -0.02 + 1.3 * tall),
                (x + 0.22, 0.06 + 2 * tall),
            ),
            shade=0.65,
        )
    k.add("light", ellipse(0.5, 0.02 + tall * 0.7, 0.055, 0.055))
    _wheels(k, (-0.3, 0.3), 0.06 + 2 * tall, wheel, knobs=True)


def racer(k: Sketch) -> None:
    """Flat wedge between four open wheels: wings at nose and tail, helmet in the cockpit, number on the side."""
    nose, wing, wheel = k.vary(0.34, 0.1), k.vary(0.22, 0.12), k.vary(0.135, 0.08)
    k.add("wheel", ellipse(-0.26, 0.12, wheel * 0.95, wheel * 0.95), ellipse(0.38, 0.14, wheel * 0.8, wheel * 0.8), shade=0.25)
    k.add("roof", polygon((-0.5, -0.02), (-0.42, -0.02), (-0.46, -wing), (-0.54, -wing)), shade=0.8)
    k.add(
        "roof",
        box(-0.5, -wing, 0.12, 0.035, 0.01, -6),
        box(-0.5, -wing - 0.08, 0.1, 0.02, 0.01, -6),
        pattern=pattern("stripes", 0.07, 0.55),
    )
    k.add("roof", capsule(-0.3, 0.0, 0.06, -0.12, -0.14, 0.045), shade=0.9)
    k.add("window", ellipse(-0.02, -0.1, 0.075, 0.075))
    k.add("window", box(0.02, -0.1, 0.045, 0.022, 0.01), shade=0.2, outlined=False)
    k.add(
        "body",
        polygon((-0.48, -0.04), (-0.2, -0.08), (0.1, -0.04), (0.32 + nose, 0.12), (0.3 + nose, 0.17), (-0.46, 0.19)),
        pattern=pattern("stripes", 0.12, 0.5, degrees=-60, share=0.3),
    )
    k.add("body", box(0.3 + nose, 0.19, 0.13, 0.022, 0.01), shade=0.5)
    k.add("body", ellipse(-0.1, 0.06, 0.075, 0.065), shade=1.75)
    k.add("body", box(-0.1, 0.06, 0.014, 0.045), shade=0.15, outlined=False)
    k.add("light", ellipse(0.2 + nose, 0.1, 0.05, 0.03))
    _wheels(k, (-0.36, 0.42), 0.17, wheel)


def van(k: Sketch) -> None:
    """One tall box without side windows behind, short steep front, panels and a lettered stripe."""
    half, tall, wheel = k.vary(0.46, 0.06), k.vary(0.29, 0.08), k.vary(0.1, 0.08)
    top = 0.24 - 2 * tall
    k.add(
        "roof",
        polygon((-half, top + 0.05), (-half + 0.03, top - 0.06), (half * 0.35, top - 0.06), (half * 0.58, top + 0.05)),
        pattern=pattern("stripes", 0.09, 0.4),
    )
    k.add(
        "body",
        box(-half * 0.22, 0.24 - tall, half * 0.78, tall, 0.03),
        polygon(
            (half * 0.5, top + 0.01),
            (half * 0.58, top + 0.01),
            (half * 0.92, -0.02),
            (half + 0.08, 0.06),
            (half + 0.08, 0.24),
            (half * 0.5, 0.24),
        ),
        pattern=pattern("stripes", 0.15, 0.3, share=0.12),
    )
    k.add("body", polygon((-half, 0.0), (half * 0.4, -0.08), (half * 0.4, 0.02), (-half, 0.1)), shade=0.45, outlined=False)
    k.add("window", polygon((half * 0.46, top + 0.07), (half * 0.58, top + 0.07), (half * 0.86, -0.01), (half * 0.46, -0.01)))
    k.add("body", box(half * 0.43, 0.06, 0.008, 0.17), box(half * 0.54, 0.04, 0.035, 0.012), shade=0.4, outlined=False)
    k.add("light", box(half + 0.05, 0.1, 0.04, 0.045, 0.02), box(-half, 0.02, 0.025, 0.07, 0.01))
    k.add("body", box(0.04, 0.235, half + 0.04, 0.025, 0.02), shade=0.5)
    _wheels(k, (-half * 0.6, half * 0.6), 0.25, wheel)
