"""Batch training: one notebook over a grid of parameters and seeds, on one machine or a cluster."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from vdalib.commands import notebooks as headless
from vdalib.config import Config
from vdalib.config.reading import read_yaml, shown
from vdalib.config.schema import Section, Seed, did_you_mean
from vdalib.config.sources import preset_names, preset_paths, resolved
from vdalib.io import atomic_path, write_json

FINISHED = "finished.json"
OWN = ("seed", "run_dir")  # what a sweep gives to each run itself
CLUSTERS = ("dask", "ray")


@dataclass
class Outcome:
    """One run of a sweep: what it was given, where it lies, the table of its metrics.json, or why it failed."""

    given: dict[str, Any]
    folder: Path
    notebook: Path
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    def __str__(self) -> str:
        given = " ".join(f"{name}={value}" for name, value in self.given.items())
        return f"{given}: {self.error or ', '.join(f'{name} {value:.1f}' for name, value in self.metrics.items()) or 'done'}"


@dataclass(frozen=True)
class Sweep(Section):
    """A grid of papermill runs of one notebook.

    notebook:   its name in notebooks/ or a path; it is given `run_dir` and `seed` besides the parameters.
    parameters: notebook parameters and, with a dot in the name, settings (`vdalib settings` lists them), which become the
                notebook's `overrides`. A list is a dimension of the grid ([[0.5, 2.0]] is one value that is a list).
    seeds:      every combination is run with each.
    out:        folder of the sweep; a run lies in out/HASH, the hash being that of the notebook's code and the
                parameters, and is not repeated once it has finished.
    backend:    joblib's; backend_options go to joblib.parallel_config (for dask {"scheduler_host": "tcp://..."}). Workers on
                other machines see `out`, the notebook and the data under the same paths.
    jobs:       runs at the same time, -1 for one a core; on a cluster its workers decide.

    Raises ValueError for what is of another type, empty or twice there.
    """

    notebook: Path
    parameters: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[Seed, ...] = (0,)
    out: Path = Path("runs/sweep")
    backend: Literal["loky", "threading", "dask", "ray"] = "loky"
    backend_options: dict[str, Any] = field(default_factory=dict)
    jobs: int = 1

    @classmethod
    def from_yaml(cls, path: str | Path) -> Sweep:
        """Read a grid file; `out` defaults to runs/NAME-OF-THE-FILE.

        Raises ValueError for unknown keys, notebook parameters or settings and for impossible values,
        FileNotFoundError for a missing file or notebook; all of that before anything starts.
        """
        path = Path(path)
        given = read_yaml(path)
        if not isinstance(given, dict) or not isinstance(given.get("notebook"), str):
            raise ValueError(f"{path}: expected keys, among them `notebook: 05_evaluation`, found {shown(given)}")
        known = [part.name for part in fields(cls)]
        for name in given:
            if name not in known:
                raise ValueError(f"{path}: unknown key {name!r} ({did_you_mean(str(name), known)})")
        notebook = Path(given.pop("notebook"))
        if not notebook.suffix:
            notebook = headless.NOTEBOOKS / f"{notebook}.ipynb"
        if not notebook.is_file():
            raise FileNotFoundError(f"{path}: notebook: no file {notebook}")
        out = given.pop("out", None) or Path("runs") / path.stem
        try:
            if not isinstance(out, (str, Path)):
                raise ValueError(f"out: expected a folder, got {out!r}")
            sweep = cls(notebook, out=Path(out), **given)
            sweep.check()
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(f"{path}: {str(error).removeprefix('sweep.')}") from None
        return sweep

    def _check(self) -> None:
        for name in ("notebook", "out"):  # workers have working directories of their own
            object.__setattr__(self, name, getattr(self, name).resolve())
        if not self.jobs:
            raise ValueError("jobs: expected a number of runs at the same time, or -1 for one a core; got 0")
        for name in self.parameters:
            if name in OWN or name == "overrides":
                cure = {"seed": "give `seeds`", "run_dir": "each run has its own under `out`"}
                raise ValueError(f"parameters.{name}: {cure.get(name, 'give settings by their dotted names')}")
        for name, values in self._grid.items():
            place = "seeds" if name == "seed" else f"parameters.{name}"
            if not values:
                raise ValueError(f"{place}: expected at least one value, got none")
            try:
                texts = [json.dumps(_comparable(value), sort_keys=True) for value in values]
            except TypeError as error:
                raise ValueError(f"{place}: expected numbers, words, lists or mappings, got {values} ({error})") from None
            for number, text in enumerate(texts):
                if text in texts[:number]:
                    raise ValueError(f"{place}: {values[number]!r} is there twice; the run would be the same")

    def check(self) -> None:
        """ValueError for anything in the grid that the notebook or the configuration does not know."""
        for given in self.combinations():
            parameters = self._notebook_parameters(given)
            headless.check_parameters(self.notebook, parameters)
            if "preset" in self._defaults:
                preset = parameters.get("preset", self._defaults["preset"].default)
                Config.from_preset(preset, parameters.get("overrides", {}))

    def combinations(self) -> list[dict[str, Any]]:
        """What each run is given: parameters x values x seeds."""
        return [dict(zip(self._grid, values)) for values in itertools.product(*self._grid.values())]

    def run(self, told: Callable[[str], None] = print) -> list[Outcome]:
        """Make the runs that have not finished yet; results.csv has, at any time, all that have ended.

        Outcomes come in the order of `combinations`; `told` is given a line for each as it ends. Ctrl+C keeps what has finished.

        Raises ValueError where a cluster's runs would be made here instead, joblib's own errors where it can't be reached.
        """
        outcomes = [Outcome(given, self.folder(given), self.folder(given) / self.notebook.name) for given in self.combinations()]
        waiting = [number for number, outcome in enumerate(outcomes) if not (outcome.folder / FINISHED).exists()]
        ended = [_with_metrics(outcome) for number, outcome in enumerate(outcomes) if number not in waiting]
        if ended:
            told(f"{len(ended)} of {len(outcomes)} had finished before")
        self._write_results(ended)
        with closing(self._errors(outcomes, waiting)) as errors:
            for number, error in errors:
                outcomes[number].error = error
                ended.append(_with_metrics(outcomes[number]))
                told(f"[{len(ended)}/{len(outcomes)}] {outcomes[number]}")
                self._write_results([outcome for outcome in outcomes if outcome in ended])
        return outcomes

    def folder(self, given: Mapping[str, Any]) -> Path:
        """Where the run of a combination lies: out/HASH."""
        content = json.dumps([self._code, self._notebook_parameters(given)], sort_keys=True)
        return self.out / hashlib.sha256(content.encode()).hexdigest()[:12]

    def _errors(self, outcomes: Sequence[Outcome], waiting: Sequence[int]) -> Iterator[tuple[int, str | None]]:
        """Make the runs that wait; of each as it ends (of all at the end, where joblib knows no better) number and error."""
        import joblib
        from joblib.parallel import get_active_backend

        if self.backend == "ray":
            from ray.util.joblib import register_ray

            register_ray()
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="joblib backend .* falling back")
            context = joblib.parallel_config(self.backend, **self.backend_options)
        with context:
            backend, _ = get_active_backend()
            workers = backend.effective_n_jobs(self.jobs)
            if self.backend in CLUSTERS and workers == 1:
                raise ValueError(
                    f"backend {self.backend}: one worker of one thread, for which joblib would run everything in this process "
                    "instead; start a second worker, or use `backend: loky`"
                )
            unordered = getattr(backend, "supports_return_generator", False)
            parallel = joblib.Parallel(self.jobs, batch_size=1, return_as="generator_unordered" if unordered else "list")
            yield from parallel(joblib.delayed(_run_one)(number, *self._task(outcomes[number])) for number in waiting)

    def _task(self, outcome: Outcome) -> tuple[Path, Path, dict[str, Any], dict[str, Any]]:
        """What a worker needs of a run, its paths absolute."""
        given = (preset_paths(outcome.given["preset"]) if "preset" in outcome.given else {}) | resolved(outcome.given)
        for name in {"preset", "data_root"} & given.keys():
            if given[name] not in preset_names() and Path(given[name]).exists():
                given[name] = str(Path(given[name]).resolve())
        parameters = self._notebook_parameters(given)
        if "run_dir" in self._defaults:
            parameters["run_dir"] = str(outcome.folder)
        return self.notebook, outcome.folder, parameters, outcome.given

    @cached_property
    def _grid(self) -> dict[str, list]:
        grid = {name: value if isinstance(value, list) else [value] for name, value in self.parameters.items()}
        return grid | {"seed": list(self.seeds)}

    @cached_property
    def _defaults(self) -> dict[str, headless.Parameter]:
        return headless.parameters_of(self.notebook)

    @cached_property
    def _code(self) -> list[str]:
        cells = json.loads(self.notebook.read_text(encoding="utf-8"))["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]

    def _notebook_parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        own = {name: value for name, value in given.items() if "." not in name}
        overrides = {name: value for name, value in given.items() if "." in name}
        return own | ({"overrides": overrides} if overrides else {})

    def _write_results(self, outcomes: Sequence[Outcome]) -> None:
        rows = [{**o.given, **o.metrics, "error": o.error or "", "folder": o.folder.name} for o in outcomes]
        columns = list(dict.fromkeys(name for row in rows for name in row if name not in ("error", "folder")))
        with atomic_path(self.out / "results.csv") as path, open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*columns, "error", "folder"])
            writer.writeheader()
            writer.writerows(rows)


def summary(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table of the runs that finished: mean over seeds +- standard error for what varies in the grid."""
    from vdalib.explore.tables import markdown_table, mean_and_error

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


def _run_one(number: int, notebook: Path, folder: Path, parameters: dict[str, Any], given: dict) -> tuple[int, str | None]:
    """What a worker does: one run, and why it failed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        headless.execute(notebook, folder / notebook.name, parameters, cwd=folder)
        write_json(folder / FINISHED, {"notebook": notebook.name, "given": given})
    except Exception as error:  # noqa: BLE001 whatever one run dies of, the others go on; it is listed at the end
        text = str(error).strip()
        return number, text if isinstance(error, headless.CellError) else f"{type(error).__name__}: {text}".splitlines()[0]
    return number, None


def _with_metrics(outcome: Outcome) -> Outcome:
    """An outcome with what its run measured; that it can't be seen here is an error."""
    if outcome.error is None and not (outcome.folder / FINISHED).exists():
        outcome.error = f"its worker wrote {outcome.folder} on another machine; put `out` on a disk that all machines share"
    elif outcome.error is None and (outcome.folder / "metrics.json").exists():
        from vdalib.evaluation.measures import Measures  # not above: it takes torch along

        try:
            outcome.metrics = Measures.read(outcome.folder / "metrics.json").table
        except ValueError as error:
            outcome.error = str(error)
    return outcome


def _comparable(value: Any) -> Any:
    """A value in which 1 and 1.0 are one."""
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
