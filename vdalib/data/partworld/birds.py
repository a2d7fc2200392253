"""Birds: crow, gull, parrot and sparrow."""

from __future__ import annotations

from .patterns import pattern
from .shapes import capsule, ellipse, path, polygon
from .sketch import Sketch


def _feet(k: Sketch, x: float, y: float, length: float) -> None:
    """Two thin legs with toes."""
    for dx in (-0.05, 0.06):
        foot = x + dx + 0.02, y + length
        k.add("body", *path((x + dx, y, 0.022), (*foot, 0.018), (foot[0] + 0.08, foot[1], 0.014)), shade=0.5, outlined=False)


def crow(k: Sketch) -> None:
    """Long sleek body, heavy straight beak, wings with fingers, wedge of a tail."""
    tail, beak, deep = k.vary(0.2), k.vary(0.2, 0.15), k.vary(0.15, 0.1)
    vane = pattern("scales", 0.11, 0.45, degrees=-20)
    flying, span = k.pose == "flying", k.vary(0.42, 0.1)
    if flying:
        k.add("wing", polygon((0.18, -0.05), (-0.06, -0.05), (-0.02, -span), (0.12, -span * 1.1)), shade=0.7, pattern=vane)
    else:
        _feet(k, -0.02, 0.12, 0.2)
    blades = [polygon((-0.3, 0.0), (-0.42 - tail, y), (-0.4 - tail, y + 0.075), (-0.26, 0.1)) for y in (0.1, 0.02)]
    k.add("tail", *blades, pattern=pattern("stripes", 0.05, 0.4, degrees=80))
    k.add("body", ellipse(-0.06, 0.02, 0.3, deep, -8), capsule(0.1, -0.03, deep * 0.85, 0.27, -0.14, 0.11), blend=0.08)
    k.add("body", ellipse(0.12, 0.06, 0.13, 0.08, -30), shade=0.8, outlined=False, pattern=pattern("zigzag", 0.06, 0.5))
    k.add("beak", polygon((0.38, -0.25), (0.46 + beak, -0.17), (0.44 + beak * 0.8, -0.13), (0.36, -0.12)))
    k.add("head", ellipse(0.3, -0.18, 0.135, 0.11, -10))
    k.eye("head", 0.35, -0.2, 0.026)
    if flying:
        fingers = [
            capsule(-0.26 + 0.09 * n, -span * 0.6, 0.055, -0.52 + 0.13 * n, -span * (0.72 + 0.1 * n), 0.028) for n in range(4)
        ]
        k.add("wing", polygon((0.14, 0.02), (-0.2, 0.08), (-0.32, -span * 0.6), (0.04, -span * 0.8)), *fingers, pattern=vane)
    else:
        k.add("wing", polygon((0.1, -0.1), (0.14, 0.06), (-0.3, 0.17), (-0.46, 0.12), (-0.16, -0.1)), pattern=vane)


def gull(k: Sketch) -> None:
    """Slim body, long narrow bent wings with dark tips, long bill with a hook."""
    bill, tail, span = k.vary(0.17, 0.15), k.vary(0.14), k.vary(0.6, 0.1)
    flying = k.pose == "flying"
    if flying:
        far = (0.1, -0.02, 0.07), (0.24, -span * 0.62, 0.06), (0.06, -span, 0.015)
        k.add("wing", *path(*far), shade=0.75)
    else:
        _feet(k, 0.02, 0.1, 0.26)
    k.add("tail", polygon((-0.24, -0.03), (-0.34 - tail, -0.07), (-0.34 - tail, 0.05), (-0.22, 0.06)))
    neck = capsule(0.18, -0.02, 0.09, 0.29, -0.1, 0.085) if flying else capsule(0.17, -0.02, 0.1, 0.25, -0.24, 0.08)
    hx, hy = (0.33, -0.12) if flying else (0.27, -0.3)
    k.add("body", ellipse(-0.02, 0.02, 0.29, k.vary(0.115, 0.1), -6), neck, blend=0.07)
    k.add("beak", *path((hx + 0.08, hy + 0.01, 0.04), (hx + 0.1 + bill, hy + 0.03, 0.03), (hx + 0.1 + bill, hy + 0.08, 0.02)))
    k.add("head", ellipse(hx, hy, 0.11, 0.098))
    k.eye("head", hx + 0.04, hy - 0.02, 0.024)
    bars = pattern("stripes", 0.12, 0.35, degrees=80, share=0.3)
    if flying:
        elbow, tip = (-0.2, -span * 0.62), (-0.56, -span * 0.5)
        k.add("wing", *path((0.08, 0.0, 0.085), (*elbow, 0.07), (*tip, 0.012)), pattern=bars)
        k.add("wing", capsule(-0.4, -span * 0.553, 0.042, *tip, 0.014), shade=0.25, outlined=False)
    else:
        k.add("wing", *path((0.12, -0.03, 0.08), (-0.24, 0.02, 0.07), (-0.58, 0.0, 0.012)), blend=0.05, pattern=bars)
        k.add("wing", capsule(-0.36, 0.012, 0.045, -0.58, 0.0, 0.014), shade=0.25, outlined=False)


def parrot(k: Sketch) -> None:
    """Upright, big round head with a crest, big hooked beak, scaly breast, very long tail."""
    tail, head, deep = k.vary(0.42, 0.15), k.vary(0.145, 0.08), k.vary(0.16, 0.1)
    flying = k.pose == "flying"
    scaly, bands = pattern("scales", 0.1, 0.4, degrees=0), pattern("stripes", 0.16, 0.5, degrees=60)
    if flying:
        hx, hy = 0.3, -0.12
        k.add("wing", polygon((0.12, -0.04), (-0.08, -0.02), (0.0, -0.44), (0.16, -0.4)), shade=0.7, pattern=bands)
        k.add("tail", *path((-0.2, 0.06, 0.07), (-0.4 - tail, 0.1, 0.015)), pattern=pattern("stripes", 0.08, 0.5))
        k.add("tail", *path((-0.2, 0.08, 0.06), (-0.25 - tail, 0.2, 0.015)), pattern=pattern("stripes", 0.08, 0.5))
        k.add("body", capsule(-0.16, 0.04, deep * 0.75, 0.16, -0.02, deep), pattern=scaly)
    else:
        hx, hy = 0.06, -0.38
        k.add("tail", *path((-0.1, 0.16, 0.085), (-0.26, 0.3 + tail, 0.02)), pattern=pattern("stripes", 0.09, 0.5, degrees=90))
        k.add("tail", *path((-0.04, 0.18, 0.07), (-0.14, 0.2 + tail, 0.02)), pattern=pattern("stripes", 0.09, 0.5, degrees=90))
        _feet(k, 0.0, 0.14, 0.1)
        k.add("body", capsule(-0.08, 0.08, deep * 0.8, 0.03, -0.18, deep), pattern=scaly)
    crest = [capsule(hx - 0.06, hy - 0.06, 0.04, hx - 0.14 - 0.05 * n, hy - 0.2 + 0.08 * n, 0.025) for n in range(3)]
    k.add("head", *crest, shade=0.8)
    k.add("head", ellipse(hx, hy, head, head))
    k.add("head", ellipse(hx + 0.06, hy + 0.0, 0.07, 0.075), shade=1.6, outlined=False)
    top = hx + head * 0.75
    k.add("beak", *path((top, hy + 0.01, 0.075), (top + 0.1, hy + 0.08, 0.05), (top + 0.07, hy + 0.19, 0.014)), blend=0.02)
    k.eye("head", hx + 0.05, hy - 0.02, 0.026)
    if flying:
        k.add("wing", polygon((0.12, 0.02), (-0.16, 0.08), (-0.36, -0.3), (-0.3, -0.46), (-0.1, -0.46)), pattern=bands)
    else:
        k.add("wing", polygon((-0.02, -0.26), (0.06, -0.1), (-0.16, 0.3), (-0.26, 0.16), (-0.2, -0.16)), pattern=bands)


def sparrow(k: Sketch) -> None:
    """A round ball with a stubby beak, a cap and a streaked wing, short tail cocked up."""
    tail, fat = k.vary(0.2), k.vary(0.27, 0.08)
    flying = k.pose == "flying"
    streaks = pattern("zigzag", 0.09, 0.6, degrees=70, ratio=1.6)
    if flying:
        k.add("wing", ellipse(-0.08, -0.3, 0.1, 0.24, -22), shade=0.7, pattern=streaks)
    else:
        _feet(k, 0.0, fat * 0.85, 0.13)
    k.add("tail", polygon((-0.2, 0.0), (-0.3 - tail, -0.2), (-0.38 - tail, -0.09), (-0.2, 0.14)), shade=0.9)
    k.add("body", ellipse(0, 0.05, fat * 1.08, fat), pattern=pattern("speckle", 0.022, 0.3, ratio=3))
    k.add("body", ellipse(0.06, 0.17, fat * 0.7, fat * 0.45), shade=1.55, outlined=False)
    k.add("beak", polygon((0.34, -0.22), (0.34, -0.08), (0.49, -0.13)))
    k.add("head", ellipse(0.22, -0.16, 0.18, 0.165))
    k.add("head", ellipse(0.19, -0.24, 0.15, 0.075, 8), shade=0.5, outlined=False)
    k.add("head", ellipse(0.2, -0.08, 0.06, 0.045), shade=0.5, outlined=False)
    k.eye("head", 0.29, -0.18, 0.03)
    if flying:
        k.add("wing", ellipse(-0.2, -0.14, 0.13, 0.29, -52), pattern=streaks)
    else:
        k.add("wing", ellipse(-0.09, 0.04, 0.2, 0.11, -18), polygon((-0.1, -0.04), (-0.06, 0.14), (-0.4, 0.12)), pattern=streaks)
