"""Where scenery is painted: a canvas measured in units of which its shorter side has 96."""

from __future__ import annotations

import numpy as np

from .dice import Dice
from .palette import COLOURS, RGB, jittered, mix
from .shapes import Affine, Canvas, Shape

UNITS = 96


class Ground:
    """A canvas with coordinates in units; `width`, `height` are its sides, `px` the pixels in a unit.

    horizon: units from the top, `height` where there is none.
    """

    def __init__(self, canvas: Canvas, horizon_share: float) -> None:
        rows, columns = canvas.part.shape
        self.canvas = canvas
        self.px = min(rows, columns) / UNITS
        self.width, self.height = columns / self.px, rows / self.px
        self.horizon = horizon_share * self.height

    def paint(self, shapes: list[Shape], colour: RGB, *, blend: float = 0.0, soft: float | None = None, **look) -> None:
        """`Canvas.paint`, with shapes, blend and soft in units; without soft the edge is one pixel wide."""
        to_px = Affine(self.px)
        soft = 1.0 if soft is None else soft * self.px
        self.canvas.paint([to_px(s) for s in shapes], colour, blend=blend * self.px, soft=soft, **look)

    def gradient(self, top: RGB, bottom: RGB, start: float = 0.0, end: float | None = None) -> None:
        """Fill from `start` to `end` units down (the lower border if None), from one colour to the other."""
        i0, i1 = int(start * self.px), int((self.height if end is None else end) * self.px)
        share = (np.arange(i1 - i0, dtype=np.float32) * (1 / max(i1 - i0, 1)))[None, :, None]
        a, b = (np.asarray(c, np.float32)[:, None, None] for c in (top, bottom))
        self.canvas.rgb[:, i0:i1] = (a + (b - a) * share)[:, : self.canvas.rgb.shape[1] - i0]


def near(colour: RGB, dice: Dice, by: float = 14) -> RGB:
    """The colour, off by up to `by` in each channel."""
    return tuple([min(max(c + dice.uniform(-by, by), 0.0), 255.0) for c in colour])


def muted(dice: Dice, low: float = 0.3, high: float = 0.6) -> RGB:
    """Any of the nine colours, greyed by a share between low and high."""
    return mix(jittered(dice.choice(COLOURS), dice), (168, 166, 162), dice.uniform(low, high))
