"""The six scenes: which classes are met there, and what the background looks like."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .dice import Dice
from .palette import COLOURS, RGB, jittered, mix, tint
from .shapes import SIZE, Canvas, box, capsule, ellipse, polygon

SCENES: tuple[str, ...] = ("sky", "water", "grass", "road", "room", "sand")

_RATES: dict[str, tuple[float, ...]] = {
    "aeroplane": (0.60, 0.06, 0.10, 0.16, 0.03, 0.05),
    "bird": (0.35, 0.15, 0.25, 0.06, 0.05, 0.14),
    "boat": (0.05, 0.60, 0.06, 0.04, 0.05, 0.20),
    "bottle": (0.03, 0.08, 0.12, 0.07, 0.55, 0.15),
    "bus": (0.05, 0.03, 0.20, 0.60, 0.04, 0.08),
    "car": (0.04, 0.03, 0.17, 0.60, 0.05, 0.11),
    "cat": (0.04, 0.04, 0.25, 0.09, 0.50, 0.08),
    "dog": (0.03, 0.08, 0.40, 0.14, 0.22, 0.13),
    "horse": (0.03, 0.05, 0.55, 0.12, 0.03, 0.22),
    "person": (0.04, 0.12, 0.22, 0.24, 0.24, 0.14),
}
# CO_OCCURRENCE[class][scene]: probability of the scene when the first object of the image is of that class.
# Further objects are of a class with probability proportional to its rate in the scene already chosen.
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


def background(scene: str, dice: Dice) -> tuple[Canvas, float]:
    """A painted scene and its horizon in px from the top (96 for the sky, which has none)."""
    *_, (_, canvas, horizon) = backdrop(scene, dice)
    return canvas, horizon


def backdrop(scene: str, dice: Dice) -> Iterator[tuple[str, Canvas, float]]:
    """As `background`, stopping after each step: ("scene", "distractors" or "texture", the canvas so far, horizon)."""
    horizon = dice.uniform(*_HORIZON[scene]) * SIZE
    canvas = Canvas(np.zeros((3, SIZE, SIZE), np.float32))
    _PAINTERS[scene](canvas, horizon, dice)
    yield "scene", canvas, horizon
    for _ in range(dice.integer(0, 4)):
        _distractor(canvas, scene, horizon, dice)
    yield "distractors", canvas, horizon
    _texture(canvas, dice)
    yield "texture", canvas, horizon


def _gradient(canvas: Canvas, top: RGB, bottom: RGB, i0: float = 0, i1: float = SIZE) -> None:
    """Fill rows i0..i1 from one colour to the other."""
    i0, i1 = int(i0), int(i1)
    share = (np.arange(i1 - i0, dtype=np.float32) * (1 / max(i1 - i0, 1)))[None, :, None]
    a, b = (np.asarray(c, np.float32)[:, None, None] for c in (top, bottom))
    canvas.rgb[:, i0:i1] = a + (b - a) * share


def _near(colour: RGB, dice: Dice, by: float = 14) -> RGB:
    """The colour, off by up to `by` in each channel."""
    return tuple([min(max(c + dice.uniform(-by, by), 0.0), 255.0) for c in colour])


def _heaven(canvas: Canvas, horizon: float, dice: Dice, clouds: int) -> None:
    """A sky down to the horizon with some clouds, perhaps a sun."""
    top, bottom = dice.choice(_SKIES)
    _gradient(canvas, _near(top, dice), _near(bottom, dice), 0, horizon)
    if dice.chance(0.25):
        x, y, r = dice.uniform(8, 88), dice.uniform(4, horizon * 0.5), dice.uniform(5, 9)
        canvas.paint([ellipse(x, y, r, r)], (250, 236, 190), alpha=0.8, soft=4)
    for _ in range(clouds):
        _cloud(canvas, dice.uniform(0, SIZE), dice.uniform(2, horizon * 0.85), dice.uniform(6, 13), dice)


def _cloud(canvas: Canvas, x: float, y: float, r: float, dice: Dice) -> None:
    lobes = ((-0.9, 0, 0.6), (0, 0.25, 0.8), (0.9, 0, 0.65))
    puffs = [ellipse(x + r * d, y - r * h, r * w, r * w * 0.7) for d, h, w in lobes]
    white, alpha = _near((242, 242, 244), dice, 8), dice.uniform(0.55, 0.9)
    canvas.paint(puffs, white, blend=r * 0.3, shade=0.1, alpha=alpha, soft=2)


def _sky(canvas: Canvas, horizon: float, dice: Dice) -> None:
    _heaven(canvas, horizon, dice, dice.integer(1, 4))


def _water(canvas: Canvas, horizon: float, dice: Dice) -> None:
    _heaven(canvas, horizon, dice, dice.integer(0, 2))
    sea = _near(dice.choice(((86, 148, 182), (76, 138, 148), (116, 152, 176), (102, 168, 172), (92, 116, 154))), dice)
    _gradient(canvas, tint(sea, 1.25), tint(sea, 0.82), horizon)
    for _ in range(dice.integer(6, 10)):
        x, y = dice.uniform(0, SIZE), dice.uniform(horizon + 3, SIZE)
        w = 2 + 9 * (y - horizon) / (SIZE - horizon) * dice.uniform(0.6, 1.2)
        foam = tint(sea, dice.choice((1.45, 0.8)))
        crest = [capsule(x - w, y, 0.7, x, y - 1.2, 1.1), capsule(x, y - 1.2, 1.1, x + w, y, 0.7)]
        canvas.paint(crest, foam, alpha=0.7)


def _grass(canvas: Canvas, horizon: float, dice: Dice) -> None:
    _heaven(canvas, horizon, dice, dice.integer(0, 2))
    greens = ((136, 176, 104), (112, 158, 102), (164, 180, 108), (178, 172, 112), (98, 144, 112))
    field = _near(dice.choice(greens), dice)
    _gradient(canvas, tint(field, 1.2), tint(field, 0.84), horizon)
    if dice.chance(0.7):
        hill = ellipse(dice.uniform(0, SIZE), horizon + 6, dice.uniform(30, 60), dice.uniform(10, 18))
        canvas.paint([hill], tint(field, dice.uniform(0.78, 1.1)), shade=0.15)
        _gradient(canvas, tint(field, 1.15), tint(field, 0.84), horizon + 5)
    for _ in range(dice.integer(5, 9)):
        x, y, h = dice.uniform(2, 94), dice.uniform(horizon + 8, SIZE), dice.uniform(3, 6)
        blades = [capsule(x, y, 1.0, x + d * h, y - h, 0.4) for d in (-0.5, 0.0, 0.5)]
        canvas.paint(blades, tint(field, dice.choice((0.72, 1.35))), alpha=0.8)


def _road(canvas: Canvas, horizon: float, dice: Dice) -> None:
    _heaven(canvas, horizon, dice, dice.integer(0, 2))
    verge = _near(dice.choice(((150, 166, 118), (178, 170, 148), (160, 160, 160), (186, 178, 130))), dice)
    if dice.chance(0.6):
        x = dice.uniform(-6, 8)
        while x < SIZE:
            w, h = dice.uniform(7, 14), dice.uniform(8, 24)
            wall = _near(dice.choice(((206, 186, 170), (176, 180, 190), (198, 172, 160), (170, 164, 158))), dice)
            canvas.paint([box(x + w / 2, horizon - h / 2 + 2, w / 2, h / 2 + 2, 1)], wall, outline=0.2, shade=0.15)
            canvas.paint([box(x + w * f, horizon - h * 0.65, w * 0.13, 1.6) for f in (0.3, 0.7)], tint(wall, 0.72))
            x += w + dice.uniform(0, 10)
    kerb = horizon + dice.uniform(5, 12)
    _gradient(canvas, tint(verge, 1.1), verge, horizon, kerb)
    tar = _near(dice.choice(((128, 128, 134), (104, 106, 114), (146, 140, 136), (116, 112, 124))), dice, 8)
    _gradient(canvas, tint(tar, 1.12), tint(tar, 0.88), kerb)
    canvas.paint([box(48, kerb, 60, 1.2)], tint(tar, 1.45))
    line, slant = kerb + (SIZE - kerb) * dice.uniform(0.45, 0.75), dice.uniform(-3, 3)
    start, paint = dice.uniform(-12, 8), dice.choice(((228, 226, 216), (226, 204, 130)))
    dashes = [(start + 26 * n, start + 26 * n + 15) for n in range(4)]
    canvas.paint([polygon((a, line), (b, line), (b - slant, line + 3), (a - slant, line + 3)) for a, b in dashes], paint)


def _room(canvas: Canvas, horizon: float, dice: Dice) -> None:
    papers = ((222, 208, 186), (196, 208, 204), (212, 194, 196), (198, 198, 216), (214, 214, 190), (176, 186, 178))
    wall = _near(dice.choice(papers), dice)
    _gradient(canvas, wall, tint(wall, 0.93), 0, horizon)
    if dice.chance(0.5):
        step = dice.uniform(9, 14)
        for n in range(int(SIZE / step) + 1):
            canvas.paint([box(step * n, horizon / 2, 1.4, horizon / 2)], tint(wall, 0.92), alpha=0.7)
    woods = ((178, 146, 116), (156, 132, 112), (190, 172, 150), (148, 140, 138), (166, 124, 104))
    floor = _near(dice.choice(woods), dice)
    _gradient(canvas, floor, tint(floor, 0.86), horizon)
    canvas.paint([box(48, horizon, 60, 1.7)], tint(wall, 1.5), outline=0.2)
    for n in range(3):
        y = horizon + (SIZE - horizon) * (0.22, 0.5, 0.82)[n]
        canvas.paint([box(48, y, 60, 0.5)], tint(floor, 0.8), alpha=0.7)
    x, y, w, h = dice.uniform(14, 82), dice.uniform(12, horizon - 22), dice.uniform(9, 14), dice.uniform(9, 13)
    frame = _near(dice.choice(((236, 232, 222), (150, 118, 92), (120, 116, 116))), dice)
    if dice.chance(0.75):
        canvas.paint([box(x, y, w, h, 1)], frame, outline=0.25)
        if dice.chance(0.5):
            corners = ((-0.44, -0.44), (-0.44, 0.44), (0.44, -0.44), (0.44, 0.44))
            panes = [box(x + d * w, y + e * h, w * 0.38, h * 0.38) for d, e in corners]
            canvas.paint(panes, _near((182, 208, 224), dice), shade=0.15)
        else:
            canvas.paint([box(x, y, w - 2.5, h - 2.5)], _near((206, 200, 186), dice, 30), shade=0.1)
            canvas.paint([ellipse(x, y + h * 0.2, w * 0.4, h * 0.25)], _muted(dice))
    if dice.chance(0.4):
        canvas.paint([ellipse(dice.uniform(30, 66), (horizon + SIZE) / 2 + 4, 34, 9)], _muted(dice), outline=0.2)


def _sand(canvas: Canvas, horizon: float, dice: Dice) -> None:
    _heaven(canvas, horizon, dice, dice.integer(0, 2))
    sand = _near(dice.choice(((222, 198, 150), (212, 180, 138), (226, 208, 172), (204, 176, 152))), dice)
    _gradient(canvas, tint(sand, 1.15), tint(sand, 0.9), horizon)
    for n in range(dice.integer(2, 4)):
        x, y = dice.uniform(-10, 106), horizon + (SIZE - horizon) * (0.05 + 0.27 * n) + 10
        dune = [ellipse(x, y, dice.uniform(40, 70), dice.uniform(9, 14), dice.uniform(-6, 6))]
        canvas.paint(dune, tint(sand, dice.uniform(0.88, 1.12)), shade=0.2, alpha=0.8, soft=2)
    for _ in range(dice.integer(4, 9)):
        x, y = dice.uniform(0, SIZE), dice.uniform(horizon + 8, SIZE)
        canvas.paint([ellipse(x, y, dice.uniform(0.8, 1.6), 0.7)], tint(sand, 0.72))


_PAINTERS = {"sky": _sky, "water": _water, "grass": _grass, "road": _road, "room": _room, "sand": _sand}


def _muted(dice: Dice) -> RGB:
    """Any of the nine colours, greyed."""
    return mix(jittered(dice.choice(COLOURS), dice), (168, 166, 162), dice.uniform(0.3, 0.6))


def _distractor(canvas: Canvas, scene: str, horizon: float, dice: Dice) -> None:
    """A plain thing of no class, in an arbitrary colour."""
    low = horizon if horizon < SIZE else 20.0
    x, y, r = dice.uniform(4, 92), dice.uniform(low, 94), dice.uniform(4, 10)
    things = ("stone", "box", "bush", "ball", "cone")
    thing = dice.choice(things if scene == "room" else (*things, "cloud"))
    look = {"outline": 0.3, "shade": 0.25}
    if thing == "stone":
        canvas.paint([ellipse(x, y, r, r * 0.6, dice.uniform(-15, 15))], _muted(dice), **look)
    elif thing == "box":
        canvas.paint([box(x, y, r, r * dice.uniform(0.5, 1.1), 1, dice.uniform(-10, 10))], _muted(dice), **look)
    elif thing == "bush":
        puffs = [ellipse(x + d * r, y - h * r, r * 0.62, r * 0.6) for d, h in ((-0.7, 0), (0, 0.45), (0.7, 0))]
        canvas.paint([*puffs, box(x, y + r * 0.3, r, r * 0.3, r * 0.2)], _muted(dice), blend=1.5, **look)
    elif thing == "ball":
        canvas.paint([ellipse(x, y, r * 0.7, r * 0.7)], _muted(dice), **look)
    elif thing == "cone":
        canvas.paint([polygon((x - r * 0.7, y + r), (x + r * 0.7, y + r), (x, y - r))], _muted(dice), **look)
    else:
        _cloud(canvas, x, dice.uniform(4, 50), r, dice)


_AT = np.arange(SIZE, dtype=np.float32) * np.float32(6 / SIZE)
_CELL = _AT.astype(np.int64)
_SHARE = _AT - _CELL.astype(np.float32)


def _texture(canvas: Canvas, dice: Dice) -> None:
    """Slow patches of light and dark: bilinear interpolation of a 7 x 7 grid of uniforms."""
    grid = (dice.field(7, 7) - np.float32(0.5)) * np.float32(26)
    rows = grid[_CELL] + (grid[_CELL + 1] - grid[_CELL]) * _SHARE[:, None]
    canvas.rgb += rows[:, _CELL] + (rows[:, _CELL + 1] - rows[:, _CELL]) * _SHARE
