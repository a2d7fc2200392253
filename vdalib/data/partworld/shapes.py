"""Rasteriser: anti-aliased shapes by signed distance, on a canvas of colours, part ids and owners.

Coordinates are (x, y), x to the right and y down, pixel (row i, column j) centred at (j + 0.5, i + 0.5).
Per pixel only + - * / sqrt min max are used, which IEEE 754 rounds the same way everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .dice import cos_sin

SIZE = 96  # height and width of an image, px
_CENTRES = np.arange(SIZE, dtype=np.float32) + np.float32(0.5)


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


def polygon(*points: tuple[float, float]) -> Shape:
    """Convex polygon, corners in either direction."""
    return Shape("polygon", points, (1.0, 0.0), ())


@dataclass(frozen=True)
class Affine:
    """Mirror (if asked), rotate, scale, then shift."""

    scale: float = 1.0
    dx: float = 0.0
    dy: float = 0.0
    cos: float = 1.0
    sin: float = 0.0
    mirrored: bool = False

    def vector(self, x: float, y: float) -> tuple[float, float]:
        x = -x if self.mirrored else x
        return self.cos * x - self.sin * y, self.sin * x + self.cos * y

    def point(self, x: float, y: float) -> tuple[float, float]:
        x, y = self.vector(x, y)
        return self.scale * x + self.dx, self.scale * y + self.dy

    def __call__(self, shape: Shape) -> Shape:
        return Shape(
            shape.kind,
            tuple([self.point(*p) for p in shape.points]),
            self.vector(*shape.axis),
            tuple([self.scale * r for r in shape.radii]),
        )


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
    """rgb float32 (3, 96, 96) in 0..255, part uint8 (96, 96) and owner uint8 (96, 96), 0 for background."""

    def __init__(self, rgb: np.ndarray) -> None:
        self.rgb = rgb
        self.part = np.zeros((SIZE, SIZE), np.uint8)
        self.owner = np.zeros((SIZE, SIZE), np.uint8)

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
    ) -> None:
        """Paint the union of shapes, the topmost so far.

        part, owner: ids written where the union covers more than half a pixel (part 0 writes none).
        blend:   px over which the shapes melt into one another.
        outline: how much darker the rim is, 0..1.
        shade:   how much lighter the top is than the bottom, 0..1.
        alpha:   opacity; soft: width of the edge in px.
        """
        left, top, right, bottom = extent_of(shapes)
        margin = 1.0 + soft / 2 + blend / 4
        i0, i1 = max(int(top - margin), 0), min(int(bottom + margin) + 1, SIZE)
        j0, j1 = max(int(left - margin), 0), min(int(right + margin) + 1, SIZE)
        if i0 >= i1 or j0 >= j1:
            return
        x, y = _CENTRES[None, j0:j1], _CENTRES[i0:i1, None]
        distance = signed_distance(shapes[0], x, y)
        for shape in shapes[1:]:
            other = signed_distance(shape, x, y)
            if blend > 0:
                bridge = np.maximum(blend - np.abs(distance - other), 0)
                distance = np.minimum(distance, other) - bridge * bridge * (0.25 / blend)
            else:
                distance = np.minimum(distance, other)
        cover = np.minimum(np.maximum(0.5 - distance * (1 / soft), 0), 1)
        light = 1 + shade * (0.5 - (y - top) * (1 / max(bottom - top, 1.0)))
        if outline > 0:
            light = light * (1 - np.minimum(np.maximum(distance + 1.5, 0), 1) * outline)
        here = self.rgb[:, i0:i1, j0:j1]
        ink = np.asarray(colour, np.float32)[:, None, None] * light - here
        ink *= cover * alpha if alpha < 1 else cover
        here += ink
        if part:
            inside = cover > 0.5
            self.part[i0:i1, j0:j1][inside] = part
            self.owner[i0:i1, j0:j1][inside] = owner
