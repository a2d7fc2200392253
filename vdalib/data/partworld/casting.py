"""From a role to a drawn object in its place."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .dice import Dice, cos_sin
from .factors import Role
from .objects import KINDS, KINDS_OF
from .palette import COLOURS
from .shapes import Affine, signed_distance
from .sketch import Sketch, Stroke, placed, strokes_extent

MIN_AREA = 60  # px of an object that must be seen
LEAD_SIZE, OTHER_SIZE = (0.3, 1.5), (1 / 6, 0.9)  # longer side over the picture's shorter one, log-uniform, larger of two draws
VIEW = (0.65, 1.0)
MOST_OUTSIDE = 0.45  # of an object's silhouette, beyond the border
_TRIES, _MAX_OVERLAP = 24, 0.35
_SAMPLES = np.arange(0.5, 28, dtype=np.float32) / 28  # where a silhouette is looked at, along each side of its box


@dataclass(frozen=True)
class Actor:
    """A role as drawn: strokes and box in px, part -> colour name, and the area of its silhouette with all that is cut off."""

    role: Role
    strokes: list[Stroke]
    part_colours: dict[str, str]
    box: tuple[float, float, float, float]
    area: float

    @property
    def flies(self) -> bool:
        return _flies(self.role)


def role_of(class_name: str, sizes: tuple[float, float], shorter: int, dice: Dice) -> Role:
    """An object of the class, longer side between sizes[0] and sizes[1] times the picture's shorter side."""
    kind = dice.choice(KINDS_OF[class_name])
    main = dice.choice(COLOURS)
    second = dice.choice([c for c in COLOURS if c != main])
    low, high = sizes
    size = round(
        shorter * low * (high / low) ** max(dice.uniform(), dice.uniform()), 3
    )  # rounded: C libraries' powers differ in the last bit
    pose = dice.choice(tuple(KINDS[kind].poses))
    return Role(class_name, kind, main, second, size, pose, dice.uniform(*VIEW), dice.chance(0.5))


def enter(role: Role, dice: Dice, height: int, width: int, horizon: float, taken: list[Actor]) -> Actor | None:
    """Draw an object to size and find it a place, or None if all places tried overlap others too much.

    The first one always finds a place. Thin objects that would show too few pixels are drawn larger.
    """
    kind = KINDS[role.kind]
    sketch = Sketch(dice, role.kind, role.main_colour, role.second_colour, role.pose)
    kind.draw(sketch)
    cos, sin = cos_sin(dice.uniform(*kind.poses[role.pose]) * (1 if role.mirrored else -1))
    strokes = placed(sketch.strokes, Affine(cos=cos, sin=sin, mirrored=role.mirrored, narrow=role.view))
    left, top, right, bottom = strokes_extent(strokes)
    inside = silhouette(strokes, left, top, right, bottom)
    share = int(np.count_nonzero(inside)) / inside.size
    scale = role.size / max(right - left, bottom - top)
    scale = max(scale, math.sqrt(3 * MIN_AREA / (share * (right - left) * (bottom - top))))
    w, h = (right - left) * scale, (bottom - top) * scale
    role = replace(role, size=max(w, h))
    found = None
    for n in range(_TRIES):
        x, y = _place(role, w, h, height, width, horizon, dice)
        visible_x, visible_y = _within(x + w * _SAMPLES, width), _within(y + h * _SAMPLES, height)
        seen = np.count_nonzero(inside[visible_y][:, visible_x])
        if seen < (1 - MOST_OUTSIDE) * np.count_nonzero(inside):
            continue
        most = _MAX_OVERLAP if n >= _TRIES // 2 else 0.1
        if all(_overlap((x, y, x + w, y + h), other.box, height, width) <= most for other in taken):
            found = x, y
            break
    if found is None:
        if taken:
            return None
        found = (width - w) / 2, (height - h) / 2
    x, y = found
    strokes = placed(strokes, Affine(scale, x - left * scale, y - top * scale))
    drawn = {stroke.part for stroke in strokes}
    colours = {part: name for part, name in sketch.part_colours.items() if part in drawn}
    return Actor(role, strokes, colours, (x, y, x + w, y + h), share * w * h)


def silhouette(strokes: list[Stroke], left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Bool (28, 28): which of a lattice of points in the box lie in a shape."""
    x, y = left + (right - left) * _SAMPLES[None], top + (bottom - top) * _SAMPLES[:, None]
    inside = np.zeros((len(_SAMPLES), len(_SAMPLES)), bool)
    for shape in (shape for stroke in strokes if stroke.outlined for shape in stroke.shapes):  # others lie on these
        inside |= signed_distance(shape, x, y) < 0
    return inside


def _place(role: Role, w: float, h: float, height: int, width: int, horizon: float, dice: Dice) -> tuple[float, float]:
    """A left upper corner: all inside, or in two cases of five up to half outside; feet on the ground where there is one."""
    cut = 0.5 if dice.chance(0.4) else 0.0
    x = _between(-cut * w, width - w + cut * w, dice)
    top, bottom = sorted((1 - cut * h, height - 1 - h + cut * h))
    if not _flies(role) and horizon < height:
        top = min(max(top, horizon + 0.06 * height - h), bottom)
    return x, dice.uniform(top, bottom)


def _between(a: float, b: float, dice: Dice) -> float:
    return dice.uniform(min(a, b), max(a, b))


def _flies(role: Role) -> bool:
    return role.class_name == "aeroplane" or role.pose == "flying"


def _within(at: np.ndarray, side: int) -> np.ndarray:
    return (at >= 0) & (at < side)


def _overlap(a: tuple[float, ...], b: tuple[float, ...], height: int, width: int) -> float:
    """Area common to the parts of two boxes inside the picture over that of the larger one, which lies behind."""
    a, b = ((max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height)) for left, top, right, bottom in (a, b))
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    larger = max((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(w, 0.0) * max(h, 0.0) / larger
