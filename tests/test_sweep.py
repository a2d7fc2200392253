"""Sweeps: every combination once, nothing twice, nothing at all where a name is wrong."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from vdalib.commands import sweep as sweeping
from vdalib.commands.cli import main
from vdalib.commands.sweep import FINISHED, Sweep, summary

ROOT = Path(__file__).parents[1]
PARAMETERS = 'preset: str = "partworld-smoke"\nrun_dir: str = ""\nseed: int = 0\noverrides: dict = {}\nsize: int = 1'
MEASURE = """
import json
import os
import time
from pathlib import Path
with open(Path(run_dir) / "calls", "a") as file:
    file.write("x")
(Path(run_dir) / "host").write_text(str(os.getppid()))
if size == 99:
    (Path(run_dir).parent / "sleeping").write_text(str(os.getpid()))
    time.sleep(100)
assert size != 13, "thirteen is out"
value = size + seed + 100 * overrides.get("mixture.attributes", 0)
(Path(run_dir) / "metrics.json").write_text(json.dumps({"table": {"value": float(value)}}))
"""


@pytest.fixture
def notebook(tmp_path):
    cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(MEASURE)]
    book = nbformat.v4.new_notebook(cells=cells)
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, tmp_path / "measure.ipynb")
    return tmp_path / "measure.ipynb"


def grid_file(notebook, text):
    path = notebook.parent / "grid.yaml"
    path.write_text(f"notebook: {notebook}\nout: {notebook.parent / 'out'}\n{text}")
    return path


@pytest.mark.slow
def test_sweep_runs_every_combination_once_and_lists_what_failed(notebook, capsys):
    text = "seeds: [0, 1]\nparameters: {size: [1, 13], mixture.attributes: [3]}\n"
    path = grid_file(notebook, text)
    with pytest.raises(SystemExit, match="1"):
        main(["sweep", str(path)])
    printed = capsys.readouterr().out
    assert "| 1 | 2 | 301.5 ± 0.5 |" in printed
    assert "[1/4] size=1 mixture.attributes=3 seed=0: value 301.0\n" in printed
    assert "[3/4] size=13 mixture.attributes=3 seed=0: AssertionError: thirteen is out (see cell 3 of" in printed
    assert "2 of 4 failed" in printed and "thirteen is out" in printed
    plan = Sweep.from_yaml(path)
    folders = [plan.folder(given) for given in plan.combinations()]
    assert len(set(folders)) == 4
    assert [(folder / FINISHED).exists() for folder in folders] == [True, True, False, False]
    assert all(str(folder / "measure.ipynb") in printed for folder in folders[2:])
    with open(plan.out / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["value"] for row in rows] == ["301.0", "302.0", "", ""]

    text = text.replace("13]", "2]")  # a repaired grid: what has finished is not repeated
    outcomes = Sweep.from_yaml(grid_file(notebook, text)).run()
    assert [(outcome.folder / "calls").read_text() for outcome in outcomes] == ["x"] * 4
    assert [outcome.metrics["value"] for outcome in outcomes] == [301, 302, 302, 303]
    assert "301.5 ± 0.5" in summary(outcomes)


def test_a_changed_notebook_is_another_run_and_changed_outputs_are_not(notebook):
    plan = Sweep(notebook)
    folder = plan.folder({"seed": 0})
    book = nbformat.read(notebook, as_version=4)
    book.cells[1].execution_count = 7
    nbformat.write(book, notebook)
    assert Sweep(notebook).folder({"seed": 0}) == folder
    book.cells[1].source += "\n# more"
    nbformat.write(book, notebook)
    assert Sweep(notebook).folder({"seed": 0}) != folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameters: {sise: [1]}", r"unknown parameter 'sise'; the nearest known one is 'size'"),
        ("parameters: {mixture.atributes: [3]}", r"mixture.atributes|atributes"),
        ("parameters: {preset: [no-such-preset]}", r"no-such-preset"),
        ("seds: [0]", r"unknown key 'seds' \(known: notebook.*; did you mean 'seeds'\?\)"),
        ("parameters: [", r"grid.yaml line 3: not valid YAML"),
        ("seeds: []", r"seeds: expected at least one value, got none"),
        ("parameters: {size: []}", r"parameters.size: expected at least one value, got none"),
        ("jobs: 0", r"jobs: expected a number of runs at the same time, or -1 for one a core; got 0"),
        ("jobs: four", r"jobs: expected int, got 'four'"),
        ("jobs: true", r"jobs: expected int, got True"),
        ("seeds: 3", r"seeds: expected a list, got 3"),
        ("seeds: [0.5]", r"seeds: expected int, got 0.5"),
        ("seeds: [-1]", r"seeds: expected at least 0 and at most .*, got -1"),
        ("parameters: [size]", r"parameters: expected a mapping, got \['size'\]"),
        ("parameters: {3: [1]}", r"parameters: expected str, got 3"),
        ("parameters: {size: [2026-11-25]}", r"parameters.size: expected numbers, words, lists or mappings, got"),
        ("parameters: {size: [four]}", r"measure.ipynb: parameter 'size': expected int, got 'four'"),
        ("backend: slurm", r"backend: expected one of loky, threading, dask, ray, got 'slurm'"),
        ("backend_options: host", r"backend_options: expected a mapping, got 'host'"),
        ("parameters: {seed: [1, 2]}", r"parameters.seed: give `seeds`"),
        ("parameters: {run_dir: [here]}", r"parameters.run_dir: each run has its own under `out`"),
        ("parameters: {overrides: [{seed: 3}]}", r"parameters.overrides: give settings by their dotted names"),
        ("seeds: [0, 1, 0]", r"seeds: 0 is there twice; the run would be the same"),
        ("parameters: {mixture.offset_scale: [1, 1.0]}", r"parameters.mixture.offset_scale: 1.0 is there twice"),
        ("parameters: {mixture.attributes: [many]}", r"partworld-smoke: mixture.attributes: expected int, got 'many'"),
    ],
)
def test_a_wrong_grid_is_refused_in_a_line_before_anything_starts(notebook, text, message, capsys):
    path = grid_file(notebook, text)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        Sweep.from_yaml(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    assert not (notebook.parent / "out").exists()


def test_numbers_that_differ_and_words_that_look_like_numbers_are_no_duplicates(notebook):
    values = [1, True, "1", [1], 1.5]
    assert len(Sweep(notebook, {"size": values}).combinations()) == 5


def test_a_missing_notebook_or_an_empty_grid_is_named(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("notebook: 99_nothing\n")
    with pytest.raises(FileNotFoundError, match="grid.yaml: notebook: no file .*99_nothing.ipynb"):
        Sweep.from_yaml(path)
    path.write_text("[1, 2]\n")
    with pytest.raises(ValueError, match="grid.yaml: expected keys, among them `notebook"):
        Sweep.from_yaml(path)


class Cluster:
    """A dask scheduler and workers in working directories of their own, as processes."""

    def __init__(self, folder, workers):
        self.folder, self.processes = folder, []
        self.address_file = folder / "scheduler.json"
        self.start("scheduler", "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", self.address_file)
        for number in range(workers):
            self.start(
                f"worker_{number}",
                "worker",
                "--scheduler-file",
                self.address_file,
                "--nthreads",
                "1",
                "--no-nanny",
                "--no-dashboard",
            )
        deadline = time.monotonic() + 60
        while not self.address_file.exists():
            assert time.monotonic() < deadline, (folder / "scheduler" / "log").read_text()
            time.sleep(0.1)
        self.address = json.loads(self.address_file.read_text())["address"]

    def start(self, name, *command):
        (self.folder / name).mkdir()
        with open(self.folder / name / "log", "w") as log:
            words = [sys.executable, "-m", "dask", *map(str, command)]
            path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
            environment = {**os.environ, "PYTHONPATH": path}
            self.processes.append(subprocess.Popen(words, cwd=self.folder / name, env=environment, stdout=log, stderr=log))

    def close(self):
        for process in reversed(self.processes):
            process.kill()  # asked to end, an old worker without its scheduler takes half a minute
        for process in self.processes:
            process.wait(30)


@pytest.fixture
def cluster(tmp_path):
    pytest.importorskip("distributed", reason="dask[distributed] is not installed")
    made = []

    def start(workers):
        made.append(Cluster(tmp_path, workers))
        return made[0].address

    yield start
    for one in made:
        one.close()


@pytest.mark.slow
def test_dask_workers_elsewhere_leave_their_runs_where_the_sweep_was_started(notebook, cluster, tmp_path, monkeypatch):
    address, here = cluster(2), tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "grid.yaml").write_text(
        f"notebook: ../measure.ipynb\nbackend: dask\nbackend_options: {{scheduler_host: '{address}'}}\nseeds: [0, 1]\n"
        "out: results\nparameters: {size: [1, 13]}\n"
    )
    from distributed import Client

    with Client(address) as client:
        client.wait_for_workers(2, timeout=60)
    told = []
    outcomes = Sweep.from_yaml("grid.yaml").run(told.append)
    assert [outcome.metrics.get("value") for outcome in outcomes] == [1, 2, None, None]
    assert all("thirteen is out" in outcome.error for outcome in outcomes[2:])
    assert len(told) == 4 and sorted(line[:5] for line in told) == [f"[{n}/4]" for n in range(1, 5)]
    hosts = {(outcome.folder / "host").read_text() for outcome in outcomes}
    assert len(hosts) == 2 and str(os.getpid()) not in hosts  # both workers ran notebooks, and we did not
    assert {path.name for path in (here / "results").iterdir()} == {o.folder.name for o in outcomes} | {"results.csv"}
    assert sorted(path.name for path in here.iterdir()) == ["grid.yaml", "results"]
    for number in (0, 1):  # nothing landed where the workers are
        assert not list((tmp_path / f"worker_{number}").rglob("measure.ipynb"))


def test_a_cluster_of_one_worker_is_refused_instead_of_run_here(notebook, cluster):
    plan = Sweep(notebook, out=notebook.parent / "out", backend="dask", backend_options={"scheduler_host": cluster(1)})
    with pytest.raises(ValueError, match="backend dask: one worker of one thread.*start a second worker"):
        plan.run()
    assert [path.name for path in plan.out.iterdir()] == ["results.csv"]


def test_a_run_that_landed_on_another_disk_is_an_error(notebook, monkeypatch):
    monkeypatch.setattr(sweeping, "_run_one", elsewhere)
    [outcome] = Sweep(notebook, out=notebook.parent / "out").run()
    assert "on another machine; put `out` on a disk that all machines share" in outcome.error


def elsewhere(number, *_):
    """A worker that finished, on a disk that we do not see."""
    return number, None


@pytest.mark.parametrize("content", ['{"table": {"miou": null}}', "[]", '"x"', "{"])
def test_a_run_that_left_no_measures_in_its_file_is_an_error(tmp_path, content):
    (tmp_path / FINISHED).touch()
    (tmp_path / "metrics.json").write_text(content)
    found = sweeping._with_metrics(sweeping.Outcome({"seed": 0}, tmp_path, tmp_path / "n.ipynb"))
    assert "metrics.json: not measures (" in str(found) and "evaluate the run again" in str(found)


@pytest.mark.slow
def test_control_c_ends_cleanly_and_keeps_what_has_finished(notebook):
    path = grid_file(notebook, "parameters: {size: [1, 99]}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "vdalib", "sweep", str(path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    sleeping = notebook.parent / "out" / "sleeping"
    deadline = time.monotonic() + 60
    while not sleeping.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    kernel = int(sleeping.read_text())
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in printed + errors, errors
    assert "[1/2] size=1 seed=0: value 1.0" in printed
    assert "stopped" in errors and "the same command goes on" in errors
    assert not is_running(kernel)
    with open(notebook.parent / "out" / "results.csv") as file:
        assert [row["value"] for row in csv.DictReader(file)] == ["1.0"]


def is_running(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True
