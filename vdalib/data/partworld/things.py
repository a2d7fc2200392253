"""Aeroplane, boat, bottle, bus and car, each drawn from its parts in a unit frame, facing right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .shapes import Shape, box, capsule, ellipse, polygon

if TYPE_CHECKING:
    from .sketch import Sketch


def aeroplane(k: Sketch) -> None:
    """Fuselage with windows, swept wings, tail fin."""
    wing, fin, girth = k.vary(0.36), k.vary(0.27), k.vary(0.115, 0.1)
    k.add("wing", polygon((0.14, -0.05), (-0.06, -0.05), (-0.2, -wing * 0.82), (-0.11, -wing * 0.82)), shade=0.75)
    k.add("tail", polygon((-0.54, -fin - 0.05), (-0.4, -fin - 0.05), (-0.22, -0.03), (-0.46, -0.03)))
    k.add("body", capsule(-0.48, -0.02, 0.055, -0.1, 0, girth), capsule(-0.1, 0, girth, 0.38, 0, girth), blend=0.04)
    k.add("tail", polygon((-0.34, 0.0), (-0.46, 0.0), (-0.58, 0.11), (-0.5, 0.11)), shade=0.85)
    panes: list[Shape] = [ellipse(x, -0.03, 0.034, 0.034) for x in (-0.14, -0.02, 0.1, 0.22)]
    k.add("window", *panes, polygon((0.32, -0.085), (0.4, -0.075), (0.46, -0.01), (0.33, -0.01)))
    k.add("wing", polygon((0.16, 0.03), (-0.1, 0.03), (-0.32, wing), (-0.18, wing)))


def boat(k: Sketch) -> None:
    """Hull, mast, a pair of triangular sails, flag at the top."""
    depth, tall = k.vary(0.13), k.vary(0.62, 0.12)
    left, right = k.vary(0.34), k.vary(0.42, 0.15)
    top = 0.12 - tall
    k.add("mast", box(0, (top - 0.1 + 0.16) / 2, 0.032, (0.26 - top) / 2, 0.02))
    k.add("sail", polygon((0.05, top), (0.05, 0.1), (0.05 + right, 0.1)))
    k.add("sail", polygon((-0.05, top + 0.12), (-0.05, 0.1), (-0.05 - left, 0.1)), shade=0.82)
    k.add("hull", polygon((-0.5, 0.15), (0.56, 0.15), (0.36, 0.17 + 2 * depth), (-0.36, 0.17 + 2 * depth)))
    k.add("hull", polygon((-0.5, 0.15), (0.56, 0.15), (0.52, 0.21), (-0.46, 0.21)), shade=1.45, outlined=False)


def bottle(k: Sketch) -> None:
    """Rounded body with a label, narrow neck, cap."""
    wide, tall, neck = k.vary(0.17), k.vary(0.3, 0.15), k.vary(0.17)
    shoulder = 0.5 - 2 * tall
    top = shoulder - 0.08 - neck
    k.add("neck", capsule(0, shoulder - 0.02, 0.09, 0, top + 0.05, 0.065))
    k.add("cap", box(0, top, 0.095, 0.065, 0.025))
    k.add(
        "body",
        box(0, 0.5 - tall, wide, tall, 0.06),
        ellipse(0, shoulder + 0.04, wide * 0.97, 0.13),
        blend=0.04,
    )
    k.add("label", box(0, 0.52 - tall, wide * 0.98, tall * 0.46, 0.015))
    k.add("label", ellipse(0.0, 0.52 - tall, wide * 0.45, tall * 0.24), shade=1.55, outlined=False)
    k.add("body", capsule(-wide * 0.62, shoulder + 0.06, 0.022, -wide * 0.62, shoulder + 0.12, 0.022), shade=1.7, outlined=False)


def bus(k: Sketch) -> None:
    """Long tall box with a row of windows, a door, two wheels."""
    half, tall = k.vary(0.5, 0.1), k.vary(0.24, 0.15)
    wheel = k.vary(0.095, 0.12)
    k.add("body", box(0, 0, half, tall, 0.06))
    k.add("body", box(0, tall * 0.52, half - 0.02, 0.03), shade=0.66, outlined=False)
    step = (half * 1.42) / 4
    panes = [box(-half + 0.055 + step * (n + 0.5), -tall * 0.36, step * 0.4, tall * 0.34, 0.02) for n in range(4)]
    front = half - 0.11
    k.add("window", *panes)
    if k.has("door"):
        k.add("door", box(front, tall * 0.16, 0.075, tall * 0.78, 0.02))
        k.add("door", box(front, -tall * 0.1, 0.04, tall * 0.36, 0.01), shade=1.5, outlined=False)
    else:
        k.add("window", box(front + 0.02, -tall * 0.36, 0.07, tall * 0.34, 0.02))
    _wheels(k, (-half * 0.55, half * 0.42), tall + 0.01, wheel)


def car(k: Sketch) -> None:
    """Low body, cabin with two windows, big wheels, head lamp."""
    tall, roof, wheel = k.vary(0.12), k.vary(0.22), k.vary(0.125, 0.12)
    rear = k.dice.uniform(-0.36, -0.24)
    k.add("roof", polygon((rear, 0.03), (rear + 0.1, -roof), (0.12, -roof), (0.32, 0.03)))
    pane, sill = -roof + 0.055, -0.015
    k.add(
        "window",
        polygon((rear + 0.085, sill), (rear + 0.135, pane), (-0.06, pane), (-0.06, sill)),
        polygon((0.0, sill), (0.0, pane), (0.1, pane), (0.22, sill)),
    )
    k.add("body", box(0, 0.02 + tall, 0.52, tall, 0.085))
    k.add("body", box(-0.06, 0.08, 0.05, 0.014, 0.01), shade=0.6, outlined=False)
    k.add("light", ellipse(0.46, 0.0 + tall * 0.8, 0.06, 0.055))
    _wheels(k, (-0.3, 0.29), 0.03 + 2 * tall, wheel)


def _wheels(k: Sketch, xs: tuple[float, ...], y: float, r: float) -> None:
    """Tyres in a dark shade of the part's colour with light hubs."""
    k.add("wheel", *[ellipse(x, y, r, r) for x in xs], shade=0.5)
    k.add("wheel", *[ellipse(x, y, r * 0.48, r * 0.48) for x in xs], shade=1.35, outlined=False)
