"""Runs side by side: which settings differ, and what that changes, paired where seeds are shared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vdalib.config import Config
from vdalib.evaluation.measures import Measures, logged_rows


@dataclass(frozen=True)
class Record:
    """What a run directory says about itself; no weights are opened.

    settings: dotted name -> value, without seed, and what `Config.counts` alone. rows: of metrics.jsonl.
    """

    folder: Path
    seed: int
    settings: dict[str, Any]
    rows: list[dict[str, Any]]
    measures: Measures

    @classmethod
    def read(cls, run_dir: str | Path) -> Record:
        """Raises FileNotFoundError without config.yaml, ValueError for a file that is broken."""
        folder = Path(run_dir)
        config = Config.of_run(folder)
        settings = dict(_flat(config.to_dict()))
        seed = settings.pop("seed")
        settings = {name: value for name, value in settings.items() if config.counts(name)}
        return cls(folder, seed, settings, logged_rows(folder), Measures.of_run(folder))

    @property
    def unfinished(self) -> str:
        """Such as "step 40 of 300" where training has not ended yet; empty where it has, or logged nothing."""
        done, total = (self.rows[-1]["step"] + 1 if self.rows else None), self.settings["schedule.total_steps"]
        return f"step {done} of {total}" if done and done < total else ""


@dataclass(frozen=True)
class Variant:
    """Runs that differ in their seeds only."""

    label: str
    runs: tuple[Record, ...]

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]

    def values(self, measure: str, class_name: str | None = None) -> dict[int, float]:
        """Seed -> the measure, or the IoU of one class, of the runs that have it; of runs of one seed the mean."""
        found: dict[int, list[float]] = {}
        for run in self.runs:
            table = run.measures.table if class_name is None else run.measures.per_class.get(measure, {})
            name = measure if class_name is None else class_name
            if name in table:
                found.setdefault(run.seed, []).append(table[name])
        return {seed: float(np.mean(values)) for seed, values in found.items()}


@dataclass(frozen=True)
class Difference:
    """How much a second variant has more than a first.

    mean: in points. error: standard error; nan where it can't be known. pairs: seeds that both have; 0 where the runs are not
    paired and the errors of both means add up.
    """

    mean: float
    error: float
    pairs: int


def variants(records: Sequence[Record]) -> list[Variant]:
    """Records grouped by their settings, in the order given; a label says what is special, or is the folder's name."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(repr(sorted(record.settings.items())), []).append(record)
    different = differing(records)
    found = []
    for members in groups.values():
        own = [f"{name.rpartition('.')[2]}={members[0].settings.get(name)}" for name in different]
        short = 0 < len(own) <= 2 and len(", ".join(own)) <= 40
        found.append((", ".join(own) if short else members[0].folder.name, members))
    labels = [label for label, _ in found]
    return [Variant(label if labels.count(label) == 1 else str(runs[0].folder), tuple(runs)) for label, runs in found]


def differing(records: Sequence[Record]) -> list[str]:
    """Names of the settings that are not the same in all records."""
    names = dict.fromkeys(name for record in records for name in record.settings)
    return [name for name in names if any(r.settings.get(name) != records[0].settings.get(name) for r in records)]


def difference(first: dict[int, float], second: dict[int, float]) -> Difference | None:
    """Second less first, values by seed: of the pairs where two seeds or all of them are shared, else of the means."""
    if not first or not second:
        return None
    shared = sorted(first.keys() & second.keys())
    if len(shared) > 1 or (shared and first.keys() == second.keys()):
        gains = [second[seed] - first[seed] for seed in shared]
        return Difference(float(np.mean(gains)), standard_error(gains), len(shared))
    errors = [standard_error(list(values.values())) for values in (first, second)]
    mean = np.mean(list(second.values())) - np.mean(list(first.values()))
    return Difference(float(mean), float(np.hypot(*errors)), 0)


def standard_error(values: Sequence[float]) -> float:
    """Of the mean; nan for a single value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
