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
SHOWN = {"seed_miou": "seeds", "miou": "val", "miou_ms_crf": "val, multi-scale + CRF"}  # measures, in percent
HEADLINE = "miou_ms_crf"  # the paper's is this one
REPLAYED = {"no replay": 0} | {f"{n} replayed updates after each": n for n in (7, 15, 63)}  # row -> `mixture.replay`
Rows = dict[str, dict[int, Mapping[str, Any]]]  # row -> seed -> entry, rows in the order of the file


def present_entries(path: str | Path) -> list[dict[str, Any]]:
    """The entries of a JSON file of benchmarks that this version of the code has made; none where there is no file."""
    path = Path(path)
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return [entry for entry in found if entry["version"].split()[0] == __version__]


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
    """Whether a difference is more than two of its standard errors, which one pair does not have and two hardly know."""
    return gain.pairs > 2 and abs(gain.mean) > 2 * gain.error


@dataclass(frozen=True)
class Aim:
    """What the ablation was made to find out.

    says, rule:    what is hoped for, and when it is met. better, worse: rows whose paired difference decides.
    look, related: where to look for the cause when it is not met, and pairs of rows that tell.
    """

    says: str
    rule: str
    better: str
    worse: str
    holds: Callable[[Difference], bool]
    look: str
    related: tuple[tuple[str, str], ...] = ()
    no_harm: bool = False  # a loss that is no finding leaves it open

    def verdict(self, gain: Difference | None) -> str:
        """ "met", "missed" or "open": with fewer than three pairs, or where a loss is no finding and harm was the question."""
        if gain is None or gain.pairs < 3:
            return "open"
        if self.holds(gain):
            return "met"
        return "open" if self.no_harm and not is_finding(gain) else "missed"


def _exceeds(gain: Difference) -> bool:
    return gain.mean > 0 and is_finding(gain)


def _brings_one(gain: Difference) -> bool:
    return gain.mean >= 1 and is_finding(gain)


def _not_negative(gain: Difference) -> bool:
    return gain.mean >= 0


_BY_TWO = "above by more than 2 s.e."
AIMS = (
    Aim(
        "the whole method beats text",
        _BY_TWO,
        BASE,
        "text template only",
        _exceeds,
        "whether visual queries make better seeds, each at its own best threshold, before anything is trained by them",
        (
            ("+ VDAF", "text template only"),
            ("no permutations, losses not divided", "text template only"),
            ("text template only, cut 0.6", "text template only"),
        ),
    ),
    Aim(
        "the INN beats a class mean",
        _BY_TWO,
        BASE,
        "class mean, no INN",
        _exceeds,
        "the weight in the query (fixed at 0.6 for the mean), and what each step of assembly is worth (benchmarks/queries.py)",
        (
            ("alpha 0.6", "class mean, no INN"),
            ("no permutations, losses not divided", "class mean, no INN"),
            ("k-means of 8 a class, no INN", "class mean, no INN"),
            ("k-means of 8 a class, no INN", "alpha 0.6"),
            ("attributes start at k-means", BASE),
            ("63 replayed updates after each", BASE),
            (BASE, "k-means of 8 a class, no INN"),
            (BASE, "ActNorm alone"),
        ),
    ),
    Aim(
        "the reliable filter brings a point",
        "at least +1, by more than 2 s.e.",
        BASE,
        "all but the reliable filter",
        _brings_one,
        "how many prototypes zero shot names rightly (benchmarks/headroom.json): where it is nearly all, a filter can only lose",
    ),
    Aim(
        "DSE does not harm",
        "not below; open if below by less than 2 s.e.",
        BASE,
        "+ VDAF",
        _not_negative,
        "the curve of `contrastive` in metrics.jsonl: what is solved within tens of steps pulls at little that is wrong",
        (("+ DSE", "text template only"),),
        no_harm=True,
    ),
    Aim(
        "eight attributes beat three",
        _BY_TWO,
        BASE,
        "M = 3",
        _exceeds,
        "whether more centres help where nothing has to be learned, how many components are used, how far apart (notebook 03)",
        (("k-means of 8 a class, no INN", "class mean, no INN"), (BASE, "M = 5"), (BASE, "M = 15")),
    ),
)
