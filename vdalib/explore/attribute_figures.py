"""The paper's Figure 1, on the true parts of objects, and which parts the patches of each component show.

A table (M, P) counts the patches of a class by component and part (`measuring_attributes.part_table`). Colours are those of the
parts, in every figure; a component has the colour of the part that it is matched with, or a grey where none is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from vdalib.data.partworld import PARTS, PartWorld
from vdalib.evaluation.attributes import matched
from vdalib.evaluation.measuring_attributes import Components, Seen, component_map, parts_of
from vdalib.explore.browsing import DESCRIPTION, SEED, Browser
from vdalib.explore.plots import SERIES_COLOURS, as_picture, cam_overlay, panels

PART_COLOURS = plt.matplotlib.colors.to_rgba_array(SERIES_COLOURS[:6])[:, :3]
Tables = Mapping[int, np.ndarray]  # class -> (M, P)


@dataclass
class Portrait:
    """An object and the CAMs of the strongest components of its class.

    image: (H, W, 3) in 0..1. mask: bool (H, W), the class by its true mask. parts: int (H, W), as in part masks; None where the
    data know no parts. components: numbers, strongest first. responses: theirs. cams: (n, h, w) in 0..1.
    """

    k: int
    class_name: str
    image: np.ndarray
    mask: np.ndarray
    parts: np.ndarray | None
    components: list[int]
    responses: list[float]
    cams: torch.Tensor


def portrait(browser: Browser, index: int, k: int, strongest: int = 5) -> Portrait:
    """Class k in image `index` of the browser's data set, where it has a prototype. Masks are opened to be drawn."""
    responses, dataset = browser.responses(index, k), browser.dataset
    order = responses.order[:strongest]
    cams = torch.stack([browser.view(index, k, [c], DESCRIPTION, map=SEED).shown for c in order])
    image = as_picture(browser.evidence(index).images[0])
    maps = [dataset.mask(index)] + ([dataset.part_mask(index)] if hasattr(dataset, "part_mask") else [])
    truth, parts = (*(_resized(torch.from_numpy(one), image.shape[:2], "nearest").numpy() for one in maps), None)[:2]
    weights = [float(responses.weights[c]) for c in order]
    return Portrait(k, browser.run.class_names[k], image, truth == k + 1, parts, order, weights, cams)


def figure_1(portraits: Sequence[Portrait], tables: Tables, inside: bool = True, size: float = 1.3) -> Figure:
    """A row for each portrait: the image and the CAMs of its components, under outlines of the true parts; whose colour is whose.

    inside: each CAM is scaled between its least and its largest value inside the object, where a CAM of the whole image [A]
        shows object against background first of all. tables: of the run; empty where the data know no parts.
    """
    columns = 1 + max(len(one.components) for one in portraits)
    figure, axes = panels(len(portraits), columns + bool(tables), ((columns + bool(tables)) * size, len(portraits) * size * 1.1))
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for row, one in zip(axes, portraits):
        row[0].imshow(one.image)
        row[0].set_ylabel(one.class_name, fontsize=9)
        colours = component_colours(tables[one.k]) if tables else dict.fromkeys(one.components, "0.3")
        for axis, component, response, cam in zip(row[1:], one.components, one.responses, one.cams):
            axis.imshow(cam_inside(one.image, cam, one.mask) if inside else cam_overlay(one.image, cam))
            axis.set_title(f"{component}: {response:.2f}", fontsize=8)
            axis.spines[:].set(visible=True, color=colours[component], linewidth=3)
        if tables:
            for axis in row[:columns]:
                outline_parts(axis, one.parts, one.k)
            part_legend(row[-1], one.k, [tables[one.k]])
    return figure


def cam_inside(image: np.ndarray, cam: torch.Tensor, mask: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) under a CAM (h, w) that is scaled inside the mask, bool (H, W); pale grey outside of it."""
    cam = _resized(cam, mask.shape, "bilinear")
    if mask.any():
        own = cam[torch.from_numpy(mask)]
        cam = (cam - own.min()) / (own.max() - own.min()).clamp_min(1e-8)
    outside = 0.6 + 0.4 * image.mean(2, keepdims=True)
    return np.where(mask[..., None], cam_overlay(image, cam, 0.75), outside)


def outline_parts(axis: plt.Axes, parts: np.ndarray, k: int) -> None:
    """The outline of each part of class k that a part mask (H, W) shows, in the part's colour."""
    for number, colour in zip(parts_of(k), PART_COLOURS):
        if (parts == number).any():
            axis.contour(parts == number, [0.5], colors=[colour], linewidths=0.9)


def component_colours(table: np.ndarray) -> np.ndarray:
    """(M, 3): the colour of the part that a component is matched with, greys for those that are left over."""
    part = matched(table)
    greys = np.linspace(0.35, 0.8, max((part < 0).sum(), 1))[:, None].repeat(3, 1)
    colours = PART_COLOURS[np.maximum(part, 0)]
    colours[part < 0] = greys[: (part < 0).sum()]
    return colours


def part_legend(axis: plt.Axes, k: int, tables: Sequence[np.ndarray]) -> None:
    """The parts of class k beside the component that each is matched with, and the share of its patches that show the part."""
    axis.set_axis_off()
    handles = []
    for place, (number, colour) in enumerate(zip(parts_of(k), PART_COLOURS)):
        own = [(table, np.flatnonzero(matched(table) == place)) for table in tables]
        found = [f"{i[0]} ({table[i[0], place] / table[i[0]].sum():.0%})" if len(i) else "none" for table, i in own]
        handles.append(Patch(color=colour, label=f"{PARTS[number - 1][1]}: {' | '.join(found)}"))
    if any((matched(table) < 0).any() for table in tables):
        handles.append(Patch(color="0.6", label="grey: no part left"))
    axis.legend(
        handles=handles,
        title="part: component (share)",
        title_fontsize=6.5,
        fontsize=6.5,
        loc="center left",
        frameon=False,
        borderaxespad=0,
        handlelength=1,
    )


def component_maps(world: PartWorld, seen: Seen, runs: Mapping[str, tuple[Components, Tables]], classes: Sequence[int]) -> Figure:
    """For each class the image of `seen`, of `world`, that shows most of it: each patch's component in each run, and its part."""
    titles = ["image", *runs, "true parts"]
    figure, axes = panels(len(classes), len(titles) + 1, (1.6 * (len(titles) + 1), 1.6 * len(classes)))
    for row, k in zip(axes, classes):
        chosen, own = int(np.isin(seen.parts, parts_of(k)).sum(1).argmax()), parts_of(k)
        h, w = seen.grids[chosen]
        places = seen.parts[chosen][: h * w].reshape(h, w)
        maps = [component_map(seen, chosen, k, components) for components, _ in runs.values()]
        maps.append(np.where(np.isin(places, own), places - own[0], -1))
        colours = [component_colours(tables[k]) for _, tables in runs.values()] + [PART_COLOURS]
        row[0].imshow(as_picture(world[chosen].image))
        for axis, numbers, own_colours in zip(row[1:], maps, colours):
            axis.imshow(np.vstack([own_colours, np.ones(3)])[numbers])
        part_legend(row[-1], k, [tables[k] for _, tables in runs.values()])
        row[0].set_ylabel(world.class_names[k], fontsize=9)
        for axis in row:
            axis.set(xticks=[], yticks=[])
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=9)
    return figure


def part_heatmaps(runs: Mapping[str, Tables], classes: Sequence[int]) -> Figure:
    """Of the patches of each component (column) the share that shows each part (row); columns in the order of their parts."""
    figure, axes = panels(len(runs), len(classes), (3.0 * len(classes), 2.3 * len(runs)))
    for row, (name, tables) in zip(axes, runs.items()):
        for axis, k in zip(row, classes):
            part = matched(tables[k])
            order = np.argsort(np.where(part < 0, len(PARTS), part), kind="stable")
            counts = tables[k][order].T  # (P, M)
            picture = axis.imshow(counts / np.maximum(counts.sum(0), 1), cmap="viridis", vmin=0, vmax=1, aspect="auto")
            axis.set_yticks(range(len(counts)), [PARTS[number - 1][1] for number in parts_of(k)], fontsize=7)
            taken = counts.sum(0) / max(counts.sum(), 1)
            axis.set_xticks(range(len(order)), [f"{i}\n{share:.0%}" for i, share in zip(order, taken)], fontsize=6)
            axis.set_title(f"{PartWorld.class_names[k]}, {name}", fontsize=9)
    figure.supxlabel("component, and the share of all patches that it takes", fontsize=9)
    figure.colorbar(picture, ax=axes, label="share of its patches")
    return figure


def _resized(one: torch.Tensor, shape: Sequence[int], mode: str) -> torch.Tensor:
    extra = {} if mode == "nearest" else {"align_corners": False}
    return F.interpolate(one[None, None].float(), tuple(shape), mode=mode, **extra)[0, 0]
