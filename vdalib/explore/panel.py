"""One view of the attribute browser as one picture: image, map over image, responses, nearest training prototypes."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from vdalib.explore import plots
from vdalib.explore.browsing import PREDICTION, TEXT, Neighbour, View

_WIDTH, _HEIGHT = 900, 372  # pixels
_DPI = 84  # pixels an inch
_SIDE, _SMALL, THUMBNAILS = 236, 72, 5  # pixels of a picture and of a thumbnail; thumbnails in a row


def attribute_view(view: View, neighbours: Sequence[Neighbour], class_names: Sequence[str], opacity: float) -> Figure:
    """The view as a figure. opacity: of the map, in 0..1; neighbours: of the first component, at most THUMBNAILS shown.

    Pictures are put on the figure as pixels and not into axes, which cost ten times as much as all else.
    """
    figure = Figure((_WIDTH / _DPI, _HEIGHT / _DPI), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)

    def write(x, y, text, size=8):
        figure.text(x / _WIDTH, y / _HEIGHT, plots.literal(text), fontsize=size, ha="center")

    def picture(x, y, side, pixels, title, size=8):
        image = Image.fromarray((255 * pixels).astype(np.uint8))
        scale = side / max(image.size)
        image = image.resize([max(round(scale * length), 1) for length in image.size], Image.Resampling.NEAREST)
        figure.figimage(np.asarray(image)[::-1], x + (side - image.width) // 2, y + (side - image.height) // 2, origin="lower")
        write(x + side / 2, y + side + 5, title, size)

    overlay = plots.mask_overlay if view.is_label_map else plots.cam_overlay
    shown = overlay(view.image, view.shown.cpu(), *([class_names] if view.is_label_map else []), opacity)
    picture(8, 108, _SIDE, plots.as_picture(view.image), view.name)
    asked = f"{view.query}, alpha {view.alpha:.2f}" if view.query != TEXT else TEXT
    picture(18 + _SIDE, 108, _SIDE, shown, view.map if view.map == PREDICTION else f"{view.map} of {view.class_name} by {asked}")
    for place, neighbour in enumerate(neighbours[:THUMBNAILS]):
        title = f"{neighbour.name}: {neighbour.distance:.1f}"
        picture(8 + 102 * place, 4, _SMALL, plots.as_picture(neighbour.image), title, 6)

    responses = view.responses
    if responses is None:
        write(700, 220, f"no responses: the run has no mixture, or {view.class_name} is\nnot found here; the query is the text")
        return figure
    order = responses.order
    axis = figure.add_axes((560 / _WIDTH, 150 / _HEIGHT, 330 / _WIDTH, 185 / _HEIGHT))
    colours = [plots.SERIES_COLOURS[0] if i in (view.components or order) else "lightgrey" for i in order]
    axis.bar(range(len(order)), responses.weights[order], color=colours)
    axis.axhline(1 / len(order), color="black", linestyle=":", linewidth=1)
    axis.set_xticks(range(len(order)), order)
    axis.tick_params(labelsize=8)
    axis.set_xlabel("component, strongest first (dotted: all alike)", fontsize=8)
    axis.set_ylabel("share of the response", fontsize=8)
    trusted = "" if responses.reliable else "; not reliable: training stays with the text"
    axis.set_title(f"{plots.literal(view.class_name)}: adaptive alpha {responses.alpha:.2f}{trusted}", fontsize=8)
    first = (view.components or order)[0]
    write(705, 40, f"left: training images nearest to component {first}, latent distance")
    return figure


def to_png(figure: Figure) -> bytes:
    """The figure as it is drawn, PNG."""
    figure.canvas.draw()
    buffer = BytesIO()
    Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3]).save(buffer, "png", compress_level=1)
    return buffer.getvalue()
