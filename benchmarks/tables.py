"""Writes the tables of README.md and RESULTS.md from the JSON files beside this one: `python benchmarks/tables.py`.

A table stands between `<!-- table NAME -->` and `<!-- end -->`; its first line says by which version it was measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vdalib.explore.side_by_side import compared, entries_of
from vdalib.explore.tables import markdown_table, mean_and_error

HERE = Path(__file__).parent
PAGES = tuple(HERE.parent / name for name in ("README.md", "RESULTS.md"))
MARKED = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
QUALITY = {"seed_miou": "seeds", "miou": "val", "miou_ms_crf": "val, multi-scale + CRF"}
HEADLINE = ("text template only", "+ VDAF", "+ DSE", "all but the reliable filter", "all")
PARTS = {"nmi": "part NMI", "ari": "part ARI", "purity": "purity"}
NOT_YET = "*Not measured with this code yet: `python benchmarks/{}.py`.*"
CHANGED = "What each method has other than its source's settings for VOC: [the list](docs/own_methods.md#on-the-small-world)."
KILLS = ("operation", "torn", "time", "start-up")
CHANCE = {"nmi": "null_nmi"}


def newest(name: str) -> list[dict]:
    """The entries of a JSON file that the newest version in it has made; none where there is no file."""
    path = HERE / f"{name}.json"
    entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []

    def version(entry: dict) -> list[int]:
        return [int(part) for part in entry["version"].split()[0].split(".")]

    latest = max(map(version, entries), default=[])
    return [entry for entry in entries if version(entry) == latest]


def by_row(entries: Sequence[dict], key: str = "row") -> dict[str, dict[int, dict]]:
    """Row -> seed -> entry, rows in the order of the file."""
    rows: dict[str, dict[int, dict]] = {}
    for entry in entries:
        rows.setdefault(entry[key], {})[entry["seed"]] = entry
    return rows


def measured(entries: Sequence[dict], script: str) -> str:
    """The line above a table."""
    versions = ", ".join(sorted({entry["version"] for entry in entries}))
    seeds = sorted({entry["seed"] for entry in entries})
    preset, precision = (", ".join(sorted({entry[name] for entry in entries})) for name in ("preset", "precision"))
    return (
        f"*Version {versions}, preset {preset}, {precision}, {len(seeds)} seeds: mean ± standard error; "
        f"made by `python benchmarks/{script}.py`.*\n"
    )


def difference(values: Sequence[float]) -> str:
    """A signed mean with its standard error, one decimal.

    >>> difference([-0.04, 0.02]), difference([1.0])
    ('+0.0 ± 0.0', '+1.0')
    """
    mean = round(float(np.mean(values)), 1) + 0.0  # no -0.0
    _, space, error = mean_and_error(values).partition(" ")
    return f"{mean:+.1f}{space}{error}"


def quality(entries: Sequence[dict], script: str, key: str, chosen: Sequence[str] = (), base: str = "") -> str:
    """mIoU in percent of each row, and its gain over the row `base`, paired by seed, with multi-scale and CRF."""
    if not entries:
        return NOT_YET.format(script)
    rows, table = by_row(entries, key), []
    for name in [name for name in chosen if name in rows] or rows:
        runs = rows[name]
        pairs = [runs[seed]["miou_ms_crf"] - other["miou_ms_crf"] for seed, other in rows.get(base, {}).items() if seed in runs]
        gain = difference(pairs) if pairs and name != base else ""
        table.append([name, *(mean_and_error([run[measure] for run in runs.values()]) for measure in QUALITY), gain])
    columns = [*QUALITY.values(), f"gain over *{base}*"]
    return f"{measured(entries, script)}\n{markdown_table(['mIoU, %', *columns], table)}"


def parts(entries: Sequence[dict]) -> str:
    """How well the components of each method separate the parts of objects."""
    if not entries:
        return NOT_YET.format("attributes")
    rows, table = by_row(entries), []
    for row, runs in rows.items():
        reports = [run["attributes"]["patches"] for run in runs.values()]
        for method in reports[0] if not table else ("INN mixture",):  # the others hardly differ from run to run
            cells = []
            for measure in PARTS:
                values = [report[method][measure] for report in reports]
                chance = [report[method][CHANCE[measure]] for report in reports] if measure in CHANCE else []
                text = f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"
                cells.append(text + (f" ({np.mean(chance):.3f})" if chance else ""))
            table.append([method if row == next(iter(rows)) else f"{row}: {method}", *cells])
    return f"{measured(entries, 'attributes')}\n{markdown_table(['patches of objects', *PARTS.values()], table)}"


def kills(entries: Sequence[dict]) -> str:
    """How often each job of the soak was killed and what came of it, all entries together."""
    if not entries:
        return NOT_YET.format("soak")
    jobs = dict.fromkeys(job for entry in entries for job in entry["kills"])
    counts = {job: [sum(entry["kills"].get(job, {}).get(kind, 0) for entry in entries) for kind in KILLS] for job in jobs}
    lives = {job: sum(entry["lives"].get(job, 0) for entry in entries) for job in jobs}
    version, seeds = ", ".join(sorted({entry["version"] for entry in entries})), len({entry["seed"] for entry in entries})
    different, left = (sum(len(entry[name]) for entry in entries) for name in ("differences", "left_over"))
    killed, damaged, hours = (sum(entry[name] for entry in entries) for name in ("killed", "damaged", "hours"))
    told = (
        f"*Version {version}, seeds: {seeds}, {hours:.1f} h: {killed} kills and {damaged} checkpoints damaged on purpose; "
        f"{different} differences, {left} files left over; made by `python benchmarks/soak.py`.*\n"
    )
    return f"{told}\n{markdown_table(['job', 'lives', *KILLS], [[job, lives[job], *counts[job]] for job in jobs])}"


def tables() -> dict[str, str]:
    ablation, methods = newest("ablation"), entries_of(HERE / "methods.json")
    return {
        "methods": quality(methods, "methods", "method", base="vda"),
        "costs": f"{measured(methods, 'methods')}\n{compared(methods)}\n\n{CHANGED}" if methods else NOT_YET.format("methods"),
        "headline": quality(ablation, "ablation", "row", HEADLINE, base=HEADLINE[0]),
        "ablation": quality(ablation, "ablation", "row", base="all"),
        "parts": parts(newest("attributes")),
        "kills": kills(newest("soak")),
    }


def filled(text: str) -> str:
    """A page with its tables as they are now. Raises KeyError for a name that is no table."""
    made = tables()
    return MARKED.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n\n{found[3]}", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
