"""Figure 1: CAMs scaled inside the object, colours of components matched to those of parts, legends that say what was counted."""

import matplotlib
import numpy as np
import pytest
import torch
from small_runs import run

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

from vdalib.data.partworld import PARTS, PartWorld  # noqa: E402
from vdalib.evaluation.measuring_attributes import mixture_components, observe, part_table, parts_of  # noqa: E402
from vdalib.evaluation.run import Run  # noqa: E402
from vdalib.explore import attribute_figures as figures  # noqa: E402
from vdalib.explore.browsing import Browser  # noqa: E402

M, DOG = 4, PartWorld.class_names.index("dog")
TABLE = np.array([[1, 8, 1, 0, 0], [30, 2, 0, 0, 0], [0, 0, 0, 5, 0], [20, 3, 0, 0, 0], [0, 0, 3, 0, 0], [9, 0, 0, 0, 0]])


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def browser(tmp_path_factory, random_clip):
    folder = run(tmp_path_factory.mktemp("run"), {"mixture.attributes": M}).run_dir
    return Browser(Run.load(folder), dataset=PartWorld("train", 0, 8))


@pytest.fixture(scope="module")
def examples(browser):
    return [(i, k) for i in range(8) for k in browser.classes(i) if browser.responses(i, k)][:2]


def test_a_component_has_the_colour_of_its_part_and_grey_where_none_is_left():
    colours = figures.component_colours(TABLE)
    for component, part in ((0, 1), (1, 0), (2, 3), (4, 2)):
        assert (colours[component] == figures.PART_COLOURS[part]).all()
    left = colours[[3, 5]]
    assert (left == left[:, :1]).all() and (left[0] != left[1]).all()  # greys that differ


def test_a_legend_names_the_component_beside_each_part_and_the_share_of_its_patches():
    axis = plt.subplots()[1]
    figures.part_legend(axis, DOG, [TABLE, TABLE[[2, 1]]])
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    names = [PARTS[number - 1][1] for number in parts_of(DOG)]
    expected = ["1 (94%) | 1 (94%)", "0 (80%) | none", "4 (100%) | none", "2 (100%) | 0 (100%)", "none | none"]
    assert labels == [f"{name}: {found}" for name, found in zip(names, expected)] + ["grey: no part left"]


def test_inside_the_object_a_cam_spans_the_whole_scale_whatever_lies_outside():
    image, mask = np.full((4, 4, 3), 0.5), np.zeros((4, 4), bool)
    mask[1:3, 1:3] = True
    cam = torch.full((4, 4), -9.0)
    cam[1:3, 1:3] = torch.tensor([[0.80, 0.81], [0.82, 0.84]])
    found, ramp = figures.cam_inside(image, cam, mask), torch.zeros(4, 4)
    ramp[1:3, 1:3] = (cam[1:3, 1:3] - 0.8) / 0.04
    np.testing.assert_allclose(found[mask], figures.cam_overlay(image, ramp, 0.75)[mask], atol=1e-2)
    np.testing.assert_allclose(found[~mask], 0.8)


def test_a_portrait_has_the_strongest_components_and_the_true_masks(browser, examples):
    index, k = examples[0]
    found = figures.portrait(browser, index, k, 3)
    weights = browser.responses(index, k).weights
    assert found.components == np.argsort(-weights, kind="stable")[:3].tolist()
    assert found.responses == sorted(weights.tolist(), reverse=True)[:3]
    np.testing.assert_array_equal(found.mask, browser.dataset.mask(index) == k + 1)
    np.testing.assert_array_equal(found.parts, browser.dataset.part_mask(index))


def test_figure_1_has_a_row_for_each_object_frames_in_the_components_colours_and_outlines(browser, examples):
    found = [figures.portrait(browser, index, k) for index, k in examples]
    tables = {k: np.eye(M, len(parts_of(k)), dtype=int) for _, k in examples}
    for inside in (True, False):
        axes = np.reshape(figures.figure_1(found, tables, inside).axes, (len(examples), M + 2))
        for row, one in zip(axes, found):
            assert row[0].get_ylabel() == one.class_name and row[-1].get_legend()
            assert all(axis.collections for axis in row[:-1])  # outlines
            for axis, component in zip(row[1:-1], one.components):
                assert axis.get_title().startswith(f"{component}: ")
                np.testing.assert_allclose(axis.spines["left"].get_edgecolor()[:3], figures.PART_COLOURS[component])
    plain = figures.figure_1(found, {})
    assert len(plain.axes) == len(examples) * (M + 1) and not any(axis.collections for axis in plain.axes)


def test_maps_and_shares_of_components_are_drawn_for_every_run_and_class(browser, examples):
    world, classes = browser.dataset, [k for _, k in examples]
    seen = observe(browser.run, world)
    own = mixture_components(browser.run)
    tables = {k: part_table(seen, k, own, M) for k in classes}
    maps = figures.component_maps(world, seen, {"a": (own, tables), "b": (own, tables)}, classes)
    axes = np.reshape(maps.axes, (len(classes), 5))
    assert [axis.get_title() for axis in axes[0]] == ["image", "a", "b", "true parts", ""]
    for row in axes:
        first, second, truth = (axis.get_images()[0].get_array() for axis in row[1:4])
        assert (first == second).all() and first.shape == truth.shape
        assert ((truth == 1).all(-1) == (first == 1).all(-1)).all()  # white outside of the object
    shares = figures.part_heatmaps({"a": tables, "b": tables}, classes)
    for axis, k in zip(shares.axes, classes):
        table = axis.get_images()[0].get_array()
        assert table.shape == (len(parts_of(k)), M)
        order = [int(text.get_text().split()[0]) for text in axis.get_xticklabels()]
        np.testing.assert_allclose(table, (tables[k] / np.maximum(tables[k].sum(1, keepdims=True), 1))[order].T)
