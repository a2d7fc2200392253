"""What holds for ToCo and SeCo alike as methods: presets, stages, resuming, weak supervision, evaluation."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import assert_same_run, copy_of, rows, same, weights
from test_full_scale import REAL

from vdalib.config import Config
from vdalib.data.loader import training_batches
from vdalib.data.partworld import PartWorld
from vdalib.data.voc import prepare_labels
from vdalib.evaluation.measuring import evaluate_run
from vdalib.evaluation.run import Run
from vdalib.inference import Predictor
from vdalib.methods.tokens import mean_cosine, stages
from vdalib.training.trainer import Trainer

QUICK = {  # nine steps with checkpoints after 2, 4, 6, 8 and 9; crops with padding
    "data.crop": 48,
    "data.scale": [0.4, 0.6],
    "schedule.total_steps": 9,
    "schedule.checkpoint_every": 2,
    "refine.par_iterations": 1,
    "options.cam_scales": [1.0],
}
OWN = {
    "toco": {"options.local_size": 16},
    "seco": {"options.patch_size": 16},
}
each = pytest.mark.parametrize("name", OWN)


def start(name, run_dir, changes=None):
    return Trainer(Config.from_preset(f"{name}-smoke", QUICK | OWN[name] | (changes or {})), run_dir)


def trained(name, run_dir, until=None, changes=None):
    trainer = start(name, run_dir, changes)
    trainer.fit(until)
    return trainer


@pytest.fixture(scope="module")
def references(tmp_path_factory, random_clip):
    return {name: trained(name, tmp_path_factory.mktemp(name)).run_dir for name in OWN}


def test_losses_begin_with_their_stages(references):
    image = {"classification", "auxiliary"}
    always = image | {"step", "stage", "token_cosine", "learning_rate"}
    contrast, masks = {"patch_contrast", "class_contrast"}, {"segmentation", "energy"}
    expected = [always] * 2 + [always | contrast] * 2 + [always | contrast | masks] * 5
    assert [row.keys() for row in rows(references["toco"])] == expected
    patch, knowledge = {"patch_contrast"}, {"prototype", "reservoir"}
    expected = [always] + [always | patch] * 2 + [always | patch | knowledge] * 2 + [always | patch | knowledge | masks] * 4
    assert [row.keys() for row in rows(references["seco"])] == expected


def test_stages_by_hand():
    assert stages({"a": 0, "b": 5, "c": 3}, 9) == (("a", "c", "b"), (3, 5, 9))
    assert stages({"a": 0, "b": 0, "c": 3}, 9) == (("b", "c"), (3, 9))


@each
@pytest.mark.parametrize("stop", [2, 4, 8])
def test_a_run_that_stops_and_resumes_equals_one_that_never_stopped(name, stop, references, tmp_path):
    memory = copy_of(trained(name, tmp_path, until=stop).method.memory)
    resumed = start(name, tmp_path)
    assert resumed.step == stop and same(memory, resumed.method.memory.state_dict())
    resumed.fit()
    assert_same_run(tmp_path, references[name])


def test_teacher_queue_and_prototypes_are_in_the_checkpoint(references):
    projection = {f"layers.{n}.{part}" for n in (0, 2, 4) for part in ("weight", "bias")}
    assert weights(references["toco"], "memory").keys() == projection | {"rows"}
    memory = weights(references["seco"], "memory")
    assert {name.partition(".")[0] for name in memory} == {"encoder", "projection", "prototypes", "reservoir"}
    assert memory["reservoir.written"] == 9 * 4 * 6 and len(memory["reservoir.keys"]) == 72
    torch.testing.assert_close(memory["reservoir.keys"].norm(dim=1), torch.ones(72))
    assert memory["prototypes.images"].sum() > 0
    torch.testing.assert_close(memory["prototypes.vectors"].norm(dim=1), torch.ones(10))


@each
def test_noise_in_place_of_all_masks_changes_no_bit(name, references, tmp_path, monkeypatch):
    dice, render = np.random.default_rng(0), PartWorld.render

    def noise(*_):
        return dice.integers(0, 256, (96, 96), dtype=np.uint8)

    def noisy(self, i):
        return replace(render(self, i), mask=noise(), part_mask=noise(), owner=noise())

    monkeypatch.setattr(PartWorld, "render", noisy)
    monkeypatch.setattr(PartWorld, "mask", noise)
    monkeypatch.setattr(PartWorld, "part_mask", noise)
    assert_same_run(trained(name, tmp_path).run_dir, references[name])


@each
def test_everything_learns_but_positions_and_teachers_which_follow(name, tmp_path, random_clip):
    trainer = start(name, tmp_path)
    model, memory = copy_of(trainer.method.model), copy_of(trainer.method.memory)
    trainer.fit()
    after = trainer.method.model.state_dict()
    assert {key for key in model if torch.equal(model[key], after[key])} == {"network.backbone.position"}
    assert not any(parameter.requires_grad for parameter in trainer.method.memory.parameters())
    teacher = trainer.method.memory.state_dict()
    prefix = "layers.0.weight" if name == "toco" else "projection.layers.0.weight"
    assert not torch.equal(memory[prefix], teacher[prefix]) and not torch.equal(after["projection.layers.0.weight"], teacher[prefix])


def test_tocos_teacher_is_the_running_mean_of_the_projection(tmp_path, random_clip):
    trainer = start("toco", tmp_path)
    expected = trainer.method.memory.layers[0].weight.clone()
    for batch in list(training_batches(trainer.dataset, trainer.config, views=trainer.method.views))[:4]:
        trainer.train_step(batch)
        trainer.step += 1
        expected = 0.9 * expected + 0.1 * trainer.method.model.projection.layers[0].weight
    torch.testing.assert_close(trainer.method.memory.layers[0].weight, expected)


@each
def test_heads_learn_ten_times_as_fast_as_the_backbone(name, tmp_path, random_clip):
    trainer = start(name, tmp_path)
    slow, fast = trainer.optimizer.param_groups
    assert fast["base_lr"] == pytest.approx(6e-4) and slow["base_lr"] == 6e-5 and slow["weight_decay"] == 0.01
    assert {*map(id, slow["params"])} == {*map(id, trainer.method.network.backbone.parameters())}
    assert {*map(id, slow["params"] + fast["params"])} == {*map(id, trainer.method.model.parameters())}


@each
def test_a_trained_run_is_measured_and_segments_without_its_memory(name, references, tmp_path):
    found = evaluate_run(references[name], multi_scale_crf=False)
    assert found.keys() == {"seed_miou", "refined_seed_miou", "miou"} and all(0 <= value <= 100 for value in found.values())
    run = Run.load(references[name])
    picture = run.dataset("val")[0]
    evidence = run.evidence(picture.image[None] / 255, picture.labels[None])
    absent = ~picture.labels
    assert not evidence.seeds[0, absent].any() and (evidence.seeds[0].amax((1, 2)) > 0.99).equal(picture.labels)
    assert {*evidence.pseudo_label.unique().tolist()} <= {0, 255, *(picture.labels.nonzero().flatten() + 1).tolist()}
    label_map = Predictor.from_run(references[name]).predict(picture.image, crf=False)
    assert label_map.shape == (96, 96) and label_map.max() <= 10


@each
def test_half_precision_runs_through_every_stage(name, tmp_path, random_clip):
    trainer = trained(name, tmp_path, changes={"precision": "bf16"})
    assert all(parameter.isfinite().all() for parameter in trainer.method.model.parameters())


def test_everything_as_published_runs_through_every_stage(tmp_path, random_clip):
    published = {"as_published": True, "single_class": "cam", "global_keys": "student", "box_units": "pixel"}
    changes = {f"options.{name}": value for name, value in published.items()}
    run_dir = trained("seco", tmp_path / "seco", changes=changes).run_dir
    assert all(math.isfinite(row.get("reservoir", 0)) for row in rows(run_dir))
    trained("toco", tmp_path / "toco", changes={"options.box_units": "pixel", "options.extra_zero_positive": False})


def test_what_does_not_fit_is_refused(tmp_path, random_clip):
    with pytest.raises(ValueError, match="options.local_size: 20 px are not whole patches of 8 px"):
        start("toco", tmp_path, {"options.local_size": 20})
    with pytest.raises(ValueError, match=r"options.patch_size: 48 px leave no 4 places in data.crop \(48 px\); choose less"):
        start("seco", tmp_path, {"options.patch_size": 48})
    with pytest.raises(ValueError, match="options.reservoir: 23 is less than the 24 keys of a step; choose more"):
        start("seco", tmp_path, {"options.reservoir": 23})


def test_mean_cosine_is_that_of_all_pairs():
    torch.manual_seed(0)
    patches = torch.randn(2, 5, 2, 3, dtype=torch.float64)
    for image, found in zip(patches.flatten(2), mean_cosine(patches)):
        pairs = [torch.cosine_similarity(image[:, u], image[:, v], dim=0) for u in range(6) for v in range(6) if u != v]
        torch.testing.assert_close(found, torch.stack(pairs).mean())


PUBLISHED = {
    "toco-voc12": "448 20000 4 0.7 0.25 0 2001 0 / 0.2 0.5 0.1 0.05 / None False sum max",
    "toco-coco14": "448 80000 8 0.65 0.25 12001 8001 12000 / 0.2 0.5 0.1 0.05 / 448 True max sum",
    "seco-voc12": "448 20000 4 0.7 0.25 0 2001 0 / 0.3 0.5 0.5 0.12 0.05 / 448 True sum max",
    "seco-coco14": "448 80000 8 0.65 0.25 8001 16001 12000 / 0.2 0.5 0.3 0.12 0.05 / None False sum max",
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_full_size_presets_are_the_published_settings(preset):
    config = Config.from_preset(preset)
    schedule, options, inference = config.schedule, config.options, config.inference
    steps = options.contrast_from, options.segmentation_from, options.final_labels_from
    first = config.data.crop, schedule.total_steps, schedule.batch_size, options.high, options.low, *steps
    if preset.startswith("toco"):
        contrast = [options.class_contrast_weight]
        assert options.temperature == (1.0 if "coco" in preset else 0.5)
        assert (options.local_crops, options.local_size, options.projection) == (8, 96, (2048, 256, 1024))
        assert options.cam_scales == (1.0, 0.5, 1.5) and options.extra_zero_positive
    else:
        contrast = [options.prototype_weight, options.reservoir_weight]
        coco = "coco" in preset
        assert options.cam_scales == ((1.0, 0.5, 0.75, 1.25, 1.5) if coco else (1.0, 0.5, 0.75, 1.5))
        moments = (options.prototypes_from, options.knowledge_from, options.tags_from)
        assert moments == ((6000, 12001, 50000) if coco else (600, 1001, 10000))
        assert options.prototype_momentum == (0.99 if coco else 0.9) and options.teacher_momentum == 0.999
        assert (options.patches, options.patch_size, options.reservoir, options.projection) == (10, 64, 4608, 2048)
        assert options.decoder_dilations == (6, 12, 18, 24)
    terms = options.patch_contrast_weight, *contrast, options.segmentation_weight, options.energy_weight
    fusion = inference.size, inference.square, inference.over_mirrors, inference.over_scales
    assert " / ".join(" ".join(map(str, part)) for part in (first, terms, fusion)) == PUBLISHED[preset]
    assert (schedule.learning_rate, options.head_lr_factor, schedule.weight_decay) == (6e-5, 10, 0.01)
    assert (schedule.lr_warmup, schedule.lr_power, schedule.background_weight) == (1500, 0.9, 0.5)
    assert (options.par_scale, options.par_dilations, config.refine.par_iterations) == (0.5, (1, 2, 4, 8, 12, 24), 10)
    assert config.data.scale == (0.5, 2.0) and options.blur == (0.1, 2.0)
    assert (config.backbone.name, config.backbone.auxiliary_block) == ("vit_base_patch16_224", -3)
    assert inference.scales == (1.0, 1.25, 1.5) and inference.flip and inference.crf_iterations == 10
    crf = inference.crf_pos_sigma, inference.crf_pos_weight, inference.crf_bilateral_sigma_xy
    assert (*crf, inference.crf_bilateral_sigma_rgb, inference.crf_bilateral_weight) == (1, 1, 121, 5, 4)


@each
@pytest.mark.skipif(not REAL.is_dir(), reason="the forty VOC photographs (voc_mini) are not on this machine")
def test_voc12_takes_a_step_of_every_loss_with_a_transformer_of_timm(name, tmp_path):
    prepare_labels(REAL, "train_aug", tmp_path)
    overrides = {
        "data.root": str(REAL),
        "data.labels": str(tmp_path),
        "data.workers": 0,
        "data.crop": 224,  # and a smaller transformer: at 448 px and with ViT-B a step takes minutes
        "backbone.name": "vit_tiny_patch16_224",
        "backbone.pretrained": None,
        "schedule.batch_size": 2,
        "schedule.total_steps": 2,
        "options.segmentation_from": 0,
        "options.cam_scales": [0.5],
    }
    if name == "seco":
        overrides |= {"options.prototypes_from": 0, "options.knowledge_from": 0}
    trainer = Trainer(Config.from_preset(f"{name}-voc12", overrides), tmp_path / "run")
    assert trainer.method.network.classifier.weight.shape == (20, 192) and trainer.method.network.patch_size == 16
    trainer.fit()
    found = rows(tmp_path / "run")
    assert [row["stage"] for row in found] == [0, 0] and {"segmentation", "energy", "patch_contrast"} <= found[0].keys()
