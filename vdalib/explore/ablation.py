"""An ablation as tables in Markdown and a forest plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vdalib.evaluation.ablation import AIMS, BASE, FEWEST, HEADLINE, REPLAYED, SHOWN, TEXT, Rows, by_row, is_finding, paired
from vdalib.evaluation.comparison import Difference, difference
from vdalib.explore.tables import markdown_table, mean_and_error

NONE_YET = "Not measured with this code yet: `python benchmarks/ablation.py`."
FAR = 3.5  # points: a row further away stands at the edge of the forest plot as a number


def gained(gain: Difference | None, digits: int = 2) -> str:
    """A signed difference with its standard error.

    >>> gained(Difference(-0.04, 0.3, 5)), gained(Difference(1.0, math.nan, 1)), gained(None)
    ('-0.04 ± 0.30', '+1.00', '')
    """
    if gain is None:
        return ""
    error = "" if math.isnan(gain.error) else f" ± {gain.error:.{digits}f}"
    return f"{round(gain.mean, digits) + 0.0:+.{digits}f}{error}"  # no -0.00


def marked(gain: Difference | None, digits: int = 2) -> str:
    """The same, in bold where it is a finding."""
    return f"**{gained(gain, digits)}**" if gain and is_finding(gain) else gained(gain, digits)


def means(rows: Rows) -> str:
    """Every row's mean over its seeds with its standard error."""
    table = [
        [row, len(runs), *(mean_and_error([entry[key] for entry in runs.values()]) for key in SHOWN)]
        for row, runs in rows.items()
    ]
    return markdown_table(["mIoU, %", "runs", *SHOWN.values()], table)


def differences(rows: Rows, base: str = BASE, measures: Mapping[str, str] = SHOWN) -> str:
    """Every row minus `base`, paired by seed, with the standard error of the pairs; in bold findings.

    measures: names in the entries -> heads of columns.
    """
    table = []
    for row in rows:
        gains = [paired(rows, row, base, _measure(key)) for key in measures]
        if row != base and gains[0]:
            table.append([row, gains[0].pairs, *map(marked, gains)])
    return markdown_table([f"minus *{base}*, points of mIoU", "pairs", *measures.values()], table) if table else ""


def comparable(rows: Rows, base: str = BASE) -> list[str]:
    """The rows that share FEWEST seeds or more with `base`."""
    return [row for row, runs in rows.items() if row != base and len(runs.keys() & rows.get(base, {}).keys()) >= FEWEST]


def forest(rows: Rows, base: str = BASE):
    """(Figure, Axes (measures,)): every row minus `base`, with two standard errors to each side.

    Raises ValueError where no row shares FEWEST seeds with it.
    """
    from vdalib.explore import plots

    known = comparable(rows, base)
    if not known:
        raise ValueError(f"rows: expected some that share {FEWEST} seeds with {base!r}")
    figure, axes = plots.panels(1, len(SHOWN), (10.0, 1.0 + 0.24 * len(known)))
    for axis, (key, label) in zip(axes[0], SHOWN.items()):
        bounds = {row: _bounds(paired(rows, row, base, _measure(key))) for row in known}
        plots.forest({label: bounds}, f"points, row minus “{base}”", line=0.0, axis=axis)
        axis.set(title=label, xlim=(-FAR, FAR))
        for place, (value, *_) in enumerate(bounds.values()):
            if abs(value) > FAR:
                side, left = ("left", 0.03) if value < 0 else ("right", 0.97)
                axis.text(left, place, f"{value:+.1f}", transform=axis.get_yaxis_transform(), ha=side, va="center", fontsize=8)
        if axis is not axes[0, 0]:
            axis.set_yticklabels([])
    return figure, axes[0]


def aims(rows: Rows) -> str:
    """For each aim whether it is met, by every measure."""
    table = []
    for aim in AIMS:
        gains = [paired(rows, aim.better, aim.worse, _measure(key)) for key in SHOWN]
        cells = [f"{gained(gain)}: {aim.verdict(gain)}".removeprefix(": ") for gain in gains]
        table.append([f"{aim.says} (*{aim.better}* minus *{aim.worse}* above {aim.least:g})", *cells])
    return markdown_table(["aim", *SHOWN.values()], table)


def verdicts(rows: Rows) -> str:
    """Each aim with its verdict by HEADLINE and with its differences by every measure, a nested list."""
    lines = []
    for aim in AIMS:
        gains = {key: paired(rows, aim.better, aim.worse, _measure(key)) for key in SHOWN}
        others = ", ".join(f"{SHOWN[key]} {gained(gain)}" for key, gain in gains.items() if key != HEADLINE and gain)
        told = f"{gained(gains[HEADLINE])} (by {others})" if others else ""
        lines.append(f"    - {aim.says}: {aim.verdict(gains[HEADLINE])} {told}".rstrip())
    return "\n".join(lines)


def per_class(rows: Rows, others: Sequence[str], apart: str = "") -> str:
    """IoU of each class in BASE, with its error over images, and its difference to other rows, paired by seed.

    apart: a class that stands apart; the last line is the mean of all others.

    The error is the bootstrap's of each run; seeds have images of their own, so those of the mean add up in squares.
    """
    runs = [entry["per_class"] for entry in rows.get(BASE, {}).values() if "per_class" in entry]
    others = [row for row in others if row in rows]
    table = []
    for name in runs[0] if runs else ():
        ious, errors = zip(*(run[name] for run in runs if name in run))
        error = math.hypot(*errors) / len(errors)
        gains = [paired(_with(rows, name), BASE, row, _class(name)) for row in others]
        table.append([name, f"{np.mean(ious):.1f} ± {error:.1f}", *map(marked, gains)])
    if apart:
        rest = [np.mean([iou for name, (iou, _) in run.items() if name != apart]) for run in runs]
        gains = [paired(rows, BASE, row, _mean_without(apart)) for row in others]
        table.append([f"mean of all but {apart}", mean_and_error(rest), *map(marked, gains)])
    heads = [f"*{BASE}* minus *{row}*" for row in others]
    return markdown_table(["IoU, %", f"*{BASE}* (± over images)", *heads], table) if table else ""


def fed(rows: Rows) -> str:
    """From how many prototypes the mixture of each row learned, of the runs that say so; "" where none do."""
    table = []
    for row, runs in rows.items():
        counts = [entry["prototypes"] for entry in runs.values() if "prototypes" in entry]
        if counts:
            totals, fewest = ([of(found) for found in counts] for of in (sum, min))
            never = max(found.count(0) for found in counts)
            table.append([f"{row} ({len(counts)})", mean_and_error(totals, 0), min(fewest), never])
    heads = ["row (runs)", "prototypes learned from", "fewest of one class in any run", "most classes that one run never met"]
    return markdown_table(heads, table) if table else ""


def updates(rows: Rows, replay: int):
    """(Figure, Axes (measures,)): rows of more or fewer INN updates minus BASE, with two standard errors to each side.

    replay: the updates that BASE replays after each on fresh prototypes.
    Raises ValueError where no such row shares FEWEST seeds with it.
    """
    from vdalib.explore import plots

    known = {row: count for row, count in REPLAYED.items() if row in comparable(rows)}
    if not known:
        raise ValueError(f"rows: expected some of {', '.join(REPLAYED)} that share {FEWEST} seeds with {BASE!r}")
    figure, axes = plots.panels(1, len(SHOWN), (10.0, 2.6))
    for axis, (key, label) in zip(axes[0], SHOWN.items()):
        points = [(1 + replay, 0.0, 0.0)]
        for row, count in known.items():
            gain = paired(rows, row, BASE, _measure(key))
            points.append((1 + count, gain.mean, 2 * gain.error))
        made, gains, errors = zip(*sorted(points))
        axis.errorbar(made, gains, errors, marker="o", capsize=3)
        axis.axhline(0, color="0.6", linewidth=0.8)
        axis.set_xscale("log", base=2)
        axis.set_xticks(made, [str(count) for count in made])
        axis.set(xlabel="INN updates a batch", title=label)
    axes[0, 0].set_ylabel(f"points, row minus “{BASE}”")
    return figure, axes[0]


def ladder(runs: Sequence[Mapping[str, Any]]) -> str:
    """Entries of benchmarks/queries.json as a table for each row of the ablation.

    Means over seeds with their standard error, and what a query has more than text and than the line above, paired by
    seed; bold: a finding.
    """
    return "\n\n".join(f"Runs of the row *{row}*:\n\n{_rungs(list(own.values()))}" for row, own in by_row(runs).items())


def gaps(runs: Sequence[Mapping[str, Any]], base: str = BASE) -> str:
    """Entries of benchmarks/queries.json as a table: differences of two descriptions' seeds in runs of each row, paired by seed.

    The last columns are a row's difference minus that of `base`, over the seeds that both have; bold: a finding. A row without
    such a description has none.
    """
    rows, table = by_row(runs), []
    names = dict.fromkeys(name for run in runs for name in run["seeds"])
    endings = ("text alone", "class centre of the mixture", "assembled", "in latent space", "centres", "centres, of whole images")
    text, centre, attributes, latent, clip, whole = (
        next((name for name in names if name.endswith(ending)), "") for ending in endings
    )
    others = [row for row in rows if row != base] if base in rows else []
    pairs = (
        (whole, attributes),
        (clip, attributes),
        (clip, latent),
        (attributes, latent),
        (attributes, centre),
        (attributes, text),
    )
    for better, worse in pairs:
        own = {}
        for row, found in rows.items():
            of_both = {seed: e["seeds"] for seed, e in found.items() if {better, worse} <= e["seeds"].keys()}
            own[row] = {seed: seeds[better] - seeds[worse] for seed, seeds in of_both.items()}
        gained_here = [marked(difference(dict.fromkeys(gap, 0.0), gap)) for gap in own.values()]
        if any(gained_here):
            table.append(
                [f"{better} **minus** {worse}", *gained_here, *(marked(difference(own[base], own[row])) for row in others)]
            )
    heads = [*(f"*{row}*" for row in rows), *(f"*{row}* minus *{base}*" for row in others)]
    return markdown_table(["seeds, points of mIoU", *heads], table)


def fits(runs: Sequence[Mapping[str, Any]]) -> str:
    """Entries of benchmarks/queries.json as a table: how well flow and mixture fit what they learned from, and the rest.

    Without the constant, D / 2 log 2 pi; less is a better fit.
    """
    rows, table = by_row(runs), []
    for row, own in rows.items():
        kept = [[entry["nats"][name] for entry in own.values()] for name in runs[0]["nats"]]
        table.append([row, *(mean_and_error(values, 2) if None not in values else "" for values in kept)])
    return markdown_table(["negative log-likelihood given the class, nats a dimension", *runs[0]["nats"]], table)


def lost_on_the_way(runs: Sequence[Mapping[str, Any]], base: str = TEXT) -> str:
    """Entries of benchmarks/labels.py as a table for each row but `base`: from CAM to prediction, beside `base`.

    The last columns are the row's own queries minus those of `base` and, where that is TEXT, minus text in the same runs; bold: a
    finding. All are of the seeds that both rows have.
    """
    rows = by_row(runs)
    own, rivals = rows.get(base, {}), [(row, found) for row, found in rows.items() if row != base]
    places = [name for name, value in runs[0].items() if isinstance(value, dict)]
    found = []
    for rival, others in rivals:
        table = []
        shared = sorted(others.keys() & own.keys())
        for place, rung in ((name, of) for name in places for of in runs[0][name]["own"]):
            first, second, text = (
                {seed: of_row[seed][place][asked][rung] for seed in shared if rung in of_row[seed][place][asked]}
                for of_row, asked in ((own, "own"), (others, "own"), (others, "text"))
            )
            gains = [marked(difference(values, second)) for values in ((first, text) if base == TEXT else (first,))]
            table.append([f"{place}: {rung}", *(mean_and_error([*values.values()]) for values in (first, second)), *gains])
        heads = [f"mIoU, % ({len(shared)} seeds)", f"*{base}*", f"*{rival}*", f"minus *{base}*", "minus text in the same runs"]
        found.append(markdown_table(heads[: len(table[0])], table))
    return "\n\n".join(found)


def mistakes(runs: Sequence[Mapping[str, Any]], name: str, scene: str, base: str = TEXT) -> str:
    """Entries of benchmarks/mistakes.py as a table: precision, recall and false pixels of a class, and rows minus `base`.

    scene: where most of the class is; false background pixels of pictures without the class are told apart by it.
    """

    def share(*kinds: str):
        def of_true(entry: Mapping[str, Any]) -> float:
            pixels = entry["classes"][name]
            return 100 * sum(pixels.get(kind, 0) for kind in kinds) / pixels["true"]

        return of_true

    def precision(entry: Mapping[str, Any]) -> float:
        pixels = entry["classes"][name]
        return 100 * pixels["right"] / max(sum(pixels.values()) - pixels["true"], 1)

    kinds = dict.fromkeys(kind for entry in runs for kind in entry["classes"][name])
    elsewhere = [kind for kind in kinds if kind.startswith("elsewhere") and kind != f"elsewhere, {scene}"]
    columns = {
        "precision": precision,
        "recall": share("right"),
        "on other objects": share("on others"),
        f"around a {name}": share("around it"),
        f"no {name} there, {scene}": share(f"elsewhere, {scene}"),
        f"no {name} there, other scenes": share(*elsewhere),
    }
    rows = by_row(runs)
    table = [[row, *(mean_and_error([*map(value, own.values())]) for value in columns.values())] for row, own in rows.items()]
    for row in rows:
        gains = [paired(rows, row, base, value) for value in columns.values()]
        if row != base and gains[0]:
            table.append([f"{row} minus {base}", *map(marked, gains)])
    return markdown_table([f"{name}, %", *columns], table)


def _rungs(runs: Sequence[Mapping[str, Any]]) -> str:
    table, text, before = [], {}, {}
    for name in runs[0]["seeds"]:
        seeds = {run["seed"]: run["seeds"][name] for run in runs}
        close = [run["closeness"][name] for run in runs if name in run["closeness"]]
        gains = [marked(difference(other, seeds)) if other else "" for other in (text, before)]
        table.append([name, mean_and_error([*seeds.values()]), *gains, mean_and_error(close, 3) if close else ""])
        text, before = text or seeds, seeds
    return markdown_table(["description", "seeds", "minus text", "minus the line above", "cosine to the prototype"], table)


def _measure(key: str):
    return lambda entry: entry[key]


def _class(name: str):
    return lambda entry: entry["per_class"][name][0]


def _mean_without(apart: str):
    return lambda entry: np.mean([iou for name, (iou, _) in entry["per_class"].items() if name != apart])


def _with(rows: Rows, name: str) -> Rows:
    return {row: {seed: e for seed, e in runs.items() if name in e.get("per_class", {})} for row, runs in rows.items()}


def _bounds(gain: Difference) -> tuple[float, float, float]:
    return gain.mean, gain.mean - 2 * gain.error, gain.mean + 2 * gain.error
