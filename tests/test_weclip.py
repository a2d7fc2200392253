"""WeCLIP: what the adapter reads, which attention maps carry Grad-CAM when, and what trains."""

from types import SimpleNamespace

import pytest
import torch
from small_runs import QUICK, rows, run, start, weights

from vdalib.config import Config
from vdalib.data.loader import training_batches
from vdalib.evaluation.run import Run
from vdalib.inference import Predictor
from vdalib.methods.weclip import WeCLIP
from vdalib.segmentation.cam import affinity_matrix, gradient_activation, min_max, refine_cam
from vdalib.segmentation.segmenter import patch_affinity
from vdalib.training.step import Step

pytestmark = pytest.mark.usefixtures("random_clip")
CHANGES = {"schedule.adapter_joins": 1 / 3}
TOTAL = QUICK["schedule.total_steps"]


def weclip(tmp_path, changes=None):
    return start(tmp_path, CHANGES | (changes or {}), "weclip-smoke")


def a_batch(trainer):
    batch = next(iter(training_batches(trainer.dataset, trainer.config)))
    return batch["images"], batch["labels"], batch["valid"]


def looked_at(trainer, stage):
    images, labels, valid = a_batch(trainer)
    return trainer.method._look(images, labels, Step(3 * stage, TOTAL, stage), trainer.method.model, valid)


@pytest.mark.parametrize(("preset", "start"), [("weclip-voc12", 15_000), ("weclip-coco14", 40_000), ("weclip", 150)])
def test_the_refinement_module_joins_at_half_of_the_schedule(preset, start):
    config = Config.from_preset(preset)
    assert WeCLIP.stage_ends.fget(SimpleNamespace(config=config)) == (start, 2 * start)


def test_presets_state_the_published_settings():
    voc, coco = Config.from_preset("weclip-voc12"), Config.from_preset("weclip-coco14")
    for config in (voc, coco):
        assert (config.method, config.clip.calibration, config.schedule.batch_size) == ("weclip", "none", 4)
        assert (config.schedule.learning_rate, config.schedule.lr_warmup) == (2e-3, 50)
        assert config.clip.position_resize == "bilinear" and config.schedule.adapter_joins == 0.5
        assert config.inference.scales == (1.0, 0.75) and config.options.plain_blocks == 8 and not config.options.absolute
        assert config.inference.crf_bilateral_sigma_rgb == 5 and config.refine.par_iterations == 20
    assert (voc.options.gated_blocks, coco.options.gated_blocks) == (6, 10)
    assert (voc.refine.affinity_threshold, coco.refine.affinity_threshold) == (0.4, 0.7)
    assert len(voc.clip.background_prompts) == 25 and len(coco.clip.background_prompts) == 23


def test_every_prompt_word_belongs_to_a_class_of_its_data_set():
    from vdalib.data.coco import COCO_CLASSES
    from vdalib.data.voc import VOC_CLASSES

    for method in ("excel", "weclip"):
        voc, coco = (Config.from_preset(f"{method}-{data}").clip for data in ("voc12", "coco14"))
        assert voc.words(VOC_CLASSES)[2] == ("bird avian",) and voc.words(VOC_CLASSES)[11] == ("dog",)
        words = dict(zip(COCO_CLASSES, coco.words(COCO_CLASSES)))
        assert words["motorcycle"] == ("motorbike",) and words["snowboard"] == ("snowboard",)


def test_the_adapter_reads_all_layers_but_the_last(tmp_path):
    trainer = weclip(tmp_path)
    method = trainer.method
    method.model.eval()
    images, labels, _ = a_batch(trainer)
    assert method.segmenter.num_layers == method.clip.num_layers - 1
    before = looked_at(trainer, 0)
    torch.testing.assert_close(method.network(images), before.logits)
    for parameter in method.clip.model.visual.transformer.resblocks[-1].parameters():
        parameter.data += 1
    torch.testing.assert_close(method.network(images), before.logits)


def test_seeds_are_grad_cam_of_the_last_block(tmp_path):
    trainer = weclip(tmp_path)
    seen, method = looked_at(trainer, 0), trainer.method
    visual, labeller = method.clip.model.visual, method.labeller
    expected = gradient_activation(
        visual, seen.features.entering, labeller.class_text, labeller.background_text, seen.labels, method.clip.logit_scale
    )
    torch.testing.assert_close(seen.seeds, expected)
    assert not seen.seeds[~seen.labels].any() and seen.seeds.any()


def refined(seen, walk, threshold):
    return min_max(refine_cam(seen.seeds, walk, seen.labels, threshold))


def test_plain_maps_first_then_those_that_the_adapter_chooses(tmp_path):
    for absolute in (False, True):
        trainer = weclip(tmp_path / str(absolute), {"options.absolute": absolute})
        first, then = looked_at(trainer, 0), looked_at(trainer, 1)
        torch.testing.assert_close(
            first.refined_seeds, refined(first, affinity_matrix(first.features.attention[-5:]), 0.4), atol=1e-6, rtol=0
        )
        trainer.method.segmenter.eval()
        embedding = trainer.method.segmenter.adapter(then.features.layers[:-1], then.features.grid)
        products = torch.einsum("behw,beij->bhwij", embedding, embedding).flatten(3).flatten(1, 2)
        walk = affinity_matrix(then.features.attention[-4:], torch.sigmoid(products), absolute)
        torch.testing.assert_close(then.refined_seeds, refined(then, walk, 0.4), atol=1e-5, rtol=0)


def test_without_adapter_affinity_the_refinement_module_is_left_out(tmp_path):
    trainer = weclip(tmp_path, {"refine.adapter_affinity": False})
    assert torch.equal(looked_at(trainer, 1).refined_seeds, looked_at(trainer, 0).refined_seeds)


def test_labels_are_made_without_dropout_and_what_trains_is_with_it(tmp_path):
    trainer = weclip(tmp_path, {"segmenter.dropout": 0.5})
    trainer.method.model.train()
    first, again = looked_at(trainer, 1), looked_at(trainer, 1)
    assert not torch.equal(first.embedding, again.embedding)
    assert torch.equal(first.refined_seeds, again.refined_seeds)
    assert trainer.method.segmenter.training


def test_the_affinity_loss_is_that_of_raw_products(tmp_path):
    from vdalib.segmentation.losses import affinity_loss

    trainer = weclip(tmp_path)
    seen = looked_at(trainer, 0)
    terms = trainer.method.terms(seen, seen.step)
    at_grid = seen.pseudo_label[:, ::8, ::8]  # nearest
    torch.testing.assert_close(terms["affinity"], affinity_loss(patch_affinity(seen.embedding, raw=True), at_grid))
    assert terms["affinity"].requires_grad and not seen.pseudo_label.requires_grad


def test_too_few_attention_maps_are_refused(tmp_path):
    with pytest.raises(ValueError, match="clip.affinity_blocks: found 3, expected the 5 of options.plain_blocks and"):
        weclip(tmp_path, {"clip.affinity_blocks": 3})


def test_every_stage_of_a_run_and_what_is_left_of_it(tmp_path):
    trainer = run(tmp_path, CHANGES, preset="weclip-smoke")
    assert [row["stage"] for row in rows(tmp_path)] == [0] * 3 + [1] * 6
    assert not weights(tmp_path, "memory")
    opened, (images, labels, _) = Run.load(tmp_path), a_batch(trainer)
    seen = opened.evidence(images, labels)
    assert opened.stage == 1 and torch.equal(seen.text_seeds, seen.seeds)
    torch.testing.assert_close(Predictor.from_run(tmp_path).network(images), seen.logits)
