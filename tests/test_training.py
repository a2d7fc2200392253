"""Training: gradients stay where they belong, each stage does what it should, inference needs the segmenter alone."""

import shutil
from statistics import median

import numpy as np
import pytest
import torch
from small_runs import ONE_OF_EACH, STAGE_3_AT_ONCE, copy_of, rows, run, same, start, weights

from vdalib.config import Config
from vdalib.data.loader import training_batches
from vdalib.data.partworld import KIND_NAMES, world
from vdalib.evaluation.measuring import evaluate_run
from vdalib.inference import Predictor
from vdalib.training.trainer import learning_rate_factor

pytestmark = pytest.mark.usefixtures("random_clip")


def test_clip_does_not_train(tmp_path):
    trainer = start(tmp_path, ONE_OF_EACH)
    before = copy_of(trainer.method.clip)
    trainer.fit()
    assert same(before, trainer.method.clip.state_dict())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in trainer.method.clip.parameters())


def first_batches(trainer):
    return training_batches(trainer.dataset, trainer.config)


def test_l_intra_moves_the_offsets_and_no_class_centre(tmp_path, monkeypatch):
    trainer = start(tmp_path, STAGE_3_AT_ONCE)
    gmm, loss = trainer.method.mixture.gmm, trainer.method.mixture.loss
    gmm.met.fill_(gmm.initial_samples)  # centres are no longer moved to the data either

    def intra_alone(*arguments, **options):
        terms = loss(*arguments, **options)
        return {"inter": terms["inter"] * 0, "discriminative": terms["discriminative"] * 0, "intra": terms["intra"]}

    monkeypatch.setattr(trainer.method.mixture, "loss", intra_alone)
    before, flow = copy_of(gmm), copy_of(trainer.method.mixture.flow)
    terms = [trainer.train_step(batch) for _, batch in zip(range(2), first_batches(trainer))]
    assert any("intra" in found for found in terms)
    assert torch.equal(gmm.class_centres, before["class_centres"])
    assert not torch.equal(gmm.offsets, before["offsets"]) and not same(flow, trainer.method.mixture.flow.state_dict())


def test_segmenter_and_inn_exchange_no_gradient(tmp_path, monkeypatch):
    trainer, reached = start(tmp_path, STAGE_3_AT_ONCE), []
    modules = {"segmenter": trainer.model, "inn": trainer.method.mixture}

    def watched(function):
        def wrapped(*arguments):
            for module in modules.values():
                module.zero_grad(set_to_none=True)
            result = function(*arguments)
            reached.append({name for name, module in modules.items() if any(p.grad is not None for p in module.parameters())})
            return result

        return wrapped

    monkeypatch.setattr(trainer.accelerator, "backward", watched(trainer.accelerator.backward))
    monkeypatch.setattr(trainer.method, "after_step", watched(trainer.method.after_step))
    for _, batch in zip(range(2), first_batches(trainer)):
        assert "contrastive" in trainer.train_step(batch)
    assert reached[::2] == [{"segmenter"}, {"segmenter"}]  # the loss
    assert {"inn"} in reached[1::2] and not any("segmenter" in names for names in reached[1::2])


def test_before_assembly_the_segmenter_knows_nothing_of_the_inn(reference, tmp_path):
    slow, fast = (run(tmp_path / str(rate), {"mixture.learning_rate": rate}, until=6).run_dir for rate in (1e-5, 1e-2))
    assert same(weights(slow, "segmenter"), weights(fast, "segmenter"))
    assert not same(weights(slow, "memory"), weights(fast, "memory"))


def test_text_queries_alone_train_no_inn(tmp_path):
    changes = {"assembly.fusion": False, "assembly.enhancement": False}
    trainer = start(tmp_path / "a", changes | {"mixture.learning_rate": 1e-5})
    before = copy_of(trainer.method.mixture)
    trainer.fit()
    assert same(before, trainer.method.mixture.state_dict())
    assert not {"inter", "discriminative", "intra", "contrastive"} & {key for row in rows(tmp_path / "a") for key in row}
    run(tmp_path / "b", changes | {"mixture.learning_rate": 1e-2})
    assert same(weights(tmp_path / "a", "segmenter"), weights(tmp_path / "b", "segmenter"))


# the schedule


def test_each_stage_has_its_own_losses(reference):
    common = {"step", "stage", "learning_rate", "loss", "segmentation", "affinity", "reliable", "predicted"}
    inter = common | {"inter", "discriminative"}
    allowed = [[common], [common, inter], [common | {"contrastive"}, inter | {"contrastive", "intra"}]]
    for stage, kinds in enumerate(allowed):
        found = [row.keys() for row in rows(reference) if row["stage"] == stage]
        assert all(keys in kinds for keys in found) and kinds[-1] in found


def test_the_learning_rate_warms_up_and_decays_as_in_the_annex():
    schedule = Config.from_preset("partworld-smoke", {"schedule.lr_warmup": 10, "schedule.lr_power": 0.9}).schedule
    for step in range(schedule.total_steps):
        literal = 1 - (1 - step / 10) * (1 - 1e-6) if step < 10 else (1 - step / schedule.total_steps) ** 0.9
        assert learning_rate_factor(step, schedule) == pytest.approx(literal, rel=1e-12)
    assert learning_rate_factor(0, schedule) == pytest.approx(1e-6)


def test_the_optimiser_follows_the_schedule_with_one_rate_for_adapter_and_decoder(tmp_path):
    trainer = start(tmp_path, {"schedule.learning_rate": 1e-3})
    for step, batch in zip((1, 4, 7), first_batches(trainer)):
        trainer.step = step
        trainer.train_step(batch)
        factor = 0.5 * (1 + 1e-6) if step == 1 else 1 - step / 9
        for group in trainer.optimizer.param_groups:
            assert group["lr"] == pytest.approx(1e-3 * factor)
            assert group["weight_decay"] == trainer.config.schedule.weight_decay
    trained = {id(parameter) for group in trainer.optimizer.param_groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in trainer.model.parameters()}


@pytest.mark.slow
def test_every_stage_of_the_smoke_preset_improves_on_its_first_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(world, "SHAPES", ((96, 96),))
    changes = {
        "data.train_size": 4,
        "data.scale": [0.5, 0.5],  # onto the crop: flips are all that varies
        "mixture.batch_size": 6,
        "mixture.learning_rate": 2e-3,
        "flow.steps": 6,
        "schedule.segmenter_steps": 12,
        "schedule.inter_steps": 30,
        "schedule.total_steps": 72,
        "schedule.checkpoint_every": 100,
        "schedule.learning_rate": 1e-4,  # slow enough for prototypes to last
    }
    found = rows(run(tmp_path, changes).run_dir)
    for stage, terms in enumerate((["segmentation"], ["inter", "discriminative"], ["intra"])):
        losses = [sum(row[term] for term in terms) for row in found if row["stage"] == stage and terms[0] in row]
        third = len(losses) // 3
        assert third >= 3, f"stage {stage}: {len(losses)} steps with {terms}"
        # of the typical step: a prototype that is new to the mixture can cost any amount
        assert median(losses[-third:]) < median(losses[:third]), f"stage {stage}: {losses}"


def test_kinds_in_place_of_classes_go_through_all_stages(tmp_path):
    trainer = run(tmp_path, {"data.granularity": "kind", "mixture.batch_size": 4})
    assert trainer.dataset.class_names == KIND_NAMES
    assert {row["stage"] for row in rows(tmp_path)} == {0, 1, 2}
    assert {"inter", "intra", "contrastive"} <= {term for row in rows(tmp_path) for term in row}
    found = evaluate_run(tmp_path, multi_scale_crf=False)
    assert all(0 <= value <= 100 for value in found.values()) and found["text_seed_miou"] > 0
    assert Predictor.from_run(tmp_path).class_names == KIND_NAMES


# afterwards


def test_inference_needs_the_segmenter_alone(tmp_path):
    trainer = run(tmp_path, ONE_OF_EACH)
    images = [trainer.dataset[i].image for i in range(3)]

    def masks(predictor):
        return [predictor.predict(image, crf=False) for image in images]

    first = masks(Predictor.from_run(tmp_path))
    for path in tmp_path.iterdir():
        if path.name not in ("config.yaml", "segmenter.safetensors"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    trained = Predictor(trainer.method.network, trainer.dataset.class_names, trainer.config)
    for alone, before, in_memory in zip(masks(Predictor.from_run(tmp_path)), first, masks(trained)):
        np.testing.assert_array_equal(alone, before)
        np.testing.assert_array_equal(alone, in_memory)
