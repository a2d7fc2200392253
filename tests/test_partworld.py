"""PartWorld: the same everywhere, split cleanly, and true to what it says of itself."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from vdalib.data.partworld import (
    CLASSES,
    CO_OCCURRENCE,
    COLOURS,
    PARTS,
    SCENES,
    SPLITS,
    TEMPLATES,
    PartWorld,
)
from vdalib.data.partworld import world as partworld
from vdalib.data.partworld.dice import Dice
from vdalib.data.partworld.objects import KINDS
from vdalib.data.partworld.scenes import background
from vdalib.data.partworld.shapes import Canvas, box, capsule, ellipse, polygon

ROOT = Path(__file__).parents[1]
HASH_OF_TWENTY = "9d621ddbbdb44f9ec3ccac2f060bde5324843eee09ebeae4fd4891954261f8c0"
CLASS_OF_PART = np.array([0] + [CLASSES.index(name) + 1 for name, _ in PARTS])


def fingerprint(order=range(20)) -> str:
    """sha256 over the images and masks of train samples 0..19, drawn in the given order."""
    world, parts = PartWorld("train", seed=0), {}
    for i in order:
        parts[i] = world[i].image.numpy().tobytes() + world.mask(i).tobytes() + world.part_mask(i).tobytes()
    return hashlib.sha256(b"".join(parts[i] for i in range(20))).hexdigest()


@pytest.fixture(scope="module")
def world() -> PartWorld:
    return PartWorld("clip", seed=3)


def test_twenty_samples_have_the_committed_hash():
    assert fingerprint() == HASH_OF_TWENTY


def test_hash_is_the_same_in_another_order_and_another_process():
    assert fingerprint(reversed(range(20))) == HASH_OF_TWENTY
    code = "from tests.test_partworld import fingerprint; print(fingerprint())"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == HASH_OF_TWENTY


def test_images_do_not_depend_on_size_and_do_on_seed_and_split():
    image = PartWorld("train", 0, size=7)[5].image
    assert torch.equal(image, PartWorld("train", 0, size=100)[5].image)
    assert not torch.equal(image, PartWorld("train", 1)[5].image)
    assert not torch.equal(image, PartWorld("val", 0)[5].image)


def test_splits_share_no_index():
    starts = sorted(SPLITS.values())
    largest = 1_000_000
    assert all(b - a >= largest for a, b in itertools.pairwise(starts))
    for split in SPLITS:
        assert len(PartWorld(split, size=largest)) == largest
        with pytest.raises(ValueError, match="size: found 1000001"):
            PartWorld(split, size=largest + 1)
    images = [PartWorld(split)[i].image.numpy().tobytes() for split in SPLITS for i in range(10)]
    assert len(set(images)) == len(images)


def test_sample_is_what_training_may_see():
    world = PartWorld("val", seed=2)
    assert (len(PartWorld("train")), len(world), len(PartWorld("clip"))) == (1_000, 250, 100_000)
    sample = world[7]
    assert isinstance(sample.image, tv_tensors.Image)
    assert sample.image.shape == (3, 96, 96) and sample.image.dtype == torch.uint8
    assert sample.labels.shape == (10,) and sample.labels.dtype == torch.bool
    assert sample.name == "val_2_000007"
    assert set(vars(sample)) == {"image", "labels", "name"}
    for mask in (world.mask(7), world.part_mask(7)):
        assert mask.shape == (96, 96) and mask.dtype == np.uint8
    before = world.mask(7)
    world.mask(7)[:] = 99  # a caller's own copy
    sample.image.zero_()
    assert np.array_equal(world.mask(7), before) and world[7].image.any()


def test_class_and_part_tables():
    assert (
        CLASSES == PartWorld.class_names == ("aeroplane", "bird", "boat", "bottle", "bus", "car", "cat", "dog", "horse", "person")
    )
    count = Counter(name for name, _ in PARTS)
    assert set(count) == set(CLASSES) and all(3 <= n <= 5 for n in count.values())
    assert len(set(PARTS)) == len(PARTS)
    for kind in KINDS.values():
        assert kind.parts[0] not in kind.optional and set(kind.optional) < set(kind.parts)
        assert all(0.15 <= absent <= 0.25 for absent in kind.optional.values())


def test_co_occurrence_is_as_stated(world):
    counts = {name: Counter() for name in CLASSES}
    objects = Counter()
    for i in range(60_000):
        layout = world.layout(i)
        counts[layout.roles[0].class_name][layout.scene] += 1
        objects[len(layout.roles)] += 1
    for name in CLASSES:
        assert sum(CO_OCCURRENCE[name].values()) == pytest.approx(1)
        for scene in SCENES:
            assert CO_OCCURRENCE[name][scene] >= 0.03
            rate = counts[name][scene] / sum(counts[name].values())
            assert abs(rate - CO_OCCURRENCE[name][scene]) < 0.02, (name, scene, rate)
    for n, share in ((1, 0.50), (2, 0.35), (3, 0.15)):
        assert abs(objects[n] / 60_000 - share) < 0.01


def test_factors_keep_the_layout(world):
    """What is drawn is what was cast: the first role is always there, later ones seldom dropped."""
    cast = kept = 0
    for i in range(200):
        layout, factors = world.layout(i), world.factors(i)
        assert factors.scene == layout.scene
        cast, kept = cast + len(layout.roles), kept + len(factors.objects)
        for role, thing in zip(layout.roles, factors.objects[:1]):
            assert {name: getattr(thing, name) for name in vars(role)} == vars(role)
    assert kept > 0.93 * cast


def test_colour_says_nothing_of_the_class(world):
    table = np.zeros((len(CLASSES), len(COLOURS)))
    second = np.zeros_like(table)
    for i in range(20_000):
        for role in world.layout(i).roles:
            assert role.main_colour != role.second_colour
            table[CLASSES.index(role.class_name), COLOURS.index(role.main_colour)] += 1
            second[CLASSES.index(role.class_name), COLOURS.index(role.second_colour)] += 1
    for t in (table, second):
        expected = t.sum(1, keepdims=True) / len(COLOURS)  # uniform, whatever the class
        chi_square = ((t - expected) ** 2 / expected).sum()
        assert chi_square < 125  # 80 degrees of freedom: exceeded with probability 0.001


def test_every_part_lies_inside_its_object(world):
    for i in range(100):
        drawn = world.render(i)
        assert np.array_equal(CLASS_OF_PART[drawn.part_mask], drawn.mask)
        assert np.array_equal(drawn.owner > 0, drawn.mask > 0)
        for n, thing in enumerate(drawn.factors.objects):
            ids = np.unique(drawn.part_mask[drawn.owner == n + 1])
            assert {PARTS[p - 1][0] for p in ids} == {thing.class_name}


def test_steps_end_in_the_image_and_name_every_part_that_was_drawn(world):
    for i in range(20):
        names, images, parts = zip(*world.steps(i))
        assert names[:3] == ("scene", "distractors", "texture") and names[-1] == "grain"
        assert not parts[2].any(), "no part before the first object"
        assert np.array_equal(images[-1], world.render(i).image)
        assert np.array_equal(parts[-1], world.part_mask(i))
        for earlier, later in itertools.pairwise(parts[2:]):
            assert not (earlier.astype(bool) & ~later.astype(bool)).any(), "what is covered stays covered"
        drawn = {f"{thing.class_name}: {part}" for thing in world.factors(i).objects for part in thing.part_colours}
        assert set(names[3:-1]) == drawn


def test_factors_are_complete_and_agree_with_the_masks(world):
    for i in range(150):
        drawn, labels = world.render(i), world[i].labels
        factors = drawn.factors
        assert factors.scene in SCENES and 1 <= len(factors.objects) <= 3
        present = {CLASSES[k - 1] for k in np.unique(drawn.mask) if k}
        assert present == {t.class_name for t in factors.objects}
        assert present == {name for name, label in zip(CLASSES, labels) if label}
        for n, thing in enumerate(factors.objects):
            mine = drawn.owner == n + 1
            rows, columns = np.nonzero(mine)
            assert thing.visible_area == mine.sum() >= 60
            assert thing.bbox == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            area = {
                part: (mine & (drawn.part_mask == p + 1)).sum()
                for p, (name, part) in enumerate(PARTS)
                if name == thing.class_name
            }
            assert thing.parts == {part for part, pixels in area.items() if pixels >= 8}
            assert set(thing.part_colours) >= thing.parts
            assert set(thing.part_colours.values()) <= {thing.main_colour, thing.second_colour} <= set(COLOURS)
            assert thing.part_colours[KINDS[thing.class_name].parts[0]] == thing.main_colour
            assert thing.pose in KINDS[thing.class_name].poses and isinstance(thing.mirrored, bool)


def test_size_is_the_longer_side_in_pixels(world):
    """The bounding box of a lone object has the size that its factors state, give or take outline rounding."""
    seen = 0
    for i in range(200):
        factors = world.factors(i)
        if len(world.layout(i).roles) == 1:
            thing, seen = factors.objects[0], seen + 1
            left, top, right, bottom = thing.bbox
            assert 32 <= thing.size <= 72
            assert abs(max(right - left, bottom - top) - thing.size) < 3
        else:
            assert all(26 <= t.size <= 52 for t in factors.objects)
    assert seen > 60


def test_objects_keep_enough_of_themselves_visible(monkeypatch):
    """Even where any overlap may be tried: later objects go, the first stays."""
    monkeypatch.setattr(partworld, "_MAX_OVERLAP", 1.0)
    world, dropped = PartWorld("clip", seed=5), 0
    for i in range(150):
        layout, factors = world.layout(i), world.factors(i)
        horizon = background(layout.scene, world._dice(i, partworld._BACKGROUND))[1]
        dropped += len(layout.roles) - len(factors.objects)
        for n, (role, thing) in enumerate(zip(layout.roles, factors.objects)):
            assert {name: getattr(thing, name) for name in vars(role)} == vars(role)
            actor = partworld._enter(role, world._dice(i, partworld._OBJECT + n), horizon, [])
            alone = partworld._paint(Canvas(np.zeros((3, 96, 96), np.float32)), [actor], "sky")
            assert thing.visible_area >= 0.45 * np.count_nonzero(alone.owner)
    assert dropped > 0


def test_parts_come_and_go(world):
    seen = {name: Counter() for name in CLASSES}
    for i in range(800):
        for thing in world.factors(i).objects:
            seen[thing.class_name].update(["objects", *thing.part_colours])
    for name, kind in KINDS.items():
        total = seen[name].pop("objects")
        for part in kind.parts:
            share = seen[name][part] / total
            if part in kind.optional:
                assert 0.6 < share < 0.95, (name, part, share)
            else:
                assert share == 1, (name, part, share)


def test_captions_name_what_is_there(world):
    words = set()
    for i in range(300):
        factors, sentences = world.factors(i), world.captions(i)
        assert sentences == world.captions(i) and len(sentences) == 5
        for thing in factors.objects:
            assert f"{thing.main_colour} {thing.class_name}" in sentences[-1]
        assert factors.scene in sentences[-1]
        for sentence in sentences:
            tokens = set(sentence.rstrip(".").split())
            words |= tokens
            assert tokens & {t.class_name for t in factors.objects}
            assert tokens & set(CLASSES) <= {t.class_name for t in factors.objects}
            named = tokens & {part for _, part in PARTS}
            assert named <= set().union(*(t.parts for t in factors.objects))
    assert len(words) < 140
    assert {"a clean origami {}.", "a photo of a {}."} < set(TEMPLATES)
    assert all(t.count("{}") == 1 for t in TEMPLATES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test"}, r"split: unknown 'test' \(known: train, val, clip\)"),
        ({"seed": -1}, "seed: found -1"),
        ({"size": 0}, "size: found 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PartWorld(**arguments)


def test_index_out_of_range():
    world = PartWorld("val", size=3)
    assert torch.equal(world[-1].image, world[2].image) and world[-1].name == "val_0_000002"
    for call in (world.__getitem__, world.mask, world.layout, world.captions):
        for i in (3, -4):
            with pytest.raises(IndexError, match="expected 0..2 for split 'val'"):
                call(i)
    assert len(list(world)) == 3


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (ellipse(48, 48, 20, 12, 30), np.pi * 20 * 12),
        (box(48, 48, 20, 12, 0, 25), 40 * 24),
        (box(48, 48, 20, 12, 12), 40 * 24 - (4 - np.pi) * 144),
        (capsule(30, 40, 10, 60, 50, 10), 20 * np.hypot(30, 10) + np.pi * 100),
        (polygon((20, 20), (70, 20), (20, 60)), 50 * 40 / 2),
        (polygon((20, 60), (70, 20), (20, 20)), 50 * 40 / 2),
    ],
)
def test_shapes_have_their_area(shape, area):
    canvas = Canvas(np.zeros((3, 96, 96), np.float32))
    canvas.paint([shape], (100, 100, 100), part=1, owner=1)
    assert (canvas.part > 0).sum() == pytest.approx(area, rel=0.02)
    assert canvas.rgb[0].sum() / 100 == pytest.approx(area, rel=0.02)  # anti-aliasing keeps the mean


def test_dice_weights_and_ranges():
    dice = Dice(1, 2, 3)
    drawn = Counter(dice.choice("abc", (1, 0, 3)) for _ in range(8000))
    assert drawn["b"] == 0 and abs(drawn["c"] / 8000 - 0.75) < 0.02
    assert {dice.integer(2, 4) for _ in range(200)} == {2, 3, 4}
    assert Dice(1, 2, 3).uniform() == Dice(1, 2, 3).uniform() != Dice(1, 2, 4).uniform()
