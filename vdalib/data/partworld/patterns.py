"""Fur, feathers, planks and panels: cheap patterns laid out in the frame of the object that they are on.

A pattern has two coordinates, u and v, that count its periods; per pixel it uses + - * / sqrt floor min max on
float32, and a hash of whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .dice import cos_sin


class Pattern(NamedTuple):
    """u grows by `along` and v by `across` (periods per unit of x and y) from `origin`.

    depth: how much darker the dark places are, 0..1 (lighter if negative); share: how much of the pattern is dark.
    """

    kind: str
    origin: tuple[float, float]
    along: tuple[float, float]
    across: tuple[float, float]
    depth: float
    share: float

    def adjusted(self, contrast: float, coarse: float) -> Pattern:
        """`contrast` times as deep, with periods `coarse` times as long."""
        (a, b), (c, d) = self.along, self.across
        along, across = (a / coarse, b / coarse), (c / coarse, d / coarse)
        return self._replace(depth=self.depth * contrast, along=along, across=across)


def pattern(
    kind: str,
    period: float,
    depth: float,
    *,
    share: float = 0.5,
    degrees: float = 0.0,
    ratio: float = 1.0,
    at: tuple[float, float] = (0.0, 0.0),
) -> Pattern:
    """A pattern of PATTERNS whose u runs in the direction of `degrees`; its period in v is `ratio` times that in u."""
    c, s = cos_sin(degrees)
    u, v = 1 / period, 1 / (period * ratio)
    return Pattern(kind, at, (c * u, s * u), (-s * v, c * v), depth, share)


def tone(pattern: Pattern, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How dark the pattern is, 0..1; x (1, W) and y (H, 1) -> (H, W) float32.

    Edges are softened over a pixel, so that what is finer than the pixels fades to grey.
    """
    (ox, oy), (ux, uy), (vx, vy) = pattern.origin, pattern.along, pattern.across
    px, py = x - ox, y - oy
    steps = math.sqrt(ux * ux + uy * uy), math.sqrt(vx * vx + vy * vy)
    return PATTERNS[pattern.kind](px * ux + py * uy, px * vx + py * vy, pattern.share, *steps)


def _ramp(value: np.ndarray, step: float) -> np.ndarray:
    """0 well below zero, 1 well above, over about a pixel where a pixel is `step` periods."""
    return np.minimum(np.maximum(value * (1 / max(step, 0.08)) + 0.5, 0), 1)


def _triangle(u: np.ndarray) -> np.ndarray:
    """1 at whole numbers, 0 half-way between."""
    return np.abs(u - np.floor(u) - 0.5) * 2


def _hash(i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """uint32 noise of two arrays of whole floats."""
    h = i.astype(np.int32).view(np.uint32) * np.uint32(374761393) + j.astype(np.int32).view(np.uint32) * np.uint32(668265263)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(1274126177)
    return h ^ (h >> np.uint32(16))


# Each takes u and v (H, W), the share that is dark, and how many periods of u and of v a pixel spans.


def _stripes(u, v, share, du, dv):
    return _ramp(_triangle(u) - (1 - share), 2 * du)


def _zigzag(u, v, share, du, dv):
    return _stripes(u + 0.45 * _triangle(v), v, share, du, dv)


def _checks(u, v, share, du, dv):
    return (_stripes(u, v, share, du, dv) + _stripes(v, u, share, dv, du)) * 0.5


def _spots(u, v, share, du, dv):
    i, j = np.floor(u), np.floor(v)
    noise = _hash(i, j)
    shift = np.float32(0.4 / 255)
    f = u - i - 0.7 + (noise & np.uint32(255)).astype(np.float32) * shift
    g = v - j - 0.7 + (noise >> np.uint32(8) & np.uint32(255)).astype(np.float32) * shift
    return _ramp(share * 0.6 - np.sqrt(f * f + g * g), max(du, dv))


def _scales(u, v, share, du, dv):
    j = np.floor(v)
    f = u + j * 0.5
    f, g = f - np.floor(f) - 0.5, v - j
    return _ramp(np.sqrt(f * f + g * g * 0.6) - (1 - share) * 0.9, max(du, dv))


def _speckle(u, v, share, du, dv):
    noise = (_hash(np.floor(u), np.floor(v)) & np.uint32(255)).astype(np.float32) * np.float32(1 / 255)
    return share + (noise - share) * min(1.0, 0.6 / max(du, dv))


def _bricks(u, v, share, du, dv):
    seams = _stripes(u + np.floor(v) * 0.5, v, share, du, dv)
    return np.maximum(_stripes(v, u, share, dv, du), seams)


PATTERNS: dict[str, Callable[..., np.ndarray]] = {
    "stripes": _stripes,
    "zigzag": _zigzag,
    "checks": _checks,
    "spots": _spots,
    "scales": _scales,
    "speckle": _speckle,
    "bricks": _bricks,
}
