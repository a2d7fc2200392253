"""What an ablation says: runs by row and seed, differences paired by seed, and which aims are met."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vdalib import __version__
from vdalib.evaluation.comparison import Difference, difference

BASE = "all"
TEXT = "text template only"
SHOWN = {"seed_miou": "seeds", "miou": "val", "miou_ms_crf": "val, multi-scale + CRF"}  # measures, in percent
HEADLINE = "miou_ms_crf"  # the paper's is this one
FEWEST = 5  # pairs: the standard error of fewer is hardly known
REPLAYED = {"no replay": 0} | {f"{n} replayed updates after each": n for n in (7, 15, 63)}  # row -> `mixture.replay`
Rows = dict[str, dict[int, Mapping[str, Any]]]  # row -> seed -> entry, rows in the order of the file


def present_entries(path: str | Path) -> list[dict[str, Any]]:
    """The entries of a JSON file of benchmarks that this version of the code has made; none where there is no file.

    Raises ValueError for a file that holds something else.
    """
    path = Path(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        return [entry for entry in found if entry["version"].split()[0] == __version__]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: no list of a benchmark's entries ({error!r}); restore it or choose another file") from None


def by_row(found: Iterable[Mapping[str, Any]], key: str = "row") -> Rows:
    rows: Rows = {}
    for entry in found:
        rows.setdefault(entry[key], {})[entry["seed"]] = entry
    return rows


def paired(rows: Rows, better: str, worse: str, value: Callable[[Mapping[str, Any]], float]) -> Difference | None:
    """How much `better` has more than `worse`, over the seeds that both have; None where there are none."""
    first, second = rows.get(worse, {}), rows.get(better, {})
    shared = sorted(first.keys() & second.keys())
    return difference({seed: value(first[seed]) for seed in shared}, {seed: value(second[seed]) for seed in shared})


def is_finding(gain: Difference) -> bool:
    """Whether a difference of FEWEST pairs or more is over two of its standard errors."""
    return gain.pairs >= FEWEST and abs(gain.mean) > 2 * gain.error


@dataclass(frozen=True)
class Aim:
    """What the ablation was made to find out: the row `better` has more than `worse`, by more than `least` points."""

    says: str
    better: str
    worse: str
    least: float = 0.0

    def verdict(self, gain: Difference | None) -> str:
        """ "met" or "missed" where FEWEST pairs or more lie on that side of `least` by over two s.e., else "undecided"."""
        if gain is None or gain.pairs < FEWEST or abs(gain.mean - self.least) <= 2 * gain.error:
            return "undecided"
        return "met" if gain.mean > self.least else "missed"


AIMS = (
    Aim("the whole method beats text", BASE, TEXT),
    Aim("the whole method beats a class mean", BASE, "class mean, no INN"),
    Aim("the reliable filter brings a point", BASE, "all but the reliable filter", least=1.0),
    Aim("DSE brings more than it costs", BASE, "+ VDAF"),
    Aim("eight attributes beat three", BASE, "M = 3"),
)
