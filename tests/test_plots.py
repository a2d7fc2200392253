import itertools

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from vdalib.data.voc import VOC_CLASSES  # noqa: E402
from vdalib.explore import plots  # noqa: E402

PARTWORLD = ("aeroplane", "bird", "boat", "bottle", "bus", "car", "cat", "dog", "horse", "person")
# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def cielab(colour, vision):
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(VISION[vision]) @ linear, 0, 1)
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    x, y, z = (
        np.cbrt(v) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in to_xyz @ linear / np.array([0.95047, 1, 1.08883])
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(("names", "least"), [(PARTWORLD, 30), (VOC_CLASSES, 16)])
def test_class_colours_are_told_apart_by_every_kind_of_colour_vision(vision, names, least):
    lab = [cielab(plots.class_colour(name), vision) for name in names]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)) > least


def test_every_voc_class_has_a_colour_and_other_names_keep_theirs():
    assert set(plots.CLASS_COLOURS) == set(VOC_CLASSES)
    assert plots.class_colour("zebra") == plots.class_colour("zebra")
    assert plots.class_colour("background") == plots.BACKGROUND_COLOUR


def test_a_class_has_the_same_colour_whatever_its_index():
    first = plots.colour_mask(np.array([[2, 0, 255]]), ("cat", "dog"))
    second = plots.colour_mask(np.array([[1, 0, 255]]), ("dog",))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first[0, 0], matplotlib.colors.to_rgb(plots.CLASS_COLOURS["dog"]))
    np.testing.assert_allclose(first[0, 1:], [[0, 0, 0], [1, 1, 1]])


def test_overlay_mixes_grey_with_a_class_s_colour_where_there_is_a_class_only():
    image = torch.tensor([98, 128, 158], dtype=torch.uint8)[:, None, None].expand(3, 1, 2)  # mean 128
    mixed = plots.mask_overlay(image, np.array([[0, 1]]), ("cat",), opacity=0.25)
    np.testing.assert_allclose(mixed[0, 0], 128 / 255)
    cat = np.array(matplotlib.colors.to_rgb(plots.CLASS_COLOURS["cat"]))
    np.testing.assert_allclose(mixed[0, 1], 0.75 * 128 / 255 + 0.25 * cat)


def test_cam_overlay_is_magma_at_the_images_size():
    image = torch.zeros(3, 8, 8)
    cam = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    mixed = plots.cam_overlay(image, cam, opacity=1.0)
    assert mixed.shape == (8, 8, 3)
    np.testing.assert_allclose(mixed[0, 0], matplotlib.colormaps["magma"](0.0)[:3])
    np.testing.assert_allclose(mixed[0, -1], matplotlib.colormaps["magma"](1.0)[:3])


def test_pictures_are_taken_in_every_common_form():
    chw = torch.randint(0, 256, (3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    forms = [chw, chw.numpy(), chw.permute(1, 2, 0).numpy(), chw / 255]
    for form in forms:
        np.testing.assert_allclose(plots.as_picture(form), chw.permute(1, 2, 0).numpy() / 255, atol=1e-6)
    with pytest.raises(ValueError, match=r"image: shape \(4, 4\), expected \(3, H, W\) or \(H, W, 3\)"):
        plots.as_picture(np.zeros((4, 4)))


def test_grid_has_a_place_for_every_picture():
    pictures = [np.zeros((4, 4, 3))] * 7
    figure, axes = plots.image_grid(pictures, [f"{i}" for i in range(7)], columns=3)
    assert isinstance(figure, Figure) and axes.shape == (3, 3)
    assert [len(axis.images) for axis in axes.flat] == [1] * 7 + [0] * 2
    assert axes[2, 0].get_title() == "6"
    with pytest.raises(ValueError, match="images: found none"):
        plots.image_grid([])


def test_loss_curves_draw_raw_values_their_running_mean_and_the_stages():
    rows = [{"step": i, "segmentation": float(i)} | ({"inter": 1.0} if i >= 4 else {}) for i in range(10)]
    stages = {"segmenter": 0, "inter-class": 4, "intra-class": 8}
    figure, axes = plots.loss_curves(rows, ["segmentation", "inter"], stages, window=3)
    raw, mean, *boundaries = axes[0, 0].lines
    np.testing.assert_allclose(raw.get_ydata(), range(10))
    np.testing.assert_allclose(mean.get_ydata(), [np.mean(range(max(0, i - 2), i + 1)) for i in range(10)])
    assert [line.get_xdata()[0] for line in boundaries] == [4, 8]
    assert axes[0, 1].lines[0].get_xdata().tolist() == [4, 5, 6, 7, 8, 9]
    assert axes[0, 0].get_xlabel() == "step" and axes[0, 0].get_ylabel() == "segmentation"
    with pytest.raises(ValueError, match=r"terms: no row has 'intra' \(there are: inter, segmentation, step\)"):
        plots.loss_curves(rows, ["intra"], stages)
    with pytest.raises(ValueError, match="rows, terms: found none"):
        plots.loss_curves([], ["intra"], stages)


def test_miou_bars_show_mean_and_standard_error():
    _, axis = plots.miou_bars({"text": [50.0, 52.0, 54.0], "all": [60.0]})
    assert [bar.get_width() for bar in axis.patches] == [52.0, 60.0]
    (error,) = (container for container in axis.containers if not hasattr(container, "patches"))  # none where there is one value
    low, high = error[2][0].get_segments()[0][:, 0]
    assert (high - low) / 2 == pytest.approx(2 / np.sqrt(3))
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["text", "all"]
    assert axis.get_xlabel() == "mIoU, %"
    with pytest.raises(ValueError, match="results: found none"):
        plots.miou_bars({})


def test_grouped_bars_stand_at_their_means_with_standard_errors_and_marks():
    values = {"INN": {"pose": [1.0, 3.0], "scene": [4.0, 4.0]}, "chance": {"pose": [1.0, 1.0], "scene": [0.0, 2.0]}}
    marks = {"INN": {"pose": 0.5, "scene": 0.6}, "chance": {"pose": 0.7, "scene": 0.8}}
    _, axis = plots.grouped_bars(values, "NMI", marks)
    assert [bar.get_height() for bar in axis.patches] == [2.0, 4.0, 1.0, 1.0]
    assert [bar.get_x() + bar.get_width() / 2 for bar in axis.patches] == pytest.approx([-0.2125, 0.7875, 0.2125, 1.2125])
    bars = next(container for container in axis.containers if hasattr(container, "errorbar"))
    low, high = bars.errorbar[2][0].get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(1.0)  # standard error of 1 and 3
    segments = [segment for lines in axis.collections for segment in lines.get_segments()]
    assert [start[1] for start, end in segments if start[0] < end[0]] == [0.5, 0.6, 0.7, 0.8]  # error bars stand upright
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["pose", "scene"]
    with pytest.raises(ValueError, match="values: found none"):
        plots.grouped_bars({}, "NMI")


def test_confusion_heatmap_shows_row_shares():
    _, axis = plots.confusion_heatmap([[3, 1], [0, 0]], ("background", "cat"))
    np.testing.assert_allclose(axis.images[0].get_array(), [[0.75, 0.25], [0, 0]])


def test_latent_scatter_draws_points_centres_and_attributes():
    points = np.arange(12.0).reshape(6, 2)
    centres, attributes = np.zeros((2, 2)), np.zeros((2, 3, 2))
    _, axis = plots.latent_scatter(points, [0, 0, 1, 1, 1, 1], ("cat", "dog"), centres, attributes)
    assert [len(c.get_offsets()) for c in axis.collections] == [2, 3, 1, 4, 3, 1]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["cat", "dog"]
    with pytest.raises(ValueError, match=r"points: shape \(6, 3\), expected \(n, 2\)"):
        plots.latent_scatter(np.zeros((6, 3)), np.zeros(6), ("cat",))


def test_distances_of_a_unit_gaussian_fill_the_curve_that_is_drawn_over_them():
    z = np.random.default_rng(0).standard_normal((20_000, 32))
    fits = (z**2).mean(1)
    _, axes = plots.distance_histograms({"fits": fits, "twice as wide": 4 * fits}, dim=32)
    assert [axis.get_title() for axis in axes.flat] == ["fits", "twice as wide"]
    gaps = []
    for axis in axes.flat:
        curve = axis.lines[0].get_xydata()
        assert curve[:, 1].sum() * (curve[1, 0] - curve[0, 0]) == pytest.approx(1, abs=0.01)
        middles = [bar.get_x() + bar.get_width() / 2 for bar in axis.patches]
        gaps.append(np.abs(np.interp(middles, *curve.T) - [bar.get_height() for bar in axis.patches]).max() / curve[:, 1].max())
    assert gaps[0] < 0.1 < 0.9 < gaps[1]


def test_a_far_distance_is_drawn_at_the_edge_and_not_left_out():
    _, axes = plots.distance_histograms({"": [*np.full(99, 1.0), 500.0]}, dim=100)
    bars = axes[0, 0].patches
    assert bars[-1].get_x() < 3 and bars[-1].get_height() > 0
    with pytest.raises(ValueError, match="values: found none"):
        plots.distance_histograms({}, dim=4)


def test_figures_have_a_white_ground_for_dark_mode():
    figure, _ = plots.image_grid([np.zeros((4, 4, 3))])
    assert figure.get_facecolor() == (1.0, 1.0, 1.0, 1.0)


def test_picture_table_names_rows_columns_and_classes():
    rows = {"image": [np.zeros((4, 4, 3))] * 3, "truth": [np.ones((4, 4, 3))] * 3}
    figure, axes = plots.picture_table(rows, ["a", "b", "c"], classes=("cat", "dog"))
    assert axes.shape == (2, 3)
    assert [axis.texts[0].get_text() for axis in axes[:, 0]] == ["image", "truth"]
    assert [axis.get_title() for axis in axes[0]] == ["a", "b", "c"]
    np.testing.assert_array_equal(axes[1, 2].images[0].get_array(), np.ones((4, 4, 3)))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cat", "dog"]
    with pytest.raises(ValueError, match="images: found none"):
        plots.picture_table({})


def test_markdown_table_aligns_and_rounds():
    table = plots.markdown_table(["row", "mIoU"], [["text", 51.26], ["seeds", 3]])
    assert table.splitlines() == ["| row | mIoU |", "| :-- | --: |", "| text | 51.3 |", "| seeds | 3 |"]


def test_figures_are_saved_into_new_folders_and_whole(tmp_path):
    figure, _ = plots.image_grid([np.zeros((4, 4, 3))])
    plots.save_figure(figure, tmp_path / "figures" / "a.png")
    assert matplotlib.image.imread(tmp_path / "figures" / "a.png").ndim == 3
    assert [file.name for file in (tmp_path / "figures").iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["$^$", "a$b$", "100$", r"\$x$", "$\\frac{1}{2}$", "{}", "_cat", "%s", "ß"])
def test_names_with_dollars_are_drawn_as_they_are(name):
    picture, counts = np.zeros((4, 4, 3)), np.eye(2)
    figures = [
        plots.image_grid([picture], [name]),
        plots.picture_table({name: [picture]}, [name], classes=[name]),
        plots.miou_bars({name: [1.0]}),
        plots.grouped_bars({name: {name: [1.0]}}, "share"),
        plots.confusion_heatmap(counts, ["background", name]),
        plots.latent_scatter(np.zeros((1, 2)), [0], [name]),
    ]
    for figure, _ in figures:
        figure.canvas.draw()
        texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text().replace(r"\$", "$") == name]
        assert texts and not any(matplotlib.cbook.is_math_text(text.get_text()) for text in texts)
    assert len(plots.grouped_bars({name: {"cat": [1.0]}}, "share")[0].legends[0].get_texts()) == 1


def test_a_forest_has_headings_intervals_and_hollow_points_where_no_effect_is_inside():
    points = {"colours": None, "red": (2.0, 1.0, 3.0), "blue": (1.0, -1.0, 3.0), "pink": (4.0, float("nan"), float("nan"))}
    figure, axis = plots.forest({"first": points, "second": {"red": (0.0, -1.0, 1.0)}}, "points", line=0.0)
    assert [tick.get_text() for tick in axis.get_yticklabels()] == list(points)
    assert [tick.get_fontweight() for tick in axis.get_yticklabels()] == ["bold", "normal", "normal", "normal"]
    lines, dots = axis.collections[:2]
    assert dots.get_offsets()[:, 0].tolist() == [2.0, 1.0, 4.0]
    filled = [tuple(colour[:3]) == matplotlib.colors.to_rgb(plots.SERIES_COLOURS[0]) for colour in dots.get_facecolors()]
    assert filled == [True, False, False]
    assert [segment[:, 0].tolist() for segment in lines.get_segments()[:2]] == [[1.0, 3.0], [-1.0, 3.0]]
    assert axis.get_ylim() == (3.5, -0.5)
    with pytest.raises(ValueError, match="series: found none"):
        plots.forest({}, "points")
