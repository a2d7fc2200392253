"""Trainings of a second, for the tests that compare runs. They want the fixture `random_clip`."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from vdalib.config import Config
from vdalib.training.trainer import Trainer

QUICK = {  # steps 0-2, 3-5, 6-8; checkpoints after 2, 3, 4, 6, 8 and 9
    "data.crop": 48,
    "segmenter.depth": 1,
    "flow.steps": 2,
    "mixture.batch_size": 5,
    "assembly.reliable_filter": False,
    "refine.par_iterations": 1,
    "schedule.segmenter_steps": 3,
    "schedule.inter_steps": 3,
    "schedule.total_steps": 9,
    "schedule.checkpoint_every": 2,
}
ONE_OF_EACH = {"schedule.segmenter_steps": 1, "schedule.inter_steps": 1, "schedule.total_steps": 3}
STAGE_3_AT_ONCE = {"schedule.segmenter_steps": 0, "schedule.inter_steps": 0}


def start(run_dir, changes=None, preset="partworld-smoke"):
    """A Trainer whose decoder shuns background at first, so that there are prototypes from step 0 on."""
    trainer = Trainer(Config.from_preset(preset, QUICK | (changes or {})), run_dir)
    if trainer.step == 0:
        trainer.method.segmenter.decoder.classify.bias.data[0] -= 10
    return trainer


def run(run_dir, changes=None, until=None, preset="partworld-smoke"):
    trainer = start(run_dir, changes, preset)
    trainer.fit(until)
    return trainer


def weights(run_dir, name):
    return load_file(run_dir / f"{name}.safetensors")


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[key], other[key]) for key in state)


def copy_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def rows(run_dir):
    """The metrics of a run, less the clock."""
    found = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert all(row.pop("time") > 1.7e9 for row in found)
    return found


def assert_same_run(run_dir, other):
    for name in ("segmenter", "memory"):
        assert same(weights(run_dir, name), weights(other, name)), name
    assert rows(run_dir) == rows(other)


class Poison:
    """Unpickled, it makes a file: a harmless stand-in for code of somebody else's."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)
