"""The 36 kinds, each with the function that draws it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from . import aircraft, birds, boats, bottles, horses, people, pets, vehicles
from .anatomy import CLASS_OF, CLASS_PARTS, CLASSES, KIND_NAMES, KINDS_OF, OPTIONAL, PART_ID, PARTS, POSES, Poses
from .sketch import Sketch

__all__ = ["CLASSES", "CLASS_PARTS", "KINDS", "KINDS_OF", "KIND_NAMES", "PARTS", "PART_ID", "Kind"]


class Kind(NamedTuple):
    """One kind of a class; `optional` maps a part to its chance of being absent, 1.0 if the kind has none."""

    class_name: str
    draw: Callable[[Sketch], None]
    optional: dict[str, float]
    poses: Poses

    @property
    def parts(self) -> tuple[str, ...]:
        """Those of its class that it may have, main part first."""
        return tuple(part for part in CLASS_PARTS[self.class_name] if self.optional.get(part, 0.0) < 1.0)


# A kind is drawn by the function of its name.
_FILE_OF = {
    "aeroplane": aircraft,
    "bird": birds,
    "boat": boats,
    "bottle": bottles,
    "bus": vehicles,
    "car": vehicles,
    "cat": pets,
    "dog": pets,
    "horse": horses,
    "person": people,
}
KINDS: dict[str, Kind] = {
    kind: Kind(name, getattr(_FILE_OF[name], kind), OPTIONAL[name][kind], POSES[name]) for kind, name in CLASS_OF.items()
}
