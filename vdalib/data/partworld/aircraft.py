"""Aeroplanes: airliner, biplane, fighter and glider."""

from __future__ import annotations

from .patterns import pattern
from .shapes import box, capsule, ellipse, path, polygon
from .sketch import Sketch


def airliner(k: Sketch) -> None:
    """Long tube with a row of round windows, swept wings, jets below, tall fin."""
    wing, fin, girth = k.vary(0.34, 0.12), k.vary(0.26, 0.12), k.vary(0.092, 0.08)
    slats, panels = pattern("stripes", 0.07, 0.35, degrees=90), pattern("bricks", 0.15, 0.3, share=0.14, ratio=0.5)
    k.add("wing", polygon((0.12, -0.04), (-0.04, -0.04), (-0.22, -wing * 0.8), (-0.15, -wing * 0.8)), shade=0.7, pattern=slats)
    k.add(
        "tail",
        polygon((-0.6, -fin - 0.04), (-0.5, -fin - 0.04), (-0.3, -0.04), (-0.52, -0.02)),
        pattern=pattern("stripes", 0.1, 0.5, degrees=60),
    )
    k.add(
        "body", capsule(-0.56, -0.03, 0.03, -0.22, 0, girth), capsule(-0.22, 0, girth, 0.44, 0, girth), blend=0.04, pattern=panels
    )
    k.add("body", box(0.05, 0.035, 0.42, 0.018), shade=0.5, outlined=False)
    k.add("tail", polygon((-0.4, -0.02), (-0.5, -0.02), (-0.66, 0.08), (-0.6, 0.09)), shade=0.85)
    k.add(
        "window",
        *[ellipse(-0.22 + 0.085 * n, -0.025, 0.024, 0.028) for n in range(7)],
        polygon((0.42, -0.08), (0.48, -0.06), (0.52, -0.01), (0.42, -0.01)),
    )
    k.add("wing", polygon((0.16, 0.04), (-0.06, 0.04), (-0.36, wing), (-0.25, wing)), pattern=slats)
    for x, y in ((0.04, 0.14), (-0.1, wing * 0.78)):
        k.add("engine", box(x + 0.03, y, 0.075, 0.045, 0.03), shade=0.8)
        k.add("engine", ellipse(x + 0.1, y, 0.018, 0.038), shade=0.3, outlined=False)


def biplane(k: Sketch) -> None:
    """Two wings one above the other with struts, round nose with a propeller, wheels below, open cockpit."""
    gap, chord, blade = k.vary(0.25, 0.1), k.vary(0.25, 0.1), k.vary(0.2, 0.12)
    ribs = pattern("stripes", 0.06, 0.5)
    k.add("tail", ellipse(-0.48, -0.12, 0.09, k.vary(0.14, 0.15), 10), pattern=pattern("stripes", 0.07, 0.5, degrees=90))
    k.add(
        "body",
        *path((0.06, 0.06, 0.025), (0.14, 0.27, 0.025)),
        capsule(0.22, 0.06, 0.025, 0.14, 0.27, 0.025),
        shade=0.5,
        outlined=False,
    )
    k.add("body", ellipse(0.14, 0.29, 0.09, 0.09), shade=0.35)
    k.add("body", ellipse(0.14, 0.29, 0.04, 0.04), shade=1.4, outlined=False)
    k.add("body", capsule(-0.5, -0.02, 0.045, 0.24, 0.0, 0.135), pattern=pattern("stripes", 0.13, 0.4, share=0.4))
    k.add("tail", polygon((-0.38, -0.05), (-0.36, 0.01), (-0.58, 0.03), (-0.58, -0.03)), shade=0.8)
    top = -gap - 0.08
    k.add("wing", *[capsule(x, top, 0.016, x - 0.03, 0.1, 0.016) for x in (0.02, 0.26)], shade=0.5, outlined=False)
    k.add("wing", box(0.1, 0.11, chord, 0.038, 0.035, -2), shade=0.85, pattern=ribs)
    k.add("window", polygon((-0.06, -0.12), (-0.12, -0.22), (-0.08, -0.22), (0.02, -0.12)), ellipse(-0.17, -0.1, 0.07, 0.045))
    k.add("wing", box(0.15, top, chord * 1.15, 0.042, 0.035, -2), pattern=ribs)
    k.add("engine", box(0.35, 0.0, 0.06, 0.12, 0.05), shade=0.7, pattern=pattern("stripes", 0.08, 0.6, degrees=90))
    k.add(
        "engine", ellipse(0.45, -blade * 0.55, 0.026, blade * 0.55), ellipse(0.45, blade * 0.55, 0.026, blade * 0.55), shade=1.2
    )
    k.add("engine", ellipse(0.44, 0, 0.045, 0.04), shade=0.5, outlined=False)


def fighter(k: Sketch) -> None:
    """Needle nose, bubble canopy, delta wing, twin slanted fins, burning nozzle, camouflage."""
    wing, fin, nose = k.vary(0.26, 0.15), k.vary(0.2, 0.15), k.vary(0.3, 0.1)
    camouflage = pattern("spots", 0.2, 0.45, share=0.9, degrees=20, ratio=0.6)
    k.add("wing", polygon((0.12, -0.03), (-0.34, -0.03), (-0.36, -wing * 0.7), (-0.28, -wing * 0.7)), shade=0.7)
    k.add("tail", polygon((-0.26, -0.05), (-0.44, -0.05), (-0.56, -fin - 0.08), (-0.44, -fin - 0.08)), shade=0.75)
    k.add(
        "engine",
        polygon((-0.46, -0.06), (-0.46, 0.07), (-0.58, 0.055), (-0.58, -0.04)),
        shade=0.45,
        pattern=pattern("stripes", 0.05, 0.5),
    )
    k.add(
        "body",
        polygon((-0.48, -0.075), (0.1, -0.09), (0.22, 0.08), (-0.48, 0.08)),
        polygon((0.0, -0.1), (0.24, -0.08), (0.34 + nose, 0.03), (0.2, 0.08), (0.0, 0.085)),
        pattern=camouflage,
    )
    k.add("window", ellipse(0.16, -0.09, 0.14, 0.065, 6))
    k.add("window", ellipse(0.12, -0.115, 0.05, 0.022, 6), shade=1.6, outlined=False)
    k.add("engine", polygon((0.06, 0.06), (-0.16, 0.06), (-0.16, 0.13), (0.1, 0.12)), shade=0.7)
    k.add(
        "tail",
        polygon((-0.2, -0.04), (-0.42, -0.03), (-0.62, -fin * 0.9), (-0.5, -fin)),
        pattern=pattern("stripes", 0.09, 0.5, degrees=30),
    )
    k.add(
        "wing",
        polygon((0.2, 0.04), (-0.4, 0.05), (-0.46, wing + 0.06), (-0.34, wing + 0.06)),
        pattern=pattern("zigzag", 0.14, 0.4, degrees=20),
    )
    k.add("body", capsule(0.34 + nose, 0.03, 0.01, 0.42 + nose, 0.035, 0.006), shade=0.5, outlined=False)


def glider(k: Sketch) -> None:
    """Drop-shaped pod on a thin boom, very long narrow wings, T-shaped tail, big canopy."""
    span, fin, pod = k.vary(0.6, 0.1), k.vary(0.2, 0.12), k.vary(0.105, 0.08)
    fabric = pattern("stripes", 0.1, 0.35, degrees=75)
    k.add("wing", polygon((0.12, -0.03), (0.02, -0.03), (-0.3, -span * 0.75), (-0.27, -span * 0.77)), shade=0.75, pattern=fabric)
    k.add("tail", polygon((-0.6, -fin), (-0.5, -fin), (-0.46, 0.0), (-0.58, 0.0)))
    k.add("tail", capsule(-0.66, -fin, 0.024, -0.44, -fin - 0.005, 0.03), shade=0.8)
    k.add("body", capsule(-0.56, -0.01, 0.026, 0.04, 0.0, 0.055), ellipse(0.22, 0.02, 0.22, pod), blend=0.12)
    k.add("body", capsule(-0.1, 0.025, 0.018, 0.38, 0.05, 0.018), shade=0.5, outlined=False)
    k.add("window", ellipse(0.27, -0.035, 0.13, 0.06, 12))
    k.add("window", capsule(0.24, -0.085, 0.012, 0.24, 0.0, 0.012), shade=0.4, outlined=False)
    k.add("wing", polygon((0.14, 0.02), (0.0, 0.03), (-0.22, span * 0.6), (-0.17, span * 0.62)), pattern=fabric)
    k.add(
        "wing",
        polygon((-0.12, span * 0.43), (-0.05, span * 0.39), (-0.17, span * 0.62), (-0.22, span * 0.6)),
        shade=0.5,
        outlined=False,
    )
