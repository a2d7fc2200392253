"""Runs side by side, for terminals and notebooks: tables in Markdown or CSV, curves, differences by class."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vdalib.config.schema import did_you_mean
from vdalib.evaluation.comparison import Difference, Record, Variant, difference, differing, standard_error, variants
from vdalib.evaluation.measures import LOGGED, MEASURES
from vdalib.explore.tables import markdown_table, mean_and_error

_AUGMENTATION = ("data.crop", "data.scale")  # what `data.` has that chooses no image
_CSV = ("measure", "class", "variant", "runs", "mean", "standard error", "difference", "its standard error", "pairs")


def compare(*run_dirs: str | Path, measure: str | None = None) -> Comparison:
    """Any runs side by side, the others compared with the first; runs that differ in the seed only are one variant.

    measure: whose IoU by class is shown, a name in MEASURES; None = the best that all runs have, by class.

    In a notebook the last line of a cell shows the tables: `compare("runs/a", "runs/b")`; `.curves()` and `.class_differences()`
    draw. Raises ValueError for fewer than two runs, FileNotFoundError for what is no run.
    """
    if len(run_dirs) < 2:
        raise ValueError("compare: expected at least two run directories")
    records = [Record.read(folder) for folder in run_dirs]
    by_class = set.intersection(*(set(record.measures.per_class) for record in records))
    ranked = [name for name in ("miou_ms_crf", "miou_ms", *MEASURES) if name in by_class]
    if measure is not None and measure not in by_class:
        raise ValueError(f"measure {measure!r}: not every run has it by class ({did_you_mean(measure, by_class)})")
    return Comparison(records, measure or next(iter(ranked), None))


class Comparison:
    """What `compare` found. variants: the first is the one that others are compared with."""

    def __init__(self, records: Sequence[Record], measure: str | None) -> None:
        self.records, self.measure, self.variants = records, measure, variants(records)

    def markdown(self) -> str:
        """Runs, settings that differ, measures, and IoU by class."""
        first, *others = self.variants
        labels = [variant.label for variant in self.variants]
        runs = [[v.label, ", ".join(str(run.folder) for run in v.runs), ", ".join(map(str, v.seeds))] for v in self.variants]
        parts = [markdown_table(["variant", "runs", "seeds"], runs)]
        if names := differing(self.records):
            rows = [[name, *(str(variant.runs[0].settings.get(name, "")) for variant in self.variants)] for name in names]
            parts.append(markdown_table(["setting", *labels], rows))
        for title, rows in self._sections():
            gains = [f"{other.label} - {first.label}" for other in others]
            cells = [
                [name, *map(_mean, values), *map(_gain, (difference(values[0], v) for v in values[1:]))] for name, values in rows
            ]
            parts.append(markdown_table([title, *labels, *gains], cells))
        if missing := [str(record.folder) for record in self.records if not record.measures.table]:
            parts.append(f"Not evaluated yet: {', '.join(missing)} (`vdalib evaluate --run RUN`)")
        if unfinished := [f"{record.folder} ({record.unfinished})" for record in self.records if record.unfinished]:
            parts.append(f"**Training has not ended:** {', '.join(unfinished)}")
        if images := [name for name in differing(self.records) if name.startswith("data.") and name not in _AUGMENTATION]:
            parts.append(f"**Not on the same images:** {', '.join(images)} differ, so no difference is the methods' alone.")
        return "\n\n".join([*parts, _LEGEND])

    def csv(self) -> str:
        """Every number of `markdown`, one line each."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_CSV)
        for title, rows in self._sections(names=True):
            by_class = title.startswith("IoU")
            for name, values in rows:
                for variant, own in zip(self.variants, values):
                    gain = difference(values[0], own) if variant is not self.variants[0] else None
                    place = (self.measure, name) if by_class else (name, "")
                    numbers = list(own.values())
                    mean = np.mean(numbers) if numbers else math.nan
                    compared = (gain.mean, gain.error, gain.pairs) if gain else (math.nan, math.nan, "")
                    line = (*place, variant.label, len(numbers), mean, standard_error(numbers), *compared)
                    writer.writerow(["" if x != x else f"{x:.4f}" if isinstance(x, float) else x for x in line])
        return text.getvalue()

    def curves(self, window: int = 20):
        """(Figure, Axes): every logged term over the steps, its running mean, averaged over a variant's runs."""
        from vdalib.explore import plots

        terms = list(dict.fromkeys(key for record in self.records for row in record.rows for key in row if key not in LOGGED))
        if not terms:
            raise ValueError(f"{self.records[0].folder}: no metrics.jsonl with rows to draw")
        columns = min(len(terms), 4)
        figure, axes = plots.panels(-(-len(terms) // columns), columns, (3.4 * columns, 2.6 * -(-len(terms) // columns)))
        for axis, term in zip(axes.flat, terms):
            for variant, colour in zip(self.variants, plots.SERIES_COLOURS * len(self.variants)):
                steps, values = _averaged(variant, term)
                if len(values) >= 3 * window:  # else it is validation or the like, which is there now and then
                    values = plots.running_mean(values, window)
                axis.plot(steps, values, color=colour, label=plots.literal(variant.label))
            axis.set(xlabel="step", ylabel=MEASURES.get(term, term))
        for axis in axes.flat[len(terms) :]:
            axis.set_axis_off()
        figure.legend(handles=[*axes.flat[0].lines], loc="outside lower center", ncols=4, fontsize=8)
        return figure, axes

    def class_differences(self):
        """(Figure, Axes): how much each class gains over the first variant, mean and standard error of the pairs."""
        from vdalib.explore import plots

        first, *others = self.variants
        if self.measure is None or not others:
            raise ValueError("class differences: expected two variants with IoU by class; evaluate the runs")
        gains = {}
        for other in others:
            values = {name: (first.values(self.measure, name), other.values(self.measure, name)) for name in self._classes}
            gains[f"{other.label} - {first.label}"] = {name: _gains(*pair) for name, pair in values.items()}
        figure, axis = plots.grouped_bars(gains, f"IoU gained, points ({MEASURES.get(self.measure, self.measure)})")
        axis.axhline(0, color="black", linewidth=0.8)
        axis.tick_params(axis="x", rotation=90)
        return figure, axis

    def _repr_markdown_(self) -> str:
        return self.markdown()

    @property
    def _classes(self) -> list[str]:
        return list(dict.fromkeys(name for r in self.records for name in r.measures.per_class.get(self.measure, {})))

    def _sections(self, names: bool = False) -> Iterator[tuple[str, list[tuple[str, list[dict[int, float]]]]]]:
        """(title, rows of (name, values by seed of each variant)); with `names` measures go by their names in files."""
        known = dict.fromkeys(name for record in self.records for name in record.measures.table)
        ordered = [*(name for name in MEASURES if name in known), *(name for name in known if name not in MEASURES)]
        rows = [(name if names else MEASURES.get(name, name), [v.values(name) for v in self.variants]) for name in ordered]
        if rows:
            yield "mIoU, %", rows
        if self.measure:
            title = f"IoU, %, {MEASURES.get(self.measure, self.measure)}"
            yield title, [(name, [v.values(self.measure, name) for v in self.variants]) for name in self._classes]


_LEGEND = (
    "Mean ± standard error over the runs. Differences are those of runs of the same seed (their number in brackets), "
    "or else of the means (unpaired)."
)


def _mean(values: dict[int, float]) -> str:
    return mean_and_error(list(values.values())) if values else ""


def _gain(gain: Difference | None) -> str:
    if gain is None:
        return ""
    error = "" if math.isnan(gain.error) else f" ± {gain.error:.1f}"
    return f"{gain.mean:+.1f}{error} ({gain.pairs or 'unpaired'})"


def _gains(first: dict[int, float], second: dict[int, float]) -> list[float]:
    """The paired differences, or that of the means; nan where a class is missing."""
    gain = difference(first, second)
    if gain is None:
        return [math.nan]
    return [second[seed] - first[seed] for seed in sorted(first.keys() & second.keys())] if gain.pairs else [gain.mean]


def _averaged(variant: Variant, term: str) -> tuple[np.ndarray, np.ndarray]:
    """(steps, means over the runs) of a term, at the steps that have it."""
    found: dict[int, list[float]] = {}
    for run in variant.runs:
        for row in run.rows:
            if isinstance(row.get(term), (int, float)):
                found.setdefault(row["step"], []).append(row[term])
    steps = sorted(found)
    return np.array(steps), np.array([np.mean(found[step]) for step in steps])
