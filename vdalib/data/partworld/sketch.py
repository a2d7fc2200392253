"""The pencil with which an object is drawn: named parts of shapes in a unit frame, facing right, y down."""

from __future__ import annotations

from typing import NamedTuple

from .anatomy import CLASS_OF, CLASS_PARTS, OPTIONAL
from .dice import Dice
from .palette import jittered, tint
from .patterns import Pattern
from .shapes import Affine, Shape, ellipse, extent_of


class Stroke(NamedTuple):
    """Shapes painted at once as (a piece of) one part; `blend` in units of the frame."""

    part: str
    shapes: tuple[Shape, ...]
    rgb: tuple[float, float, float]
    blend: float
    outlined: bool
    pattern: Pattern | None = None


class Sketch:
    """Collects the strokes of one object, back to front; its patterns are more or less marked and fine each time.

    The first part of a class is its main part: always there, always in the main colour. Of the others one leads
    and takes the second colour; the rest take the second colour, the main one, or a lighter or darker main one.
    """

    def __init__(self, dice: Dice, kind_name: str, main: str, second: str, pose: str) -> None:
        class_name = CLASS_OF[kind_name]
        parts, optional = CLASS_PARTS[class_name], OPTIONAL[class_name][kind_name]
        self.dice = dice
        self.pose = pose
        self.strokes: list[Stroke] = []
        self._contrast, self._coarse = dice.uniform(0.6, 1.0), dice.uniform(0.85, 1.2)
        self._present = {part for part in parts if not dice.chance(optional.get(part, 0.0))}
        rgb = {main: jittered(main, dice), second: jittered(second, dice)}
        self.part_colours = {parts[0]: main}
        self._rgb = {parts[0]: rgb[main]}
        lead = dice.choice([part for part in parts[1:] if part in self._present])
        for part in parts[1:]:
            name, factor = dice.choice(((second, 1.0), (main, 1.0), (main, 0.78), (main, 1.4)), (5, 2, 2, 2))
            if part == lead:
                name, factor = second, 1.0
            self.part_colours[part] = name
            self._rgb[part] = tint(rgb[name], factor)

    def has(self, part: str) -> bool:
        """Whether an optional part is there this time."""
        return part in self._present

    def vary(self, value: float, by: float = 0.2) -> float:
        """`value` give or take the share `by`."""
        return value * self.dice.uniform(1 - by, 1 + by)

    def add(
        self,
        part: str,
        *shapes: Shape,
        shade: float = 1.0,
        blend: float = 0.0,
        outlined: bool = True,
        pattern: Pattern | None = None,
    ) -> None:
        """Draw shapes of a part on top of what is there, if the part is there; shade darkens (< 1) or lightens."""
        if part in self._present:
            if pattern is not None:
                pattern = pattern.adjusted(self._contrast, self._coarse)
            self.strokes.append(Stroke(part, shapes, tint(self._rgb[part], shade), blend, outlined, pattern))

    def eye(self, part: str, x: float, y: float, r: float = 0.03) -> None:
        """A dark dot that belongs to a part."""
        self.add(part, ellipse(x, y, r, r * 1.15), shade=0.16, outlined=False)


def placed(strokes: list[Stroke], affine: Affine) -> list[Stroke]:
    """The strokes, patterns included, after an affine map."""
    return [
        s._replace(
            shapes=tuple([affine(shape) for shape in s.shapes]), blend=s.blend * affine.scale, pattern=affine.pattern(s.pattern)
        )
        for s in strokes
    ]


def strokes_extent(strokes: list[Stroke]) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of all strokes."""
    return extent_of([shape for stroke in strokes for shape in stroke.shapes])
