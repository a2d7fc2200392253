"""Runs can be repeated, stopped, killed and resumed, and end in the same weights bit for bit."""

import hashlib
import json
import pickle
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from small_runs import ONE_OF_EACH, Poison, assert_same_run, copy_of, rows, run, same, start, weights

from vdalib.config import Config
from vdalib.training import checkpoints, trainer

pytestmark = pytest.mark.usefixtures("random_clip")


def test_the_seed_alone_decides_every_weight(reference, tmp_path):
    assert_same_run(run(tmp_path / "again").run_dir, reference)
    other = run(tmp_path / "other", {"seed": 1} | ONE_OF_EACH).run_dir
    for name in ("segmenter", "memory"):
        mine, others = weights(reference, name), weights(other, name)
        assert all(not torch.equal(mine[key], others[key]) for key in mine if key.endswith(("centres", "proj_weight")))


@pytest.mark.parametrize("stop", [2, 4, 8], ids=["in stage 1", "in stage 2", "in stage 3"])
def test_a_run_that_stops_and_resumes_equals_one_that_never_stopped(stop, reference, tmp_path):
    memory = copy_of(run(tmp_path, until=stop).method.memory)
    resumed = start(tmp_path)
    assert resumed.step == stop and same(memory, resumed.method.memory.state_dict())
    resumed.fit()
    assert_same_run(tmp_path, reference)


def test_prototypes_wait_across_a_checkpoint(reference):
    """Else the tests of resuming would not notice their loss."""
    saved = [load_file(file)["waiting.count"] for file in reference.glob("checkpoints/*/memory.safetensors")]
    assert len(saved) == 4 and any(saved)


def test_a_killed_run_goes_on_from_the_last_complete_checkpoint(reference, tmp_path):
    run(tmp_path, until=5)
    assert [row["step"] for row in rows(tmp_path)] == [0, 1, 2, 3, 4]
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "sta')
    half = tmp_path / "checkpoints" / "step_0000006.partial"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half of it")
    resumed = start(tmp_path)
    assert resumed.step == 4
    resumed.fit(until=4)
    assert [row["step"] for row in rows(tmp_path)] == [0, 1, 2, 3]
    resumed.fit()
    assert_same_run(tmp_path, reference)


def test_every_row_of_the_metrics_says_step_stage_losses_and_reliable_share(reference):
    found = rows(reference)
    assert [row["step"] for row in found] == list(range(9))
    assert [row["stage"] for row in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for row in found:
        assert {"segmentation", "affinity", "predicted"} <= row.keys() and 0 <= row["reliable"] <= 1


def test_another_configuration_in_the_same_directory_is_refused(tmp_path):
    run(tmp_path, until=2)
    with pytest.raises(ValueError, match="config.yaml: schedule.total_steps is 9 there, 12 here; use another run directory"):
        start(tmp_path, {"schedule.total_steps": 12})


def test_a_run_goes_on_with_other_habits_and_its_data_elsewhere(tmp_path, reference):
    run(tmp_path, until=4)
    elsewhere = {"data.workers": 1, "schedule.keep": 7, "data.labels": str(tmp_path / "labels")}
    run(tmp_path, elsewhere)
    assert_same_run(tmp_path, reference)
    assert Config.of_run(tmp_path).schedule.keep == 7


def test_what_lies_after_the_own_last_checkpoint_is_not_another_processes(tmp_path):
    trainer = run(tmp_path, until=3)
    trainer.fit(until=5)  # a checkpoint after 4
    trainer.fit(until=6)
    assert [row["step"] for row in rows(tmp_path)] == [0, 1, 2, 3, 4, 5] and trainer.step == 6


@pytest.mark.filterwarnings("ignore")  # those of the checkpoints that are passed over
def test_no_file_that_resuming_reads_can_carry_code(tmp_path):
    """Pickles under every name that a run has and that accelerate would read, with the manifest of a forger."""
    run(tmp_path / "clean", until=4)
    step = checkpoints.folder(tmp_path / "clean", 4)
    names = [str(file.relative_to(tmp_path / "clean")) for file in (tmp_path / "clean").rglob("[!.]*") if file.is_file()]
    assert {"config.yaml", "metrics.jsonl", "checkpoints/step_0000004/optimizer_1.safetensors"} <= set(names)
    foreign = ("optimizer.bin", "scheduler.bin", "random_states_0.pkl", "custom_checkpoint_0.pkl", "pytorch_model.bin")
    for name in names + [str(step.relative_to(tmp_path / "clean") / other) for other in foreign]:
        run_dir, mark = tmp_path / "poisoned", tmp_path / "mark"
        shutil.rmtree(run_dir, ignore_errors=True)
        shutil.copytree(tmp_path / "clean", run_dir)
        content = pickle.dumps(Poison(mark))  # read by pickle and by torch.load alike
        (run_dir / name).write_bytes(content)
        if name.endswith(".safetensors") and "step_" in name:
            manifest = checkpoints.folder(run_dir, 4) / checkpoints.MANIFEST
            facts = json.loads(manifest.read_text())
            facts["files"][Path(name).name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            manifest.write_text(json.dumps(facts))
        with suppress(ValueError, SafetensorError):
            start(run_dir)
        assert not mark.exists(), name
    pickle.loads(content)
    assert mark.exists(), "else the poison is none"


@pytest.mark.parametrize("failing", ["model", "memory", "optimizer_1", "manifest", "segmenter"])
def test_a_failure_while_saving_costs_nothing_but_steps(failing, reference, tmp_path, monkeypatch):
    run(tmp_path, until=8)
    before = {name: weights(tmp_path, name) for name in ("segmenter", "memory")}

    def failing_at(write):
        def broken(path, *arguments):
            write(path, *arguments)
            if path.stem == failing:
                path.write_bytes(path.read_bytes()[:40])
                raise OSError("disk full")

        return broken

    with monkeypatch.context() as patch:
        for module, name in ((checkpoints, "save_tensors"), (checkpoints, "write_json"), (trainer, "save_tensors")):
            patch.setattr(module, name, failing_at(getattr(module, name)))
        with pytest.raises(OSError, match="disk full"):
            start(tmp_path).fit()
    complete = max(path.name for path in tmp_path.glob("checkpoints/*[0-9]"))
    assert complete == ("step_0000009" if failing == "segmenter" else "step_0000008")
    assert same(weights(tmp_path, "memory"), before["memory"])
    start(tmp_path).fit()
    assert_same_run(tmp_path, reference)


def test_a_process_killed_between_both_files_of_weights_leaves_none_behind(reference, tmp_path, monkeypatch):
    save_tensors = trainer.save_tensors

    def killed(path, *arguments):
        if path.stem == "memory":
            raise KeyboardInterrupt
        save_tensors(path, *arguments)

    run(tmp_path, until=8)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer, "save_tensors", killed)
        start(tmp_path).fit()
    assert not same(weights(tmp_path, "memory"), weights(reference, "memory"))
    start(tmp_path).fit()
    assert_same_run(tmp_path, reference)
