"""Which objects are found and which are lost, drawn and put into words by what PartWorld knows of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vdalib.evaluation.objects import FACTORS, ObjectTable
from vdalib.explore.tables import markdown_table

FEW = 5  # objects; levels with fewer are drawn, and not spoken of
Points = dict[str, tuple[float, float, float] | None]


def points(found: ObjectTable, values: np.ndarray, factors: Sequence[str]) -> Points:
    """Rows of a forest plot: each factor a heading, below it each level's mean of values (n,) in points with its interval."""
    rows: Points = {}
    for factor in factors:
        rows |= {factor: None} | {level: point for level, point in found.by_level(factor, 100 * values).items()}
    return rows


def forest(found: ObjectTable, first: str, before: str, last: str):
    """(Figure, Axes (4,)): recall of objects by ways `first` and `last`, and what the step from `before` to `last` changes."""
    from vdalib.explore import plots

    blocks = [[name for name in FACTORS if name != "kind"], ["kind"]]
    tallest = max(len(points(found, found.recall[last], block)) for block in blocks)
    figure, axes = plots.panels(1, 4, (13.0, 1.2 + 0.2 * tallest))
    for block, (shares, changes) in zip(blocks, axes.reshape(2, 2)):
        recall = {way: points(found, found.recall[way], block) for way in (first, last)}
        plots.forest(recall, "recall of an object, %", axis=shares)
        shares.set_xlim(0, 100)
        change = points(found, found.recall[last] - found.recall[before], block)
        plots.forest({"change": change}, "change by DenseCRF, points", line=0.0, axis=changes)
        changes.set_yticklabels([])
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    return figure, axes[0]


def caption(found: ObjectTable, first: str, before: str, last: str) -> str:
    """What `forest` shows, in Markdown: who loses what, chosen by the numbers."""
    recall = found.recall
    mean, low, high = (100 * value for value in found.by_level("objects", recall[last] - recall[before])["all objects"])
    shares = {way: 100 * recall[way].mean() for way in (first, last)}
    found_by, changes = _levels(found, recall[first]), _levels(found, recall[last] - recall[before])
    least = sorted(found_by, key=lambda level: found_by[level][0])[:3]
    losing = [level for level, (_, _, high) in changes.items() if high < 0]
    gaining = [level for level, (_, low, _) in changes.items() if low > 0]
    missed, undone = (1 - recall[last]).sum(), np.maximum(recall[before] - recall[last], 0).sum()

    def told(levels: Sequence[tuple[str, str]]) -> str:
        ordered = sorted(levels, key=lambda level: -abs(changes[level][0]))[:6]
        more = f" and {len(levels) - len(ordered)} more" if len(levels) > len(ordered) else ""
        return ", ".join(f"{factor} *{level}* ({changes[factor, level][0]:+.0f})" for factor, level in ordered) + more

    lines = [
        f"{len(found)} objects in {len(np.unique(found.images))} images. Mean recall of an object: {shares[first]:.1f} % by "
        f"{first}, {shares[last]:.1f} % by {last}; the step from *{before}* to the latter, DenseCRF alone, changes it by "
        f"{mean:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}).",
        f"The segmenter itself, by {first}, finds least of: "
        + (", ".join(f"{factor} *{level}* ({found_by[factor, level][0]:.0f} %)" for factor, level in least) or "nothing to tell")
        + f" (levels with {FEW} objects or more).",
        f"DenseCRF loses recall of: {told(losing)}." if losing else "No level loses recall by DenseCRF beyond its interval.",
        f"DenseCRF gains recall of: {told(gaining)}." if gaining else "No level gains recall by DenseCRF beyond its interval.",
        f"Of the recall that the final masks lack, {100 * undone / max(missed, 1e-9):.0f} % is what DenseCRF takes from objects "
        "whose recall it lowers; the rest was not found before it, either.",
        f"What speaks against it: of {len(changes)} intervals one in twenty excludes zero by luck; factors go together (a scene "
        "has its classes, a large object meets the border); recall says nothing of false pixels, which IoU counts.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def table(found: ObjectTable, factors: Sequence[str], ways: Sequence[str]) -> str:
    """By level: objects, IoU of an object and its share lost to the background, in percent, by each way."""
    rows = []
    for factor in factors:
        columns = [found.by_level(factor, 100 * of[way]) for of in (found.iou, found.background) for way in ways]
        rows += [
            [f"{factor}: {level}", n, *(column[level][0] for column in columns)] for level, n in found.counts(factor).items()
        ]
    heads = [f"{what}, {way}" for what in ("IoU", "taken for background") for way in ways]
    return markdown_table(["objects, %", "number", *heads], rows)


def _levels(found: ObjectTable, values: np.ndarray) -> dict[tuple[str, str], tuple[float, float, float]]:
    """(factor, level) -> mean of values (n,) in points with its interval, of levels of FEW objects or more."""
    return {
        (factor, level): point
        for factor in FACTORS
        if factor != "objects"
        for level, point in found.by_level(factor, 100 * values).items()
        if found.counts(factor)[level] >= FEW
    }
