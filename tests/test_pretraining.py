"""The small CLIP: its training code, its committed weights, its model card."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from sklearn.decomposition import PCA

from vdalib.clip.loading import SMALL_CLIP, load_small_clip
from vdalib.data.partworld import KINDS_OF, PartWorld
from vdalib.data.partworld.dice import Dice
from vdalib.pretraining.model_card import measure, write_card
from vdalib.pretraining.settings import UNSAID, WORDS, PretrainConfig
from vdalib.pretraining.statements import Statements
from vdalib.pretraining.teacher import Teacher
from vdalib.pretraining.training import _autocast, balanced_bce, lessons, pretrain, verdict

TINY = PretrainConfig(images=24, teacher_steps=3, crop_steps=2, student_steps=2, batch_size=4)
committed = pytest.mark.skipif(not (SMALL_CLIP / "card.json").exists(), reason="no committed weights in data/partworld")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A CLIP after a few steps of either stage, with every way to a mask closed."""
    folder = tmp_path_factory.mktemp("clip")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("mask", "part_mask"):
            patch.setattr(PartWorld, name, lambda *_: pytest.fail("pre-training read a mask"))
        pretrain(folder, TINY)
    return folder


def test_a_few_steps_of_training_give_a_loadable_clip_and_read_no_mask(tiny):
    rows = [json.loads(line) for line in (tiny / "log.jsonl").read_text().splitlines()]
    assert [row["phase"] for row in rows] == ["teacher", "student"]
    loaded = load_small_clip(tiny)
    assert loaded.tokenizer(["a photo of a red dog."]).shape == (1, loaded.model.context_length)
    with safe_open(tiny / "clip.safetensors", "pt") as file:
        assert all(torch.isfinite(file.get_tensor(name).float()).all() for name in file.keys())


@pytest.mark.parametrize("there", [True, False])
def test_it_computes_in_bf16_where_the_cpu_has_instructions_for_it(monkeypatch, there):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: there)
    with _autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == (torch.bfloat16 if there else torch.float32)


@pytest.mark.slow
def test_images_and_teacher_of_other_settings_are_refused_and_the_same_are_used_again(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "clip")
    with pytest.raises(ValueError, match="pretraining.json: .* were made with other settings; delete them"):
        pretrain(folder, replace(TINY, seed=1))
    pretrain(folder, TINY)
    assert (folder / "log.jsonl").read_text() == (tiny / "log.jsonl").read_text()


@pytest.mark.slow
def test_a_model_card_is_written_from_measurements(tiny):
    figures = write_card(tiny, size=20)
    assert set(figures) >= {"seed_miou_none", "seed_miou_value", "seed_miou_static", "single_object_accuracy"}
    card = " ".join((tiny / "MODEL_CARD.md").read_text().split())
    assert f"{figures['seed_miou_static']:.1%}" in card
    assert f"{TINY.omission:.0%} of what is true is not said" in card
    assert f"The other {UNSAID} hold what no statement speaks of" in card and f"{TINY.unsaid:g} beside 1" in card
    assert "regresses the teacher's vector" in card and "Whether a method takes it is the question" in card
    assert (tiny / "loss_curve.png").stat().st_size > 0


FAITHFUL = PretrainConfig(omission=0, wrong_kind=0, wrong_class=0)


def said(statements: Statements, factors, config: PretrainConfig, seed: int = 0) -> set[str]:
    return {content for content, made in zip(statements.contents, statements.said(factors, Dice(seed), config)) if made}


def true_of(factors) -> set[str]:
    true = {factors.scene}
    for thing in factors.objects:
        true |= {thing.class_name, thing.kind, f"{thing.main_colour} {thing.class_name}"}
        true |= {f"{thing.class_name} {part}" for part in thing.parts}
    return true


def test_without_omission_and_error_exactly_what_the_factors_name_is_said():
    statements, world = Statements(), PartWorld("clip", size=20)
    for factors in map(world.factors, range(len(world))):
        assert said(statements, factors, FAITHFUL) == true_of(factors)


@pytest.mark.slow
def test_statements_are_omitted_and_wrong_at_the_rates_of_the_settings():
    statements, world = Statements(), PartWorld("clip", size=300)
    omitting, mistaken, confused = (replace(FAITHFUL, **{name: 0.3}) for name in ("omission", "wrong_kind", "wrong_class"))
    omitted, true, wrong_kinds, wrong_classes, single = 0, 0, 0, 0, 0
    for i, factors in enumerate(map(world.factors, range(len(world)))):
        now = true_of(factors)
        made = said(statements, factors, omitting, i)
        assert made <= now
        omitted, true = omitted + len(now - made), true + len(now)
        if len(factors.objects) == 1:
            thing, single = factors.objects[0], single + 1
            made = said(statements, factors, mistaken, i)
            wrong_kinds += thing.kind not in made
            assert thing.class_name in made and len(made & set(KINDS_OF[thing.class_name])) == 1
            wrong_classes += thing.class_name not in said(statements, factors, confused, i)
    assert omitted / true == pytest.approx(0.3, abs=0.05)
    assert wrong_kinds / single == pytest.approx(0.3, abs=0.12)
    assert wrong_classes / single == pytest.approx(0.3, abs=0.12)


def test_a_verdict_is_the_mean_over_strongest_places_and_zero_for_what_nobody_said():
    places = torch.full((1, 4, 2), -9.0)
    places[0, 2] = 9.0
    found = verdict(places, torch.tensor([[1.0, 0.0]]), strongest=(1, 4))
    torch.testing.assert_close(found, torch.tensor([[(torch.tensor(9.0).sigmoid() + torch.tensor(-4.5).sigmoid()) / 2, 0.0]]))


def test_lessons_are_the_teachers_vectors_beside_the_main_axes_of_its_features():
    torch.manual_seed(0)
    teacher = Teacher(WORDS).eval()
    images = torch.randint(256, (8, 3, 96, 96), dtype=torch.uint8)
    images[0] = 100  # nothing to tell one place from another but the border
    found = lessons(teacher, images, TINY).float()
    assert found.shape == (8, WORDS + UNSAID, 12, 12)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(8, 12, 12), atol=1e-3, rtol=0)
    with torch.no_grad():
        places, near = teacher.look(images.float() / 255)
    inside = found[0, :WORDS, 6, 6]
    assert torch.cosine_similarity(inside, places[0, :, 6, 6], dim=0) > 0.99
    seen = near.movedim(1, -1).flatten(0, 2).numpy()
    axes = PCA(UNSAID).fit(seen).components_
    main = axes @ (near[0, :, 6, 6].numpy() - seen.mean(0))
    assert np.corrcoef(np.sort(np.abs(main)), np.sort(np.abs(found[0, WORDS:, 6, 6].numpy())))[0, 1] > 0.99


def test_no_text_speaks_of_the_unsaid(tiny):
    clip = load_small_clip(tiny)
    with torch.no_grad():
        text = clip.model.encode_text(clip.tokenizer(["a photo of a red dog.", "a clean origami boat."]))
    assert (text[:, WORDS:] == 0).all() and (text[:, :WORDS] != 0).any()


def test_balanced_loss_weighs_evidence_for_and_against_alike():
    group = torch.zeros(4, dtype=torch.long)
    target = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    logits = torch.tensor([[0.3, -0.2, 0.1, 0.4]])
    wanted = torch.nn.functional.softplus(-logits[0, 0]) + torch.nn.functional.softplus(logits[0, 1:]).mean()
    torch.testing.assert_close(balanced_bce(logits, target, group), wanted)


@committed
def test_committed_weights_are_small_and_name_most_classes_and_kinds_but_not_all():
    card = json.loads((SMALL_CLIP / "card.json").read_text())
    assert (SMALL_CLIP / "clip.safetensors").stat().st_size <= 14e6
    assert 0.86 <= card["single_object_accuracy"] <= 0.97 and 0.7 <= card["single_object_kind_accuracy"] <= 0.9
    assert card["seed_miou_static"] >= 0.35


@pytest.mark.slow
@committed
def test_committed_weights_give_the_model_cards_numbers():
    card = json.loads((SMALL_CLIP / "card.json").read_text())
    figures = measure(SMALL_CLIP, card["size"])
    for name, value in figures.items():
        assert value == pytest.approx(card[name], abs=0.005), name
