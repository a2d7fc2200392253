"""Batch training: one notebook over a grid of parameters and seeds, on one machine or a cluster."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import joblib
import yaml

from vdalib.commands import notebooks as headless
from vdalib.config import Config
from vdalib.explore.plots import markdown_table, mean_and_error
from vdalib.io import atomic_path, write_json

FINISHED = "finished.json"


@dataclass
class Outcome:
    """One run of a sweep: what it was given, where it lies, the table of its metrics.json, or why it failed."""

    given: dict[str, Any]
    folder: Path
    notebook: Path
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class Sweep:
    """A grid of papermill runs of one notebook.

    notebook:   its name in notebooks/ or a path; it is given `run_dir` and `seed` besides the parameters.
    parameters: notebook parameters and, with a dot in the name, settings of vdalib/config.py, which become the
                notebook's `overrides`. A list is a dimension of the grid ([[0.5, 2.0]] is one value that is a list).
    seeds:      every combination is run with each.
    out:        folder of the sweep; a run lies in out/HASH, the hash being that of the notebook's code and the
                parameters, and is not repeated once it has finished.
    backend:    joblib's loky, threading, dask or ray; backend_options go to joblib.parallel_config (for dask
                {"scheduler_host": "tcp://..."}). jobs: runs at the same time.
    """

    notebook: Path
    parameters: dict[str, Any] = field(default_factory=dict)
    seeds: Sequence[int] = (0,)
    out: Path = Path("runs/sweep")
    backend: str = "loky"
    backend_options: dict[str, Any] = field(default_factory=dict)
    jobs: int = 1

    @classmethod
    def from_yaml(cls, path: str | Path) -> Sweep:
        """Read a grid file; `out` defaults to runs/NAME-OF-THE-FILE.

        Raises ValueError for unknown keys, notebook parameters or settings and for impossible values,
        FileNotFoundError for a missing file or notebook; all of that before anything starts.
        """
        path = Path(path)
        try:
            given = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: not valid YAML: {error}") from error
        if not isinstance(given, dict) or "notebook" not in given:
            raise ValueError(f"{path}: expected keys, among them `notebook: 05_evaluation`, found {given!r}")
        known = [part.name for part in fields(cls)]
        for name in given:
            if name not in known:
                raise ValueError(f"{path}: unknown key {name!r} (known: {', '.join(known)})")
        notebook = Path(given.pop("notebook"))
        if not notebook.suffix:
            notebook = headless.NOTEBOOKS / f"{notebook}.ipynb"
        if not notebook.is_file():
            raise FileNotFoundError(f"{path}: notebook: no file {notebook}")
        out = Path(given.pop("out", Path("runs") / path.stem))
        sweep = cls(notebook, out=out, **given)
        try:
            sweep.check()
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return sweep

    def check(self) -> None:
        """ValueError for anything in the grid that the notebook or the configuration does not know."""
        if self.jobs < 1 or not self.seeds:
            raise ValueError(f"jobs, seeds: found {self.jobs} and {list(self.seeds)}, expected at least one of each")
        for given in self.combinations():
            parameters = self._notebook_parameters(given)
            headless.require_known(self.notebook, parameters)
            if "preset" in self._defaults:
                preset = parameters.get("preset", self._defaults["preset"])
                Config.from_preset(preset, parameters.get("overrides", {}))

    def combinations(self) -> list[dict[str, Any]]:
        """What each run is given: parameters x values x seeds."""
        grid = {name: value if isinstance(value, list) else [value] for name, value in self.parameters.items()}
        grid["seed"] = list(self.seeds)
        return [dict(zip(grid, values)) for values in itertools.product(*grid.values())]

    def run(self) -> list[Outcome]:
        """Make the runs that have not finished yet and write results.csv; outcomes come in the order of `combinations`."""
        if self.backend == "ray":
            from ray.util.joblib import register_ray

            register_ray()
        with joblib.parallel_config(self.backend, **self.backend_options):
            outcomes = joblib.Parallel(n_jobs=self.jobs, verbose=10)(
                joblib.delayed(self._run_one)(given) for given in self.combinations()
            )
        self._write_results(outcomes)
        return outcomes

    def folder(self, given: Mapping[str, Any]) -> Path:
        """Where the run of a combination lies: out/HASH."""
        content = json.dumps([self._code, self._notebook_parameters(given)], sort_keys=True)
        return self.out.resolve() / hashlib.sha256(content.encode()).hexdigest()[:12]

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        return headless.defaults(self.notebook)

    @cached_property
    def _code(self) -> list[str]:
        cells = json.loads(self.notebook.read_text(encoding="utf-8"))["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]

    def _notebook_parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        own = {name: value for name, value in given.items() if "." not in name}
        overrides = {name: value for name, value in given.items() if "." in name}
        return own | ({"overrides": own.get("overrides", {}) | overrides} if overrides else {})

    def _run_one(self, given: dict[str, Any]) -> Outcome:
        folder = self.folder(given)
        outcome = Outcome(given, folder, folder / self.notebook.name)
        if not (folder / FINISHED).exists():
            folder.mkdir(parents=True, exist_ok=True)
            parameters = self._notebook_parameters(given)
            if "run_dir" in self._defaults:
                parameters["run_dir"] = str(folder)
            try:
                headless.execute(self.notebook, outcome.notebook, parameters, cwd=folder)
            except Exception as error:  # noqa: BLE001 whatever one run dies of, the others go on; it is listed at the end
                outcome.error = f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
                return outcome
            write_json(folder / FINISHED, {"notebook": self.notebook.name, "given": given})
        if (folder / "metrics.json").exists():
            outcome.metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["table"]
        return outcome

    def _write_results(self, outcomes: Sequence[Outcome]) -> None:
        rows = [{**o.given, **o.metrics, "error": o.error or "", "folder": o.folder.name} for o in outcomes]
        columns = list(dict.fromkeys(name for row in rows for name in row if name not in ("error", "folder")))
        with atomic_path(self.out / "results.csv") as path, open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*columns, "error", "folder"])
            writer.writeheader()
            writer.writerows(rows)


def summary(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table of the runs that finished: mean over seeds +- standard error for what varies in the grid."""
    done = [outcome for outcome in outcomes if outcome.error is None]
    names = [name for name in outcomes[0].given if name != "seed"]
    varied = [name for name in names if len({json.dumps(o.given[name]) for o in outcomes}) > 1] or names[:1]
    groups: dict[tuple[str, ...], list[Outcome]] = {}
    for outcome in done:
        groups.setdefault(tuple(str(outcome.given[name]) for name in varied), []).append(outcome)
    measures = list(dict.fromkeys(name for outcome in done for name in outcome.metrics))
    rows = []
    for key, members in groups.items():
        columns = [[m.metrics[name] for m in members if name in m.metrics] for name in measures]
        rows.append([*key, len(members), *(mean_and_error(values) if values else "" for values in columns)])
    return markdown_table([*varied, "seeds", *measures], rows)
