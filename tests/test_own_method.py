"""The documented method of one's own: trained, killed, resumed, evaluated and browsed, from outside of the package."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from small_runs import QUICK, rows, same, weights

from vdalib.config import Config
from vdalib.evaluation.measuring import evaluate_run
from vdalib.evaluation.run import Run
from vdalib.explore.browsing import Browser
from vdalib.training.checkpoints import steps
from vdalib.training.trainer import Trainer

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "nearest_centre.py"
CHANGES = {name: value for name, value in QUICK.items() if not name.startswith(("flow", "mixture"))} | {
    "method": "nearest_centre:NearestCentre",
    "options.centres": 2,
    "assembly.reliable_filter": False,
    "schedule.total_steps": 12,
}
pytestmark = pytest.mark.usefixtures("random_clip")


@pytest.fixture(scope="module", autouse=True)
def importable():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE.parent)
        yield


def config():
    return Config.from_preset("partworld-smoke", CHANGES)


def start(run_dir):
    trainer = Trainer(config(), run_dir)
    if trainer.step == 0:
        trainer.method.segmenter.decoder.classify.bias.data[0] -= 10  # prototypes from step 0 on
    return trainer


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    trainer = start(tmp_path_factory.mktemp("whole"))
    trainer.fit()
    return trainer.run_dir


def test_the_example_is_short_and_complete():
    assert len(EXAMPLE.read_text().splitlines()) <= 42


def test_its_extra_loss_is_logged_by_its_name_and_its_memory_learns(whole):
    assert all(row["entropy"] > 0 for row in rows(whole))
    assert weights(whole, "memory")["counts"].sum() > 0


def test_stopped_and_resumed_it_equals_a_run_that_never_stopped(whole, tmp_path):
    start(tmp_path).fit(until=6)
    start(tmp_path).fit()
    assert rows(tmp_path) == rows(whole)
    for name in ("segmenter", "memory"):
        assert same(weights(tmp_path, name), weights(whole, name))


def test_killed_from_outside_it_goes_on_to_the_same_weights(tmp_path):
    smoke = ["method=nearest_centre:NearestCentre", "options.centres=2", "data.crop=48", "schedule.checkpoint_every=2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLE.parent), str(EXAMPLE.parents[2])])}
    train = [sys.executable, "-m", "vdalib", "train", "--preset", "partworld-smoke", *smoke, "--run-dir"]
    killed = subprocess.Popen([*train, tmp_path / "killed"], env=environment, stderr=subprocess.DEVNULL)
    while not steps(tmp_path / "killed"):
        assert killed.poll() is None
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert max(steps(tmp_path / "killed")) < 32
    for name in ("killed", "whole"):
        subprocess.run([*train, tmp_path / name], env=environment, check=True, capture_output=True)
    for name in ("segmenter", "memory"):
        assert same(*(load_file(tmp_path / folder / f"{name}.safetensors") for folder in ("killed", "whole")))


def test_evaluation_and_browser_ask_its_own_queries(whole):
    run = Run.load(whole)
    assert {"seed_miou", "miou"} <= evaluate_run(whole, multi_scale_crf=False).keys()
    browser = Browser(run, gallery=4)
    seen = browser.evidence(0)
    k = browser.classes(0)[0]
    centres, text = run.method.memory.centres[k], run.labeller.class_text[k]
    prototype = seen.found.prototypes[0, k]
    expected = text + centres[(centres @ prototype).argmax()] * seen.found.reliable[0, k]
    torch.testing.assert_close(F.normalize(seen.queries[0, k], dim=0), F.normalize(expected, dim=0))
    assert not torch.equal(seen.seeds, seen.text_seeds)


def test_its_settings_are_checked_like_the_built_in_ones():
    with pytest.raises(ValueError, match="unknown setting 'options.centers'; the nearest known one is 'options.centres'"):
        Config.from_preset("partworld-smoke", CHANGES | {"options.centers": 2})
    with pytest.raises(ValueError, match="options.centres: expected at least 1, got 0"):
        Config.from_preset("partworld-smoke", CHANGES | {"options.centres": 0})
