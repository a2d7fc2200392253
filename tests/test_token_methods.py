"""What holds for ToCo and SeCo alike as methods: presets, stages, resuming, weak supervision, evaluation."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_runs import assert_same_run, copy_of, rows, same, weights

from vdalib.attributes.losses import whole
from vdalib.config import Config
from vdalib.data.loader import training_batches
from vdalib.data.partworld import PartWorld
from vdalib.evaluation.measuring import evaluate_run
from vdalib.evaluation.run import Run
from vdalib.inference import Predictor
from vdalib.methods.tokens import mean_cosine, stages
from vdalib.training.trainer import Trainer

QUICK = {  # nine steps with checkpoints after 2, 4, 6, 8 and 9; crops with padding
    "data.crop": 48,
    "data.scale": [0.3, 0.5],
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


def test_the_energy_weighs_half_of_the_published_where_its_sums_are_exact(tmp_path, random_clip):
    method, side = start("toco", tmp_path).method, 8  # half of the picture's
    images = torch.rand(1, 3, 2 * side, 2 * side, generator=torch.Generator().manual_seed(0))
    masks = torch.randn(1, 11, 2 * side, 2 * side, generator=torch.Generator().manual_seed(1))
    target = torch.full((1, 2 * side, 2 * side), 255)
    found = method.segmentation_terms(masks, target, images, target > 0, SimpleNamespace(total=whole))["energy"]
    share = F.interpolate(masks.softmax(1), (side, side), mode="bilinear", align_corners=False)[0].flatten(1)  # (11, n)
    colours = 255 * images[0, :, ::2, ::2].flatten(1)
    places = torch.cartesian_prod(torch.arange(side), torch.arange(side)).T * 1.0
    apart = [(values[:, :, None] - values[:, None]).square().sum(0) for values in (places, colours)]
    kernel = torch.exp(-apart[0] / (2 * (50 * side / 224) ** 2) - apart[1] / (2 * 15**2))
    expected = -0.5e-7 * (224 / side) ** 4 * torch.einsum("ku,uv,kv->", share, kernel, share)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_losses_begin_with_their_stages(references):
    image = {"classification", "auxiliary"}
    always = image | {"step", "stage", "loss", "token_cosine", "learning_rate"}
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
@pytest.mark.parametrize("stop", [2, 6])
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
def test_everything_learns_but_positions_and_teachers_which_follow(name, tmp_path, random_clip):
    trainer = start(name, tmp_path)
    model, memory = copy_of(trainer.method.model), copy_of(trainer.method.memory)
    trainer.fit()
    after = trainer.method.model.state_dict()
    assert {key for key in model if torch.equal(model[key], after[key])} == {"network.backbone.position"}
    teacher = trainer.method.memory.state_dict()
    followed = {key for key in memory if not torch.equal(memory[key], teacher[key])}
    assert {key for key in memory if key not in followed} == (set() if name == "toco" else {"encoder.position"})


@pytest.mark.parametrize(
    "name, momentum, students",
    [("toco", 0.9, {"": "projection."}), ("seco", 0.93, {"encoder.": "network.backbone.", "projection.": "projection."})],
)
def test_teachers_are_running_means_of_their_students(name, momentum, students, tmp_path, random_clip):
    trainer = start(name, tmp_path)
    teachers = {key: value.clone() for key, value in trainer.method.memory.named_parameters()}
    pairs = {key: new + key.removeprefix(old) for old, new in students.items() for key in teachers if key.startswith(old)}
    assert pairs.keys() == teachers.keys()
    for batch in list(training_batches(trainer.dataset, trainer.config, views=trainer.method.views))[:3]:
        trainer.train_step(batch)
        trainer.step += 1
        now = trainer.method.model.state_dict()
        teachers = {key: momentum * value + (1 - momentum) * now[pairs[key]] for key, value in teachers.items()}
    for key, value in trainer.method.memory.named_parameters():
        torch.testing.assert_close(value, teachers[key])


def labelled(method, count=2):
    """Labels of class 0 alone and images for a method at 48 px."""
    labels = torch.zeros(count, 10, dtype=torch.bool)
    labels[:, 0] = True
    return torch.rand(count, 3, 48, 48), labels


def test_pixel_labels_come_from_the_auxiliary_cam_until_the_final_one_is_better(tmp_path, random_clip):
    method = start("toco", tmp_path, {"options.final_labels_from": 5}).method
    images, labels = labelled(method)
    final, auxiliary = torch.ones(2, 10, 48, 48), torch.zeros(2, 10, 48, 48)
    before, after = (method.target(final, auxiliary, images, labels, None, number) for number in (4, 5))
    assert (before == 0).all() and (after == 1).all()


def test_tags_come_from_the_auxiliary_cam_until_the_final_one_is_better(tmp_path, random_clip, monkeypatch):
    trainer = start("seco", tmp_path)
    method, used = trainer.method, []
    both = torch.zeros(4, 10, 48, 48), torch.ones(4, 10, 48, 48)
    monkeypatch.setattr(method, "cams", lambda images, labels: both)
    decomposed = method.decomposed
    monkeypatch.setattr(method, "decomposed", lambda cam, batch: used.append(cam is both[0]) or decomposed(cam, batch))
    for batch in list(training_batches(trainer.dataset, trainer.config, views=method.views))[:8]:
        trainer.train_step(batch)
        trainer.step += 1
    assert used == [False] * 6 + [True] * 2


def test_tocos_crops_are_cut_from_the_local_source_where_the_auxiliary_cam_is_undecided_or_background(tmp_path, random_clip):
    method = start("toco", tmp_path).method
    _, labels = labelled(method)
    auxiliary = torch.zeros(2, 10, 48, 48)
    auxiliary[:, 0, :, 20:], auxiliary[:, 0, :, 30:] = 0.5, 0.9
    valid = torch.ones(2, 48, 48, dtype=torch.bool)
    valid[:, :, :12] = False
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    batch = {
        "labels": labels,
        "valid": valid,
        "seed": torch.tensor([1, 2]),
        "source": torch.stack([rows, columns, rows]).expand(2, -1, -1, -1),
    }
    cut, flags = method.local_crops(auxiliary, batch)
    assert cut.shape == (2, 4, 3, 16, 16) and flags.shape == (2, 6) and flags[:, :2].all()
    for crop, positive in zip(cut.flatten(0, 1), flags[:, 2:].flatten()):
        row, column = (crop[:2, 0, 0] + 8).int().tolist()
        assert 8 <= row < 40 and 12 <= column < 30
        shown = auxiliary[0, 0, :, column - 8 : column + 8] * valid[0, :, column - 8 : column + 8]
        assert positive == (((shown > 0.25).float() + (shown >= 0.7).float()).mean() > 0.2)


def test_secos_keys_are_its_queries_while_the_slow_copies_are_as_they_began_and_the_views_the_same(tmp_path, random_clip):
    method = start("seco", tmp_path).method
    images, labels = labelled(method)
    second = torch.rand_like(images)
    places = torch.tensor([[[8, 8], [20, 30], [40, 9]]]).expand(2, -1, -1)
    with torch.no_grad():
        output = method.model(images, second, method.cut(images, places), False)
        keys = method.keys(output, {"main": images, "second": second, "source": images}, places)
        torch.testing.assert_close(keys, output.projected.flatten(0, 1))
        other = method.keys(output, {"main": images, "second": second, "source": second}, places).view(2, 5, -1)
    assert (
        torch.equal(other[:, :2], keys.view(2, 5, -1)[:, :2])
        and not torch.isclose(other[:, 2:], keys.view(2, 5, -1)[:, 2:]).all()
    )
    torch.testing.assert_close(
        output.projected[:, 3], method.model.projection(method.network.backbone(images[:, :, 12:28, 22:38]).cls)
    )


@each
def test_heads_learn_ten_times_as_fast_as_the_backbone(name, tmp_path, random_clip):
    trainer = start(name, tmp_path)
    slow, fast = trainer.optimizer.param_groups
    assert fast["base_lr"] == pytest.approx(2e-3) and slow["base_lr"] == 2e-4 and slow["weight_decay"] == 0.01
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
    assert label_map.shape == picture.image.shape[1:] and label_map.max() <= 10


@each
def test_half_precision_runs_through_every_stage(name, tmp_path, random_clip):
    trainer = trained(name, tmp_path, changes={"precision": "bf16", "schedule.total_steps": 6})
    assert all(parameter.isfinite().all() for parameter in trainer.method.model.parameters())


@each
def test_the_smoke_preset_runs_through_every_stage(name, tmp_path, random_clip):
    trainer = Trainer(Config.from_preset(f"{name}-smoke"), tmp_path)
    trainer.fit()
    assert {row["stage"] for row in rows(tmp_path)} == {*range(len(trainer.method.stages))}


def test_everything_as_published_runs_through_every_stage(tmp_path, random_clip):
    published = {"as_published": True, "single_class": "cam", "global_keys": "student", "box_units": "pixel"}
    changes = {"schedule.total_steps": 6} | {f"options.{name}": value for name, value in published.items()}
    run_dir = trained("seco", tmp_path / "seco", changes=changes).run_dir
    assert all(math.isfinite(row.get("reservoir", 0)) for row in rows(run_dir))
    half = {"schedule.total_steps": 5, "options.box_units": "pixel", "options.extra_zero_positive": False}
    trained("toco", tmp_path / "toco", changes=half)


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
