"""The documented method of one's own: trained, killed, resumed, evaluated and browsed, from outside of the package."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small_runs import QUICK, assert_same_run, rows, weights

from vdalib.commands.cli import main
from vdalib.config import Config
from vdalib.evaluation.measuring import evaluate_run
from vdalib.evaluation.run import Run
from vdalib.explore.browsing import Browser
from vdalib.training.checkpoints import steps
from vdalib.training.trainer import Trainer

TESTS = Path(__file__).parent
EXAMPLE = TESTS.parent / "docs" / "examples" / "nearest_centre.py"
CHANGES = {name: value for name, value in QUICK.items() if not name.startswith(("flow", "mixture"))} | {
    "method": "nearest_centre:NearestCentre",
    "options.centres": 2,
}
pytestmark = pytest.mark.usefixtures("random_clip")


@pytest.fixture(scope="module", autouse=True)
def importable():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE.parent)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    trainer = Trainer(Config.from_preset("partworld-smoke", CHANGES), tmp_path_factory.mktemp("whole"))
    trainer.fit()
    return trainer.run_dir


def test_the_example_is_short_and_complete():
    assert len(EXAMPLE.read_text().splitlines()) <= 40


def test_its_extra_loss_is_logged_by_its_name_and_its_memory_learns(whole):
    assert all(row["entropy"] > 0 for row in rows(whole))
    assert weights(whole, "memory")["sums"].any()


@pytest.mark.slow
def test_killed_it_goes_on_by_the_same_command_to_the_weights_of_a_run_that_never_stopped(whole, tmp_path, random_clip_folder):
    settings = [f"{name}={json.dumps(value)}" for name, value in CHANGES.items()]
    train = ["train", "--preset", "partworld-smoke", "--run-dir", str(tmp_path), *settings]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (EXAMPLE.parent, TESTS.parent)))}
    killed = [sys.executable, TESTS / "killed.py", random_clip_folder, "5", *train]
    done = subprocess.run([*map(str, killed)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    assert max(steps(tmp_path)) == 4
    main(train)
    assert_same_run(tmp_path, whole)


def test_evaluation_and_browser_ask_its_own_queries(whole):
    assert {"seed_miou", "miou"} <= evaluate_run(whole, multi_scale_crf=False).keys()
    run = Run.load(whole)
    browser = Browser(run, gallery=4)
    k = browser.classes(0)[0]
    run.method.segmenter.decoder.classify.bias.data[1 + k] += 100  # predicted everywhere, so that it has a prototype
    seen = browser.evidence(0)
    centres, text = F.normalize(run.method.memory.sums[k], dim=-1), run.labeller.class_text[k]
    prototype = seen.found.prototypes[0, k]
    assert seen.found.reliable[0, k]
    expected = text + centres[(centres @ prototype).argmax()]
    torch.testing.assert_close(F.normalize(seen.queries[0, k], dim=0), F.normalize(expected, dim=0))
    assert not torch.equal(seen.seeds, seen.text_seeds)


@pytest.mark.parametrize("name", ["os:system", "vdalib.io:write_json", "vdalib.io:nothing"])
def test_what_is_no_class_is_no_method(name):
    with pytest.raises(ValueError, match=f"method: '{name}': .* has no class "):
        Config.from_preset("partworld-smoke", {"method": name})


def test_its_settings_are_checked_like_the_built_in_ones():
    with pytest.raises(ValueError, match="unknown setting 'options.centers'; the nearest known one is 'options.centres'"):
        Config.from_preset("partworld-smoke", CHANGES | {"options.centers": 2})
    with pytest.raises(ValueError, match="options.centres: expected at least 1 and at most .*, got 0"):
        Config.from_preset("partworld-smoke", CHANGES | {"options.centres": 0})
