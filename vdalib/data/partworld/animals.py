"""Bird, cat, dog, horse and person, each drawn from its parts in a unit frame, facing right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .dice import cos_sin
from .shapes import Shape, box, capsule, ellipse, polygon

if TYPE_CHECKING:
    from .sketch import Sketch


def _limb(x: float, y: float, length: float, degrees: float, r0: float, r1: float) -> Shape:
    """A capsule from (x, y) that hangs down at 0 degrees and swings forward for positive ones."""
    c, s = cos_sin(degrees)
    return capsule(x, y, r0, x + length * s, y + length * c, r1)


def _four_legs(sketch: Sketch, back: float, front: float, y: float, length: float, r: float) -> None:
    """Far pair (darker) and near pair of legs; call before the body is drawn."""
    swing = sketch.dice.uniform(28, 46) if sketch.pose == "running" else sketch.dice.uniform(0, 7)
    far, near = (swing, -swing) if sketch.pose == "running" else (-swing, swing)
    taper = r * 0.78
    sketch.add(
        "leg",
        _limb(back + 0.10, y, length * 0.96, far, r, taper),
        _limb(front + 0.10, y, length * 0.96, -far * 0.7, r, taper),
        shade=0.72,
    )
    sketch.add("leg", _limb(back, y, length, near, r, taper), _limb(front, y, length, -near, r, taper))


def dog(k: Sketch) -> None:
    """Long body, snout, floppy ear, tail up."""
    ear, tail, snout = k.vary(0.2), k.vary(0.30), k.vary(0.2)
    if k.pose == "sitting":
        k.add("tail", capsule(-0.28, 0.34, 0.065, -0.36 - tail * 0.7, 0.34 - tail * 0.7, 0.045))
        k.add("leg", _limb(0.17, 0.1, 0.35, 4, 0.075, 0.062), shade=0.72)
        k.add("body", capsule(-0.12, 0.24, k.vary(0.21, 0.1), 0.1, -0.08, 0.16), blend=0.05)
        k.add("leg", ellipse(-0.1, 0.3, 0.16, 0.14), capsule(-0.08, 0.4, 0.055, 0.06, 0.4, 0.055), blend=0.04)
        k.add("leg", _limb(0.1, 0.08, 0.36, 4, 0.075, 0.066))
        hx, hy = 0.16, -0.3
    else:
        girth = k.vary(0.15, 0.12)
        k.add("tail", capsule(-0.34, -0.06, 0.065, -0.38 - tail * 0.55, -0.1 - tail, 0.045))
        _four_legs(k, -0.32, 0.17, 0.08, k.vary(0.33, 0.12), 0.075)
        k.add("body", capsule(-0.28, 0, girth, 0.2, -0.02, girth * 1.12), capsule(0.2, -0.06, 0.13, 0.36, -0.24, 0.1), blend=0.06)
        hx, hy = 0.4, -0.3
    k.add(
        "head",
        ellipse(hx, hy, 0.17, 0.155),
        capsule(hx + 0.06, hy + 0.05, 0.1, hx + 0.1 + snout, hy + 0.08, 0.07),
        blend=0.05,
    )
    k.eye("head", hx + 0.18 + snout * 0.9, hy + 0.05, 0.042)
    k.eye("head", hx + 0.08, hy - 0.05)
    k.add("ear", capsule(hx - 0.07, hy - 0.1, 0.06, hx - 0.13, hy - 0.06 + ear, 0.085))


def cat(k: Sketch) -> None:
    """Round face with two pointed ears and whiskers, long curled tail."""
    ear, tail = k.vary(0.2, 0.15), k.vary(1.0)
    if k.pose == "sitting":
        k.add(
            "tail",
            capsule(-0.1, 0.4, 0.055, -0.36, 0.4, 0.055),
            capsule(-0.36, 0.4, 0.055, -0.36 - 0.13 * tail, 0.22, 0.052),
            capsule(-0.36 - 0.13 * tail, 0.22, 0.052, -0.36, 0.22 - 0.16 * tail, 0.045),
            blend=0.04,
        )
        k.add("body", ellipse(0, 0.22, k.vary(0.24, 0.1), 0.25), ellipse(0.02, -0.04, 0.14, 0.16), blend=0.1)
        k.add("leg", _limb(-0.06, 0.12, 0.29, 0, 0.06, 0.06), _limb(0.09, 0.12, 0.29, 0, 0.06, 0.06))
        hx, hy = 0.02, -0.26
    else:
        k.add(
            "tail",
            capsule(-0.32, -0.02, 0.055, -0.5, -0.1, 0.055),
            capsule(-0.5, -0.1, 0.055, -0.54, -0.1 - 0.3 * tail, 0.052),
            capsule(-0.54, -0.1 - 0.3 * tail, 0.052, -0.4, -0.16 - 0.36 * tail, 0.045),
            blend=0.04,
        )
        _four_legs(k, -0.3, 0.16, 0.06, k.vary(0.25, 0.12), 0.062)
        k.add("body", capsule(-0.27, 0, k.vary(0.13, 0.12), 0.2, -0.02, 0.14))
        hx, hy = 0.34, -0.2
    k.add(
        "ear",
        polygon((hx - 0.19, hy - 0.02), (hx - 0.17, hy - 0.14 - ear), (hx - 0.01, hy - 0.13)),
        polygon((hx + 0.19, hy - 0.02), (hx + 0.17, hy - 0.14 - ear), (hx + 0.01, hy - 0.13)),
    )
    k.add("head", ellipse(hx, hy, 0.205, k.vary(0.175, 0.06)))
    k.add("head", ellipse(hx, hy + 0.075, 0.09, 0.065), shade=1.5, outlined=False)
    k.eye("head", hx - 0.085, hy - 0.03, 0.032)
    k.eye("head", hx + 0.085, hy - 0.03, 0.032)
    k.eye("head", hx, hy + 0.045, 0.026)


def horse(k: Sketch) -> None:
    """Long legs, long neck with a mane, long head, hanging tail."""
    length, girth = k.vary(0.46, 0.12), k.vary(0.145, 0.12)
    tail = k.vary(0.34)
    _four_legs(k, -0.31, 0.17, 0.06, length, 0.062)
    lift = 0.14 if k.pose == "running" else 0.0
    k.add(
        "tail",
        capsule(-0.36, -0.08, 0.05, -0.49, -0.02 - lift, 0.07),
        capsule(-0.49, -0.02 - lift, 0.07, -0.5 - lift * 1.4, -0.02 - lift + tail, 0.04),
        blend=0.04,
    )
    if k.pose == "grazing":
        nx, ny, jx, jy = 0.47, 0.12, 0.56, 0.40
        mane = (capsule(0.27, -0.15, 0.055, 0.41, -0.06, 0.06), capsule(0.41, -0.06, 0.06, 0.52, 0.08, 0.05))
    else:
        nx, ny, jx, jy = 0.41, -0.46, 0.62, -0.31
        mane = (capsule(0.13, -0.17, 0.06, 0.25, -0.40, 0.07), capsule(0.25, -0.40, 0.07, 0.37, -0.56, 0.05))
    k.add(
        "body",
        capsule(-0.27, -0.02, girth, 0.17, -0.02, girth * 1.04),
        capsule(0.2, -0.05, 0.13, nx, ny, 0.08),
        blend=0.07,
    )
    if k.pose == "grazing":
        k.add("head", polygon((nx - 0.05, ny - 0.02), (nx + 0.02, ny - 0.13), (nx + 0.08, ny)), shade=0.8)
    else:
        k.add("head", polygon((nx - 0.06, ny - 0.02), (nx - 0.01, ny - 0.19), (nx + 0.06, ny - 0.02)), shade=0.8)
    k.add("head", capsule(nx, ny, 0.095, jx, jy, 0.065))
    k.add("mane", *mane, blend=0.03)
    k.eye("head", nx + (jx - nx) * 0.3, ny + (jy - ny) * 0.3 - 0.02, 0.028)
    k.eye("head", jx + 0.02, jy, 0.02)


def bird(k: Sketch) -> None:
    """Plump body, beak, wing on the flank or spread, fanned tail."""
    beak, tail = k.vary(0.17), k.vary(0.27)
    flying = k.pose == "flying"
    span = k.vary(0.46) if flying else k.vary(0.27, 0.15)
    if flying:
        k.add("wing", capsule(0.08, -0.02, 0.11, 0.02, -span * 0.95, 0.05), shade=0.72)
    k.add("tail", polygon((-0.18, -0.04), (-0.28 - tail, -0.14), (-0.32 - tail, 0.08), (-0.2, 0.12)))
    k.add("body", ellipse(0, 0.04, 0.3, k.vary(0.19, 0.12), -12), capsule(0.14, -0.04, 0.13, 0.25, -0.14, 0.11), blend=0.06)
    k.add("beak", polygon((0.36, -0.28), (0.41 + beak, -0.18), (0.36, -0.1)))
    k.add("head", ellipse(0.28, -0.19, 0.15, 0.145))
    k.eye("head", 0.33, -0.22, 0.032)
    if flying:
        k.add(
            "wing",
            capsule(-0.02, 0.0, 0.13, -0.26, -span, 0.05),
            capsule(-0.08, 0.0, 0.1, -0.38, -span * 0.7, 0.05),
            blend=0.03,
        )
    else:
        k.add("wing", capsule(0.04, 0.02, 0.115, 0.04 - span, 0.08, 0.045))


def person(k: Sketch) -> None:
    """Head with hair, torso, two arms, two legs."""
    stride = {"standing": 7, "walking": 26, "waving": 9}[k.pose] * k.dice.uniform(0.8, 1.2)
    leg, arm, wide = k.vary(0.36, 0.12), k.vary(0.3, 0.12), k.vary(0.135)
    hx = 0.02
    k.add("leg", _limb(-0.05, 0.12, leg, -stride, 0.078, 0.062), shade=0.8)
    k.add("leg", _limb(0.05, 0.12, leg, stride, 0.078, 0.062))
    up = 140 if k.pose == "waving" else 22 + stride * 0.5
    k.add("arm", _limb(-wide, -0.18, arm, -22 - stride * 0.5, 0.062, 0.056), _limb(wide, -0.18, arm, up, 0.062, 0.056))
    k.add("body", box(0, -0.05, wide + 0.035, 0.2, 0.08))
    if k.has("hair"):
        long = k.dice.uniform(-0.04, 0.14)
        k.add("hair", ellipse(hx - 0.02, -0.41, 0.165, 0.155), box(hx - 0.08, -0.34 + long / 2, 0.1, 0.09 + long / 2, 0.06))
    k.add("head", ellipse(hx, -0.38, 0.125, 0.135))
    if k.has("hair"):
        k.add("hair", capsule(hx - 0.12, -0.47, 0.05, hx + 0.07, -0.515, 0.05), outlined=False)
    k.eye("head", hx - 0.02, -0.385, 0.023)
    k.eye("head", hx + 0.07, -0.385, 0.023)
    left, chin, right = (hx - 0.03, -0.32, 0.012), (hx + 0.025, -0.3, 0.012), (hx + 0.08, -0.32, 0.012)
    k.add("head", capsule(*left, *chin), capsule(*chin, *right), shade=0.5, outlined=False)
