"""The ten classes: their parts, which of them may be missing, their poses, and how each is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from . import animals, things
from .sketch import Sketch


class Kind(NamedTuple):
    """One class. The first part is the main one; `optional` maps a part to its chance of being absent."""

    parts: tuple[str, ...]
    optional: dict[str, float]
    poses: dict[str, tuple[float, float]]  # name -> range of tilt in degrees, positive raises the front
    draw: Callable[[Sketch], None]


_ROLLING = {"level": (-3.0, 3.0), "uphill": (6.0, 12.0), "downhill": (-12.0, -6.0)}
_WALKING = {"standing": (-6.0, 6.0), "running": (-10.0, 10.0), "sitting": (-6.0, 6.0)}

KINDS: dict[str, Kind] = {
    "aeroplane": Kind(
        ("body", "wing", "tail", "window"),
        {"window": 0.15},
        {"level": (-4.0, 4.0), "climbing": (7.0, 12.0), "landing": (-12.0, -7.0)},
        things.aeroplane,
    ),
    "bird": Kind(
        ("body", "head", "beak", "wing", "tail"),
        {"tail": 0.2, "wing": 0.15},
        {"sitting": (-12.0, 12.0), "flying": (-12.0, 12.0)},
        animals.bird,
    ),
    "boat": Kind(
        ("hull", "mast", "sail", "flag"),
        {"sail": 0.15, "flag": 0.25},
        {"level": (-4.0, 4.0), "leaning": (-12.0, -6.0)},
        things.boat,
    ),
    "bottle": Kind(
        ("body", "neck", "cap", "label"),
        {"cap": 0.2, "label": 0.25},
        {"upright": (-3.0, 3.0), "leaning": (-12.0, -6.0)},
        things.bottle,
    ),
    "bus": Kind(("body", "window", "wheel", "door"), {"door": 0.25}, _ROLLING, things.bus),
    "car": Kind(("body", "roof", "window", "wheel", "light"), {"light": 0.2}, _ROLLING, things.car),
    "cat": Kind(("body", "head", "ear", "leg", "tail"), {"ear": 0.15, "tail": 0.2}, _WALKING, animals.cat),
    "dog": Kind(("body", "head", "ear", "leg", "tail"), {"ear": 0.15, "tail": 0.2}, _WALKING, animals.dog),
    "horse": Kind(
        ("body", "head", "leg", "mane", "tail"),
        {"mane": 0.2, "tail": 0.2},
        {"standing": (-6.0, 6.0), "running": (-10.0, 10.0), "grazing": (-6.0, 6.0)},
        animals.horse,
    ),
    "person": Kind(
        ("body", "head", "hair", "arm", "leg"),
        {"hair": 0.2},
        {"standing": (-5.0, 5.0), "walking": (-10.0, 10.0), "waving": (-8.0, 8.0)},
        animals.person,
    ),
}
CLASSES: tuple[str, ...] = tuple(KINDS)
PARTS: tuple[tuple[str, str], ...] = tuple((name, part) for name, kind in KINDS.items() for part in kind.parts)
PART_ID: dict[tuple[str, str], int] = {pair: index + 1 for index, pair in enumerate(PARTS)}
