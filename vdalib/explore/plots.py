"""What a person looks at: every function returns (Figure, Axes) and shows nothing by itself.

Figures have a white ground of their own, so that they read in dark mode too. Class colours are constant by
name.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from scipy.stats import chi2

from vdalib.data.classes import CLASS_COLOURS
from vdalib.explore.tables import markdown_table as markdown_table  # noqa: PLC0414 the notebooks find them here
from vdalib.explore.tables import mean_and_error as mean_and_error
from vdalib.io import atomic_path

BACKGROUND_COLOUR, VOID_COLOUR = "#000000", "#ffffff"
SERIES_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")  # Okabe and Ito


def class_colour(name: str) -> str:
    """The colour of a class, the same in every figure; names outside VOC get one by their spelling."""
    if name == "background":
        return BACKGROUND_COLOUR
    colours = tuple(CLASS_COLOURS.values())
    return CLASS_COLOURS.get(name) or colours[zlib.crc32(name.encode()) % len(colours)]


def literal(text: str) -> str:
    """A name for matplotlib to write as it is, which takes what is between two $ for mathematics."""
    return text.replace("$", r"\$")


def colour_mask(mask, class_names: Sequence[str]) -> np.ndarray:
    """A label map (H, W) of 0..K or 255 as float RGB (H, W, 3) in 0..1; background black, void white."""
    table = np.full((256, 3), to_rgb(VOID_COLOUR))
    table[: len(class_names) + 1] = [to_rgb(class_colour(name)) for name in ("background", *class_names)]
    return table[np.asarray(mask)]


def mask_overlay(image, mask, class_names: Sequence[str], opacity: float = 0.6) -> np.ndarray:
    """An image (3, H, W) in grey under its label map (H, W), float (H, W, 3) in 0..1."""
    picture, mask = _grey(image), np.asarray(mask)
    weight = opacity * (mask != 0)[..., None]
    return (1 - weight) * picture + weight * colour_mask(mask, class_names)


def cam_overlay(image, cam, opacity: float = 0.6) -> np.ndarray:
    """An image (3, H, W) in grey under a CAM (h, w) in 0..1 in magma, resized bilinearly; float (H, W, 3) in 0..1."""
    picture = _grey(image)
    cam = torch.as_tensor(cam).detach().float()[None, None]
    cam = torch.nn.functional.interpolate(cam, picture.shape[:2], mode="bilinear", align_corners=False)[0, 0]
    heat = plt.get_cmap("magma")(cam.clamp(0, 1).cpu().numpy())[..., :3]
    return (1 - opacity) * picture + opacity * heat


def _grey(image) -> np.ndarray:
    """(H, W, 1), so that no colour of the image mixes with one that has a meaning."""
    return as_picture(image).mean(2, keepdims=True)


def as_picture(image) -> np.ndarray:
    """Float (H, W, 3) in 0..1 from uint8 or float, (3, H, W) or (H, W, 3), tensor or array."""
    picture = torch.as_tensor(image).detach().cpu().numpy()
    if picture.ndim != 3 or 3 not in (picture.shape[0], picture.shape[-1]):
        raise ValueError(f"image: shape {picture.shape}, expected (3, H, W) or (H, W, 3)")
    if picture.shape[0] == 3 and picture.shape[-1] != 3:
        picture = picture.transpose(1, 2, 0)
    return picture / 255 if picture.dtype == np.uint8 else picture.clip(0, 1)


def image_grid(images: Sequence, titles: Sequence[str] = (), columns: int = 5, size: float = 2.0) -> tuple[Figure, np.ndarray]:
    """Pictures in rows, `size` inches each; Axes come as an array (rows, columns)."""
    if not len(images):
        raise ValueError("images: found none, expected at least one")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure, axes = panels(rows, columns, (columns * size, rows * size * (1.12 if titles else 1.0)))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image in zip(axes.flat, images):
        axis.imshow(as_picture(image), interpolation="nearest")
    for axis, title in zip(axes.flat, titles):
        axis.set_title(literal(title), fontsize=9)
    return figure, axes


def picture_table(
    rows: Mapping[str, Sequence], titles: Sequence[str] = (), size: float = 1.6, classes: Sequence[str] = ()
) -> tuple[Figure, np.ndarray]:
    """Rows of pictures under column titles, the name of each row at its left, a legend of classes below."""
    pictures = [picture for row in rows.values() for picture in row]
    figure, axes = image_grid(pictures, titles, columns=len(pictures) // max(len(rows), 1), size=size)
    for axis, name in zip(axes[:, 0], rows):
        axis.text(-0.08, 0.5, literal(name), transform=axis.transAxes, rotation=90, ha="right", va="center", fontsize=9)
    _legend(figure, [Patch(color=class_colour(name), label=literal(name)) for name in classes], columns=10)
    return figure, axes


def loss_curves(
    rows: Sequence[Mapping[str, float]], terms: Sequence[str], stages: Mapping[str, int], window: int = 20
) -> tuple[Figure, np.ndarray]:
    """One panel per term of metrics.jsonl rows (dicts with "step"), with stage boundaries.

    stages: name of each stage -> its first step. window: steps of the running mean drawn over the raw values.
    """
    if not rows or not terms:
        raise ValueError("rows, terms: found none, expected rows of metrics.jsonl and the names of terms in them")
    figure, axes = panels(1, len(terms), (3.4 * len(terms), 2.8))
    for axis, term, colour in zip(axes.flat, terms, SERIES_COLOURS * len(terms)):
        points = np.array([(row["step"], row[term]) for row in rows if term in row]).reshape(-1, 2)
        if not len(points):
            raise ValueError(f"terms: no row has {term!r} (there are: {', '.join(sorted(set().union(*rows)))})")
        axis.plot(*points.T, color=colour, alpha=0.25, linewidth=0.8)
        axis.plot(points[:, 0], running_mean(points[:, 1], window), color=colour)
        for number, (name, first) in enumerate(stages.items()):
            if number:
                axis.axvline(first, color="grey", linestyle=":", linewidth=1)
            place = {"transform": axis.get_xaxis_transform(), "rotation": 90, "va": "top", "fontsize": 7}
            axis.text(first, 0.98, name, color="dimgrey", **place)
        axis.set(xlabel="step", ylabel=term, xlim=(rows[0]["step"], rows[-1]["step"]))
    return figure, axes


def miou_bars(results: Mapping[str, Sequence[float]], label: str = "mIoU, %") -> tuple[Figure, plt.Axes]:
    """Mean of each row's values; where there are several, its standard error as error bar and the values as dots."""
    if not results:
        raise ValueError("results: found none, expected {name: values}")
    figure, axes = panels(1, 1, (6.0, 0.8 + 0.34 * len(results)))
    axis = axes[0, 0]
    places = np.arange(len(results))
    values = [np.asarray(row, float) for row in results.values()]
    means = [row.mean() for row in values]
    errors = [row.std(ddof=1) / np.sqrt(len(row)) if len(row) > 1 else 0.0 for row in values]
    axis.barh(places, means, color=SERIES_COLOURS[5])
    for place, row, mean, error in zip(places, values, means, errors):
        if len(row) > 1:
            axis.errorbar(mean, place, xerr=error, color="black", capsize=3)
            axis.plot(row, np.full(len(row), place), ".", color=SERIES_COLOURS[0], markersize=4)
        axis.text(max(row.max(), mean + error), place, f"  {mean:.1f}", va="center", fontsize=8)
    axis.set_yticks(places, map(literal, results))
    axis.invert_yaxis()
    axis.margins(x=0.1)
    axis.set_xlabel(label)
    return figure, axis


def grouped_bars(
    values: Mapping[str, Mapping[str, Sequence[float]]],
    label: str,
    marks: Mapping[str, Mapping[str, float]] | None = None,
) -> tuple[Figure, plt.Axes]:
    """Series -> group -> values: a bar at each mean, its standard error where there are several.

    marks: series -> group -> height of a black tick, such as what chance gives.
    """
    if not values:
        raise ValueError("values: found none, expected {series: {group: values}}")
    groups = list(next(iter(values.values())))
    figure, axes = panels(1, 1, (max(1.2 + 0.2 * len(values) * len(groups), 5.0), 3.0))
    axis, width, bars = axes[0, 0], 0.85 / len(values), []
    for number, ((name, series), colour) in enumerate(zip(values.items(), SERIES_COLOURS * len(values))):
        places = np.arange(len(groups)) + (number + 0.5) * width - 0.425
        columns = [np.asarray(series[group], float) for group in groups]
        errors = [column.std(ddof=1) / np.sqrt(len(column)) if len(column) > 1 else 0.0 for column in columns]
        means = [column.mean() for column in columns]
        look = {"color": colour, "capsize": 2, "label": literal(name)}
        bars.append(axis.bar(places, means, 0.92 * width, yerr=errors if any(errors) else None, **look))
        if marks:
            axis.hlines([marks[name][group] for group in groups], places - width / 2, places + width / 2, color="black")
    axis.set_xticks(range(len(groups)), map(literal, groups))
    axis.set_ylabel(label)
    _legend(figure, bars, columns=4)
    return figure, axis


def forest(
    series: Mapping[str, Mapping[str, tuple[float, float, float] | None]],
    label: str,
    line: float | None = None,
    axis: plt.Axes | None = None,
) -> tuple[Figure, plt.Axes]:
    """Series -> row -> (value, low, high): a point with its interval, rows from the top; None makes a row a heading.

    line: of what no effect would be; points whose interval has it inside, or that have none, are hollow.
    """
    if not series:
        raise ValueError("series: found none, expected {series: {row: (value, low, high)}}")
    rows = list(dict.fromkeys(row for points in series.values() for row in points))
    if axis is None:
        axis = panels(1, 1, (6.0, 1.0 + 0.24 * len(rows)))[1][0, 0]
    shifts = (np.arange(len(series)) - (len(series) - 1) / 2) * 0.5 / len(series)
    for (name, points), shift, colour in zip(series.items(), shifts, SERIES_COLOURS * len(series)):
        known = {rows.index(row): point for row, point in points.items() if point is not None}
        places, (values, low, high) = np.array(list(known)) + shift, np.array(list(known.values()), float).reshape(-1, 3).T
        axis.hlines(places, low, high, color=colour, linewidth=1.2)
        hollow = np.zeros(len(places), bool) if line is None else ~((low > line) | (high < line))
        axis.scatter(values, places, 16, np.where(hollow, "white", colour), edgecolors=colour, zorder=3, label=literal(name))
    if line is not None:
        axis.axvline(line, color="black", linewidth=0.8)
    axis.set_yticks(range(len(rows)), map(literal, rows), fontsize=8)
    for row, tick in zip(rows, axis.get_yticklabels()):
        if all(points.get(row) is None for points in series.values()):
            tick.set_fontweight("bold")
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel(label)
    return axis.figure, axis


def confusion_heatmap(counts, names: Sequence[str]) -> tuple[Figure, plt.Axes]:
    """A confusion matrix (n, n), rows the truth, each row as share of its sum."""
    counts = np.asarray(counts, float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.0 + 0.32 * len(names)
    figure, axes = panels(1, 1, (side + 0.8, side))
    axis = axes[0, 0]
    picture = axis.imshow(shares, cmap="viridis", vmin=0, vmax=1)
    names = [literal(name) for name in names]
    axis.set_xticks(range(len(names)), names, rotation=90)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="prediction", ylabel="truth")
    figure.colorbar(picture, label="share of the true pixels", shrink=0.8)
    return figure, axis


def latent_scatter(points, classes, class_names: Sequence[str], centres=None, attribute_centres=None) -> tuple[Figure, plt.Axes]:
    """Points (n, 2) by class (n,), centres (K, 2) as stars, attribute centres (K, M, 2) as crosses."""
    points, classes = np.asarray(points), np.asarray(classes)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points: shape {points.shape}, expected (n, 2); project them first")
    figure, axes = panels(1, 1, (6.0, 4.5))
    axis, handles, stars = axes[0, 0], [], np.asarray(centres, float) if centres is not None else None
    for index, name in enumerate(class_names):
        colour = class_colour(name)
        chosen = points[classes == index]
        axis.scatter(*chosen.T, s=10, color=colour, alpha=0.6, linewidths=0)
        if attribute_centres is not None:
            axis.scatter(*np.asarray(attribute_centres)[index].T, s=30, color=colour, marker="x")
        if stars is not None:
            star, gaps = stars[index], np.linalg.norm(stars - stars[index], axis=1)
            gaps[index] = np.inf
            left = stars[gaps.argmin(), 0] > star[0]  # the name goes there, away from the nearest star
            axis.scatter(*star, s=120, color=colour, marker="*", edgecolors="black", zorder=3)
            where = {"xytext": (-6 if left else 6, 4), "ha": "right" if left else "left"}
            label = axis.annotate(literal(name), star, textcoords="offset points", fontsize=7, zorder=2.5, **where)
            label.set_path_effects([withStroke(linewidth=2, foreground="white")])
        if len(chosen) or stars is not None:
            handles.append(Line2D([], [], color=colour, marker="o", linestyle="", label=literal(name)))
    axis.legend(handles=handles, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axis.set(xlabel="first latent direction", ylabel="second latent direction")
    return figure, axis


def distance_histograms(values: Mapping[str, Sequence[float]], dim: int, bins: int = 40) -> tuple[Figure, np.ndarray]:
    """Squared distances ||z - mu||^2 / D of latents to their centre, a panel a name, under the density of chi-square(D) / D.

    That is their law where the latents are a unit Gaussian in D = `dim` dimensions. What lies beyond the edge is drawn at it.
    """
    if not values:
        raise ValueError("values: found none, expected {name: squared distances per dimension}")
    columns = {name: np.asarray(column, float) for name, column in values.items()}
    edge = max(1.3 * max(np.quantile(column, 0.98) for column in columns.values()), 1 + 5 * np.sqrt(2 / dim))
    figure, axes = panels(1, len(columns), (3.1 * len(columns), 2.6))
    places = np.linspace(0, edge, 300)
    for axis, (name, column) in zip(axes.flat, columns.items()):
        axis.hist(column.clip(max=edge), bins=bins, range=(0, edge), density=True, color=SERIES_COLOURS[5])
        axis.plot(places, dim * chi2.pdf(dim * places, dim), color="black", linewidth=1)
        axis.set_title(literal(name), fontsize=9)
    axes[0, 0].set_ylabel("density")
    figure.supxlabel("squared distance to the centre, per dimension", fontsize=10)
    return figure, axes


def save_figure(figure: Figure, path: str | Path, dpi: int = 150) -> None:
    """Write a figure atomically, in the format of the path's suffix; folders are made."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi, bbox_inches="tight")


def panels(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    """An empty figure of `size` inches; Axes come as an array (rows, columns)."""
    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", facecolor="white")


def _legend(figure: Figure, handles: Sequence, columns: int) -> None:
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), columns), fontsize=8)


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last `window` values, of fewer at the start."""
    total = np.concatenate([[0.0], values.cumsum()])
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - window, 0)
    return (total[last] - total[first]) / (last - first)
