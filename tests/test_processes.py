"""Two processes do what one does with the same global batch, and two precisions live in one Python process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_runs import ONE_OF_EACH, assert_same_run, rows, run, start

from vdalib.commands.cli import main
from vdalib.config import Config
from vdalib.data.loader import training_batches
from vdalib.training.devices import accelerator_for
from vdalib.training.trainer import Trainer

TESTS = Path(__file__).parent
pytestmark = pytest.mark.slow
CHANGES = ["data.val_size=7", "mixture.patch_attributes=2", "assembly.reliable_threshold=0.3"]


def together(*arguments):
    """Run tests/together.py in two processes over gloo. `accelerate launch --cpu` starts one, unless there is MPI."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", TESTS / "together.py"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)}
    done = subprocess.run([*map(str, command), *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("alone")
    main(["train", "--preset", "partworld-smoke", "--run-dir", str(run_dir), *CHANGES])
    main(["evaluate", "--run", str(run_dir)])
    return run_dir


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    printed = together(str(folder), *CHANGES)
    assert [(folder / f"processes_{n}").read_text() for n in (0, 1)] == ["2", "2"]  # else all that follows says nothing
    return folder, printed


def test_losses_of_every_stage_are_those_of_one_process(alone, shared):
    expected, found = rows(alone), rows(shared[0] / "run_0")
    assert len(expected) == 32
    assert {"segmentation", "affinity", "contrastive", "inter", "discriminative", "intra"} <= set().union(*expected)
    for row, other in zip(expected, found, strict=True):
        assert other == pytest.approx(row, rel=1e-5, abs=1e-4)  # rounding grows over 32 steps


def test_every_image_is_evaluated_once_and_the_numbers_are_those_of_one_process(alone, shared):
    folder, printed = shared
    looked_at = [(folder / f"masks_{n}").read_text().splitlines() for n in (0, 1)]
    assert sorted(sum(looked_at, [])) == sorted([f"train {i}" for i in range(12)] + [f"val {i}" for i in range(7)])
    assert all(looked_at) and printed.count("evaluation.json") == 1
    expected, found = (json.loads((run_dir / "evaluation.json").read_text()) for run_dir in (alone, folder / "run_0"))
    assert found["table"] == pytest.approx(expected["table"], abs=0.05)  # percent; batches of another size round otherwise
    for name, ious in expected["per_class"].items():
        assert found["per_class"][name] == pytest.approx(ious, abs=0.05)


def test_one_process_writes(shared):
    written = sorted(path.name for path in (shared[0] / "run_1").rglob("*") if path.is_file())
    assert not written
    assert not list((shared[0] / "run_0").rglob("*.partial*"))


def test_processes_leave_their_group_before_python_ends(shared):
    assert [(shared[0] / f"group_{n}").read_text() for n in (0, 1)] == ["left", "left"]


def test_one_process_opens_the_checkpoint_of_two(alone, shared):
    source = shared[0] / "run_0"
    trainer = Trainer(Config.from_preset(source / "config.yaml"), source)
    assert trainer.step == 32
    for name, values in load_file(alone / "segmenter.safetensors").items():
        torch.testing.assert_close(trainer.method.segmenter.state_dict()[name], values, atol=1e-3, rtol=0)


@pytest.mark.usefixtures("random_clip")
def test_trainers_of_different_precision_share_a_process(tmp_path):
    both = {precision: start(tmp_path / precision, ONE_OF_EACH | {"precision": precision}) for precision in ("no", "bf16")}
    seen = {precision: [] for precision in both}
    for precision, trainer in both.items():
        compress = trainer.method.segmenter.adapter.compress
        compress.register_forward_hook(lambda *a, found=seen[precision]: found.append(a[2].dtype))
    for batch in list(training_batches(both["no"].dataset, both["no"].config))[:2]:  # in turns
        for trainer in both.values():
            trainer.train_step(batch)
    assert {*seen["no"]} == {torch.float32} and {*seen["bf16"]} == {torch.bfloat16}
    for precision, trainer in both.items():
        assert trainer.accelerator.mixed_precision == precision
    again = run(tmp_path / "again", ONE_OF_EACH)
    first = run(tmp_path / "first", ONE_OF_EACH)
    assert_same_run(again.run_dir, first.run_dir)


def test_a_launcher_that_starts_one_process_in_silence_is_told_on(monkeypatch):
    for name in ("MASTER_ADDR", "KMP_AFFINITY"):  # as `accelerate launch --num_processes 2 --cpu` sets them
        monkeypatch.setenv(name, "x")
    with pytest.warns(UserWarning, match="started one process, whatever --num_processes says; use .*torchrun"):
        accelerator_for("no")


@pytest.mark.usefixtures("random_clip")
def test_processes_that_see_different_checkpoints_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("vdalib.training.trainer.gather_object", lambda mine: [*mine, 4])
    with pytest.raises(ValueError, match="processes see different checkpoints .steps none, 4.; put it on a shared disk"):
        start(tmp_path)
