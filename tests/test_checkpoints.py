"""What a run directory is trusted with: checkpoints that are whole or passed over, one trainer at a time, no pickle, no nan."""

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from small_runs import QUICK, assert_same_run, rows, run, start

from vdalib.config import Config
from vdalib.evaluation.measuring import evaluate_run
from vdalib.inference import Predictor
from vdalib.training import checkpoints
from vdalib.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("random_clip")
ALL = {"schedule.keep": 9}  # checkpoints after 2, 3, 4, 6, 8 and 9


class Poison:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture
def stopped(tmp_path):
    """A run that stopped after step 5: checkpoints after 2, 3 and 4."""
    run(tmp_path / "run", ALL, until=5)
    return tmp_path / "run"


@pytest.fixture(scope="module")
def whole(tmp_path_factory, random_clip):
    return run(tmp_path_factory.mktemp("whole"), ALL).run_dir


def test_no_pickle_is_read_whatever_a_poisoned_file_is_called(stopped, whole):
    mark = stopped / "executed"
    poison = pickle.dumps(Poison(mark))
    newest = checkpoints.folder(stopped, 4)
    names = ("optimizer.bin", "scheduler.bin", "sampler.bin", "scaler.pt", "random_states_0.pkl", "pytorch_model.bin",
             "model.pt", "custom_checkpoint_0.pkl", "model.safetensors.index.json")  # fmt: skip
    for name in names:
        (newest / name).write_bytes(poison)
        (stopped / name).write_bytes(poison)
    start(stopped, ALL).fit()
    assert not mark.exists()
    assert_same_run(stopped, whole)
    pickle.loads(poison)  # noqa: S301 the poison works
    assert mark.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "memory.safetensors", "optimizer_0.safetensors", "manifest.json"])
def test_a_poisoned_file_in_place_of_a_checkpoints_own_is_passed_over(stopped, whole, name):
    mark = stopped / "executed"
    (checkpoints.folder(stopped, 4) / name).write_bytes(pickle.dumps(Poison(mark)))
    with pytest.warns(UserWarning, match=f"step_0000004.*{name}: .*damaged.*going on from an older one"):
        trainer = start(stopped, ALL)
    assert trainer.step == 3 and not mark.exists()
    trainer.fit()
    assert_same_run(stopped, whole)


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [flip, Path.unlink, lambda path: os.truncate(path, 100), lambda path: path.write_bytes(b"")],
    ids=["a bit flipped", "missing", "cut short", "empty"],
)
def test_a_damaged_newest_checkpoint_is_passed_over_and_said(stopped, whole, damage):
    damage(checkpoints.folder(stopped, 4) / "model.safetensors")
    with pytest.warns(UserWarning, match="model.safetensors: (damaged|missing); delete .* going on from an older one"):
        trainer = start(stopped, ALL)
    assert trainer.step == 3
    trainer.fit()
    assert_same_run(stopped, whole)


@pytest.mark.parametrize("key", ["sha256", "bytes", "scaler", "files"])
def test_a_checkpoint_with_a_damaged_manifest_is_passed_over_and_said(stopped, key):
    manifest = checkpoints.folder(stopped, 4) / checkpoints.MANIFEST
    manifest.write_text(manifest.read_text().replace(f'"{key}"', '"x"', 1))
    with pytest.warns(UserWarning, match="manifest.json: missing or damaged; delete .* going on from an older one"):
        assert start(stopped, ALL).step == 3


@pytest.mark.parametrize("where", ["file", "file/run", "loop"])
def test_what_cannot_be_a_run_directory_is_refused_before_anything_is_loaded(tmp_path, where, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setattr("vdalib.training.trainer.build_dataset", lambda *_: pytest.fail("data were loaded"))
    with pytest.raises(NotADirectoryError, match="(file|loop): not a folder; choose another place for"):
        start(tmp_path / where, ALL)


def test_a_full_disk_names_the_log(tmp_path, monkeypatch):
    trainer = start(tmp_path, ALL)

    def full(path, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("vdalib.training.trainer.open", full, raising=False)
    with pytest.raises(OSError, match=r"No space left on device .*make room.*metrics.jsonl"):
        trainer.fit()


def test_folders_of_other_names_are_not_checkpoints(stopped):
    for name in ("step_final", "step_12", "step_0000007.partial", "backup", "step_0000005 copy"):
        (stopped / "checkpoints" / name).mkdir()
    assert checkpoints.steps(stopped) == [2, 3, 4] and start(stopped, ALL).step == 4


def test_a_checkpoint_beyond_the_schedule_is_an_error(stopped):
    checkpoints.folder(stopped, 4).rename(checkpoints.folder(stopped, 40))
    with pytest.raises(ValueError, match=r"step_0000040: lies beyond schedule.total_steps \(9\); delete it"):
        start(stopped, ALL)


def test_stage_ends_and_the_newest_checkpoints_stay_and_the_rest_goes_with_a_word(tmp_path, capsys):
    run(tmp_path, {"schedule.keep": 1})
    assert checkpoints.steps(tmp_path) == [3, 6, 9]
    said = capsys.readouterr()
    assert "removed the checkpoint of step 2; ends of stages and the newest 1 stay (schedule.keep)" in said.out + said.err
    assert not [*(tmp_path / "checkpoints").glob("*.partial")]


def test_damaged_checkpoints_do_not_push_out_those_that_training_goes_on_from(tmp_path):
    once = {"schedule.segmenter_steps": 8, "schedule.inter_steps": 0, "schedule.keep": 1}
    run(tmp_path, once | {"schedule.checkpoint_every": 1}, until=3)
    for step in (7, 8):
        shutil.copytree(checkpoints.folder(tmp_path, 3), checkpoints.folder(tmp_path, step), dirs_exist_ok=True)
        flip(checkpoints.folder(tmp_path, step) / "model.safetensors")
    with pytest.warns(UserWarning, match="going on from an older one"):
        run(tmp_path, once | {"schedule.checkpoint_every": 1}, until=5)
    assert checkpoints.steps(tmp_path) == [5, 7, 8]
    checkpoints.read(tmp_path, 5)


@pytest.mark.parametrize("finished", [False, True])
def test_what_a_killed_writer_or_remover_left_goes(tmp_path, stopped, whole, finished):
    run_dir = shutil.copytree(whole, tmp_path / "it") if finished else stopped
    for step in (2, 5, 7):  # a checkpoint half removed, one of Ctrl+C half written, and one that training comes to no more
        half = checkpoints.folder(run_dir, step).with_suffix(".partial")
        half.mkdir()
        (half / "model.safetensors").write_bytes(b"half of it")
    start(run_dir, ALL).fit()
    assert not [*(run_dir / "checkpoints").glob("*.partial")]


def test_a_checkpoint_that_a_killed_process_did_not_come_to_remove_goes(tmp_path):
    run(tmp_path, {"schedule.keep": 1})
    shutil.copytree(checkpoints.folder(tmp_path, 9), checkpoints.folder(tmp_path, 8))
    start(tmp_path, {"schedule.keep": 1}).fit()
    assert checkpoints.steps(tmp_path) == [3, 6, 9]


def test_a_finished_model_without_its_checkpoints_is_not_overwritten(tmp_path, whole):
    run(tmp_path, ALL)
    before = (tmp_path / "segmenter.safetensors").read_bytes()
    (tmp_path / "checkpoints").rename(tmp_path / "elsewhere")
    with pytest.raises(
        ValueError, match="segmenter.safetensors: a trained model without a checkpoint to go on from; use another"
    ):
        start(tmp_path, ALL).fit()
    assert (tmp_path / "segmenter.safetensors").read_bytes() == before


def test_another_configuration_is_refused_even_without_checkpoints(tmp_path):
    Config.from_preset("partworld-smoke", QUICK | {"seed": 5}).save(tmp_path / "config.yaml")
    with pytest.raises(ValueError, match="seed is 5 there, 1 here; use another run directory"):
        start(tmp_path, {"seed": 1}).fit()


def test_the_first_loss_that_is_not_finite_stops_the_run_and_the_last_checkpoint_stays(stopped):
    trainer = start(stopped, ALL)
    loss_terms = trainer.method.loss_terms

    def overflowing(batch, step):
        terms, seen = loss_terms(batch, step)
        return (terms | {"affinity": terms["affinity"] * float("nan")} if step.number == 5 else terms), seen

    trainer.method.loss_terms = overflowing
    with pytest.raises(ValueError, match=r"step 5: affinity, loss is not finite \(nan\); lower schedule.learning_rate"):
        trainer.fit()
    assert checkpoints.steps(stopped) == [2, 3, 4] and len(rows(stopped)) <= 5
    assert all(value.isfinite().all() for value in load_file(checkpoints.folder(stopped, 4) / "model.safetensors").values())


def test_weights_that_are_not_finite_are_not_saved_and_not_used(stopped, whole):
    trainer = start(stopped, ALL)
    next(trainer.model.parameters()).data[0] = float("inf")
    with pytest.raises(ValueError, match="step 4: weights are not finite .* no checkpoint is written"):
        trainer.save_checkpoint()
    weights = stopped / "segmenter.safetensors"
    tensors = load_file(weights)
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    save_file(tensors, weights)
    for use in (Predictor.from_run, evaluate_run):
        with pytest.raises(ValueError, match="segmenter.safetensors: .*not finite"):
            use(stopped)


def test_a_second_trainer_in_a_run_directory_is_refused_and_a_dead_one_holds_nothing(stopped, whole):
    hold = (
        "import sys, time, filelock; held = filelock.FileLock(sys.argv[1]).acquire(); print('held', flush=True); time.sleep(60)"
    )
    (stopped / ".training").write_text("process 4711 on elsewhere")
    with subprocess.Popen([sys.executable, "-c", hold, stopped / ".lock"], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="process 4711 on elsewhere trains here; wait for it, stop it, or choose another"):
            start(stopped, ALL).fit()
        owner.kill()
    start(stopped, ALL).fit()
    assert_same_run(stopped, whole)
    assert not (stopped / ".training").exists()
    with FileLock(stopped / ".lock").acquire(timeout=0):
        pass


@pytest.mark.parametrize("torn", ['{"step": 3, "stage"', "", "\x00\x00", "[]", '{"stage": 1}'])
def test_a_torn_row_of_the_metrics_goes_when_training_goes_on(stopped, whole, torn):
    path = stopped / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], torn, *lines[4:], torn]) + "\n")
    start(stopped, ALL).fit()
    assert rows(stopped) == rows(whole)


def test_a_full_disk_is_one_line_that_names_the_file_and_the_run_goes_on_after_room_is_made(stopped, whole, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    trainer = start(stopped, ALL)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match=r"No space left on device .*make room.*step_0000006") as error:
            trainer.fit()
    assert "\n" not in str(error.value)
    assert checkpoints.steps(stopped) == [2, 3, 4]
    start(stopped, ALL).fit()
    assert_same_run(stopped, whole)


def test_the_manifest_states_size_and_digest_of_every_file(whole):
    where = checkpoints.folder(whole, 9)
    files = json.loads((where / "manifest.json").read_text())["files"]
    assert files.keys() == {path.name for path in where.iterdir()} - {"manifest.json"}
    assert all((where / name).stat().st_size == facts["bytes"] for name, facts in files.items())


def test_a_run_of_the_first_edition_is_refused_in_one_line(tmp_path):
    values = Config.from_preset("partworld-smoke").to_dict()
    del values["method"], values["options"]
    (tmp_path / "config.yaml").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="config.yaml: a run of the first edition .* train it again") as error:
        Config.of_run(tmp_path)
    assert "\n" not in str(error.value)


def test_optimiser_state_comes_back_bit_for_bit():
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(3, 2)) for _ in range(2)]
    ours, other = (torch.optim.AdamW(weights, lr=0.1) for _ in range(2))
    weights[0].square().sum().backward()
    ours.step()
    checkpoints.load_optimizer(other, checkpoints.optimizer_tensors(ours))
    for name, value in ours.state[weights[0]].items():
        assert torch.equal(other.state[weights[0]][name], value)
    assert not other.state.get(weights[1])


def test_trainers_of_one_directory_agree_on_where_they_are(whole):
    assert Trainer(Config.of_run(whole), whole).step == 9
