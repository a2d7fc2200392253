"""Methods side by side: what was measured here, from the JSON of `benchmarks/`, beside what was published."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vdalib.config.methods import BUILT_IN
from vdalib.explore.plots import SERIES_COLOURS, panels
from vdalib.explore.tables import markdown_table, mean_and_error

MEASURES = {"seed_miou": "seeds", "miou": "val", "miou_ms_crf": "val, multi-scale + CRF"}
REFERENCE = "vda"
NAMES = {
    "vda": "VDA",
    "excel": "ExCEL",
    "weclip": "WeCLIP",
    "toco": "ToCo",
    "seco": "SeCo",
    "text": "text only",
    "class_mean": "class mean, no INN",
}
PART_NAMES = {  # of the marks in the library, as a reader calls them
    "clip": "frozen CLIP",
    "cam and affinity": "CAMs and random walk",
    "par": "PAR",
    "segmenter backward": "backward pass",
    "inn and assembly": "INN and assembly",
    "other": "everything else",
}


class Training(NamedTuple):
    """minutes: of a whole training. memory: its peak, GB. miou: percent, of val with multi-scale and CRF."""

    minutes: float
    memory: float
    miou: float


PUBLISHED = {  # VOC 2012: [A] Table 1, which names no GPU
    "toco": Training(506, 17.9, 71.1),
    "seco": Training(407, 17.6, 74.0),
    "weclip": Training(270, 6.2, 76.4),
    "excel": Training(90, 3.2, 78.4),
    "vda": Training(117, 4.5, 79.9),
}


def number_format(precision: str) -> str:
    """What the setting `precision` computes in.

    >>> number_format("no"), number_format("bf16")
    ('fp32', 'bf16')
    """
    return "fp32" if precision == "no" else precision


def entries_of(path: str | Path) -> list[dict[str, Any]]:
    """The entries of a benchmark's file that are of its last one's version, since code of two is not compared; none without."""
    path = Path(path)
    entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return [entry for entry in entries if entry["version"] == entries[-1]["version"]]


def measured(runs: Sequence[Mapping[str, Any]]) -> dict[str, Training]:
    """Means over the seeds of each method in `benchmarks/methods.json`."""
    costs = {name: [(*_cost(run), run["miou_ms_crf"]) for run in own.values()] for name, own in _by_method(runs).items()}
    return {name: Training(*np.mean(values, axis=0).tolist()) for name, values in costs.items()}


def trainings(runs: Sequence[Mapping[str, Any]]) -> str:
    """Table 1: whole trainings, measured on PartWorld (mean over seeds and its standard error) and published for VOC 2012."""
    by_method, rows = _by_method(runs), []
    for name in BUILT_IN:
        own = [*by_method.get(name, {}).values()]
        here = list(zip(*((*_cost(run), run["miou_ms_crf"]) for run in own))) or ((),) * 3
        there = PUBLISHED.get(name, ("",) * 3)
        pairs = [(f"{mean_and_error(values)} measured" if own else "not measured yet", told) for values, told in zip(here, there)]
        rows.append([NAMES[name], *(cell for here, told in pairs for cell in (here, f"{told} published" if told else "none"))])
    columns = [f"{what}, {where}" for what in ("minutes", "GB", "mIoU, %") for where in ("PartWorld", "VOC")]
    return markdown_table(["", *columns], rows)


def compared(runs: Sequence[Mapping[str, Any]], reference: str = REFERENCE) -> str:
    """Two tables of what was measured, mIoU and cost: means over seeds +- standard errors, differences and ratios to the
    reference method, both paired by seed."""
    by_method, quality, costs = _by_method(runs), [], []
    for name, own in by_method.items():
        pairs = [(run, by_method.get(reference, {})[seed]) for seed, run in own.items() if seed in by_method.get(reference, {})]
        gains = [[run[measure] - other[measure] for run, other in pairs] for measure in MEASURES]
        ratios = [[run[cost] / other[cost] for run, other in pairs] for cost in ("seconds", "peak_gib")]
        told, paired = f"{NAMES[name]} ({len(own)})", pairs and name != reference
        means = [mean_and_error([run[measure] for run in own.values()]) for measure in MEASURES]
        quality.append([told, *means, *(mean_and_error(values) if paired else "" for values in gains)])
        seconds, memory = ([run[cost] for run in own.values()] for cost in ("seconds", "peak_gib"))
        costs.append(
            [told, mean_and_error(seconds), f"{np.mean(memory):.2f}", *(f"{np.mean(v):.2f}" if pairs else "" for v in ratios)]
        )
    other = NAMES[reference]
    tables = (
        (["mIoU, % (seeds)", *MEASURES.values(), *(f"{name}: minus {other}'s" for name in MEASURES.values())], quality),
        (["cost (seeds)", "seconds", "peak GiB", f"time to {other}'s", f"memory to {other}'s"], costs),
    )
    return "\n\n".join(markdown_table(*table) for table in tables)


def confusion(runs: Sequence[Mapping[str, Any]], scenes: Mapping[str, str]) -> str:
    """SeCo's confusion ratio, false over true pixels of a class in val, multi-scale + CRF: means over seeds +- standard errors.

    scenes: class -> what it nearly always stands in, which a method that follows company takes for it. Runs without `pixels` have
    no row; a class of which some run has no true pixel has no mean.
    """
    rows = []
    for name, own in _by_method(runs).items():
        pixels = [run["pixels"] for run in own.values() if "pixels" in run]
        ratios = [[one[k][0] / one[k][1] if one[k][1] else math.inf for one in pixels] for k in scenes]
        if pixels:
            rows.append([NAMES[name], *("∞" if math.inf in values else mean_and_error(values) for values in ratios)])
    return markdown_table(["false / true pixels", *(f"{k} ({scene})" for k, scene in scenes.items())], rows) if rows else ""


def steps(entries: Sequence[Mapping[str, Any]]) -> str:
    """The full-size steps of `benchmarks/step.json`, a row a method and precision; ratios are to VDA's of the same precision."""
    references = {entry["precision"]: entry for entry in entries if entry["method"] == REFERENCE}
    rows = []
    for entry in entries:
        other, told = references.get(entry["precision"]), PUBLISHED.get(entry["method"])
        seconds = 3600 * entry["hours"] / entry["steps"]
        name = f"{NAMES[entry['method']]}, {number_format(entry['precision'])}"
        cost = [f"{seconds:.3g}", f"{seconds / entry['plain_seconds']:.2f}", f"{entry['hours']:.1f}", f"{entry['peak_gib']:.2f}"]
        here = [f"{entry[key] / other[key]:.2f}" if other else "" for key in ("hours", "peak_gib")]
        there = [f"{mine / theirs:.2f} published" if told else "" for mine, theirs in zip(told or (), PUBLISHED[REFERENCE])][:2]
        cells = [f"{cell} measured" if cell else "" for cell in (*cost, *here)]
        rows.append([name, f"{entry['batch_size']} x {entry['crop']} px", *cells, *(there or ["", ""])])
    columns = ["seconds a step", "plain forwards", "hours", "GiB", "time to VDA's", "memory to VDA's"]
    return markdown_table(["", "batch", *columns, "time to VDA's", "memory to VDA's"], rows)


def cost_aims(entries: Sequence[Mapping[str, Any]]) -> str:
    """Whether VDA's step costs what it should, a row a precision: in units of ExCEL's, of the plain forward, and in GiB."""
    rows = []
    for precision, forwards in {"no": 1.5, "bf16": 2.5}.items():
        own = {entry["method"]: entry for entry in entries if entry["precision"] == precision}
        if not {REFERENCE, "excel"} <= own.keys():
            continue
        vda, excel = own[REFERENCE], own["excel"]
        last = [*vda["stage_seconds"].values()][-1] / vda["plain_seconds"]
        time, memory = (vda[key] / excel[key] for key in ("hours", "peak_gib"))
        found = ((time, 1.1), (memory, 1.1), (last, forwards), (vda["peak_gib"], 1.7))
        cells = [f"{value:.2f}: {'met' if value <= most else 'missed'} (at most {most})" for value, most in found]
        rows.append([f"VDA, {number_format(precision)}", *cells])
    columns = ["time to ExCEL's", "memory to ExCEL's", "last stage's step in plain forwards", "peak GiB"]
    return markdown_table(["aims", *columns], rows) if rows else ""


def parts_of_a_step(entries: Sequence[Mapping[str, Any]]) -> str:
    """Where the reference method's step of its last stage goes, in seconds, in brackets in units of the plain forward; "" where
    no parts were measured."""
    own = [entry for entry in entries if entry["method"] == REFERENCE and entry["part_seconds"]]
    if not own:
        return ""
    columns = [{**[*entry["part_seconds"].values()][-1], "whole step": [*entry["stage_seconds"].values()][-1]} for entry in own]
    told = [
        [PART_NAMES.get(part, part)]
        + [f"{column[part]:.3g} ({column[part] / entry['plain_seconds']:.2f})" for column, entry in zip(columns, own)]
        for part in columns[0]
    ]
    header = [number_format(entry["precision"]) for entry in own]
    return markdown_table([f"{NAMES[REFERENCE]}, last stage", *header], told)


def time_and_quality(worlds: Mapping[str, Mapping[str, Training]]) -> tuple[Figure, np.ndarray]:
    """mIoU against the minutes of a training, a panel a world; the area of a disc is the memory, on one scale in each panel.

    worlds: title -> {method: Training}; a world without any says that nothing was measured yet.
    """
    figure, axes = panels(1, len(worlds), (4.6 * len(worlds), 3.4))
    colours = dict(zip(NAMES, SERIES_COLOURS, strict=True))
    for axis, (title, found) in zip(axes.flat, worlds.items()):
        largest = max((one.memory for one in found.values()), default=1)
        for name, one in found.items():
            axis.scatter(one.minutes, one.miou, s=900 * one.memory / largest, color=colours[name], alpha=0.55, edgecolors="black")
        axis.set(title=title, xlabel="minutes of a training", ylabel="mIoU, %")
        axis.margins(0.25)
        if found:
            disc = Line2D([], [], marker="o", linestyle="", color="lightgrey", markeredgecolor="black", markersize=10)
            axis.legend([disc], [f"area: memory, at most {largest:.3g} GB"], fontsize=7, loc="lower right")
        else:
            axis.text(0.5, 0.5, "not measured yet", transform=axis.transAxes, ha="center")
    shown = [name for name in NAMES if any(name in found for found in worlds.values())]
    handles = [Line2D([], [], marker="o", linestyle="", color=colours[name], label=NAMES[name]) for name in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=7, fontsize=8, frameon=False)
    return figure, axes


def _cost(run: Mapping[str, Any]) -> tuple[float, float]:
    """Minutes and GB."""
    return run["seconds"] / 60, run["peak_gib"] * 2**30 / 1e9


def _by_method(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Method -> seed -> run, of the methods that are there, in the order of the registry."""
    found = {name: {run["seed"]: run for run in runs if run["method"] == name} for name in BUILT_IN}
    return {name: own for name, own in found.items() if own}
