"""PAR against the annex, read literally: one loop per sum."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from vdalib.segmentation import par
from vdalib.segmentation.par import DILATIONS, pixel_adaptive_refinement


def literal_weights(image, dilations):
    """Weights (H, W, n) and neighbours (H, W, n) of an image (C, H, W), pixel by pixel."""
    channels, height, width = image.shape
    steps = [(d * y, d * x) for d in dilations for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x]
    distances = torch.tensor([max(abs(y), abs(x)) * (math.sqrt(2) if y and x else 1.0) for y, x in steps], dtype=image.dtype)
    position = torch.softmax(-((distances / (distances.std() + 1e-8) / 0.3) ** 2), 0)
    weights, neighbours = {}, {}
    for row in range(height):
        for column in range(width):
            near = [(min(max(row + y, 0), height - 1), min(max(column + x, 0), width - 1)) for y, x in steps]
            terms = []
            for channel in range(channels):
                values = torch.stack([image[channel, y, x] for y, x in near])
                contrast = (values - image[channel, row, column]).abs() / (values.std() + 1e-8) / 0.3
                terms.append(-(contrast**2))
            colour = torch.softmax(sum(terms) / channels, 0)
            weights[row, column], neighbours[row, column] = colour + 0.01 * position, near
    return weights, neighbours


def literal_refinement(image, masks, iterations, dilations):
    weights, neighbours = literal_weights(image, dilations)
    for _ in range(iterations):
        new = torch.zeros_like(masks)
        for (row, column), near in neighbours.items():
            values = torch.stack([masks[:, y, x] for y, x in near], dim=1)  # (M, n)
            new[:, row, column] = values @ weights[row, column]
        masks = new
    return masks


def sliced_refinement(images, masks, iterations):
    """All pixels at once by shifted slices, for sizes where pixel loops take too long."""
    border, (height, width) = max(DILATIONS), images.shape[-2:]
    steps = [(d * y, d * x) for d in DILATIONS for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x]

    def shifted(maps):
        maps = F.pad(maps, (border,) * 4, mode="replicate")
        tops = [(border + y, border + x) for y, x in steps]
        return torch.stack([maps[:, :, top : top + height, left : left + width] for top, left in tops], dim=2)

    near = shifted(images)
    contrast = (near - images[:, :, None]).abs() / (near.std(2, keepdim=True) + 1e-8) / 0.3
    distances = torch.tensor([math.hypot(*step) for step in steps], dtype=images.dtype)
    position = torch.softmax(-((distances / (distances.std() + 1e-8) / 0.3) ** 2), 0)
    weights = torch.softmax(-(contrast**2).mean(1), 1) + 0.01 * position[:, None, None]
    for _ in range(iterations):
        masks = (shifted(masks) * weights[:, None]).sum(2)
    return masks


def example(batch, masks, height, width, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(batch, 3, height, width, generator=generator, dtype=dtype)
    return images, torch.rand(batch, masks, height, width, generator=generator, dtype=dtype)


@pytest.mark.parametrize("dilations", [DILATIONS, (1, 3)])
def test_equals_the_annex_pixel_by_pixel(dilations):
    images, masks = example(2, 3, 7, 9)
    expected = torch.stack([literal_refinement(image, mask, 2, dilations) for image, mask in zip(images, masks)])
    torch.testing.assert_close(pixel_adaptive_refinement(images, masks, 2, dilations), expected, rtol=0, atol=1e-12)


def test_twenty_iterations_in_single_precision_are_exact_to_1e_5():
    images, masks = example(2, 3, 60, 90, torch.float32)
    images = F.interpolate(images[:, :, :6, :9], (60, 90), mode="bicubic").clamp(0, 1)
    images = (images * 255).round() / 255  # the steps of a real picture, with flat regions
    images[:, :, 20:40, 30:60] = 0.5
    expected = sliced_refinement(images.double(), masks.double(), 20)
    found = pixel_adaptive_refinement(images, masks, 20)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_pieces_of_an_image_do_not_show(monkeypatch):
    images, masks = example(1, 2, 20, 30)
    whole = pixel_adaptive_refinement(images, masks, 3)
    monkeypatch.setattr(par, "PIXELS_AT_ONCE", 77)
    assert torch.equal(pixel_adaptive_refinement(images, masks, 3), whole)


def test_an_image_is_refined_alone_as_in_a_batch():
    images, masks = example(3, 2, 16, 12, torch.float32)
    batch = pixel_adaptive_refinement(images, masks, 5)
    assert torch.equal(pixel_adaptive_refinement(images[1:2], masks[1:2], 5), batch[1:2])


def test_constant_image_and_constant_mask_stay_finite():
    images, masks = torch.full((1, 3, 30, 30), 0.3), torch.ones(1, 1, 30, 30)
    torch.testing.assert_close(pixel_adaptive_refinement(images, masks, 20), masks * 1.01**20)


def test_mask_follows_the_edge_of_the_image():
    images = torch.zeros(1, 3, 40, 40)
    images[..., 20:] = 1
    masks = torch.zeros(1, 1, 40, 40)
    masks[..., 23:] = 1  # three columns short of the edge
    refined = pixel_adaptive_refinement(images, masks, 20)[0, 0]
    assert refined[:, 20:].min() > 0.5 > refined[:, :20].max()


def test_inputs_are_not_changed_and_zero_iterations_change_nothing():
    images, masks = example(1, 2, 10, 10)
    before = images.clone(), masks.clone()
    assert torch.equal(pixel_adaptive_refinement(images, masks, 0), masks)
    pixel_adaptive_refinement(images, masks, 2)
    assert torch.equal(images, before[0]) and torch.equal(masks, before[1])


def test_autocast_changes_nothing():
    images, masks = example(1, 2, 16, 16, torch.float32)
    expected = pixel_adaptive_refinement(images, masks, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(pixel_adaptive_refinement(images, masks, 5), expected)
    assert pixel_adaptive_refinement(images.bfloat16(), masks.bfloat16(), 1).dtype == torch.float32


@pytest.mark.parametrize("shape", [(1, 2, 8, 9), (2, 2, 8, 8)])
def test_masks_of_another_size_are_refused(shape):
    with pytest.raises(ValueError, match=r"masks: expected shape \(1, M, 8, 8\) as the images have, got"):
        pixel_adaptive_refinement(torch.rand(1, 3, 8, 8), torch.rand(shape))
