"""Any open_clip ViT with a class token works by its name; others are refused before anything is downloaded."""

import copy

import numpy as np
import open_clip
import pytest
import torch
from small_runs import ONE_OF_EACH, rows, start

from vdalib.clip import loading
from vdalib.inference import Predictor

NAMES = (
    "ViT-B-32", "ViT-B-16", "ViT-B-16-quickgelu", "ViT-L-14", "ViT-L-14-336-quickgelu", "ViT-H-14", "ViT-B-16-plus-240",
    "ViT-M-16-alt",
)  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    """Shrinks a model of the registry: fewer blocks and two heads, all else of its structure stays."""

    def shrink(name):
        config = copy.deepcopy(open_clip.get_model_config(name))
        config["embed_dim"] = 32
        config["vision_cfg"] |= {"layers": 6, "width": 2 * config["vision_cfg"].get("head_width", 64)}
        config["text_cfg"] |= {"layers": 1, "width": 32, "heads": 1}
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
        return config

    return shrink


@pytest.mark.parametrize("name", NAMES)
def test_a_step_of_every_stage_and_a_prediction(name, small, tmp_path):
    vision = small(name)["vision_cfg"]
    patch = vision["patch_size"]
    clip = {"clip.model": name, "clip.pretrained": None, "data.crop": 3 * patch, "mixture.batch_size": 2}
    trainer = start(tmp_path, ONE_OF_EACH | clip)
    clip = trainer.method.clip
    assert (clip.patch_size, clip.num_layers, clip.token_width) == (patch, 6, vision["width"])
    gelu = type(clip.model.visual.transformer.resblocks[0].mlp.gelu).__name__
    assert gelu == ("QuickGELU" if name.endswith("quickgelu") else "GELU")
    trainer.fit()
    found = rows(tmp_path)
    assert [row["stage"] for row in found] == [0, 1, 2]
    assert "inter" in found[1] and {"inter", "discriminative", "intra", "contrastive"} <= found[2].keys()
    assert all(np.isfinite([*row.values()]).all() for row in found)
    image = trainer.dataset[0].image
    assert Predictor.from_run(tmp_path).predict(image, crf=False).shape == image.shape[-2:]


@pytest.mark.parametrize(
    "name, reason",
    [
        ("ViT-B-16-SigLIP", "it is a TimmModel"),
        ("EVA02-B-16", "it is a TimmModel"),
        ("RN50", "it is a ModifiedResNet"),
        ("coca_ViT-B-32", "it pools by attention"),
        ("ViT-L-14-CLIPA", "it has no class token output .pool_type 'avg'."),
    ],
)
def test_others_are_refused_by_name_with_the_cure(name, reason, monkeypatch, caplog):
    for module, function in ((open_clip, "get_tokenizer"), (loading, "_find_weights")):
        monkeypatch.setattr(module, function, lambda *_: pytest.fail("too late: this may download"))
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=f"clip.model: expected an open_clip Vision.*{reason}.*choose a model such as ViT-B-16"):
        loading.load_clip(name, "some tag")
    assert torch.equal(torch.get_rng_state(), before) and not caplog.records


def test_a_crop_that_is_not_whole_patches_is_refused_before_training(small, tmp_path):
    small("ViT-L-14")
    cure = r"data.crop: 320 px are not whole patches of 14 px; choose 308 or 322"
    with pytest.raises(ValueError, match=cure):
        start(tmp_path, {"clip.model": "ViT-L-14", "clip.pretrained": None, "data.crop": 320})
