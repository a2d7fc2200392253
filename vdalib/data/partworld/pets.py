"""Cats and dogs: lynx, siamese and tabby; hound, poodle and terrier."""

from __future__ import annotations

from .patterns import Pattern, pattern
from .shapes import box, capsule, ellipse, limb, path, polygon
from .sketch import Sketch


def four_legs(
    k: Sketch, back: float, front: float, y: float, length: float, r: float, coat: Pattern | None = None, taper: float = 0.75
) -> list[tuple[float, float]]:
    """Far pair (darker) and near pair of legs, and where the near feet are; call before the body is drawn."""
    running = k.pose == "running"
    swing = k.dice.uniform(28, 46) if running else k.dice.uniform(0, 7)
    far, near = (swing, -swing) if running else (-swing, swing)
    legs = [(back + 0.1, far), (front + 0.1, -far * 0.7), (back, near), (front, -near)]
    shapes = [limb(x, y, length * (0.96 if n < 2 else 1), a, r, r * taper) for n, (x, a) in enumerate(legs)]
    k.add("leg", *shapes[:2], shade=0.7, pattern=coat)
    k.add("leg", *shapes[2:], pattern=coat)
    return [shape.points[1] for shape in shapes[2:]]


def _seat(k: Sketch, chest: float, haunch: float, r: float, coat: Pattern | None, legs: Pattern | None, height: float) -> None:
    """Sitting: the body raised on two forelegs, the haunch on the ground; the chest ends at -height."""
    k.add("leg", limb(0.17, 0.08, 0.36, 4, r, r * 0.8), shade=0.7, pattern=legs)
    k.add("body", capsule(-0.12, 0.42 - haunch, haunch, 0.1, -height, chest), blend=0.05, pattern=coat)
    k.add(
        "leg",
        ellipse(-0.12, 0.3, haunch * 0.75, 0.13),
        capsule(-0.08, 0.41, r * 0.8, 0.07, 0.41, r * 0.8),
        blend=0.04,
        pattern=legs,
    )
    k.add("leg", limb(0.09, 0.06, 0.38, 4, r, r * 0.85), pattern=legs)


def hound(k: Sketch) -> None:
    """Lean: deep chest, tucked waist, long legs, long muzzle, hanging ears, a saddle on the back, thin tail up."""
    ear, tail, muzzle = k.vary(0.24, 0.15), k.vary(0.34, 0.15), k.vary(0.24, 0.12)
    coat = pattern("speckle", 0.02, 0.3, degrees=10, ratio=0.3)
    if k.pose == "sitting":
        hx, hy = 0.16, -0.36
        k.add("tail", *path((-0.26, 0.38, 0.045), (-0.44, 0.38, 0.035), (-0.5, 0.3 - tail * 0.5, 0.02)))
        _seat(k, 0.13, 0.17, 0.055, coat, None, 0.12)
        k.add("body", ellipse(-0.1, 0.08, 0.1, 0.2, 22), shade=0.45, outlined=False)
        k.add("body", capsule(0.1, -0.12, 0.11, hx - 0.02, hy, 0.085), pattern=coat)
    else:
        hx, hy = 0.38, -0.34
        k.add("tail", *path((-0.36, -0.06, 0.045), (-0.48, -0.1 - tail * 0.5, 0.03), (-0.44, -0.12 - tail, 0.016)))
        four_legs(k, -0.34, 0.14, 0.04, k.vary(0.44, 0.1), 0.062, taper=0.6)
        k.add(
            "body",
            capsule(-0.32, -0.02, 0.11, -0.1, -0.04, 0.095),
            ellipse(0.12, 0.0, 0.17, 0.165),
            capsule(0.18, -0.08, 0.11, hx - 0.04, hy, 0.08),
            blend=0.1,
            pattern=coat,
        )
        k.add("body", ellipse(-0.1, -0.09, 0.2, 0.08), shade=0.45, outlined=False)
    k.add(
        "head", ellipse(hx, hy, 0.125, 0.11), capsule(hx + 0.05, hy + 0.03, 0.07, hx + 0.06 + muzzle, hy + 0.07, 0.05), blend=0.05
    )
    k.eye("head", hx + 0.1 + muzzle, hy + 0.05, 0.035)
    k.eye("head", hx + 0.06, hy - 0.03, 0.025)
    k.add("ear", ellipse(hx - 0.07, hy + ear * 0.42, 0.075, ear * 0.62, 8), shade=0.8)


def poodle(k: Sketch) -> None:
    """Curly pompoms on head, ears, chest, feet and tail, bare waist, thin pointed muzzle."""
    puff, tail = k.vary(0.11, 0.12), k.vary(0.26, 0.15)
    curls = pattern("spots", 0.072, 0.5, share=0.85)
    if k.pose == "sitting":
        hx, hy = 0.14, -0.36
        k.add("tail", capsule(-0.26, 0.36, 0.03, -0.42, 0.2, 0.025))
        k.add("tail", ellipse(-0.46, 0.14, puff * 0.95, puff), pattern=curls)
        _seat(k, 0.19, 0.16, 0.04, curls, None, 0.06)
        feet = [(0.12, 0.4), (-0.04, 0.4)]
    else:
        hx, hy = 0.34, -0.36
        k.add("tail", capsule(-0.32, -0.04, 0.03, -0.4, -0.1 - tail, 0.025))
        k.add("tail", ellipse(-0.41, -0.13 - tail, puff * 0.95, puff), pattern=curls)
        feet = four_legs(k, -0.3, 0.14, 0.04, k.vary(0.4, 0.08), 0.045, taper=0.7)
        k.add("body", capsule(-0.28, 0.0, 0.115, 0.0, -0.02, 0.09))
        k.add("body", ellipse(0.15, -0.05, 0.22, 0.2), capsule(0.2, -0.1, 0.13, 0.3, -0.24, 0.11), blend=0.05, pattern=curls)
    k.add("leg", *[ellipse(x, y - 0.06, puff * 0.95, puff * 0.8) for x, y in feet], pattern=curls)
    k.add("head", capsule(hx + 0.03, hy, 0.1, hx + 0.26, hy + 0.05, 0.035))
    k.add("head", ellipse(hx - 0.01, hy - 0.12, puff * 1.45, puff * 1.25), pattern=curls)
    k.eye("head", hx + 0.29, hy + 0.04, 0.03)
    k.eye("head", hx + 0.1, hy - 0.02, 0.025)
    k.add("ear", capsule(hx - 0.06, hy - 0.02, 0.06, hx - 0.09, hy + 0.12, 0.1), pattern=curls)


def terrier(k: Sketch) -> None:
    """Low, long and shaggy: short legs, square bearded muzzle, pricked ears, stub of a tail."""
    ear, tail, beard = k.vary(0.15, 0.15), k.vary(0.17, 0.15), k.vary(0.15, 0.12)
    shag = pattern("zigzag", 0.045, 0.4, degrees=8, ratio=3)
    if k.pose == "sitting":
        hx, hy = 0.12, -0.24
        k.add("tail", capsule(-0.3, 0.3, 0.05, -0.32 - tail * 0.5, 0.26 - tail, 0.025), pattern=shag)
        _seat(k, 0.18, 0.2, 0.075, shag, shag, 0.0)
    else:
        hx, hy = 0.36, -0.22
        k.add("tail", capsule(-0.4, -0.06, 0.055, -0.46, -0.12 - tail, 0.025), pattern=shag)
        four_legs(k, -0.36, 0.16, 0.1, k.vary(0.22, 0.12), 0.085, shag, taper=0.95)
        k.add("body", box(-0.06, 0.01, k.vary(0.4, 0.06), 0.17, 0.12), pattern=shag)
        skirt = [polygon((x - 0.09, 0.12), (x + 0.09, 0.12), (x - 0.02, 0.27)) for x in (-0.2, -0.06, 0.08)]
        k.add("body", *skirt, shade=0.85, outlined=False, pattern=shag)
    for dx in (-0.11, 0.02):
        k.add("ear", polygon((hx + dx - 0.06, hy - 0.06), (hx + dx + 0.07, hy - 0.08), (hx + dx - 0.02, hy - 0.12 - ear)))
    k.add("head", box(hx, hy, 0.165, 0.145, 0.07), box(hx + 0.16, hy + 0.05, 0.12, 0.085, 0.04), blend=0.03)
    whiskers = polygon(
        (hx + 0.04, hy + 0.08), (hx + 0.28, hy + 0.06), (hx + 0.26, hy + 0.13 + beard), (hx + 0.14, hy + 0.14 + beard)
    )
    k.add("head", whiskers, shade=1.3, pattern=pattern("stripes", 0.05, 0.5))
    k.add("head", capsule(hx + 0.02, hy - 0.06, 0.035, hx + 0.12, hy - 0.04, 0.05), shade=1.3, outlined=False, pattern=shag)
    k.eye("head", hx + 0.29, hy + 0.0, 0.04)
    k.eye("head", hx + 0.05, hy - 0.02, 0.026)


def _face(
    k: Sketch, hx: float, hy: float, wide: float, high: float, ear: float, spread: float, coat: Pattern | None = None
) -> None:
    """A cat's face seen from the front, with two pointed ears."""
    for side in (-1, 1):
        base, tip = hx + side * wide * 0.92, hx + side * wide * spread
        k.add("ear", polygon((base, hy), (tip, hy - high * 0.7 - ear), (hx + side * 0.03, hy - high * 0.75)))
        k.add(
            "ear",
            polygon(
                (base - side * 0.04, hy), (tip - side * 0.01, hy - high * 0.7 - ear * 0.7), (hx + side * 0.06, hy - high * 0.7)
            ),
            shade=0.6,
            outlined=False,
        )
    k.add("head", ellipse(hx, hy, wide, high), pattern=coat)


def _eyes(k: Sketch, hx: float, hy: float, apart: float, r: float) -> None:
    for side in (-1, 1):
        k.add("head", ellipse(hx + side * apart, hy, r * 1.5, r * 1.25), shade=1.8, outlined=False)
        k.add("head", ellipse(hx + side * apart, hy, r * 0.6, r * 1.25), shade=0.1, outlined=False)


def tabby(k: Sketch) -> None:
    """Round and striped: bars on the body, rings on legs and tail, an M on the forehead."""
    ear, tail, fat = k.vary(0.13, 0.15), k.vary(0.34), k.vary(0.15, 0.1)
    bars, rings = pattern("zigzag", 0.13, 0.65, ratio=1.8), pattern("stripes", 0.1, 0.55, degrees=90)
    if k.pose == "sitting":
        hx, hy = 0.04, -0.26
        k.add(
            "tail",
            *path((-0.16, 0.41, 0.055), (-0.4, 0.38, 0.055), (-0.46, 0.28 - tail * 0.6, 0.05)),
            pattern=pattern("stripes", 0.1, 0.6, degrees=60),
        )
        k.add(
            "body",
            ellipse(-0.02, 0.2, fat * 1.7, 0.27),
            ellipse(0.02, -0.06, 0.15, 0.16),
            blend=0.1,
            pattern=pattern("zigzag", 0.13, 0.65, degrees=90, ratio=1.8),
        )
        k.add("leg", limb(-0.04, 0.1, 0.33, 0, 0.06, 0.06), limb(0.1, 0.1, 0.33, 0, 0.06, 0.06), pattern=rings)
    else:
        hx, hy = 0.32, -0.2
        k.add(
            "tail",
            *path((-0.3, -0.04, 0.055), (-0.46, -0.14, 0.055), (-0.48, -0.16 - tail, 0.05)),
            pattern=pattern("stripes", 0.1, 0.6, degrees=70),
        )
        four_legs(k, -0.28, 0.14, 0.06, k.vary(0.26, 0.1), 0.065, rings, taper=0.85)
        k.add("body", capsule(-0.24, 0, fat, 0.18, -0.02, fat * 0.95), pattern=bars)
    _face(k, hx, hy, 0.2, 0.17, ear, 0.85)
    k.add(
        "head",
        box(hx, hy - 0.11, 0.1, 0.055, 0.02),
        shade=0.75,
        outlined=False,
        pattern=pattern("stripes", 0.065, 0.7, at=(hx, hy)),
    )
    _eyes(k, hx, hy - 0.01, 0.085, 0.028)
    k.add("head", ellipse(hx, hy + 0.085, 0.09, 0.06), shade=1.5, outlined=False)
    k.eye("head", hx, hy + 0.05, 0.022)


def siamese(k: Sketch) -> None:
    """Thin and long: stilts of legs, whip of a tail, wedge face with a dark mask, huge ears, dark paws."""
    ear, tail = k.vary(0.17, 0.12), k.vary(0.42, 0.15)
    dark = 0.4
    if k.pose == "sitting":
        hx, hy = 0.04, -0.34
        k.add("tail", *path((-0.12, 0.42, 0.03), (-0.36, 0.42, 0.026), (-0.52, 0.42 - tail * 0.4, 0.02)), shade=dark)
        k.add("body", ellipse(-0.03, 0.26, k.vary(0.16, 0.1), 0.2), capsule(-0.01, 0.15, 0.11, 0.03, -0.22, 0.07), blend=0.1)
        k.add("leg", limb(0.0, 0.08, 0.36, 2, 0.04, 0.035), limb(0.1, 0.08, 0.36, 2, 0.04, 0.035))
        feet = [(0.02, 0.42), (0.12, 0.42)]
    else:
        hx, hy = 0.34, -0.25
        k.add("tail", *path((-0.34, -0.06, 0.03), (-0.54, 0.02, 0.026), (-0.62, -0.02 - tail, 0.018)), shade=dark)
        feet = four_legs(k, -0.32, 0.16, 0.02, k.vary(0.4, 0.08), 0.045, taper=0.7)
        k.add(
            "body",
            capsule(-0.3, -0.02, 0.09, 0.18, -0.03, 0.095),
            capsule(0.2, -0.06, 0.07, hx - 0.02, hy + 0.1, 0.06),
            blend=0.06,
        )
    k.add("leg", *[capsule(x - 0.01, y - 0.08, 0.038, x + 0.02, y, 0.04) for x, y in feet], shade=dark, outlined=False)
    for side in (-1, 1):
        k.add(
            "ear", polygon((hx + side * 0.15, hy), (hx + side * 0.23, hy - 0.08 - ear), (hx + side * 0.02, hy - 0.1)), shade=dark
        )
    k.add(
        "head",
        polygon(
            (hx - 0.17, hy - 0.06),
            (hx - 0.1, hy - 0.13),
            (hx + 0.1, hy - 0.13),
            (hx + 0.17, hy - 0.06),
            (hx + 0.05, hy + 0.17),
            (hx - 0.05, hy + 0.17),
        ),
    )
    k.add("head", ellipse(hx, hy + 0.04, 0.085, 0.125), shade=dark, outlined=False)
    _eyes(k, hx, hy - 0.03, 0.085, 0.026)


def lynx(k: Sketch) -> None:
    """Stout and spotted on thick high legs: bob tail, tufts on the ears, a ruff on the cheeks."""
    ear, tail, fat = k.vary(0.14, 0.12), k.vary(0.1), k.vary(0.175, 0.08)
    spots = pattern("spots", 0.1, 0.7, share=0.6)
    if k.pose == "sitting":
        hx, hy = 0.06, -0.26
        k.add("tail", capsule(-0.24, 0.34, 0.06, -0.3 - tail, 0.3, 0.055))
        k.add("body", ellipse(-0.04, 0.22, fat * 1.5, 0.26), ellipse(0.02, -0.04, 0.18, 0.2), blend=0.1, pattern=spots)
        k.add("leg", limb(-0.04, 0.08, 0.36, 0, 0.08, 0.085), limb(0.13, 0.08, 0.36, 0, 0.08, 0.085), pattern=spots)
    else:
        hx, hy = 0.32, -0.24
        k.add("tail", capsule(-0.36, -0.08, 0.06, -0.42 - tail, -0.12, 0.055))
        k.add("tail", ellipse(-0.43 - tail, -0.12, 0.05, 0.05), shade=0.2, outlined=False)
        four_legs(k, -0.3, 0.12, 0.06, k.vary(0.38, 0.08), 0.085, spots, taper=1.0)
        k.add("body", capsule(-0.26, -0.02, fat, 0.16, -0.04, fat), pattern=spots)
    for side in (-1, 1):
        x = hx + side * 0.13
        k.add("ear", capsule(x, hy - 0.12 - ear, 0.018, x + side * 0.05, hy - 0.21 - ear, 0.012), shade=0.3, outlined=False)
    _face(k, hx, hy, 0.16, 0.16, ear, 0.82)
    for side in (-1, 1):
        ruff = polygon(
            (hx + side * 0.06, hy - 0.02),
            (hx + side * 0.24, hy + 0.12),
            (hx + side * 0.12, hy + 0.25),
            (hx + side * 0.01, hy + 0.14),
        )
        k.add("head", ruff, shade=1.3, pattern=pattern("stripes", 0.06, 0.5, degrees=45 * side))
    k.add("head", ellipse(hx, hy + 0.08, 0.07, 0.06), shade=1.6, outlined=False)
    _eyes(k, hx, hy - 0.03, 0.07, 0.024)
    k.eye("head", hx, hy + 0.05, 0.024)
