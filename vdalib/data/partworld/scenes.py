"""The six scenes: which classes are met there, and what the background looks like."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from .clutter import cloud, distractor
from .dice import Dice
from .ground import Ground, muted, near
from .palette import RGB, tint
from .shapes import Canvas, box, capsule, ellipse, polygon

SCENES: tuple[str, ...] = ("sky", "water", "grass", "road", "room", "sand")

_RATES: dict[str, tuple[float, ...]] = {
    "aeroplane": (0.87, 0.02, 0.03, 0.04, 0.02, 0.02),
    "bird": (0.64, 0.09, 0.14, 0.04, 0.03, 0.06),
    "boat": (0.03, 0.87, 0.02, 0.02, 0.02, 0.04),
    "bottle": (0.02, 0.04, 0.06, 0.04, 0.76, 0.08),
    "bus": (0.02, 0.02, 0.04, 0.87, 0.02, 0.03),
    "car": (0.02, 0.02, 0.04, 0.86, 0.02, 0.04),
    "cat": (0.02, 0.02, 0.16, 0.05, 0.71, 0.04),
    "dog": (0.02, 0.04, 0.62, 0.08, 0.15, 0.09),
    "horse": (0.02, 0.02, 0.87, 0.03, 0.02, 0.04),
    "person": (0.02, 0.04, 0.10, 0.62, 0.14, 0.08),
}
# CO_OCCURRENCE[class][scene]: probability of the scene when the first object of the image is of that class, whatever
# its kind. Further objects are of a class with probability proportional to its rate in the scene already chosen.
CO_OCCURRENCE: dict[str, dict[str, float]] = {name: dict(zip(SCENES, row)) for name, row in _RATES.items()}

_SKIES: tuple[tuple[RGB, RGB], ...] = (
    ((132, 180, 222), (206, 226, 238)),
    ((158, 172, 206), (236, 218, 208)),
    ((172, 192, 202), (218, 224, 222)),
    ((112, 160, 204), (190, 218, 222)),
    ((196, 176, 204), (246, 220, 190)),
    ((88, 112, 158), (168, 178, 198)),
)
_HORIZON = {
    "sky": (1.0, 1.0),
    "water": (0.2, 0.45),
    "grass": (0.3, 0.55),
    "road": (0.35, 0.55),
    "room": (0.55, 0.72),
    "sand": (0.25, 0.5),
}


def background(scene: str, height: int, width: int, dice: Dice) -> Ground:
    """A painted scene of height x width px."""
    *_, (_, ground) = backdrop(scene, height, width, dice)
    return ground


def backdrop(scene: str, height: int, width: int, dice: Dice) -> Iterator[tuple[str, Ground]]:
    """As `background`, stopping after each step: ("scene", "distractors" or "texture", the ground so far)."""
    ground = Ground(Canvas(np.zeros((3, height, width), np.float32)), dice.uniform(*_HORIZON[scene]))
    _PAINTERS[scene](ground, dice)
    yield "scene", ground
    for _ in range(dice.integer(0, 4)):
        distractor(ground, scene, dice)
    yield "distractors", ground
    _texture(ground.canvas, dice)
    yield "texture", ground


def _heaven(g: Ground, dice: Dice, clouds: int) -> None:
    """A sky down to the horizon with some clouds, perhaps a sun."""
    top, bottom = dice.choice(_SKIES)
    g.gradient(near(top, dice), near(bottom, dice), 0, g.horizon)
    if dice.chance(0.25):
        x, y, r = dice.uniform(8, g.width - 8), dice.uniform(4, g.horizon * 0.5), dice.uniform(5, 9)
        g.paint([ellipse(x, y, r, r)], (250, 236, 190), alpha=0.8, soft=4)
    for _ in range(clouds):
        cloud(g, dice.uniform(0, g.width), dice.uniform(2, g.horizon * 0.85), dice.uniform(6, 13), dice)


def _sky(g: Ground, dice: Dice) -> None:
    _heaven(g, dice, dice.integer(1, 4))


def _water(g: Ground, dice: Dice) -> None:
    _heaven(g, dice, dice.integer(0, 2))
    sea = near(dice.choice(((86, 148, 182), (76, 138, 148), (116, 152, 176), (102, 168, 172), (92, 116, 154))), dice)
    g.gradient(tint(sea, 1.25), tint(sea, 0.82), g.horizon)
    for _ in range(dice.integer(6, 10)):
        x, y = dice.uniform(0, g.width), dice.uniform(g.horizon + 3, g.height)
        w = 2 + 9 * (y - g.horizon) / (g.height - g.horizon) * dice.uniform(0.6, 1.2)
        foam = tint(sea, dice.choice((1.45, 0.8)))
        crest = [capsule(x - w, y, 0.7, x, y - 1.2, 1.1), capsule(x, y - 1.2, 1.1, x + w, y, 0.7)]
        g.paint(crest, foam, alpha=0.7)


def _grass(g: Ground, dice: Dice) -> None:
    _heaven(g, dice, dice.integer(0, 2))
    greens = ((136, 176, 104), (112, 158, 102), (164, 180, 108), (178, 172, 112), (98, 144, 112))
    field = near(dice.choice(greens), dice)
    g.gradient(tint(field, 1.2), tint(field, 0.84), g.horizon)
    if dice.chance(0.7):
        hill = ellipse(dice.uniform(0, g.width), g.horizon + 6, dice.uniform(30, 60), dice.uniform(10, 18))
        g.paint([hill], tint(field, dice.uniform(0.78, 1.1)), shade=0.15)
        g.gradient(tint(field, 1.15), tint(field, 0.84), g.horizon + 5)
    for _ in range(dice.integer(5, 9)):
        x, y, h = dice.uniform(2, g.width - 2), dice.uniform(g.horizon + 8, g.height), dice.uniform(3, 6)
        blades = [capsule(x, y, 1.0, x + d * h, y - h, 0.4) for d in (-0.5, 0.0, 0.5)]
        g.paint(blades, tint(field, dice.choice((0.72, 1.35))), alpha=0.8)


def _road(g: Ground, dice: Dice) -> None:
    _heaven(g, dice, dice.integer(0, 2))
    verge = near(dice.choice(((150, 166, 118), (178, 170, 148), (160, 160, 160), (186, 178, 130))), dice)
    if dice.chance(0.6):
        x = dice.uniform(-6, 8)
        while x < g.width:
            w, h = dice.uniform(7, 14), dice.uniform(8, 24)
            wall = near(dice.choice(((206, 186, 170), (176, 180, 190), (198, 172, 160), (170, 164, 158))), dice)
            g.paint([box(x + w / 2, g.horizon - h / 2 + 2, w / 2, h / 2 + 2, 1)], wall, outline=0.2, shade=0.15)
            g.paint([box(x + w * f, g.horizon - h * 0.65, w * 0.13, 1.6) for f in (0.3, 0.7)], tint(wall, 0.72))
            x += w + dice.uniform(0, 10)
    kerb = g.horizon + dice.uniform(5, 12)
    g.gradient(tint(verge, 1.1), verge, g.horizon, kerb)
    tar = near(dice.choice(((128, 128, 134), (104, 106, 114), (146, 140, 136), (116, 112, 124))), dice, 8)
    g.gradient(tint(tar, 1.12), tint(tar, 0.88), kerb)
    g.paint([box(g.width / 2, kerb, g.width, 1.2)], tint(tar, 1.45))
    line, slant = kerb + (g.height - kerb) * dice.uniform(0.45, 0.75), dice.uniform(-3, 3)
    start, paint = dice.uniform(-12, 8), dice.choice(((228, 226, 216), (226, 204, 130)))
    dashes = [(start + 26 * n, start + 26 * n + 15) for n in range(6)]
    g.paint([polygon((a, line), (b, line), (b - slant, line + 3), (a - slant, line + 3)) for a, b in dashes], paint)


def _room(g: Ground, dice: Dice) -> None:
    papers = ((222, 208, 186), (196, 208, 204), (212, 194, 196), (198, 198, 216), (214, 214, 190), (176, 186, 178))
    wall = near(dice.choice(papers), dice)
    g.gradient(wall, tint(wall, 0.93), 0, g.horizon)
    if dice.chance(0.5):
        step = dice.uniform(9, 14)
        for n in range(int(g.width / step) + 1):
            g.paint([box(step * n, g.horizon / 2, 1.4, g.horizon / 2)], tint(wall, 0.92), alpha=0.7)
    woods = ((178, 146, 116), (156, 132, 112), (190, 172, 150), (148, 140, 138), (166, 124, 104))
    floor = near(dice.choice(woods), dice)
    g.gradient(floor, tint(floor, 0.86), g.horizon)
    g.paint([box(g.width / 2, g.horizon, g.width, 1.7)], tint(wall, 1.5), outline=0.2)
    for n in range(3):
        y = g.horizon + (g.height - g.horizon) * (0.22, 0.5, 0.82)[n]
        g.paint([box(g.width / 2, y, g.width, 0.5)], tint(floor, 0.8), alpha=0.7)
    x, y, w, h = dice.uniform(14, g.width - 14), dice.uniform(12, g.horizon - 22), dice.uniform(9, 14), dice.uniform(9, 13)
    frame = near(dice.choice(((236, 232, 222), (150, 118, 92), (120, 116, 116))), dice)
    if dice.chance(0.75):
        g.paint([box(x, y, w, h, 1)], frame, outline=0.25)
        if dice.chance(0.5):
            corners = ((-0.44, -0.44), (-0.44, 0.44), (0.44, -0.44), (0.44, 0.44))
            panes = [box(x + d * w, y + e * h, w * 0.38, h * 0.38) for d, e in corners]
            g.paint(panes, near((182, 208, 224), dice), shade=0.15)
        else:
            g.paint([box(x, y, w - 2.5, h - 2.5)], near((206, 200, 186), dice, 30), shade=0.1)
            g.paint([ellipse(x, y + h * 0.2, w * 0.4, h * 0.25)], muted(dice))
    if dice.chance(0.4):
        g.paint([ellipse(g.width * dice.uniform(0.3, 0.7), (g.horizon + g.height) / 2 + 4, 34, 9)], muted(dice), outline=0.2)


def _sand(g: Ground, dice: Dice) -> None:
    _heaven(g, dice, dice.integer(0, 2))
    sand = near(dice.choice(((222, 198, 150), (212, 180, 138), (226, 208, 172), (204, 176, 152))), dice)
    g.gradient(tint(sand, 1.15), tint(sand, 0.9), g.horizon)
    for n in range(dice.integer(2, 4)):
        x, y = dice.uniform(-10, g.width + 10), g.horizon + (g.height - g.horizon) * (0.05 + 0.27 * n) + 10
        dune = [ellipse(x, y, dice.uniform(40, 70), dice.uniform(9, 14), dice.uniform(-6, 6))]
        g.paint(dune, tint(sand, dice.uniform(0.88, 1.12)), shade=0.2, alpha=0.8, soft=2)
    for _ in range(dice.integer(4, 9)):
        x, y = dice.uniform(0, g.width), dice.uniform(g.horizon + 8, g.height)
        g.paint([ellipse(x, y, dice.uniform(0.8, 1.6), 0.7)], tint(sand, 0.72))


_PAINTERS = {"sky": _sky, "water": _water, "grass": _grass, "road": _road, "room": _room, "sand": _sand}


def _texture(canvas: Canvas, dice: Dice) -> None:
    """Slow patches of light and dark: bilinear interpolation of a 7 x 7 grid of uniforms."""
    (row, down), (column, across) = map(_lattice, canvas.part.shape)
    grid = (dice.field(7, 7) - np.float32(0.5)) * np.float32(26)
    rows = grid[row] + (grid[row + 1] - grid[row]) * down[:, None]
    canvas.rgb += rows[:, column] + (rows[:, column + 1] - rows[:, column]) * across


@cache
def _lattice(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each pixel along a side: the cell out of six it lies in, and how far into it, 0..1."""
    at = np.arange(length, dtype=np.float32) * np.float32(6 / length)
    cell = at.astype(np.int64)
    return cell, at - cell.astype(np.float32)
