"""What an image is made of: its plan, and what can be seen of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Role:
    """An object as cast, before it is drawn.

    size: longer side in px, of all of it, however much the border cuts off.
    view: horizontal foreshortening, 0.65 (seen obliquely) to 1 (from the side).
    """

    class_name: str
    kind: str
    main_colour: str
    second_colour: str
    size: float
    pose: str
    view: float
    mirrored: bool


@dataclass(frozen=True)
class Layout:
    """Height and width in px, the scene and its cast; the first role is the one that chose the scene."""

    height: int
    width: int
    scene: str
    roles: tuple[Role, ...]


@dataclass(frozen=True)
class ObjectFactors(Role):
    """An object as drawn.

    part_colours: colour name of each part that was drawn, main part first.
    parts:        parts of which at least 8 px are visible.
    bbox:         (left, top, right, bottom) of the visible pixels, right and bottom excluded.
    visible_area: visible pixels.
    """

    part_colours: dict[str, str] = field(hash=False)
    parts: frozenset[str]
    bbox: tuple[int, int, int, int]
    visible_area: int


@dataclass(frozen=True)
class Factors:
    """All that the image was made of; the first object is the one that chose the scene."""

    scene: str
    objects: tuple[ObjectFactors, ...]
