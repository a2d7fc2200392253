"""Maps as layers: the right colours at the right pixels, legends that say what is there, and sheets to keep."""

from io import BytesIO

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from vdalib.explore.browsing import PARTS, PREDICTION, SEED, TRUTH, View
from vdalib.explore.layers import Palette, around, sheet

NAMES = ("cat", "sea lion")
PALETTE = Palette(NAMES, {"sea lion": "#123456"})


def view(shown, map):
    return View(torch.zeros(3, 20, 30), "a", "cat", "text", map, shown, None, (), 0.0)


def test_label_maps_have_the_folder_s_colours_and_a_legend_of_what_is_there():
    labels = torch.zeros(20, 30, dtype=torch.long)
    labels[:5], labels[5:10, :15] = 2, 255
    layer = PALETTE.of_view(view(labels, PREDICTION))
    pixels = np.asarray(layer.image)
    assert layer.crisp and pixels.shape == (20, 30, 4)
    assert tuple(pixels[0, 0]) == (*ImageColor.getrgb("#123456"), 255) and tuple(pixels[7, 3]) == (255, 255, 255, 255)
    assert not pixels[15:, :, 3].any(), "background lets the picture through"
    assert [(name, share) for name, _, share in layer.entries] == [
        ("background", 0.625),
        ("sea lion", 0.25),
        ("undecided", 0.125),
    ]


def test_a_cam_is_magma_smooth_and_not_smaller_than_the_picture():
    layer = PALETTE.of_view(view(torch.tensor([[0.0, 1.0]]), SEED))
    assert not layer.crisp and layer.image.width == 192 and layer.scale[1:] == ("0", "1")
    pixels = np.asarray(layer.image)
    expected = [tuple(round(255 * part) for part in matplotlib.colormaps["magma"](end)) for end in (0.0, 1.0)]
    assert [tuple(pixels[0, 0]), tuple(pixels[0, -1])] == expected


def test_two_label_maps_differ_where_they_do_in_the_second_one_s_colours():
    first, second = torch.ones(20, 30, dtype=torch.long), torch.ones(20, 30, dtype=torch.long)
    second[:2] = 2
    second[2:4] = 0
    layer = PALETTE.difference(view(first, PREDICTION), view(second, TRUTH), 0)
    pixels = np.asarray(layer.image)
    assert tuple(pixels[0, 0]) == (*ImageColor.getrgb("#123456"), 255) and tuple(pixels[3, 0]) == (0, 0, 0, 255)
    assert not pixels[4:].any()
    assert {name: share for name, _, share in layer.entries} == {"sea lion": 0.1, "background": 0.1}
    assert "20.0 %" in layer.note


def test_two_cams_differ_by_sign_and_size_and_a_label_map_counts_as_a_cam_of_its_class():
    first, second = torch.tensor([[1.0, 0.5]]), torch.tensor([[0.5, 0.5]])
    layer = PALETTE.difference(view(first, SEED), view(second, SEED), 0)
    pixels = np.asarray(layer.image)
    assert tuple(pixels[0, 0]) == (*ImageColor.getrgb("#d55e00"), 255) and pixels[0, -1, 3] == 0
    assert layer.scale[1:] == ("B by 0.50", "A by 0.50")
    flipped = PALETTE.difference(view(second, SEED), view(first, SEED), 0)
    assert tuple(np.asarray(flipped.image)[0, 0]) == (*ImageColor.getrgb("#0072b2"), 255)
    cats = torch.full((20, 30), 1)
    against = PALETTE.difference(view(torch.ones(1, 2), SEED), view(cats, PREDICTION), 0)
    assert not np.asarray(against.image)[..., 3].any()
    with pytest.raises(ValueError, match="parts can be compared with parts only"):
        PALETTE.difference(view(torch.ones(1, 2), SEED), view(cats, PARTS), 0)


def test_parts_of_an_image_have_names_and_colours_of_their_own():
    labels = torch.tensor([[0, 1, 2, 3, 4, 5]])
    entries = PALETTE.of_view(view(labels, PARTS)).entries
    assert len({name for name, _, _ in entries}) == len({colour for _, colour, _ in entries}) == 6


def test_a_patch_is_cut_out_with_its_surroundings():
    image = torch.zeros(3, 40, 80, dtype=torch.uint8)
    image[:, 10:20, 60:70] = 200
    cut, (left, top, right, bottom) = around(image, (60 / 80, 10 / 40, 70 / 80, 20 / 40))
    assert cut.size == (50, 50)
    inside = np.asarray(cut)[round(50 * top) : round(50 * bottom), round(50 * left) : round(50 * right)]
    assert (inside == 200).all() and inside.shape[:2] == (10, 10)


def test_a_sheet_shows_picture_and_layers_side_by_side_with_the_chosen_opacity():
    labels = torch.ones(20, 30, dtype=torch.long)
    layer = PALETTE.of_view(view(labels, PREDICTION), "by the segmenter alone")
    shown = np.asarray(Image.open(BytesIO(sheet(Image.new("RGB", (30, 20)), "a: cat", [layer], 0.5))))
    cat = np.array(ImageColor.getrgb(PALETTE.classes["cat"]))
    assert (shown[100, 100] == 0).all()
    assert np.abs(shown[100, 552 + 100].astype(int) - cat // 2).max() <= 2  # 12 + 540 px of picture, then a gap


def test_a_sheet_has_the_colours_of_a_scale_in_their_order_under_its_map():
    one, other = (view(torch.rand(20, 30), SEED) for _ in range(2))
    layers = [PALETTE.of_view(one, "by text"), PALETTE.difference(one, other, 0)]
    shown = np.asarray(Image.open(BytesIO(sheet(Image.new("RGB", (30, 20)), "a: cat", layers, 0.5))))
    for layer, left in zip(layers, (564, 1116)):
        below = shown[12 + 360 + 12 + 2 * 18 :, left : left + 72]  # the third line under the map
        colours = ["white" if colour == "transparent" else colour for colour in layer.scale[0]]
        found = [below[6, 12 * place + 5].tolist() for place in range(len(colours))]
        assert found == [list(ImageColor.getrgb(colour)) for colour in colours]
