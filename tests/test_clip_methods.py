"""What holds for ExCEL and WeCLIP alike: no mask is read, a resumed run equals one that never stopped, CLIP is frozen."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import assert_same_run, copy_of, run, same, start
from test_full_scale import REAL

from vdalib.config import Config
from vdalib.data.partworld import PartWorld
from vdalib.data.voc import VOC_CLASSES, prepare_labels
from vdalib.training.trainer import Trainer

METHODS = {  # nine steps: a stage begins with step 3, and in ExCEL one with step 6
    "excel": {"schedule.adapter_joins": 1 / 3, "schedule.prediction_joins": 2 / 3},
    "weclip": {"schedule.adapter_joins": 1 / 3},
}
each = pytest.mark.parametrize("name", METHODS)


def trained(name, run_dir, until=None, changes=None):
    return run(run_dir, METHODS[name] | (changes or {}), until, f"{name}-smoke")


@pytest.fixture(scope="module")
def references(tmp_path_factory, random_clip):
    return {name: trained(name, tmp_path_factory.mktemp(name)).run_dir for name in METHODS}


@each
def test_noise_in_place_of_all_masks_changes_no_bit(name, references, tmp_path, monkeypatch):
    dice, render = np.random.default_rng(0), PartWorld.render

    def noise(world, i):
        return dice.integers(0, 256, render(world, i).mask.shape, dtype=np.uint8)

    def noisy(world, i):
        layers = {name: noise(world, i) for name in ("mask", "kind_mask", "part_mask", "owner")}
        return replace(render(world, i), **layers)

    monkeypatch.setattr(PartWorld, "render", noisy)
    monkeypatch.setattr(PartWorld, "mask", noise)
    monkeypatch.setattr(PartWorld, "part_mask", noise)
    assert_same_run(trained(name, tmp_path).run_dir, references[name])


@each
@pytest.mark.parametrize("stop", [2, 4, 8])
def test_a_run_that_stops_and_resumes_equals_one_that_never_stopped(name, stop, references, tmp_path):
    trained(name, tmp_path, until=stop)
    resumed = start(tmp_path, METHODS[name], f"{name}-smoke")
    assert resumed.step == stop
    resumed.fit()
    assert_same_run(tmp_path, references[name])


@each
@pytest.mark.usefixtures("random_clip")
def test_the_segmenter_trains_at_one_rate_and_clip_does_not(name, tmp_path):
    trainer = start(tmp_path, METHODS[name], f"{name}-smoke")
    before, frozen = copy_of(trainer.method.segmenter), copy_of(trainer.method.clip)
    trainer.fit()
    assert same(frozen, trainer.method.clip.state_dict())
    assert all(parameter.grad is None for parameter in trainer.method.clip.parameters())
    after = trainer.method.segmenter.state_dict()
    assert all(not torch.equal(before[key], after[key]) for key in before if key.endswith("weight"))
    assert len({group["lr"] for group in trainer.optimizer.param_groups}) == 1


@each
@pytest.mark.usefixtures("random_clip")
def test_half_precision_runs_through_every_stage(name, tmp_path):
    trained(name, tmp_path, changes={"precision": "bf16"})


@each
def test_the_smoke_preset_runs_on_the_real_small_clip(name, tmp_path):
    trainer = Trainer(Config.from_preset(f"{name}-smoke"), tmp_path)
    trainer.fit()
    assert trainer.method.stage(trainer.step - 1) == len(trainer.method.stages) - 1


@pytest.mark.slow
@each
@pytest.mark.skipif(not REAL.is_dir(), reason="the forty VOC photographs (voc_mini) are not on this machine")
def test_voc12_runs_a_step_of_every_stage_at_full_size(name, tmp_path):
    prepare_labels(REAL, "train_aug", tmp_path)
    overrides = {
        "data.root": str(REAL),
        "data.labels": str(tmp_path),
        "data.workers": 0,
        "clip.pretrained": None,
        "refine.par_iterations": 1,
        "schedule.total_steps": 3,
    }
    if name == "excel":  # one sentence a class: four hundred take their time
        (tmp_path / "said.csv").write_text("\n".join(["class,sentence", *(f"{name},it is seen" for name in VOC_CLASSES)]))
        overrides |= {"clip.sentences": str(tmp_path / "said.csv"), "clip.attributes": 8}
    trainer = Trainer(Config.from_preset(f"{name}-voc12", overrides | METHODS[name]), tmp_path / "run")
    assert (trainer.config.data.crop, trainer.config.schedule.batch_size) == (320, 4)
    assert trainer.method.segmenter.num_layers == {"excel": 12, "weclip": 11}[name]
    assert trainer.method.segmenter.decoder.classify.out_features == 21
    trainer.fit()
    assert trainer.step == 3 and (tmp_path / "run" / "segmenter.safetensors").is_file()
