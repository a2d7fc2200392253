"""People: boxer, clown, dancer and skater."""

from __future__ import annotations

from .patterns import pattern
from .shapes import Shape, box, capsule, ellipse, limb, path, polygon
from .sketch import Sketch


def _face(k: Sketch, x: float, y: float, rx: float, ry: float) -> None:
    """Head with eyes and a smile."""
    k.add("head", ellipse(x, y, rx, ry))
    k.eye("head", x - 0.03, y - 0.01, 0.02)
    k.eye("head", x + 0.06, y - 0.01, 0.02)
    k.add(
        "head",
        *path((x - 0.03, y + 0.06, 0.012), (x + 0.02, y + 0.08, 0.012), (x + 0.07, y + 0.06, 0.012)),
        shade=0.45,
        outlined=False,
    )


def _stride(k: Sketch, still: float) -> float:
    """Half the angle between the legs."""
    return (30 if k.pose == "walking" else still) * k.dice.uniform(0.8, 1.2)


def _bent(x: float, y: float, upper: float, lower: float, length: float, r: float) -> tuple[Shape, Shape]:
    """A limb of two halves, bent at the joint; angles from hanging down, positive forward."""
    first = limb(x, y, length, upper, r, r * 0.9)
    return first, limb(*first.points[1], length, lower, r * 0.9, r * 0.8)


def boxer(k: Sketch) -> None:
    """Broad bare trunk, arms bent behind big round gloves, wide shorts, head guard."""
    wide, glove = k.vary(0.185, 0.08), k.vary(0.12, 0.1)
    stride = _stride(k, 14)
    for dx, angle, shade in ((-0.08, -stride, 0.75), (0.08, stride, 1.0)):
        leg = limb(dx, 0.14, 0.33, angle, 0.075, 0.06)
        fx, fy = leg.points[1]
        k.add("leg", leg, capsule(fx, fy, 0.06, fx + 0.07, fy + 0.01, 0.045), shade=shade)
    near = {"standing": (-30, 95), "walking": (35, 95), "waving": (-150, -172)}[k.pose]
    far = {"standing": (50, 140), "walking": (75, 110), "waving": (40, 130)}[k.pose]
    arm = _bent(wide * 0.9, -0.2, *far, 0.17, 0.06)
    k.add("arm", *arm, shade=0.75)
    k.add("arm", ellipse(*arm[1].points[1], glove * 0.9, glove * 0.9), shade=0.6)
    k.add("body", polygon((-wide - 0.05, -0.24), (wide + 0.05, -0.24), (wide * 0.7, 0.1), (-wide * 0.7, 0.1)))
    k.add("body", capsule(-0.07, -0.14, 0.06, 0.09, -0.14, 0.06), shade=0.85, outlined=False)
    hem = wide * 0.9 + stride * 0.002
    shorts = [
        polygon((s * -0.02, 0.02), (s * wide * 0.75, 0.02), (s * (hem + 0.04), 0.25), (s * (hem - 0.13), 0.28)) for s in (-1, 1)
    ]
    k.add("body", *shorts, shade=0.6, pattern=pattern("stripes", 0.08, 0.45))
    k.add("body", box(0, 0.03, wide * 0.8, 0.03), shade=1.6, outlined=False)
    _face(k, 0.03, -0.36, 0.11, 0.12)
    k.add(
        "hair",
        *path((-0.07, -0.32, 0.05), (-0.05, -0.44, 0.05), (0.1, -0.45, 0.04)),
        blend=0.02,
        pattern=pattern("stripes", 0.06, 0.4, degrees=60),
    )
    arm = _bent(-wide * 0.9, -0.2, *near, 0.18, 0.065)
    k.add("arm", *arm)
    gx, gy = arm[1].points[1]
    k.add("arm", ellipse(gx, gy, glove, glove * 1.05), shade=0.7)
    k.add("arm", ellipse(gx + 0.03, gy - 0.03, glove * 0.35, glove * 0.3), shade=1.3, outlined=False)


def clown(k: Sketch) -> None:
    """Baggy spotted suit, ruff, tufts of hair, pointed hat, round nose, enormous shoes."""
    belly, hat, shoe = k.vary(0.24, 0.1), k.vary(0.2, 0.15), k.vary(0.13, 0.12)
    stride, dots = _stride(k, 12), pattern("spots", 0.13, 0.6, share=0.65)
    for dx, angle, shade in ((-0.09, -stride, 0.8), (0.08, stride, 1.0)):
        leg = limb(dx, 0.16, 0.24, angle, 0.11, 0.09)
        fx, fy = leg.points[1]
        k.add("leg", leg, shade=shade, pattern=pattern("stripes", 0.09, 0.5))
        k.add("leg", ellipse(fx + shoe * 0.5, fy + 0.07, shoe, 0.055), shade=shade * 0.5)
    up = 150 if k.pose == "waving" else 50 + stride * 0.4
    sleeves = limb(-0.15, -0.14, 0.24, -50, 0.08, 0.09), limb(0.15, -0.14, 0.24, up, 0.08, 0.09)
    k.add("arm", *sleeves, pattern=pattern("stripes", 0.08, 0.5, degrees=90))
    k.add("arm", *[ellipse(*s.points[1], 0.065, 0.065) for s in sleeves], shade=1.6)
    k.add("body", ellipse(0, 0.05, belly, 0.25), pattern=dots)
    k.add("body", *[ellipse(x, -0.19, 0.065, 0.05) for x in (-0.14, -0.05, 0.05, 0.14)], shade=1.5)
    k.add(
        "hair",
        ellipse(-0.14, -0.35, 0.1, 0.095),
        ellipse(0.16, -0.35, 0.1, 0.095),
        pattern=pattern("spots", 0.055, 0.45, share=0.8),
    )
    _face(k, 0.01, -0.33, 0.12, 0.12)
    k.add(
        "hair",
        polygon((-0.09, -0.42), (0.11, -0.42), (0.02, -0.44 - hat)),
        shade=0.75,
        pattern=pattern("stripes", 0.08, 0.5, degrees=70),
    )
    k.add("head", ellipse(0.02, -0.31, 0.038, 0.038), shade=0.5)


def dancer(k: Sketch) -> None:
    """Slender, wide flat tutu, bun of hair, arms in an arc, one leg lifted."""
    tutu, leg, bun = k.vary(0.31, 0.1), k.vary(0.38, 0.08), k.vary(0.065, 0.15)
    lift = {"standing": 22, "walking": 62, "waving": 82}[k.pose] * k.dice.uniform(0.9, 1.1)
    k.add("leg", limb(-0.02, 0.1, leg, -4, 0.05, 0.026), shade=0.85)
    k.add("leg", limb(0.03, 0.1, leg, lift, 0.05, 0.022))
    a, b = {"standing": ((-125, 160), (125, -160)), "walking": ((-95, -110), (125, -160)), "waving": ((-70, -60), (150, 200))}[
        k.pose
    ]
    k.add("arm", *_bent(-0.07, -0.19, *a, 0.17, 0.034), *_bent(0.07, -0.19, *b, 0.17, 0.034))
    k.add("body", polygon((-0.085, -0.21), (0.085, -0.21), (0.05, 0.04), (-0.05, 0.04)), pattern=pattern("zigzag", 0.06, 0.4))
    frills = pattern("stripes", 0.065, 0.35)
    k.add("body", ellipse(0, 0.07, tutu, 0.085), shade=1.25, pattern=frills)
    k.add("body", ellipse(0, 0.04, tutu * 0.75, 0.06), shade=1.5, pattern=frills)
    k.add("body", capsule(0, -0.2, 0.03, 0.01, -0.28, 0.03), outlined=False)
    k.add("hair", ellipse(-0.06, -0.47, bun, bun), shade=0.8)
    k.add("hair", ellipse(-0.01, -0.38, 0.1, 0.105))
    _face(k, 0.02, -0.35, 0.085, 0.098)


def skater(k: Sketch) -> None:
    """Crouched on a board with wheels, arms out for balance, loose checked shirt, helmet."""
    wide, board, crouch = k.vary(0.13, 0.1), k.vary(0.36, 0.08), k.dice.uniform(0.0, 0.05)
    y = {"standing": 0.04, "walking": 0.08, "waving": 0.02}[k.pose] + crouch
    foot = 0.36
    for side, shade in ((1, 0.8), (-1, 1.0)):
        knee, end = side * 0.19, side * 0.17
        k.add("leg", *path((side * 0.04, y, 0.085), (knee, (y + foot) / 2, 0.075), (end, foot, 0.06)), shade=shade)
        k.add("leg", capsule(end - 0.03, foot + 0.02, 0.045, end + 0.07, foot + 0.03, 0.038), shade=shade * 0.6)
    deck = (-board - 0.06, 0.36, 0.022), (-board + 0.03, 0.425, 0.025), (board - 0.03, 0.425, 0.025), (board + 0.06, 0.36, 0.022)
    k.add("leg", *path(*deck), shade=1.4)
    k.add("leg", ellipse(-board + 0.12, 0.485, 0.05, 0.05), ellipse(board - 0.12, 0.485, 0.05, 0.05), shade=0.35)
    up = {"standing": (-85, 85), "walking": (-110, 60), "waving": (-75, 150)}[k.pose]
    arms = limb(-wide, y - 0.26, 0.3, up[0], 0.06, 0.045), limb(wide, y - 0.26, 0.3, up[1], 0.06, 0.045)
    k.add("arm", *arms, pattern=pattern("stripes", 0.1, 0.4, degrees=0))
    k.add("arm", *[ellipse(*a.points[1], 0.05, 0.05) for a in arms], shade=1.3)
    k.add("body", box(0.01, y - 0.15, wide + 0.04, 0.19, 0.07), pattern=pattern("checks", 0.12, 0.65))
    _face(k, 0.04, y - 0.43, 0.105, 0.11)
    hy = y - 0.49
    k.add("hair", ellipse(0.02, hy, 0.135, 0.085), box(0.08, hy + 0.05, 0.1, 0.02, 0.02))
    k.add(
        "hair",
        *[capsule(x - 0.03, hy - 0.03, 0.014, x + 0.01, hy + 0.0, 0.014) for x in (-0.03, 0.05, 0.13)],
        shade=0.4,
        outlined=False,
    )
