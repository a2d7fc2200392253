"""CAMs of a classifier and the labels cut from them, against loops and cases worked by hand."""

import pytest
import torch
import torch.nn.functional as F

from vdalib.segmentation.class_cam import (
    class_maps,
    multi_scale_cam,
    pixel_labels,
    pooled_logits,
    three_way_labels,
    token_labels,
)
from vdalib.segmentation.par import pixel_adaptive_refinement


def test_the_pooled_logit_classifies_each_channels_maximum_which_is_not_the_maps_maximum():
    tokens = torch.tensor([[[[3.0, 0.0]], [[0.0, 2.0]]]])  # (1, 2, 1, 2): the channels peak at different places
    weight = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    assert pooled_logits(tokens, weight).tolist() == [[5.0, 1.0]]
    assert class_maps(tokens, weight).tolist() == [[[[3.0, 2.0]], [[3.0, -2.0]]]]


def test_multi_scale_cam_is_max_of_mirrors_relu_sum_over_scales_and_min_max():
    torch.manual_seed(0)
    images, kernel = torch.rand(2, 3, 16, 16), torch.randn(4, 3, 4, 4)

    def maps(views):
        return F.conv2d(views - 0.5, kernel, stride=4)

    total = torch.zeros(2, 4, 16, 16)
    for side in (16, 8, 24):
        scaled = F.interpolate(images, (side, side), mode="bilinear", align_corners=False)
        straight = F.interpolate(maps(scaled), (16, 16), mode="bilinear", align_corners=False)
        mirrored = F.interpolate(maps(scaled.flip(3)), (16, 16), mode="bilinear", align_corners=False).flip(3)
        total += torch.where(straight > mirrored, straight, mirrored).clamp_min(0)
    found = multi_scale_cam(maps, images, (1.0, 0.5, 1.5))
    for image in range(2):
        for channel in range(4):
            lifted = total[image, channel] - total[image, channel].min()
            torch.testing.assert_close(found[image, channel], lifted / (lifted.max() + 1e-5))
    torch.testing.assert_close(
        multi_scale_cam(maps, images.flip(3), (1.0, 0.5)), multi_scale_cam(maps, images, (1.0, 0.5)).flip(3)
    )


def test_every_scale_of_a_cam_is_in_whole_patches():
    seen = []

    def maps(views):
        seen.append(tuple(views.shape[-2:]))
        return views[:, :1]

    assert multi_scale_cam(maps, torch.rand(1, 3, 24, 104), (1.0, 0.5, 0.1), patch_size=8).shape == (1, 1, 24, 104)
    assert seen == [(24, 104), (16, 48), (8, 8)]  # 0.5: 12 and 52 px, both half-way between, to the even number of patches


def test_three_way_labels_by_hand():
    cams = torch.tensor([[[[0.2, 0.25, 0.5, 0.7, 0.8, 0.1]], [[0.9, 0.9, 0.9, 0.9, 0.9, 0.9]], [[0.1, 0.0, 0.3, 0.1, 0.1, 0.9]]]])
    labels = torch.tensor([[True, False, True]])  # class 2 would win everywhere, but is not in the picture
    assert three_way_labels(cams, labels, 0.7, 0.25).tolist() == [[[0, 0, 255, 255, 1, 3]]]
    valid = torch.tensor([[[False, True, True, True, True, False]]])
    assert three_way_labels(cams, labels, 0.7, 0.25, valid, uncertain=-1).tolist() == [[[255, 0, -1, -1, 1, 255]]]


def test_a_token_counts_if_any_of_its_pixels_is_picture():
    cams, labels = torch.ones(1, 1, 16, 16), torch.ones(1, 1, dtype=torch.bool)
    valid = torch.zeros(1, 16, 16, dtype=torch.bool)
    valid[0, 5:12, 3:9] = True  # rows: tokens 1 and 2 of 4 (floor 5/4, ceil 12/4); columns: 0, 1 and 2
    found = token_labels(cams, labels, (4, 4), 0.7, 0.25, valid)[0]
    expected = torch.full((4, 4), 255)
    expected[1:3, 0:3] = 1
    assert torch.equal(found, expected)
    published = token_labels(cams, labels, (4, 4), 0.7, 0.25, valid, box_units="pixel")[0]
    assert (published == 255).all()  # rows 5 to 11 of a grid of 4: the whole picture is lost
    padded_below = torch.ones(1, 16, 16, dtype=torch.bool)
    padded_below[0, 8:] = False
    assert (token_labels(cams, labels, (4, 4), 0.7, 0.25, padded_below, box_units="pixel") == 1).all()  # and padding counts


def test_pixel_labels_decide_twice_and_keep_what_both_say():
    torch.manual_seed(1)
    images, cams = torch.rand(2, 3, 16, 16), torch.full((2, 3, 16, 16), 0.4)
    cams[0, :, :8, 8:], cams[0, 0, :8, :8], cams[0, 2, 8:, 8:] = 0, 1, 1
    cams = cams * (0.8 + 0.2 * torch.rand_like(cams))
    labels = torch.tensor([[True, False, True], [False, True, False]])
    valid = torch.ones(2, 16, 16, dtype=torch.bool)
    valid[1, :4] = False
    found = pixel_labels(images, cams, labels, 0.7, 0.25, valid, iterations=3, dilations=(1, 2))
    for i, classes in enumerate(([0, 2], [1])):
        small = F.interpolate(images[i : i + 1], (8, 8), mode="bilinear", align_corners=False)
        winners = []
        for ground in (0.7, 0.25):
            maps = torch.cat([torch.full((1, 1, 16, 16), ground), cams[i : i + 1, classes]], 1)
            scores = F.interpolate(maps, (8, 8), mode="bilinear", align_corners=False).softmax(1)
            scores = pixel_adaptive_refinement(small, scores, 3, (1, 2))
            scores = F.interpolate(scores, (16, 16), mode="bilinear", align_corners=False)
            winners.append(torch.tensor([0, *(k + 1 for k in classes)])[scores.argmax(1)[0]])
        for row in range(16):
            for column in range(16):
                high, low = winners[0][row, column].item(), winners[1][row, column].item()
                expected = high if high else (255 if low else 0)
                expected = expected if valid[i, row, column] else 255
                assert found[i, row, column] == expected
    assert {0, 1, 3, 255} <= set(found[0].unique().tolist()) and (found[1, :4] == 255).all()


def test_an_image_without_classes_is_background():
    found = pixel_labels(torch.rand(1, 3, 8, 8), torch.rand(1, 2, 8, 8), torch.zeros(1, 2, dtype=torch.bool), 0.7, 0.25)
    assert (found == 0).all()


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_pixel_labels_of_clear_cams_are_the_cams_own_regions(scale):
    images, cams = torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    images[..., 8:], cams[..., 8:] = 1, 1
    found = pixel_labels(images, cams, torch.ones(1, 1, dtype=torch.bool), 0.7, 0.25, scale=scale)
    assert (found[..., 9:] == 1).all() and (found[..., :7] == 0).all()
