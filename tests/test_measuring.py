"""A trained run, opened and measured: the same numbers as an image-by-image loop over the library's parts."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from vdalib.clip import FrozenCLIP
from vdalib.config import Config
from vdalib.evaluation import ConfusionMatrix, SeedCurve, measuring
from vdalib.evaluation.run import Run, whole_images
from vdalib.inference import Predictor
from vdalib.io import save_tensors
from vdalib.segmentation.cam import class_activation
from vdalib.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("random_clip")

QUICK = {
    "data.crop": 48,
    "segmenter.depth": 1,
    "flow.steps": 2,
    "mixture.batch_size": 5,
    "assembly.reliable_filter": False,
    "refine.random_walk": True,
    "refine.par_iterations": 1,
    "inference.scales": [1.0, 1.25],
    "schedule.segmenter_steps": 2,
    "schedule.inter_steps": 3,
    "schedule.total_steps": 8,
}


def train(run_dir, **changes):
    trainer = Trainer(Config.from_preset("partworld-smoke", QUICK | changes), run_dir)
    trainer.method.segmenter.decoder.classify.bias.data[0] -= 10  # so that there are prototypes from step 0 on
    trainer.fit()
    return run_dir


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, random_clip):
    return train(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def run(run_dir):
    return Run.load(run_dir)


def one_by_one(run):
    """(evidence, labels (1, K), mask (1, H, W)) of every training image, alone in its batch."""
    train = run.dataset("train")
    for i in range(len(train)):
        image, labels = train[i].image[None].float() / 255, train[i].labels[None]
        yield run.evidence(image, labels), labels, torch.from_numpy(train.mask(i))[None]


@pytest.mark.slow
def test_evaluate_run_gives_every_number_in_percent(run_dir, run):
    result = measuring.evaluate_run(run_dir)
    assert set(result) == {"text_seed_miou", "seed_miou", "refined_seed_miou", "miou", "miou_ms", "miou_ms_crf"}
    assert all(0 <= value < 100 for value in result.values())
    assert all(0 < result[name] for name in result if "seed" in name)

    text = FrozenCLIP.from_config(run.config.clip).text_prototypes(run.class_names)[None]
    curves = {"text_seed_miou": SeedCurve(), "seed_miou": SeedCurve(), "refined_seed_miou": SeedCurve()}
    for seen, labels, mask in one_by_one(run):
        curves["text_seed_miou"].update(class_activation(seen.features.patches, text, labels), labels, mask)
        prototypes = run.labeller.prototypes(seen.features, seen.logits, labels)
        queries = run.labeller.class_text.repeat(len(labels), 1, 1)
        image, classes = prototypes.reliable.nonzero(as_tuple=True)
        queries[image, classes] = run.assembler.query(
            prototypes.prototypes[image, classes], classes, run.labeller.class_text
        ).query
        own = class_activation(seen.features.patches, queries, labels)
        curves["seed_miou"].update(own, labels, mask)
        walked = run.labeller.refined(seen.features, own, labels, seen.embedding)
        scaled = torch.stack([(m - m.min()) / (m.max() - m.min()).clamp_min(1e-6) for m in walked[0]])[None]
        curves["refined_seed_miou"].update(scaled, labels, mask)
    for name, curve in curves.items():
        assert result[name] == pytest.approx(100 * curve.best()[1], abs=0.05)  # batches round otherwise

    val, predictor = run.dataset("val"), Predictor.from_run(run_dir)
    for name, switches in {"miou": {"multi_scale": False, "crf": False}, "miou_ms_crf": {}}.items():
        matrix = ConfusionMatrix(11)
        for i in range(len(val)):
            matrix.update(predictor.predict(val[i].image, **switches), val.mask(i))
        assert result[name] == pytest.approx(100 * matrix.mean_iou(), abs=0.05)


def test_evaluate_run_leaves_out_multi_scale_and_crf_where_it_is_told_to(run_dir):
    result = measuring.evaluate_run(run_dir, multi_scale_crf=False)
    assert set(result) == {"text_seed_miou", "seed_miou", "refined_seed_miou", "miou"}


def test_queries_are_fused_in_stage_3_only(run_dir):
    differs = {}
    for step in (2, 5, 8):
        run = Run.load(run_dir, step)
        assert (run.stage, run.mixture is not None) == {2: (0, False), 5: (1, True), 8: (2, True)}[step]
        differs[step] = any(not torch.equal(s.queries, s.text_queries) for s, _, _ in one_by_one(run))
    assert differs == {2: False, 5: False, 8: True}


def test_a_run_without_fusion_and_enhancement_has_no_mixture(tmp_path):
    changes = {"assembly.fusion": False, "assembly.enhancement": False, "schedule.total_steps": 6}
    run = Run.load(train(tmp_path, **changes))
    assert run.mixture is None and run.assembler is None
    assert run.stage == 2


def test_inference_parts_are_enough_to_open_a_run(run_dir, tmp_path):
    for name in ("config.yaml", "segmenter.safetensors"):
        (tmp_path / name).write_bytes((run_dir / name).read_bytes())
    run = Run.load(tmp_path)
    assert (run.step, run.stage, run.mixture) == (8, 2, None)
    full = Run.load(run_dir)
    image, labels = full.dataset("val")[0].image[None].float() / 255, full.dataset("val")[0].labels[None]
    torch.testing.assert_close(run.evidence(image, labels).logits, full.evidence(image, labels).logits)


def test_weights_and_a_memory_of_two_steps_are_refused(run_dir, tmp_path):
    for name in ("config.yaml", "segmenter.safetensors"):
        (tmp_path / name).write_bytes((run_dir / name).read_bytes())
    save_tensors(tmp_path / "memory.safetensors", load_file(run_dir / "memory.safetensors"), {"step": "5"})
    with pytest.raises(ValueError, match=r"memory.safetensors: of step 5, where segmenter.safetensors is of step 8; training"):
        Run.load(tmp_path)


def test_unknown_steps_and_folders_are_refused(run_dir, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"checkpoints: no step 7 \(there are: \[2, 5, 8\]\)"):
        Run.load(run_dir, 7)
    with pytest.raises(FileNotFoundError, match="not the directory of a trained run"):
        Run.load(tmp_path)
    shutil.copytree(run_dir / "checkpoints", tmp_path / "checkpoints")
    other = Config.of_run(run_dir, {"segmenter.width": 24})
    other.save(tmp_path / "config.yaml")
    with pytest.raises(ValueError, match=r"step_0+8: of another configuration \(Error\(s\) in loading .*; train again or"):
        Run.load(tmp_path, 8)


def test_a_run_on_random_clip_weights_finds_the_same_ones_again(tmp_path):
    trainer = Trainer(Config.from_preset("partworld-smoke", QUICK | {"clip.pretrained": None}), tmp_path)
    trainer.fit(until=2)
    again = Run.load(tmp_path).clip.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in trainer.method.clip.state_dict().items())


def test_overrides_reach_data_and_inference(run_dir):
    run = Run.load(run_dir, overrides={"data.val_size": 3, "inference.size": 48})
    assert len(run.dataset("val")) == 3 and len(run.dataset("train")) == 12
    seen = run.evidence(torch.zeros(1, 3, 96, 96), torch.ones(1, 10, dtype=torch.bool))
    assert seen.images.shape == (1, 3, 48, 48)


def test_prediction_and_pseudo_label_of_a_batch_have_the_images_size(run):
    for batch in whole_images(run.dataset("train")):
        seen, count = run.evidence(batch.images, batch.labels), len(batch.indices)
        assert seen.prediction.shape == seen.pseudo_label.shape == (count, *batch.images.shape[-2:])
        allowed = F.pad(batch.labels, (1, 0), value=True)
        assert all(allowed[i, seen.pseudo_label[i]].all() for i in range(count))
        expected = run.predictor.predict(run.dataset("train")[batch.indices[0]].image, multi_scale=False, crf=False)
        np.testing.assert_array_equal(seen.prediction[0], expected)


class TwoSizes:
    """Images 0, 2, 4, ... are wide, the others tall."""

    class_names = ("cat",)

    def __len__(self):
        return 7

    def __getitem__(self, i):
        shape = (3, 2, 3) if i % 2 else (3, 3, 2)
        return SimpleNamespace(image=torch.full(shape, i, dtype=torch.uint8), labels=torch.tensor([i > 3]))

    def mask(self, i):
        return np.full((2, 3) if i % 2 else (3, 2), i, np.uint8)


def test_whole_images_come_in_batches_of_one_size_each_once():
    batches = list(whole_images(TwoSizes(), batch_size=3, masks=True))
    assert sorted(i for batch in batches for i in batch.indices) == list(range(7))
    assert [len(batch.indices) for batch in batches] == [3, 3, 1]
    for batch in batches:
        for place, i in enumerate(batch.indices):
            assert (batch.images[place] * 255).round().unique().tolist() == [i]
            assert batch.masks[place].unique().tolist() == [i] and batch.labels[place].tolist() == [i > 3]
    assert next(whole_images(TwoSizes(), [5])).masks is None


def test_few_images_wait_for_others_of_their_size(monkeypatch):
    monkeypatch.setattr("vdalib.evaluation.run.MOST_WAITING", 4)
    asked, data = [], TwoSizes()
    batches = whole_images(data, (asked.append(i) or i for i in [0, 1, 2, 4, 3, 5, 6]), batch_size=8)
    assert next(batches).indices == [0, 2, 4] and asked == [0, 1, 2, 4]
    assert sorted(i for batch in batches for i in batch.indices) == [1, 3, 5, 6]


def test_cut_seeds_are_what_the_seed_curve_counts():
    generator = torch.Generator().manual_seed(0)
    seeds = torch.rand(4, 3, 5, 5, generator=generator)
    labels = torch.tensor([[1, 0, 1], [1, 1, 1], [0, 1, 0], [0, 0, 1]]).bool()
    masks = torch.randint(0, 4, (4, 10, 10), generator=generator)
    curve, matrix = SeedCurve([0.6]), ConfusionMatrix(4)
    curve.update(seeds, labels, masks)
    matrix.update(measuring.cut_seeds(seeds, labels, 0.6, (10, 10)), masks)
    np.testing.assert_array_equal(curve.confusions()[0].counts, matrix.counts)


def test_prototypes_are_those_that_the_decoder_finds(run):
    found = measuring.collect_prototypes(run, run.dataset("train"), [3, 5])
    assert set(found.images.tolist()) <= {3, 5} and len(found.classes) == len(found.prototypes)
    for prototype, k, i in zip(found.prototypes, found.classes, found.images):
        sample = run.dataset("train")[int(i)]
        assert sample.labels[k]
        seen = run.evidence(sample.image[None].float() / 255, sample.labels[None])
        torch.testing.assert_close(prototype, seen.found.prototypes[0, k], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_principal_plane_is_spanned_by_the_covariance_s_main_eigenvectors(dimensions):
    points = torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 7)
    mean, directions = measuring.principal_plane(points, dimensions)
    values, vectors = np.linalg.eigh(np.cov(points.numpy().T))
    assert directions.shape == (6, dimensions)
    for column, vector in zip(directions.T, vectors.T[::-1]):
        assert abs(column.numpy() @ vector) == pytest.approx(1)
        assert column[column.abs().argmax()] > 0
    variance = ((points - mean) @ directions).var(0)
    np.testing.assert_allclose(variance, values[::-1][:dimensions])


def test_cloud_offsets_are_those_of_the_classes_with_two_points_or_more():
    points = torch.tensor([[0.0, 0.0], [2.0, 0.0], [9.0, 9.0], [0.0, 1.0], [0.0, 5.0]])
    centres = torch.tensor([[1.0, 3.0], [0.0, 0.0], [0.0, 3.0], [7.0, 7.0]])
    offsets, variances = measuring.cloud_offsets(points, torch.tensor([0, 0, 1, 2, 2]), centres)
    assert offsets.tolist() == [3.0, 0.0] and variances.tolist() == [1.0, 4.0]
    assert measuring.cloud_offsets(points[:1], torch.tensor([0]), centres)[0].shape == (0,)
