"""Horses: pony, stallion and zebra."""

from __future__ import annotations

from .patterns import Pattern, pattern
from .pets import four_legs
from .shapes import capsule, ellipse, path, polygon
from .sketch import Sketch


def _head(k: Sketch, x: float, y: float, muzzle: float, r: float, coat: Pattern | None = None, ear: float = 0.13) -> None:
    """Head from the poll at (x, y), pointing forward and down, or down if it grazes."""
    dx, dy = (0.08, 0.24) if k.pose == "grazing" else (0.2, 0.15)
    jx, jy = x + dx * muzzle, y + dy * muzzle
    k.add("head", polygon((x - 0.07, y - 0.02), (x - 0.02, y - 0.06 - ear), (x + 0.05, y - 0.04)), shade=0.8)
    k.add("head", capsule(x, y, r, jx, jy, r * 0.68), pattern=coat)
    k.add("head", ellipse(jx + 0.01, jy + 0.01, r * 0.72, r * 0.66), shade=0.55, outlined=False)
    k.eye("head", x + (jx - x) * 0.3 + 0.01, y + (jy - y) * 0.3 - 0.03, 0.024)
    k.eye("head", jx + 0.03, jy, 0.014)


def pony(k: Sketch) -> None:
    """Short legs under a barrel, thick neck, shaggy mane over the eyes, tail to the ground."""
    girth, tail = k.vary(0.215, 0.07), k.vary(0.46, 0.12)
    fur, hair = pattern("speckle", 0.035, 0.4, degrees=70, ratio=0.4), pattern("stripes", 0.05, 0.5)
    graze = k.pose == "grazing"
    x, y = (0.5, 0.14) if graze else (0.42, -0.3)
    four_legs(k, -0.28, 0.14, 0.1, k.vary(0.33, 0.08), 0.08, fur, taper=0.95)
    k.add("tail", *path((-0.38, -0.1, 0.06), (-0.52, 0.06, 0.1), (-0.5, -0.02 + tail, 0.05)), blend=0.05, pattern=hair)
    k.add("body", capsule(-0.22, 0, girth, 0.14, 0, girth), capsule(0.2, -0.06, 0.17, x - 0.03, y, 0.11), blend=0.08, pattern=fur)
    _head(k, x, y, 0.95, 0.115, ear=0.08)
    locks = (0.1, -0.16, 0.07), (0.22, -0.22 if graze else -0.32, 0.08), (x - 0.08, y - 0.07, 0.075), (x + 0.06, y - 0.06, 0.045)
    k.add("mane", *path(*locks), capsule(0.2, -0.2, 0.08, 0.16, 0.0, 0.05), blend=0.03, pattern=hair)


def stallion(k: Sketch) -> None:
    """Tall and lean: arched neck carried high, long flowing mane and raised tail, white socks, dapples."""
    girth, tail, length = k.vary(0.14, 0.08), k.vary(0.36, 0.15), k.vary(0.46, 0.08)
    hair, dapple = pattern("zigzag", 0.07, 0.5, degrees=30), pattern("spots", 0.11, 0.35, share=0.55)
    graze = k.pose == "grazing"
    x, y = (0.5, 0.1) if graze else (0.42, -0.5)
    feet = four_legs(k, -0.32, 0.16, 0.04, length, 0.062, taper=0.55)
    k.add("leg", *[capsule(fx, fy - 0.08, 0.038, fx, fy, 0.042) for fx, fy in feet], shade=1.7, outlined=False)
    plume = (-0.36, -0.1, 0.045), (-0.5, -0.18, 0.07), (-0.62, -0.02, 0.07), (-0.66, tail, 0.02)
    k.add("tail", *path(*plume), blend=0.03, pattern=hair)
    neck = path((0.17, -0.06, 0.135), (0.3, -0.12 if graze else -0.36, 0.1), (x - 0.02, y, 0.075))
    k.add("body", capsule(-0.27, -0.03, girth, 0.14, -0.02, girth * 1.08), *neck, blend=0.07, pattern=dapple)
    _head(k, x, y, 1.1, 0.085)
    k.add("head", capsule(x + 0.07, y + 0.02, 0.02, x + 0.14, y + 0.09, 0.02), shade=1.8, outlined=False)
    crest = (0.26, -0.24 if graze else -0.42, 0.075), (x - 0.06, y - 0.06, 0.05)
    locks = [capsule(0.2 - 0.03 * n, -0.16 - 0.02 * n, 0.06, 0.06 - 0.03 * n, 0.02 - 0.12 * n, 0.02) for n in range(3)]
    k.add("mane", capsule(0.14, -0.15, 0.06, *crest[0]), capsule(*crest[0], *crest[1]), *([] if graze else locks), pattern=hair)


def zebra(k: Sketch) -> None:
    """Striped all over, stocky, stiff upright mane, thin tail with a tassel."""
    girth, tail, length = k.vary(0.165, 0.08), k.vary(0.26, 0.15), k.vary(0.37, 0.08)
    bars, rings = pattern("stripes", 0.105, 0.82, degrees=12), pattern("stripes", 0.09, 0.82, degrees=90)
    graze = k.pose == "grazing"
    x, y = (0.48, 0.12) if graze else (0.4, -0.38)
    four_legs(k, -0.3, 0.15, 0.06, length, 0.065, rings, taper=0.75)
    k.add("tail", capsule(-0.36, -0.08, 0.025, -0.44, -0.06 + tail, 0.02))
    k.add("tail", ellipse(-0.45, -0.02 + tail, 0.045, 0.09, 8), shade=0.5)
    slope = pattern("stripes", 0.105, 0.82, degrees=60 if graze else -50)
    k.add("body", capsule(-0.25, -0.01, girth, 0.15, -0.01, girth), pattern=bars)
    k.add("body", capsule(0.2, -0.06, 0.14, x - 0.02, y, 0.09), outlined=False, pattern=slope)
    withers, poll = (0.14, -0.2, 0.05), (x - 0.02, y - 0.12, 0.045)
    brush = path(withers, poll) if graze else path(withers, (0.27, -0.38, 0.06), poll)
    k.add("mane", *brush, pattern=pattern("stripes", 0.07, 0.7, degrees=-40))
    _head(k, x, y, 1.0, 0.095, pattern("stripes", 0.075, 0.75, degrees=70 if graze else 35))
