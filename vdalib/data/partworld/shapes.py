"""Rasteriser: anti-aliased, patterned shapes by signed distance, on a canvas of colours, part ids and owners.

Coordinates are (x, y), x to the right and y down, pixel (row i, column j) centred at (j + 0.5, i + 0.5).
Per pixel only + - * / sqrt floor min max and whole numbers are used, which IEEE 754 rounds the same way everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .dice import cos_sin
from .patterns import Pattern, tone


class Shape(NamedTuple):
    """A convex outline: `kind`, its points, the direction of its first axis, its radii."""

    kind: str
    points: tuple[tuple[float, float], ...]
    axis: tuple[float, float]
    radii: tuple[float, ...]


def ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0.0) -> Shape:
    """Ellipse with semi-axes rx and ry, turned by `degrees`."""
    return Shape("ellipse", ((x, y),), cos_sin(degrees), (rx, ry))


def box(x: float, y: float, hx: float, hy: float, r: float = 0.0, degrees: float = 0.0) -> Shape:
    """Box with half sides hx and hy and corners of radius r."""
    return Shape("box", ((x, y),), cos_sin(degrees), (hx, hy, min(r, hx, hy)))


def capsule(x0: float, y0: float, r0: float, x1: float, y1: float, r1: float) -> Shape:
    """A limb: thickness r0 at (x0, y0) going to r1 at (x1, y1)."""
    return Shape("capsule", ((x0, y0), (x1, y1)), (1.0, 0.0), (r0, r1))


def limb(x: float, y: float, length: float, degrees: float, r0: float, r1: float) -> Shape:
    """A capsule from (x, y) that hangs down at 0 degrees and swings forward for positive ones."""
    c, s = cos_sin(degrees)
    return capsule(x, y, r0, x + length * s, y + length * c, r1)


def polygon(*points: tuple[float, float]) -> Shape:
    """Convex polygon, corners in either direction."""
    return Shape("polygon", points, (1.0, 0.0), ())


def path(*points: tuple[float, float, float]) -> tuple[Shape, ...]:
    """Capsules from each (x, y, thickness) to the next."""
    return tuple([capsule(*a, *b) for a, b in zip(points, points[1:])])


@dataclass(frozen=True)
class Affine:
    """Squeeze horizontally to `narrow` of the width, mirror (if asked), rotate, scale, then shift."""

    scale: float = 1.0
    dx: float = 0.0
    dy: float = 0.0
    cos: float = 1.0
    sin: float = 0.0
    mirrored: bool = False
    narrow: float = 1.0

    def vector(self, x: float, y: float) -> tuple[float, float]:
        """Where a direction goes; its length is kept unless it is squeezed."""
        x = (-x if self.mirrored else x) * self.narrow
        return self.cos * x - self.sin * y, self.sin * x + self.cos * y

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where a point goes."""
        x, y = self.vector(x, y)
        return self.scale * x + self.dx, self.scale * y + self.dy

    def __call__(self, shape: Shape) -> Shape:
        """The shape, where it goes; a slanted one that is squeezed stays an ellipse, a box or a capsule."""
        axis, radii = shape.axis, shape.radii
        if self.narrow != 1.0 and shape.kind == "capsule":
            (x0, y0), (x1, y1) = shape.points
            along = math.sqrt((x1 - x0) ** 2 + (y1 - y0) ** 2)
            squeezed = math.sqrt((self.narrow * (x1 - x0)) ** 2 + (y1 - y0) ** 2)
            radii = [r * self.narrow * along / squeezed if squeezed else r for r in radii]
        axis = self.vector(*axis)
        if self.narrow != 1.0 and shape.kind in ("ellipse", "box"):
            length, across = math.sqrt(axis[0] ** 2 + axis[1] ** 2), self.vector(-shape.axis[1], shape.axis[0])
            axis = axis[0] / length, axis[1] / length
            radii = [
                radii[0] * length,
                radii[1] * math.sqrt(across[0] ** 2 + across[1] ** 2),
                *[min(r, r * length) for r in radii[2:]],
            ]
        return Shape(shape.kind, tuple([self.point(*p) for p in shape.points]), axis, tuple([self.scale * r for r in radii]))

    def pattern(self, pattern: Pattern | None) -> Pattern | None:
        """The pattern, so that it sticks to what it is on."""
        if pattern is None:
            return None
        (a, c), (b, d) = self.vector(self.scale, 0.0), self.vector(0.0, self.scale)
        over = 1 / (a * d - b * c)
        along, across = [((d * gx - c * gy) * over, (a * gy - b * gx) * over) for gx, gy in (pattern.along, pattern.across)]
        return pattern._replace(origin=self.point(*pattern.origin), along=along, across=across)


def extent(shape: Shape) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of a shape."""
    if shape.kind == "polygon":
        xs, ys = zip(*shape.points)
        return min(xs), min(ys), max(xs), max(ys)
    if shape.kind == "capsule":
        (x0, y0), (x1, y1) = shape.points
        r0, r1 = shape.radii
        return min(x0 - r0, x1 - r1), min(y0 - r0, y1 - r1), max(x0 + r0, x1 + r1), max(y0 + r0, y1 + r1)
    (x, y), (c, s), (rx, ry) = shape.points[0], shape.axis, shape.radii[:2]
    if shape.kind == "ellipse":
        wx, wy = math.sqrt((rx * c) ** 2 + (ry * s) ** 2), math.sqrt((rx * s) ** 2 + (ry * c) ** 2)
    else:
        wx, wy = abs(rx * c) + abs(ry * s), abs(rx * s) + abs(ry * c)
    return x - wx, y - wy, x + wx, y + wy


def extent_of(shapes: list[Shape]) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of the union of shapes."""
    left, top, right, bottom = zip(*[extent(s) for s in shapes])
    return min(left), min(top), max(right), max(bottom)


def signed_distance(shape: Shape, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance in px to the outline, negative inside; x (1, W) and y (H, 1) -> (H, W) float32.

    Exact for boxes, and near the outline close enough for a one-pixel soft edge for the others.
    """
    if shape.kind == "polygon":
        points = shape.points
        area = sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(points, points[1:] + points[:1]))
        turn = 1.0 if area > 0 else -1.0
        distance = None
        for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1]):
            length = math.sqrt((x1 - x0) ** 2 + (y1 - y0) ** 2)
            nx, ny = turn * (y1 - y0) / length, turn * (x0 - x1) / length
            side = (x - x0) * nx + (y - y0) * ny
            distance = side if distance is None else np.maximum(distance, side)
        return distance
    if shape.kind == "capsule":
        (x0, y0), (x1, y1) = shape.points
        r0, r1 = shape.radii
        bx, by = x1 - x0, y1 - y0
        inverse = 1.0 / max(bx * bx + by * by, 1e-9)
        px, py = x - x0, y - y0
        t = np.minimum(np.maximum(px * (bx * inverse) + py * (by * inverse), 0), 1)
        ex, ey = px - t * bx, py - t * by
        return np.sqrt(ex * ex + ey * ey) - (t * (r1 - r0) + r0)
    (cx, cy), (c, s) = shape.points[0], shape.axis
    px, py = x - cx, y - cy
    u, v = px * c + py * s, py * c - px * s
    if shape.kind == "ellipse":
        rx, ry = shape.radii
        u, v = u * (1 / rx), v * (1 / ry)
        k0 = np.sqrt(u * u + v * v)
        u, v = u * (1 / rx), v * (1 / ry)
        return k0 * (k0 - 1) / (np.sqrt(u * u + v * v) + 1e-6)
    hx, hy, r = shape.radii
    u, v = np.abs(u) - (hx - r), np.abs(v) - (hy - r)
    outside_u, outside_v = np.maximum(u, 0), np.maximum(v, 0)
    outside = np.sqrt(outside_u * outside_u + outside_v * outside_v)
    return outside + np.minimum(np.maximum(u, v), 0) - r


class Canvas:
    """rgb float32 (3, H, W) in 0..255, part uint8 (H, W) and owner uint8 (H, W), 0 for background."""

    def __init__(self, rgb: np.ndarray) -> None:
        _, height, width = rgb.shape
        self.rgb = rgb
        self.part = np.zeros((height, width), np.uint8)
        self.owner = np.zeros((height, width), np.uint8)

    def paint(
        self,
        shapes: list[Shape],
        colour: tuple[float, float, float],
        *,
        part: int = 0,
        owner: int = 0,
        blend: float = 0.0,
        outline: float = 0.0,
        shade: float = 0.0,
        alpha: float = 1.0,
        soft: float = 1.0,
        pattern: Pattern | None = None,
    ) -> None:
        """Paint the union of shapes, the topmost so far; what lies outside of the canvas is left out.

        part, owner: ids written where the union covers more than half a pixel (part 0 writes none).
        blend:   px over which the shapes melt into one another.
        outline: how much darker the rim is, 0..1.
        shade:   how much lighter the top is than the bottom, 0..1.
        alpha:   opacity; soft: width of the edge in px.
        """
        margin = 1.0 + soft / 2 + blend
        boxes = [extent(shape) for shape in shapes]
        windows = [self._window(*box, margin) for box in boxes]
        i0, i1, j0, j1 = _around(windows)
        if i0 >= i1 or j0 >= j1:
            return
        x, y = _centres(j0, j1)[None], _centres(i0, i1)[:, None]
        if len(shapes) == 1:
            distance = signed_distance(shapes[0], x, y)
        else:
            distance = np.full((i1 - i0, j1 - j0), np.float32(1e4))
            for shape, (a, b, c, d) in zip(shapes, windows):
                if a < b and c < d:
                    near = distance[a - i0 : b - i0, c - j0 : d - j0]
                    other = signed_distance(shape, x[:, c - j0 : d - j0], y[a - i0 : b - i0])
                    _melt(near, other, blend)
        cover = np.minimum(np.maximum(0.5 - distance * (1 / soft), 0), 1)
        top, bottom = min(box[1] for box in boxes), max(box[3] for box in boxes)
        light = 1 + shade * (0.5 - (y - top) * (1 / max(bottom - top, 1.0)))
        if outline > 0:
            light = light * (1 - np.minimum(np.maximum(distance + 1.5, 0), 1) * outline)
        if pattern is not None:
            light = light * (1 - tone(pattern, x, y) * pattern.depth)
        here = self.rgb[:, i0:i1, j0:j1]
        ink = np.asarray(colour, np.float32)[:, None, None] * light - here
        ink *= cover * alpha if alpha < 1 else cover
        here += ink
        if part:
            inside = cover > 0.5
            self.part[i0:i1, j0:j1][inside] = part
            self.owner[i0:i1, j0:j1][inside] = owner

    def _window(self, left: float, top: float, right: float, bottom: float, margin: float) -> tuple[int, int, int, int]:
        """Rows i0..i1 and columns j0..j1 that a shape can reach on the canvas; empty if i0 >= i1 or j0 >= j1."""
        height, width = self.part.shape
        rows = max(int(top - margin), 0), min(int(bottom + margin) + 1, height)
        return (*rows, max(int(left - margin), 0), min(int(right + margin) + 1, width))


def _around(windows: list[tuple[int, int, int, int]]) -> tuple[int, int, int, int]:
    """The window that holds all that are not empty."""
    i0, i1, j0, j1 = zip(*([w for w in windows if w[0] < w[1] and w[2] < w[3]] or [(0, 0, 0, 0)]))
    return min(i0), max(i1), min(j0), max(j1)


def _centres(first: int, last: int) -> np.ndarray:
    """Centres of the pixels first..last - 1, float32."""
    return np.arange(first, last, dtype=np.float32) + np.float32(0.5)


def _melt(near: np.ndarray, other: np.ndarray, blend: float) -> None:
    """Put the (smooth, if blend > 0) minimum of two distances into `near`."""
    if blend > 0:
        bridge = np.maximum(blend - np.abs(near - other), 0)
        np.minimum(near, other, out=near)
        near -= bridge * bridge * (0.25 / blend)
    else:
        np.minimum(near, other, out=near)
