"""The voc12 preset as it is, 320 px and ViT-B/16, for one step of every stage."""

import json
from pathlib import Path

import pytest

from vdalib.config import Config
from vdalib.data.voc import prepare_labels
from vdalib.training.trainer import Trainer

REAL = Path(__file__).parents[2] / "shared" / "voc_mini" / "VOCdevkit" / "VOC2012"


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the forty VOC photographs (voc_mini) are not on this machine")
def test_voc12_runs_a_step_of_every_stage_at_full_size(tmp_path):
    prepare_labels(REAL, "train_aug", tmp_path)
    overrides = {
        "data.root": str(REAL),
        "data.labels": str(tmp_path),
        "data.workers": 0,
        "clip.pretrained": None,
        "mixture.batch_size": 2,
        "assembly.reliable_filter": False,  # random weights name nothing right
        "schedule.segmenter_steps": 1,
        "schedule.inter_steps": 1,
        "schedule.total_steps": 3,
        "schedule.checkpoint_every": 100,
    }
    trainer = Trainer(Config.from_preset("voc12", overrides), tmp_path / "run")
    assert (trainer.config.data.crop, trainer.config.schedule.batch_size) == (320, 4)
    assert (trainer.method.clip.dim, trainer.method.clip.num_layers, trainer.method.clip.patch_size) == (512, 12, 16)
    assert trainer.method.segmenter.decoder.classify.out_features == 21
    trainer.method.segmenter.decoder.classify.bias.data[0] -= 10  # no background at first: every class has a prototype
    trainer.fit()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in rows] == [0, 1, 2]
    assert "inter" not in rows[0] and "inter" in rows[1] and {"inter", "intra", "contrastive"} <= rows[2].keys()
    assert (tmp_path / "run" / "segmenter.safetensors").is_file()
