"""The one vocabulary of measures: their names in every file, what they mean, and the files of a run directory that hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vdalib.evaluation.segmentation import ConfusionMatrix
from vdalib.io import write_json

# mIoU in percent, by name in metrics.json, evaluation.json, results.csv of a sweep, metrics.jsonl and benchmarks/*.json ->
# what tables call it. "train" are the training images, whose classes are told; "val" those of val_split, where nothing is.
MEASURES = {
    "miou": "val, plain",
    "miou_ms": "val, multi-scale + flip",
    "miou_ms_crf": "val, multi-scale + flip + CRF",
    "text_seed_miou": "train, text seed",
    "refined_text_seed_miou": "train, text seed, refined",
    "seed_miou": "train, query seed",
    "refined_seed_miou": "train, query seed, refined",
    "pseudo_label_miou": "train, pseudo label",
    "train_miou": "train, prediction",
}
# Every row of metrics.jsonl has these, and `loss`, the weighted sum that trains the model; what else it has are loss terms and
# counts by the names that the method gives them, and in rows of `schedule.validate_every` the measures of val.
LOGGED = {
    "step": "number of the step, from 0",
    "stage": "number of the method's stage, from 0",
    "learning_rate": "of the first parameter group",
    "time": "when it was logged, seconds since 1970",
}
FILES = ("metrics.json", "evaluation.json")  # of the evaluation notebook, of `vdalib evaluate`


@dataclass(frozen=True)
class Measures:
    """What was measured of a run. table: name -> percent. per_class: name -> class -> IoU in percent, where it occurs."""

    table: dict[str, float] = field(default_factory=dict)
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def of_masks(
        cls, matrices: Mapping[str, ConfusionMatrix], class_names: Sequence[str], others: Mapping[str, float] | None = None
    ) -> Measures:
        """Of confusion matrices by the name of their measure, besides other percentages; a class that nowhere is has no IoU."""
        per_class = {}
        for name, matrix in matrices.items():
            ious = dict(zip(("background", *class_names), (100 * matrix.iou()).tolist()))
            per_class[name] = {key: round(iou, 2) for key, iou in ious.items() if iou == iou}
        table = {**(others or {}), **{name: 100 * matrix.mean_iou() for name, matrix in matrices.items()}}
        return cls({name: table[name] for name in (*MEASURES, *table) if name in table}, per_class)

    def write(self, path: str | Path) -> None:
        write_json(path, {"table": self.table, "per_class": self.per_class})

    @classmethod
    def read(cls, path: str | Path) -> Measures:
        """Raises ValueError for a file that does not hold measures."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            table, per_class = content["table"], content.get("per_class", {})
            numbers = [*table.values(), *(value for classes in per_class.values() for value in classes.values())]
            if not all(isinstance(number, (int, float)) for number in numbers):
                raise TypeError("a value that is no number")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            expected = 'expected {"table": {name: percent}}'
            raise ValueError(f"{path}: not measures ({error!r}), {expected}; evaluate the run again") from None
        return cls(table, per_class)

    @classmethod
    def of_run(cls, run_dir: str | Path) -> Measures:
        """All that FILES of a run directory hold, what was written last winning; empty where it was not evaluated."""
        table: dict[str, float] = {}
        per_class: dict[str, dict[str, float]] = {}
        there = [path for path in (Path(run_dir) / name for name in FILES) if path.exists()]
        for path in sorted(there, key=lambda path: path.stat().st_mtime_ns):
            found = cls.read(path)
            table, per_class = table | found.table, per_class | found.per_class
        return cls(table, per_class)


def logged_rows(run_dir: str | Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; none without the file. A last row that was cut short is left out.

    Raises ValueError for another row that is none.
    """
    path, rows = Path(run_dir) / "metrics.jsonl", []
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, Mapping) and "step" in row:
            rows.append(row)
        elif number < len(lines):
            found = line[:40].decode(errors="replace")
            raise ValueError(f"{path} line {number}: expected an object with `step`, found {found!r}; delete the line")
    return rows
