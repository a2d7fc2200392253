"""ExCEL: enriched texts, calibration by the adapter from its moment on, and whose labels the affinity loss takes."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from small_runs import QUICK, rows, run, same, start, weights

from vdalib.clip import FrozenCLIP
from vdalib.clip.text import attribute_clusters
from vdalib.config import Config
from vdalib.data.loader import training_batches
from vdalib.data.partworld import CLASSES
from vdalib.evaluation.run import Run
from vdalib.inference import Predictor
from vdalib.methods.excel import ExCEL
from vdalib.segmentation.cam import affinity_matrix, redundancy_free_activation
from vdalib.segmentation.segmenter import patch_affinity
from vdalib.training.step import Step

pytestmark = pytest.mark.usefixtures("random_clip")
CHANGES = {"schedule.adapter_joins": 1 / 3, "schedule.prediction_joins": 2 / 3}  # of nine steps: 3 and 6
TOTAL = QUICK["schedule.total_steps"]


def excel(tmp_path, changes=None):
    return start(tmp_path, CHANGES | (changes or {}), "excel-smoke")


def moment(stage):
    return Step((0, 3, 6)[stage], TOTAL, stage)


def a_batch(trainer):
    batch = next(iter(training_batches(trainer.dataset, trainer.config)))
    batch["valid"][:, :8] = False  # as if the crop hung over the edge of the image
    return batch["images"], batch["labels"], batch["valid"]


def looked_at(trainer, stage, valid=True):
    method, (images, labels, known) = trainer.method, a_batch(trainer)
    return method._look(images, labels, moment(stage), method.model, known if valid else None)


@pytest.mark.parametrize(
    ("preset", "ends"),
    [("excel-voc12", (14_000, 24_000, 30_000)), ("excel-coco14", (30_000, 100_000, 100_000)), ("excel", (140, 240, 300))],
)
def test_stages_begin_at_the_published_steps(preset, ends):
    config = Config.from_preset(preset)
    assert ExCEL.stage_ends.fget(SimpleNamespace(config=config)) == ends


def test_presets_state_the_published_settings():
    voc, coco = Config.from_preset("excel-voc12"), Config.from_preset("excel-coco14")
    for config in (voc, coco):
        assert (config.method, config.schedule.batch_size, config.schedule.learning_rate) == ("excel", 4, 1e-3)
        assert config.refine.redundancy_removal and config.refine.random_walk and config.clip.position_resize == "bilinear"
        assert (config.clip.calibration, config.clip.calibrated_blocks, config.clip.affinity_blocks) == ("learnable", 5, 6)
        assert config.clip.share_heads and config.clip.prompt_words["bird"] == "bird avian"
    assert (voc.clip.attributes, voc.refine.affinity_threshold, voc.schedule.lr_warmup) == (112, 0.79, 50)
    assert (coco.clip.attributes, coco.refine.affinity_threshold, coco.schedule.lr_warmup) == (224, 0.88, 200)
    assert (voc.schedule.prediction_joins, coco.schedule.prediction_joins) == (0.8, None)
    assert voc.options.affinity_target == coco.options.affinity_target == "current"
    assert voc.schedule.total_steps == 30_000 and coco.schedule.total_steps == 100_000


def test_texts_are_enriched_by_the_statements_of_the_world(tmp_path):
    method = excel(tmp_path).method
    clip, texts = FrozenCLIP.from_config(method.config.clip), method.memory
    plain = clip.text_prototypes(CLASSES)
    statements = [f"a clean origami {words}." for words in ("red dog", "dog", "dog tail")]
    nearest = torch.cdist(clip.encode_text(statements), texts.centres).argmin(1)
    assert (texts.members[CLASSES.index("dog"), nearest] > 0).all() and texts.centres.shape[0] == 42
    for t, found in zip(plain, method.labeller.class_text):
        similarity = texts.centres @ t
        kept = similarity.argsort(descending=True)[:38]
        expected = t + similarity[kept].softmax(0) @ texts.centres[kept]
        torch.testing.assert_close(found, expected / expected.norm())
    torch.testing.assert_close(method.labeller.background_text, clip.text_prototypes(method.config.clip.background_prompts))


def test_without_sentences_the_run_says_so_and_uses_plain_prompts(tmp_path):
    with pytest.warns(UserWarning, match="clip.sentences: null, so ExCEL runs without its text enrichment"):
        method = excel(tmp_path, {"clip.sentences": None}).method
    assert torch.equal(method.labeller.class_text, FrozenCLIP.from_config(method.config.clip).text_prototypes(CLASSES))
    assert not [*method.memory.state_dict()]


def test_cams_are_those_of_all_texts_with_redundancy_removed(tmp_path):
    trainer = excel(tmp_path)
    seen, method = looked_at(trainer, 0), trainer.method
    expected = redundancy_free_activation(
        seen.features, method.labeller.class_text.expand(4, -1, -1), method.labeller.background_text, seen.labels
    )
    assert torch.equal(seen.seeds, expected) and torch.equal(seen.text_seeds, seen.seeds)


def scrambled(trainer):
    for parameter in trainer.method.segmenter.adapter.parameters():
        parameter.data.normal_()


def test_an_untrained_adapter_steers_no_cam_and_no_walk(tmp_path):
    trainer = excel(tmp_path)
    before = {stage: looked_at(trainer, stage) for stage in (0, 1)}
    kept = {stage: (seen.seeds, seen.refined_seeds, seen.pseudo_label) for stage, seen in before.items()}
    scrambled(trainer)
    for stage, equal in ((0, True), (1, False)):
        seen = looked_at(trainer, stage)
        assert torch.equal(seen.seeds, kept[stage][0]) is equal
        assert torch.equal(seen.refined_seeds, kept[stage][1]) is equal
    static = trainer.method.clip.encode_image(before[0].images)
    assert torch.equal(before[0].features.patches, static.patches)


def test_from_its_moment_on_the_adapter_calibrates_without_dropout_and_its_affinity_walks(tmp_path):
    trainer = excel(tmp_path, {"segmenter.dropout": 0.5})
    method = trainer.method
    method.model.train()
    seen, again = looked_at(trainer, 1), looked_at(trainer, 1)
    assert not torch.equal(seen.embedding, again.embedding)  # dropout is on
    assert torch.equal(seen.features.patches, again.features.patches)
    method.model.eval()
    embedding = method.segmenter.adapter(seen.features.layers, seen.features.grid)
    calibrated = method.clip.encode_image(seen.images, embed=lambda layers, grid: embedding)
    assert torch.equal(seen.features.patches, calibrated.patches)
    walk = affinity_matrix(seen.features.attention, patch_affinity(embedding))
    assert torch.equal(seen.refined_seeds, looked_at_refined(seen, walk, trainer.config))


def looked_at_refined(seen, walk, config):
    from vdalib.segmentation.cam import min_max, refine_cam

    return min_max(refine_cam(seen.seeds, walk, seen.labels, config.refine.affinity_threshold))


@pytest.mark.parametrize("target", ["static", "current"])
@pytest.mark.parametrize("joins", [None, 2 / 3])
def test_the_affinity_loss_takes_the_labels_it_is_told_to(tmp_path, target, joins):
    trainer = excel(tmp_path, {"options.affinity_target": target, "schedule.prediction_joins": joins})
    trainer.method.model.eval()
    seen = [looked_at(trainer, stage) for stage in range(3)]
    logits = [F.interpolate(each.logits, each.images.shape[-2:], mode="bilinear", align_corners=False) for each in seen]
    first, second, third = (trainer.method.affinity_labels(*pair) for pair in zip(seen, logits))
    static, current = seen[0].pseudo_label, seen[1].pseudo_label
    predicted = logits[2].argmax(1).masked_fill(~seen[2].valid, 255)
    assert not torch.equal(static, current) and not torch.equal(current, predicted)
    assert torch.equal(first, static)
    assert torch.equal(second, static if target == "static" else current)
    assert torch.equal(third, second if joins is None else predicted)


def test_every_stage_of_a_run_and_what_it_logs(tmp_path):
    found = rows(run(tmp_path, CHANGES, preset="excel-smoke").run_dir)
    assert [row["stage"] for row in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for row in found:
        assert row["separation"] == pytest.approx(1 - 2 * row["affinity"], abs=2e-6)


def test_separation_is_the_difference_of_mean_affinities(tmp_path):
    trainer = excel(tmp_path)
    trainer.method.model.eval()
    seen = looked_at(trainer, 0)
    terms = trainer.method.terms(seen, moment(0))
    affinity = patch_affinity(seen.embedding).detach()
    labels = F.interpolate(seen.pseudo_label[:, None].float(), seen.features.grid, mode="nearest")[:, 0].flatten(1)
    alike, unlike = [], []
    for image in range(len(labels)):  # a grid of 6 x 6: all pairs are near
        known = (labels[image] != 255).nonzero().flatten().tolist()
        for i in known:
            for j in known:
                (alike if labels[image, i] == labels[image, j] else unlike).append(affinity[image, i, j].item())
    expected = (sum(alike) + 1) / (len(alike) + 1) - sum(unlike) / (len(unlike) + 1)  # 1 in either count, as published
    found = trainer.method.after_step(seen, moment(0))["separation"].item()
    assert terms["affinity"].requires_grad
    assert found == pytest.approx(expected, abs=1e-3)


def test_a_changed_file_of_sentences_is_refused_and_inference_needs_none(tmp_path):
    path, changes = tmp_path / "said.csv", CHANGES | {"clip.attributes": 12, "clip.sentence_template": "{sentence}"}
    lines = ["class,sentence", *(f"{name},red {name}" for name in CLASSES), *(f"{name},a blue {name}" for name in CLASSES)]
    path.write_text("\n".join(lines))
    changes["clip.sentences"] = str(path)
    trainer = run(tmp_path / "run", changes, until=2, preset="excel-smoke")
    embedded = FrozenCLIP.from_config(trainer.config.clip).encode_text([line.split(",")[1] + "." for line in lines[1:]])
    torch.testing.assert_close(trainer.method.memory.centres, attribute_clusters(embedded, 12)[0])
    kept = weights(tmp_path / "run", "memory")
    assert set(kept) == {"centres", "members", "seed", "fingerprint"} and kept["centres"].shape == (12, 16)
    path.write_text("\n".join([*lines, f"{CLASSES[0]},a white {CLASSES[0]}"]))
    with pytest.raises(ValueError, match="clip.sentences: .*said.csv: SHA-256 .*the run began with .*restore the file"):
        start(tmp_path / "run", changes, "excel-smoke")
    path.unlink()
    image = trainer.dataset[0].image
    assert Predictor.from_run(tmp_path / "run").predict(image, crf=False).shape == image.shape[1:]


def test_a_run_goes_on_with_the_bank_that_it_began_with(tmp_path):
    method = excel(tmp_path).method
    kept, before = method.memory.state_dict(), method.labeller.class_text
    method.memory.load_state_dict(kept | {"centres": kept["centres"].flip(1)})
    settings = method.config.clip
    plain = FrozenCLIP.from_config(settings).text_prototypes(settings.words(method.class_names))
    torch.testing.assert_close(method.labeller.class_text, method.memory.enriched(plain, settings))
    assert not torch.allclose(method.labeller.class_text, before)


def test_the_calibrated_path_may_be_a_layer_of_the_adapter(tmp_path):
    trainer = run(tmp_path, CHANGES | {"options.dense_layer": True}, preset="excel-smoke")
    method = trainer.method
    assert method.segmenter.num_layers == method.clip.num_layers + 1
    method.model.eval()
    images, labels, _ = a_batch(trainer)
    for stage in (0, 1):
        seen = method._look(images, labels, moment(stage), method.model)
        static = method.clip.encode_image(images)
        assert torch.equal(seen.features.layers[-1], static.dense) and len(seen.features.layers) == 7
        torch.testing.assert_close(method.network(images), seen.logits)  # inference sees what training saw
    assert not torch.equal(seen.features.patches, static.patches)
    torch.testing.assert_close(Predictor.from_run(tmp_path).network(images), seen.logits)


def test_a_trained_run_opens_with_its_evidence(tmp_path):
    run_dir = run(tmp_path, CHANGES, preset="excel-smoke").run_dir
    opened = Run.load(run_dir)
    images, labels, _ = a_batch(start(run_dir, CHANGES, "excel-smoke"))
    seen = opened.evidence(images, labels)
    assert opened.stage == 2 and seen.step.stage == 2
    assert seen.pseudo_label.shape == images.shape[:1] + images.shape[2:]
    assert same(opened.method.memory.state_dict(), weights(run_dir, "memory"))
    assert opened.mixture is None
    assert json.loads((run_dir / "checkpoints" / "step_0000009" / "manifest.json").read_text())


@pytest.mark.parametrize(("target", "joins"), [("static", None), ("current", 2 / 3)])
def test_halves_of_a_batch_add_up_to_its_losses(target, joins, tmp_path):
    """As two processes have them, which divide by the counts of both; with images of which none lies on a threshold."""
    trainer = excel(tmp_path, {"seed": 1, "options.affinity_target": target, "schedule.prediction_joins": joins})
    method, (images, labels, valid) = trainer.method, a_batch(trainer)
    method.model.eval()

    def terms(rows, total):
        step = replace(moment(2), total=total)
        return method.terms(method._look(images[rows], labels[rows], step, method.model, valid[rows]), step)

    counts = []
    whole = terms(slice(0, 4), lambda count: counts.append(count) or count)
    halves = []
    for first in (0, 2):
        waiting = iter(counts)
        halves.append(terms(slice(first, first + 2), lambda _, waiting=waiting: next(waiting)))
    for name, term in whole.items():
        torch.testing.assert_close(halves[0][name] + halves[1][name], term)
