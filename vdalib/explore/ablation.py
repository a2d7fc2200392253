"""An ablation as tables in Markdown, a forest plot, and sentences that its numbers choose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vdalib.evaluation.ablation import AIMS, BASE, HEADLINE, REPLAYED, SHOWN, Aim, Rows, by_row, is_finding, paired
from vdalib.evaluation.comparison import Difference, difference
from vdalib.explore.tables import markdown_table, mean_and_error

FAR = 3.5  # points: a row further away stands at the edge of the forest plot as a number
NONE_YET = "Not measured with this code yet: `python benchmarks/ablation.py`."


def gained(gain: Difference | None) -> str:
    """A signed difference with its standard error.

    >>> gained(Difference(-0.04, 0.3, 5)), gained(Difference(1.0, math.nan, 1)), gained(None)
    ('-0.04 ± 0.30', '+1.00', '')
    """
    if gain is None:
        return ""
    error = "" if math.isnan(gain.error) else f" ± {gain.error:.2f}"
    return f"{round(gain.mean, 2) + 0.0:+.2f}{error}"  # no -0.00


def marked(gain: Difference | None) -> str:
    """The same, in bold where it is a finding."""
    return f"**{gained(gain)}**" if gain and is_finding(gain) else gained(gain)


def means(rows: Rows) -> str:
    """Every row's mean over its seeds with its standard error."""
    table = [
        [row, len(runs), *(mean_and_error([entry[key] for entry in runs.values()]) for key in SHOWN)]
        for row, runs in rows.items()
    ]
    return markdown_table(["mIoU, %", "runs", *SHOWN.values()], table)


def differences(rows: Rows, base: str = BASE, measures: Mapping[str, str] = SHOWN) -> str:
    """Every row less `base`, paired by seed, with the standard error of the pairs; in bold findings.

    measures: names in the entries -> heads of columns.
    """
    table = []
    for row in rows:
        gains = [paired(rows, row, base, _measure(key)) for key in measures]
        if row != base and gains[0]:
            table.append([row, gains[0].pairs, *map(marked, gains)])
    return markdown_table([f"less *{base}*, points of mIoU", "pairs", *measures.values()], table) if table else ""


def comparable(rows: Rows, base: str = BASE) -> list[str]:
    """The rows that share three seeds or more with `base`: the error of two pairs is hardly known."""
    return [row for row, runs in rows.items() if row != base and len(runs.keys() & rows.get(base, {}).keys()) > 2]


def forest(rows: Rows, base: str = BASE):
    """(Figure, Axes (measures,)): every row less `base`, with two standard errors to each side.

    Raises ValueError where no row shares three seeds with it.
    """
    from vdalib.explore import plots

    known = comparable(rows, base)
    if not known:
        raise ValueError(f"rows: expected some that share three seeds with {base!r}")
    figure, axes = plots.panels(1, len(SHOWN), (10.0, 1.0 + 0.24 * len(known)))
    for axis, (key, label) in zip(axes[0], SHOWN.items()):
        bounds = {row: _bounds(paired(rows, row, base, _measure(key))) for row in known}
        plots.forest({label: bounds}, f"points, row less “{base}”", line=0.0, axis=axis)
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
        table.append([f"{aim.says} (*{aim.better}* less *{aim.worse}*: {aim.rule})", *cells])
    return markdown_table(["aim", *SHOWN.values()], table)


def reading(rows: Rows) -> str:
    """What the ablation says by HEADLINE, one line for each aim, and for the rows beside them."""
    if not rows:
        return NONE_YET
    lines = [f"By *{SHOWN[HEADLINE]}*, in points of mIoU; less than two standard errors, or than three pairs, are no finding."]
    lines += ["- " + _sentence(rows, aim) for aim in AIMS]
    decided = {row: paired(rows, row, BASE, _measure(HEADLINE)) for row in comparable(rows)}
    for words, chosen in {
        f"Better than *{BASE}*": [row for row, gain in decided.items() if is_finding(gain) and gain.mean > 0],
        f"Worse than *{BASE}*": [row for row, gain in decided.items() if is_finding(gain) and gain.mean < 0],
        f"Not distinguishable from *{BASE}* with these seeds": [row for row, gain in decided.items() if not is_finding(gain)],
    }.items():
        if chosen:
            lines.append(f"- {words}: " + ", ".join(f"{row} ({gained(decided[row])})" for row in chosen) + ".")
    if decided:
        lines.append(
            f"- {len(decided)} rows are compared: even if none did anything, nearly one in five would pass two standard errors "
            "at three pairs, one in nine at five, and one in twenty with many."
        )
    return "\n".join(lines)


def verdicts(rows: Rows) -> str:
    """Each aim with its verdict by HEADLINE and with its differences by every measure, a nested list."""
    lines = []
    for aim in AIMS:
        gains = {key: paired(rows, aim.better, aim.worse, _measure(key)) for key in SHOWN}
        others = ", ".join(f"{SHOWN[key]} {gained(gain)}" for key, gain in gains.items() if key != HEADLINE and gain)
        told = f"{gained(gains[HEADLINE])} (by {others})" if others else ""
        lines.append(f"    - {aim.says}: {aim.verdict(gains[HEADLINE])} {told}".rstrip())
    return "\n".join(lines)


def per_class(rows: Rows, others: Sequence[str]) -> str:
    """IoU of each class in BASE, with its error over images, and its difference to other rows, paired by seed.

    The error is the bootstrap's of each run; seeds have images of their own, so those of the mean add up in squares.
    """
    runs = [entry["per_class"] for entry in rows.get(BASE, {}).values() if "per_class" in entry]
    others = [row for row in others if row in rows]
    table = []
    for name in runs[0] if runs else ():
        ious, errors = zip(*(run[name] for run in runs if name in run))
        error = math.hypot(*errors) / len(errors)
        gains = [paired(_with(rows, name), BASE, row, _class(name)) for row in others]
        table.append([name, f"{np.mean(ious):.1f} ± {error:.1f}", *map(gained, gains)])
    heads = [f"*{BASE}* less *{row}*" for row in others]
    return markdown_table(["IoU, %", f"*{BASE}* (± over images)", *heads], table) if table else ""


def fed(rows: Rows) -> str:
    """From how many prototypes the mixture of each row learned, where three runs or more say so; "" where none do."""
    table = []
    for row, runs in rows.items():
        counts = [entry["prototypes"] for entry in runs.values() if "prototypes" in entry]
        if len(counts) > 2:
            totals, fewest = ([of(found) for found in counts] for of in (sum, min))
            never = max(found.count(0) for found in counts)
            table.append([f"{row} ({len(counts)})", mean_and_error(totals, 0), min(fewest), never])
    heads = ["row (runs)", "prototypes learned from", "fewest of one class in any run", "most classes that one run never met"]
    return markdown_table(heads, table) if table else ""


def updates(rows: Rows, replay: int):
    """(Figure, Axes (measures,)): rows of more or fewer INN updates less BASE, with two standard errors to each side.

    replay: the updates that BASE replays after each on fresh prototypes.
    Raises ValueError where no such row shares three seeds with it.
    """
    from vdalib.explore import plots

    known = {row: count for row, count in REPLAYED.items() if row in comparable(rows)}
    if not known:
        raise ValueError(f"rows: expected some of {', '.join(REPLAYED)} that share three seeds with {BASE!r}")
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
    axes[0, 0].set_ylabel(f"points, row less “{BASE}”")
    return figure, axes[0]


def ladder(runs: Sequence[Mapping[str, Any]]) -> str:
    """Entries of benchmarks/queries.json as a table for each row of the ablation.

    Means over seeds with their standard error, and what a query has more than text and than the line above, paired by
    seed; bold: a finding.
    """
    return "\n\n".join(f"Runs of the row *{row}*:\n\n{_rungs(list(own.values()))}" for row, own in by_row(runs).items())


def gaps(runs: Sequence[Mapping[str, Any]]) -> str:
    """Entries of benchmarks/queries.json as a table: differences of two descriptions' seeds in runs of each row, paired by seed.

    The last columns are a row's difference less that of the first row, over the seeds that both have; bold: a finding.
    """
    text, _, centre, _, attributes, latent, clip, _ = runs[0]["seeds"]
    rows, table = by_row(runs), []
    first, *others = rows
    for better, worse in ((clip, latent), (attributes, latent), (attributes, centre), (attributes, text)):
        own = {row: {seed: e["seeds"][better] - e["seeds"][worse] for seed, e in found.items()} for row, found in rows.items()}
        gained_here = [marked(difference(dict.fromkeys(gap, 0.0), gap)) for gap in own.values()]
        table.append([f"{better} **less** {worse}", *gained_here, *(marked(difference(own[first], own[row])) for row in others)])
    heads = [*(f"*{row}*" for row in rows), *(f"*{row}* less *{first}*" for row in others)]
    return markdown_table(["seeds, points of mIoU", *heads], table)


def fits(runs: Sequence[Mapping[str, Any]]) -> str:
    """Entries of benchmarks/queries.json as a table: how well flow and mixture fit what they learned from, and the rest."""
    rows, table = by_row(runs), []
    for row, own in rows.items():
        kept = [[entry["nats"][name] for entry in own.values()] for name in runs[0]["nats"]]
        table.append([row, *(mean_and_error(values, 2) if None not in values else "" for values in kept)])
    return markdown_table(["nats a dimension, given the class", *runs[0]["nats"]], table)


def lost_on_the_way(runs: Sequence[Mapping[str, Any]]) -> str:
    """Entries of benchmarks/labels.py as a table for each row but the first: from CAM to prediction, beside the first.

    The last columns are the row's own queries less the first row's, and less text in the same runs; bold: a finding.
    """
    (base, own), *rivals = by_row(runs).items()
    places = [name for name, value in runs[0].items() if isinstance(value, dict)]
    found = []
    for rival, others in rivals:
        table = []
        for place, rung in ((name, of) for name in places for of in runs[0][name]["own"]):
            first, second, text = (
                {seed: entry[place][asked][rung] for seed, entry in of_row.items() if rung in entry[place][asked]}
                for of_row, asked in ((own, "own"), (others, "own"), (others, "text"))
            )
            gains = [marked(difference(values, second)) for values in (first, text)]
            table.append([f"{place}: {rung}", *(mean_and_error([*values.values()]) for values in (first, second)), *gains])
        heads = ["mIoU, %", f"*{base}*", f"*{rival}*", f"less *{base}*", "less text in the same runs"]
        found.append(markdown_table(heads, table))
    return "\n\n".join(found)


def _rungs(runs: Sequence[Mapping[str, Any]]) -> str:
    table, text, before = [], {}, {}
    for name in runs[0]["seeds"]:
        seeds = {run["seed"]: run["seeds"][name] for run in runs}
        close = [run["closeness"][name] for run in runs if name in run["closeness"]]
        gains = [marked(difference(other, seeds)) if other else "" for other in (text, before)]
        table.append([name, mean_and_error([*seeds.values()]), *gains, mean_and_error(close, 3) if close else ""])
        text, before = text or seeds, seeds
    return markdown_table(["description", "seeds", "less text", "less the line above", "cosine to the prototype"], table)


def _sentence(rows: Rows, aim: Aim) -> str:
    gain = paired(rows, aim.better, aim.worse, _measure(HEADLINE))
    verdict = aim.verdict(gain)
    said = f"*{aim.says[0].upper()}{aim.says[1:]}* ({aim.rule}): **{verdict}**"
    if gain is None or gain.pairs < 3:
        pairs = gain.pairs if gain else 0
        return f"{said}; it takes three seeds that *{aim.better}* and *{aim.worse}* share, found {pairs}."
    said += f", {gained(gain)} over {gain.pairs} pairs" + ("." if is_finding(gain) else ", which is no finding.")
    if verdict != "met":
        beside = [(pair, paired(rows, *pair, _measure(HEADLINE))) for pair in aim.related]
        told = [f"*{better}* less *{worse}* {gained(found)}" for (better, worse), found in beside if found]
        said += f" Where to look: {aim.look}." + (f" Beside it: {'; '.join(told)}." if told else "")
    return said


def _measure(key: str):
    return lambda entry: entry[key]


def _class(name: str):
    return lambda entry: entry["per_class"][name][0]


def _with(rows: Rows, name: str) -> Rows:
    return {row: {seed: e for seed, e in runs.items() if name in e.get("per_class", {})} for row, runs in rows.items()}


def _bounds(gain: Difference) -> tuple[float, float, float]:
    return gain.mean, gain.mean - 2 * gain.error, gain.mean + 2 * gain.error
