"""PartWorld: the same everywhere, split cleanly, and true to what it says of itself."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from vdalib.config import Config
from vdalib.data import build_dataset, class_names
from vdalib.data.partworld import (
    CLASSES,
    CO_OCCURRENCE,
    COLOURS,
    GRANULARITIES,
    KIND_NAMES,
    KINDS_OF,
    PARTS,
    SCENES,
    SPLITS,
    TEMPLATES,
    PartWorld,
    casting,
)
from vdalib.data.partworld import world as partworld
from vdalib.data.partworld.clutter import occluder
from vdalib.data.partworld.dice import Dice
from vdalib.data.partworld.ground import Ground
from vdalib.data.partworld.objects import CLASS_PARTS, KINDS
from vdalib.data.partworld.shapes import Affine, Canvas, box, capsule, ellipse, polygon
from vdalib.data.partworld.sketch import Sketch, placed

ROOT = Path(__file__).parents[1]
HASH_OF_TWENTY = "3d1fc00dd3e30ae88e6e9919b3ff15abfbe08d2d3b44a30600a3d9043d70c34c"
CLASS_OF_PART = np.array([0] + [CLASSES.index(name) + 1 for name, _ in PARTS])


def fingerprint(order=range(20)) -> str:
    """sha256 over the images and masks of train samples 0..19, drawn in the given order."""
    world, parts = PartWorld("train", seed=0), {}
    for i in order:
        drawn = world.render(i)
        layers = (drawn.image, drawn.mask, drawn.kind_mask, drawn.part_mask, drawn.owner)
        parts[i] = b"".join(layer.tobytes() for layer in layers)
    return hashlib.sha256(b"".join(parts[i] for i in range(20))).hexdigest()


@pytest.fixture(scope="module")
def world() -> PartWorld:
    return PartWorld("clip", seed=3)


def test_twenty_samples_have_the_committed_hash():
    assert fingerprint() == HASH_OF_TWENTY


@pytest.mark.slow
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
        with pytest.raises(ValueError, match=r"size: found 1000001 \(data\.\w+_size\)"):
            PartWorld(split, size=largest + 1)
    images = [PartWorld(split)[i].image.numpy().tobytes() for split in SPLITS for i in range(10)]
    assert len(set(images)) == len(images)


def test_sample_is_what_training_may_see():
    world = PartWorld("val", seed=2)
    assert (len(PartWorld("train")), len(world), len(PartWorld("clip"))) == (1_000, 250, 100_000)
    sample = world[7]
    assert isinstance(sample.image, tv_tensors.Image)
    assert sample.image.shape[0] == 3 and sample.image.dtype == torch.uint8
    assert sample.labels.shape == (10,) and sample.labels.dtype == torch.bool
    assert sample.name == "val_2_000007"
    assert set(vars(sample)) == {"image", "labels", "name"}
    for mask in (world.mask(7), world.part_mask(7)):
        assert mask.shape == sample.image.shape[1:] and mask.dtype == np.uint8
    before = world.mask(7)
    world.mask(7)[:] = 99  # a caller's own copy
    sample.image.zero_()
    assert np.array_equal(world.mask(7), before) and world[7].image.any()


def test_pictures_differ_in_shape_and_hardly_in_area(world):
    shapes = Counter((world.layout(i).height, world.layout(i).width) for i in range(5_000))
    for height, width in shapes:
        assert height % 8 == width % 8 == 0 and abs(height * width / 128**2 - 1) < 0.02
        assert 2 / 3 - 0.02 < height / width < 3 / 2 + 0.04
        assert abs(shapes[height, width] / 5_000 - 1 / len(shapes)) < 0.03
    assert len(shapes) == 5
    for i in range(12):
        layout, drawn = world.layout(i), world.render(i)
        assert drawn.image.shape == (3, layout.height, layout.width)
        for mask in (drawn.mask, drawn.kind_mask, drawn.part_mask, drawn.owner):
            assert mask.shape == (layout.height, layout.width)


def test_class_kind_and_part_tables():
    assert (
        CLASSES == PartWorld.class_names == ("aeroplane", "bird", "boat", "bottle", "bus", "car", "cat", "dog", "horse", "person")
    )
    count = Counter(name for name, _ in PARTS)
    assert set(count) == set(CLASSES) and all(3 <= n <= 6 for n in count.values())
    assert len(set(PARTS)) == len(PARTS)
    assert len(set(KIND_NAMES)) == len(KIND_NAMES) == 36 and not set(KIND_NAMES) & set(CLASSES)
    assert sorted(itertools.chain(*KINDS_OF.values())) == sorted(KIND_NAMES)
    for name, kinds in KINDS_OF.items():
        assert 3 <= len(kinds) <= 4
        for kind in map(KINDS.get, kinds):
            main, *others = CLASS_PARTS[name]
            assert kind.class_name == name and main not in kind.optional and set(kind.optional) <= set(others)


def test_labels_and_masks_follow_the_granularity():
    """The pictures are the same; kinds refine classes pixel by pixel and label by label."""
    coarse, fine = PartWorld("val", seed=1, size=60), PartWorld("val", seed=1, size=60, granularity="kind")
    assert coarse.class_names == CLASSES and fine.class_names == KIND_NAMES
    class_of_kind = np.array([0, *[CLASSES.index(KINDS[kind].class_name) + 1 for kind in KIND_NAMES]])
    for i in range(60):
        assert torch.equal(coarse[i].image, fine[i].image) and coarse.factors(i) == fine.factors(i)
        assert np.array_equal(class_of_kind[fine.mask(i)], coarse.mask(i))
        for world in (coarse, fine):
            names = {(t.class_name, t.kind)[world is fine] for t in world.factors(i).objects}
            assert {n for n, there in zip(world.class_names, world[i].labels) if there} == names
            assert {world.class_names[k - 1] for k in np.unique(world.mask(i)) if k} == names


def test_granularity_is_a_setting_of_the_data():
    for granularity, names in GRANULARITIES.items():
        data = Config.from_preset("partworld", {"data.granularity": granularity}).data
        dataset = build_dataset(data, "val")
        assert dataset.class_names == class_names(data) == names
        assert dataset[0].labels.shape == (len(names),)
    with pytest.raises(ValueError, match="data.granularity: data.name 'voc12' has no kinds"):
        Config.from_preset("voc12", {"data.granularity": "kind"})


@pytest.mark.slow
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
            assert CO_OCCURRENCE[name][scene] >= 0.02
            rate = counts[name][scene] / sum(counts[name].values())
            assert abs(rate - CO_OCCURRENCE[name][scene]) < 0.02, (name, scene, rate)
    lopsided = {"aeroplane": "sky", "boat": "water", "bus": "road", "car": "road", "horse": "grass"}
    for name in CLASSES:
        scene, count = counts[name].most_common(1)[0]
        rate = count / sum(counts[name].values())
        assert (rate >= 0.85 and scene == lopsided[name]) if name in lopsided else 0.6 < rate < 0.85, (name, scene, rate)
    for n, share in ((1, 0.50), (2, 0.33), (3, 0.17)):
        assert abs(objects[n] / 60_000 - share) < 0.01


@pytest.mark.slow
def test_factors_keep_the_layout(world):
    """What is drawn is what was cast: the first role is always there, later ones seldom dropped."""
    cast = kept = 0
    for i in range(200):
        layout, factors = world.layout(i), world.factors(i)
        assert factors.scene == layout.scene
        cast, kept = cast + len(layout.roles), kept + len(factors.objects)
        for role, thing in zip(layout.roles, factors.objects[:1]):
            assert cast_as(thing, role)
    assert kept > 0.93 * cast


def cast_as(thing, role) -> bool:
    """Whether an object is what it was cast as; one too thin to be seen may be drawn larger."""
    same = {name: getattr(thing, name) for name in vars(role) if name != "size"}
    return same.items() <= vars(role).items() and thing.size >= role.size - 1e-6


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
            assert {KIND_NAMES[k - 1] for k in np.unique(drawn.kind_mask[drawn.owner == n + 1])} == {thing.kind}


def test_steps_end_in_the_image_and_name_every_part_that_was_drawn(world):
    for i in range(20):
        names, images, parts = zip(*world.steps(i))
        assert names[:3] == ("scene", "distractors", "texture") and names[-2:] == ("in front", "grain")
        assert not parts[2].any(), "no part before the first object"
        assert np.array_equal(images[-1], world.render(i).image)
        assert np.array_equal(parts[-1], world.part_mask(i))
        for earlier, later in itertools.pairwise(parts[2:-2]):
            assert not (earlier.astype(bool) & ~later.astype(bool)).any(), "what is covered stays covered"
        assert not (parts[-1].astype(bool) & ~parts[-3].astype(bool)).any(), "what stands in front has no part"
        drawn = {f"{thing.kind}: {part}" for thing in world.factors(i).objects for part in thing.part_colours}
        assert set(names[3:-2]) == drawn


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
            assert next(iter(thing.part_colours)) == CLASS_PARTS[thing.class_name][0]
            assert thing.part_colours[CLASS_PARTS[thing.class_name][0]] == thing.main_colour
            assert thing.kind in KINDS_OF[thing.class_name] and 0.65 <= thing.view <= 1
            assert thing.pose in KINDS[thing.kind].poses and isinstance(thing.mirrored, bool)


def entered(world, i, n=0):
    """Object n of image i as it is drawn and placed when it is alone."""
    layout = world.layout(i)
    return casting.enter(layout.roles[n], world._dice(i, partworld._OBJECT + n), layout.height, layout.width, 1e9, [])


def alone(actor) -> Canvas:
    """An object with nothing cut off, on black; its box begins at (8, 8)."""
    left, top, right, bottom = actor.box
    shift = Affine(dx=8 - left, dy=8 - top)
    moved = replace(actor, strokes=placed(actor.strokes, shift), box=(8, 8, 8 + right - left, 8 + bottom - top))
    black = Canvas(np.zeros((3, int(bottom - top) + 16, int(right - left) + 16), np.float32))
    return partworld._paint(Ground(black, 1.0), [moved], "sky")


def test_size_is_the_longer_side_in_pixels(world):
    """From a sixth of the picture's shorter side to larger than the picture, give or take the outline's rounding."""
    sizes = []
    for i in range(150):
        layout = world.layout(i)
        actor = entered(world, i, len(layout.roles) - 1)
        rows, columns = np.nonzero(alone(actor).owner)
        longer = max(np.ptp(rows), np.ptp(columns)) + 1
        assert abs(longer - actor.role.size) < 4 + 0.05 * actor.role.size  # tips are thinner than a pixel
        sizes.append(actor.role.size / min(layout.height, layout.width))
    assert 1 / 6 <= min(sizes) < 0.25 and 1.2 < max(sizes) < 1.51
    for i in range(2_000):
        layout = world.layout(i)
        for n, role in enumerate(layout.roles):
            low, high = casting.OTHER_SIZE if n else casting.LEAD_SIZE
            assert low - 1e-4 < role.size / min(layout.height, layout.width) < high + 1e-4


def test_view_narrows_an_object():
    world, ratios = PartWorld("clip", seed=4), []
    for i in range(40):
        role = replace(world.layout(i).roles[0], size=80.0)
        wide, narrow = (
            np.nonzero(alone(casting.enter(replace(role, view=v), Dice(i), 128, 128, 1e9, [])).owner) for v in (1.0, 0.65)
        )
        shape = [np.ptp(columns) / np.ptp(rows) for rows, columns in (wide, narrow)]
        ratios.append(shape[1] / shape[0])
    assert 0.6 < np.median(ratios) < 0.7 and 0.55 < min(ratios) and max(ratios) < 0.85


def test_objects_keep_enough_of_themselves_visible(world):
    """Of what is cut off, covered by others and by things in front at least three tenths is left, and 60 px."""
    cut = 0
    for i in range(200):
        layout, cast, _, canvas, _ = world._compose(i)
        for n, actor in enumerate(cast):
            visible, whole = np.count_nonzero(canvas.owner == n + 1), np.count_nonzero(alone(actor).owner)
            assert visible >= max(0.27 * whole, 60), (i, n, visible / whole)  # `area` is taken on a lattice
            left, top, right, bottom = actor.box
            cut += left < -1 or top < -1 or right > layout.width + 1 or bottom > layout.height + 1
    assert cut > 60, "objects are cut by the border"


def test_later_objects_go_where_there_is_no_room(monkeypatch):
    monkeypatch.setattr(casting, "_MAX_OVERLAP", 1.0)
    monkeypatch.setattr(partworld, "MIN_VISIBLE", 0.9)
    world, dropped = PartWorld("clip", seed=5), 0
    for i in range(80):
        layout, factors = world.layout(i), world.factors(i)
        dropped += len(layout.roles) - len(factors.objects)
        assert cast_as(factors.objects[0], layout.roles[0])
    assert dropped > 5


@pytest.mark.slow
def test_things_in_front_cover_objects_and_carry_no_label(world, monkeypatch):
    hidden = []
    for i in range(150):
        with monkeypatch.context() as without:
            without.setattr(partworld, "OCCLUDERS", {0: 1.0})
            bare = world._draw(i)
        drawn = world._draw(i)
        covered = bare.owner != drawn.owner
        assert (drawn.owner[covered] == 0).all() and (drawn.part_mask[covered] == 0).all()
        assert (drawn.mask[covered] == 0).all() and (drawn.kind_mask[covered] == 0).all()
        assert drawn.owner.max() <= len(drawn.factors.objects)
        assert [t.kind for t in drawn.factors.objects] == [t.kind for t in bare.factors.objects]
        hidden.append(covered.sum() / (bare.owner > 0).sum())
    assert 0.25 < np.mean(np.array(hidden) > 0) < 0.42, "about a third of pictures"
    assert np.mean([share for share in hidden if share]) > 0.1


def test_every_thing_in_front_leaves_its_mark_on_all_that_it_paints():
    """What an occluder changes by more than a soft edge is marked as covered."""
    for n in range(60):
        canvas = Canvas(np.full((3, 128, 112), 128, np.float32))
        occluder(Ground(canvas, 1.0), 45, 50, 18, Dice(n), 255)
        changed = np.abs(canvas.rgb - 128).max(0) > 100
        assert (canvas.owner > 0).sum() > 150 and not (changed & (canvas.owner == 0)).any()


def test_parts_come_and_go(world):
    """Optional parts are absent as often as stated, the others never."""
    seen, dice = Counter(), Dice(7)
    for name, kind in KINDS.items():
        for _ in range(100):
            sketch = Sketch(dice, name, "red", "blue", dice.choice(tuple(kind.poses)))
            kind.draw(sketch)
            seen.update((name, part) for part in {stroke.part for stroke in sketch.strokes})
        for part in CLASS_PARTS[kind.class_name]:
            assert abs(seen[name, part] / 100 - 1 + kind.optional.get(part, 0)) < 0.17, (name, part, seen[name, part])


def test_the_prompts_are_among_what_clip_is_told():
    assert {"a clean origami {}.", "a photo of a {}."} < set(TEMPLATES)
    assert all(t.count("{}") == 1 for t in TEMPLATES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test"}, r"split: unknown 'test' \(known: train, val, clip\)"),
        ({"seed": -1}, "seed: found -1"),
        ({"granularity": "part"}, r"granularity: unknown 'part' \(known: class, kind\)"),
        ({"size": 0}, "size: found 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PartWorld(**arguments)


def test_index_out_of_range():
    world = PartWorld("val", size=3)
    assert torch.equal(world[-1].image, world[2].image) and world[-1].name == "val_0_000002"
    for call in (world.__getitem__, world.mask, world.layout):
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


def test_a_sample_is_drawn_once_and_handed_out_in_copies(monkeypatch):
    drawn, draw = [], PartWorld._draw
    monkeypatch.setattr(PartWorld, "_draw", lambda self, i: drawn.append(i) or draw(self, i))
    monkeypatch.setattr(partworld, "KEPT", 2)
    world = PartWorld("train", seed=3, size=4)
    first = world[0]
    whole = first.image.clone()
    first.image.zero_()
    first.labels.zero_()
    again = [world[i] for i in (1, 0, -4, 2, 3, 2)]
    assert drawn == [0, 1, 2, 3, 2]  # the first two are kept
    assert torch.equal(again[1].image, whole) and torch.equal(again[2].image, whole) and again[1].labels.any()
    assert type(again[1].image) is type(first.image) and again[1].name == "train_3_000000"
