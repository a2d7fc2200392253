"""Watching long work: how long it will take, where it is, what val says meanwhile, and Ctrl+C."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import nbformat
import own_folder
import pytest
from small_runs import QUICK, assert_same_run, rows, run, start

from vdalib.commands import engine
from vdalib.commands.estimate import Estimate, _timed
from vdalib.commands.notebooks import execute
from vdalib.config import Config
from vdalib.data import prepare
from vdalib.evaluation.measuring import evaluate_run
from vdalib.evaluation.validation import validation
from vdalib.training import checkpoints
from vdalib.training.interrupts import deferred_interrupt

ROOT = Path(__file__).parents[1]
NOTEBOOK = """
import sys, time
from vdalib.progress import progress_bar
bar = progress_bar(total=1000, desc="segmenter", unit="step")
try:
    for step in range(200):
        time.sleep(0.1)
        bar.set_postfix({"loss": "0.500", "images/s": "8.0"}, refresh=False)
        bar.update()
except KeyboardInterrupt:
    raise KeyboardInterrupt("after step 7, saved in checkpoints")
"""


def test_control_c_ends_the_step_saves_and_the_run_that_goes_on_equals_one_that_never_stopped(reference, tmp_path, capsys):
    trainer = start(tmp_path)
    step = trainer.train_step

    def interrupted(batch):
        terms = step(batch)
        if trainer.step == 4:
            signal.raise_signal(signal.SIGINT)
        return terms

    trainer.train_step = interrupted
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="after step 5 of 9, saved in .*step_0000005; the same command goes on"):
        trainer.fit()
    assert "stopping after this step; Ctrl+C again stops at once" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before
    assert max(checkpoints.steps(tmp_path)) == 5 and len(rows(tmp_path)) == 5
    assert start(tmp_path).step == 5
    run(tmp_path)
    assert_same_run(tmp_path, reference)


def test_a_second_control_c_stops_at_once():
    with pytest.raises(KeyboardInterrupt), deferred_interrupt() as typed:
        signal.raise_signal(signal.SIGINT)
        assert typed()
        signal.raise_signal(signal.SIGINT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process inherits a handler here")
def test_a_process_that_inherits_the_handler_says_nothing(capfd):
    with deferred_interrupt():
        if not (child := os.fork()):
            signal.raise_signal(signal.SIGINT)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert capfd.readouterr().err == ""


def test_val_is_measured_while_training_goes_on_and_changes_nothing_of_it(reference, tmp_path):
    trainer = start(tmp_path, {"schedule.validate_every": 3})
    trainer.fit(validate=validation(trainer.config, trainer.device))
    found = rows(tmp_path)
    assert [row["step"] for row in found if "miou" in row] == [2, 5, 8]
    assert found[-1]["miou"] == pytest.approx(evaluate_run(tmp_path, multi_scale_crf=False)["miou"], abs=1e-3)
    assert [{k: v for k, v in row.items() if k != "miou"} for row in found] == rows(reference)
    assert validation(Config.from_preset("partworld-smoke", QUICK), trainer.device) is None


def test_every_row_has_the_rate_the_time_and_the_loss_that_trains(reference):
    clock = [json.loads(line)["time"] for line in (reference / "metrics.jsonl").read_text().splitlines()]
    assert clock == sorted(clock) and abs(clock[-1] - time.time()) < 3600
    weights = start(reference).method.loss_weights
    for row in rows(reference):
        terms = [name for name in ("segmentation", "affinity", "contrastive") if name in row]
        assert row["loss"] == pytest.approx(sum(weights.get(name, 1) * row[name] for name in terms), abs=1e-5)
        assert row["learning_rate"] > 0


@pytest.mark.slow
def test_an_estimate_counts_what_is_left_of_every_stage(tmp_path):
    small = Config.from_preset("partworld-smoke", QUICK)
    fresh = _timed(small, tmp_path)
    assert [(name, steps) for name, steps, _ in fresh.stages] == [("segmenter", 3), ("inter-class", 3), ("intra-class", 3)]
    assert all(0 < seconds < 60 for _, _, seconds in fresh.stages) and fresh.after > 0
    assert not list(tmp_path.iterdir())
    run(tmp_path, until=4)
    assert [(name, steps) for name, steps, _ in _timed(small, tmp_path).stages] == [("inter-class", 2), ("intra-class", 3)]


@pytest.mark.slow
def test_the_masks_of_ones_own_folder_are_part_of_the_estimate(tmp_path):
    own_folder.export(tmp_path, 8)
    config = Config.from_preset("folder", own_folder.SMOKE | {"data.root": str(tmp_path), "data.labels": str(tmp_path)})
    prepare(config.data)
    told = _timed(config, tmp_path / "run")
    assert told.then == "masks" and 0 < told.after < 100


def test_an_estimate_adds_up():
    text = str(Estimate([("a", 100, 0.5), ("b", 10, 2.0)], 50.0))
    assert (
        text.startswith("about 2 min on this machine") and "100 steps a at 0.50 s, 10 steps b at 2.00 s, evaluation 50 s" in text
    )
    assert "all is there" in str(Estimate([], 0.0))


@pytest.fixture
def notebook(tmp_path):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("a = 1"), nbformat.v4.new_code_cell(NOTEBOOK)])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, tmp_path / "long.ipynb")
    return tmp_path / "long.ipynb"


def test_a_notebook_tells_its_cell_and_the_step_of_its_loop_and_is_given_control_c(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    told = []

    def watch(text):
        told.append(text)
        if "loss" in text and len(told) < 1000:
            told.extend([""] * 1000)  # once
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="after step 7, saved in checkpoints"):
        execute(notebook, tmp_path / "out.ipynb", {}, tmp_path, watch)
    assert signal.getsignal(signal.SIGINT) is before and (tmp_path / "out.ipynb").exists()
    assert any(text.startswith("cell 2/2, segmenter: ") and text.endswith("left, loss=0.500, images/s=8.0") for text in told)


@pytest.mark.slow
def test_nothing_else_is_said_on_the_way(notebook, tmp_path):
    """No warnings of the kernel, no lines of papermill."""
    book = nbformat.read(notebook, as_version=4)
    book.cells[1].source = "b = 2"
    nbformat.write(book, notebook)
    program = f"from vdalib.commands.notebooks import execute; execute({str(notebook)!r}, 'out.ipynb', {{}}, '.')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == done.stderr == ""


@pytest.mark.parametrize("begun", [False, True])
def test_control_c_ends_a_notebook_whose_kernel_still_starts_and_goes_to_a_kernel_that_runs(begun, monkeypatch):
    sent = []
    monkeypatch.setattr(os, "killpg", lambda group, number: sent.append(number))
    kernel = SimpleNamespace(has_kernel=True, provisioner=SimpleNamespace(pid=os.getpid()))
    with engine._passed_on(SimpleNamespace(begun=begun, km=kernel)):
        with nullcontext() if begun else pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert sent == [signal.SIGINT] * begun
