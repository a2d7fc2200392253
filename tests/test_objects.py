"""Objects by what PartWorld knows of them: shares counted pixel by pixel, intervals drawn image by image."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

from vdalib.data.partworld import KIND_NAMES, PartWorld  # noqa: E402
from vdalib.evaluation import ConfusionMatrix  # noqa: E402
from vdalib.evaluation.bootstrap import ImageCounts, interval, resampled_sums  # noqa: E402
from vdalib.evaluation.objects import FACTORS, ObjectTable, object_shares  # noqa: E402
from vdalib.explore import objects  # noqa: E402

WAYS = ("plain", "before", "last")


def spoiled(truth, share, seed, to=0):
    """A label map in which some pixels became another label."""
    wrong = np.random.default_rng(seed).random(truth.shape) < share
    return np.where(wrong, to, truth).astype(np.uint8)


@pytest.fixture(scope="module")
def world():
    return PartWorld("val", 3, 24)


@pytest.fixture(scope="module")
def found(world):
    """`last` loses all that is white, `before` nothing; `plain` a tenth of everything."""
    table = ObjectTable(world, WAYS)
    for i in range(len(world)):
        truth, rendered = world.mask(i), world.render(i)
        white = [n + 1 for n, thing in enumerate(rendered.factors.objects) if thing.main_colour == "white"]
        last = np.where(np.isin(rendered.owner, white), 0, truth).astype(np.uint8)
        table.update(i, dict(zip(WAYS, (spoiled(truth, 0.1, i), truth, last))))
    return table


@pytest.mark.parametrize("granularity", ["class", "kind"])
def test_shares_of_an_object_are_those_of_a_loop_over_pixels(granularity):
    world = PartWorld("val", 1, 6, granularity)
    for i in range(len(world)):
        truth, rendered = world.mask(i), world.render(i)
        prediction = spoiled(spoiled(truth, 0.2, i), 0.2, 50 + i, int(truth.max()))
        prediction[:3] = 255
        objects = rendered.factors.objects
        shares = object_shares(rendered.owner, truth, prediction, len(objects))
        for n, thing in enumerate(objects):
            own = (thing.class_name if granularity == "class" else thing.kind) and rendered.owner == n + 1
            name = thing.class_name if granularity == "class" else thing.kind
            label = world.class_names.index(name) + 1
            area = right = lost = spurious = 0
            for mine, true, said in zip(own.flat, truth.flat, prediction.flat):
                area += mine
                right += mine and said == label
                lost += mine and said == 0
                spurious += said == label and true != label
            assert shares[n].tolist() == pytest.approx([right / area, lost / area, right / (area + spurious)])
            assert area == thing.visible_area


def test_levels_are_those_of_the_factors(world, found):
    things = [(i, thing) for i in range(len(world)) for thing in world.factors(i).objects]
    assert found.images.tolist() == [i for i, _ in things] and len(found) == len(things)
    names = {factor: [FACTORS[factor][n] for n in level] for factor, level in found.levels.items()}
    assert names["main colour"] == [thing.main_colour for _, thing in things]
    assert names["kind"] == [thing.kind for _, thing in things]
    assert names["scene"] == [world.factors(i).scene for i, _ in things]
    for (i, thing), cut, size in zip(things, names["truncation"], names["size"]):
        height, width = world.mask(i).shape
        owner = world.render(i).owner == world.factors(i).objects.index(thing) + 1
        edge = owner[[0, -1]].any() or owner[:, [0, -1]].any()
        assert (cut == "at the border") == edge
        assert (size == "over 1") == (thing.size >= min(height, width))
    assert sum(found.counts("kind").values()) == len(found)


def test_what_stands_in_front_hides_and_the_border_does_not(world, found):
    hidden = np.array(found.levels["occlusion"])
    for i in range(len(world)):
        areas, things = world.areas_alone(i), world.factors(i).objects
        assert len(areas) == len(things) and all(alone >= thing.visible_area for alone, thing in zip(areas, things))
        if len(things) == 1 and hidden[found.images == i] > 0:  # then it is an occluder, which is not in the mask
            assert areas[0] > (world.mask(i) > 0).sum()
    assert {0, 1, 2} == set(hidden)


def test_intervals_of_levels_are_those_of_images_drawn_one_by_one(found):
    values = np.random.default_rng(0).random(len(found))
    points = found.by_level("main colour", values)
    random, images = np.random.default_rng(0), np.unique(found.images)
    colours = np.array(FACTORS["main colour"])[found.levels["main colour"]]
    drawn = {name: [] for name in points}
    for _ in range(1000):
        chosen = images[random.integers(0, len(images), len(images))]
        for name, means in drawn.items():
            picked = [values[n] for i in chosen for n in np.flatnonzero((found.images == i) & (colours == name))]
            means.append(np.mean(picked) if picked else np.nan)
    for name, (mean, low, high) in points.items():
        assert mean == pytest.approx(values[colours == name].mean())
        if np.isfinite(low):
            assert [low, high] == pytest.approx(np.nanquantile(drawn[name], [0.025, 0.975]))
        else:
            assert len(set(found.images[colours == name])) == 1
    assert set(points) == set(colours)


def test_iou_of_drawn_images_is_that_of_their_confusion_matrix(world):
    counts, matrices = ImageCounts(11), []
    for i in range(len(world)):
        truth = world.mask(i)
        prediction = spoiled(truth, 0.3, i, 4)
        truth[:2], prediction[-2:] = 255, 255
        counts.update(prediction, truth)
        matrices.append(ConfusionMatrix(11))
        matrices[-1].update(prediction, truth)
    np.testing.assert_allclose(counts.iou(), sum(matrices[1:], matrices[0]).iou())
    random, drawn = np.random.default_rng(5), counts.resampled_iou(draws=4, seed=5)
    for ious in drawn:
        first, *others = random.integers(0, len(world), len(world))
        np.testing.assert_allclose(ious, sum((matrices[i] for i in others), matrices[first]).iou())


def test_an_interval_covers_as_often_as_it_says():
    random, truth = np.random.default_rng(1), 5.0
    inside = 0
    for trial in range(200):
        sample = random.normal(truth, 1, 60)
        low, high = interval(resampled_sums(sample, 200, trial) / 60)
        inside += low <= truth <= high
    assert 0.88 < inside / 200 < 0.99
    assert np.isnan(interval(np.full((5, 2), np.nan))).all()


def test_the_caption_blames_densecrf_for_what_it_loses(found):
    said = objects.caption(found, *WAYS)
    assert "DenseCRF loses recall of: " in said and "main colour *white* (-100)" in said
    assert "No level gains recall by DenseCRF" in said
    assert "100 % is what DenseCRF takes" in said
    harmless = objects.caption(found, "plain", "before", "before")
    assert "No level loses recall" in harmless and "Of the recall that the final masks lack, 0 %" in harmless


def test_the_figure_shows_every_level_under_its_factor(found):
    _, axes = objects.forest(found, *WAYS)
    names = [tick.get_text() for tick in axes[0].get_yticklabels()]
    assert names[:3] == ["objects", "all objects", "main colour"] and "white" in names
    assert [tick.get_text() for tick in axes[2].get_yticklabels()] == ["kind", *found.counts("kind")]
    assert set(found.counts("kind")) <= set(KIND_NAMES)
    whites = names.index("white")
    changes = {round(y): x for x, y in axes[1].collections[1].get_offsets()}
    assert changes[whites] == pytest.approx(-100) and changes[1] > -100
    plt.close("all")


def test_the_table_has_iou_and_loss_to_the_background_by_level(found):
    lines = objects.table(found, ["main colour"], ("before", "last")).splitlines()
    (white,) = (line for line in lines if "white" in line)
    assert [cell.strip() for cell in white.split("|")[3:-1]] == ["100.0", "0.0", "0.0", "100.0"]
    assert len(lines) == 2 + len(found.counts("main colour"))
