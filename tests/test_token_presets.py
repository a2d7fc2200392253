"""ToCo's and SeCo's presets: the published settings, a step of them, and two processes on the embedded world."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_runs import rows, same
from test_full_scale import REAL
from test_processes import together
from test_token_methods import OWN, QUICK, start

from vdalib.config import Config
from vdalib.data.voc import prepare_labels
from vdalib.evaluation.run import Run
from vdalib.inference import Predictor
from vdalib.training.trainer import Trainer

each = pytest.mark.parametrize("name", OWN)

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


@pytest.fixture(scope="module")
def start_weights(tmp_path_factory):
    import timm

    path = tmp_path_factory.mktemp("timm") / "tiny.safetensors"
    save_file(timm.create_model("vit_tiny_patch16_224").state_dict(), path)
    return path


@pytest.mark.slow
@each
@pytest.mark.skipif(not REAL.is_dir(), reason="the forty VOC photographs (voc_mini) are not on this machine")
def test_voc12_takes_a_step_of_every_loss_from_weights_that_a_trained_run_needs_no_more(name, tmp_path, start_weights):
    prepare_labels(REAL, "train_aug", tmp_path)
    shutil.copy(start_weights, tmp_path / "start.safetensors")
    overrides = {
        "data.root": str(REAL),
        "data.labels": str(tmp_path),
        "data.workers": 0,
        "data.crop": 112,  # and a small transformer: at 448 px and with ViT-B a step takes minutes on a CPU
        "backbone.name": "vit_tiny_patch16_224",
        "backbone.pretrained": str(tmp_path / "start.safetensors"),
        "schedule.total_steps": 1,
        "options.segmentation_from": 0,
        "options.cam_scales": [0.5],
    }
    if name == "seco":
        overrides |= {"options.prototypes_from": 0, "options.knowledge_from": 0}
    trainer = Trainer(Config.from_preset(f"{name}-voc12", overrides), tmp_path / "run")
    assert trainer.method.network.classifier.weight.shape == (20, 192) and trainer.config.schedule.batch_size == 4
    kept = load_file(start_weights)["blocks.3.mlp.fc1.weight"]
    assert torch.equal(trainer.method.network.backbone.blocks[3].mlp.fc1.weight, kept)
    trainer.fit()
    assert {"segmentation", "energy", "patch_contrast"} <= rows(tmp_path / "run")[0].keys()
    (tmp_path / "start.safetensors").unlink()
    for network in (Predictor.from_run(tmp_path / "run").network, Run.load(tmp_path / "run").method.network):
        assert same(network.state_dict(), trainer.method.network.state_dict())


@each
@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the forty VOC photographs (voc_mini) are not on this machine")
def test_voc12_takes_a_step_at_full_size(name, tmp_path):
    """ViT-B/16 with random weights on 448 px, the last stage with all its losses; one image and one CAM scale, to save time."""
    prepare_labels(REAL, "train_aug", tmp_path)
    overrides = {
        "data.root": str(REAL),
        "data.labels": str(tmp_path),
        "data.workers": 0,
        "backbone.pretrained": None,
        "schedule.batch_size": 1,
        "schedule.total_steps": 1,
        "options.segmentation_from": 0,
        "options.cam_scales": [0.5],
    } | ({"options.prototypes_from": 0, "options.knowledge_from": 0} if name == "seco" else {})
    trainer = Trainer(Config.from_preset(f"{name}-voc12", overrides), tmp_path / "run")
    assert trainer.config.data.crop == 448 and trainer.method.network.classifier.weight.shape == (20, 768)
    trainer.fit()
    assert {"segmentation", "energy", "patch_contrast"} <= rows(tmp_path / "run")[0].keys()


BEGINNINGS = {  # of the losses, and one that counts in the last step
    "toco": ({"options.contrast_from": 2, "options.segmentation_from": 3, "options.final_labels_from": 4}, "class_contrast"),
    "seco": ({"options.knowledge_from": 2, "options.segmentation_from": 3, "options.tags_from": 4}, "reservoir"),
}


@pytest.mark.slow
@each
def test_two_processes_have_the_losses_of_one(name, tmp_path):
    """On the real small CLIP; in the end every loss counts, and stores have seen both halves."""
    beginnings, last = BEGINNINGS[name]
    changes = QUICK | OWN[name] | {"schedule.total_steps": 5, "data.val_size": 2, "data.train_size": 8} | beginnings
    start(name, tmp_path / "alone", changes).fit()
    words = [f"{key}={value}" for key, value in changes.items()]
    together(str(tmp_path), "--preset", f"{name}-smoke", *words)
    assert [(tmp_path / f"processes_{n}").read_text() for n in (0, 1)] == ["2", "2"]
    expected, found = rows(tmp_path / "alone"), rows(tmp_path / "run_0")
    assert len(expected) == 5 and {"patch_contrast", last, "segmentation"} <= expected[4].keys()
    for row, other in zip(expected, found, strict=True):
        assert other == pytest.approx(row, abs=2e-4), row["step"]
