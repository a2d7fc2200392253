"""DenseCRF by the library and by our own lattice: the same refinement, and the lattice's filter is a Gaussian."""

import sys

import numpy as np
import pytest
import torch

from vdalib.config import InferenceConfig
from vdalib.segmentation.crf import PermutohedralLattice, dense_crf


@pytest.fixture(params=["pydensecrf", "scipy"])
def way(request, monkeypatch):
    if request.param == "pydensecrf":
        pytest.importorskip("pydensecrf")
    else:
        monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)


def scene(height, width, classes):
    """A picture of soft blobs, and probabilities that follow them with noise and a wrong shift."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3 + classes, 5, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0]
    image = (255 * smooth[:3]).clamp(0, 255).to(torch.uint8)
    logits = 4 * smooth[3:].roll(3, dims=2) + 0.5 * torch.randn(classes, height, width, generator=generator)
    return image, logits.softmax(0)


def test_crf_follows_the_edges_of_the_image(way):
    image = torch.full((3, 24, 24), 20, dtype=torch.uint8)
    image[:, :, 12:] = 220
    probabilities = torch.full((2, 24, 24), 0.3)
    probabilities[1, :, 14:] = probabilities[0, :, :14] = 0.7  # the boundary is two pixels off
    refined = dense_crf(image, probabilities, InferenceConfig())
    assert refined.shape == (2, 24, 24)
    torch.testing.assert_close(refined.sum(0), torch.ones(24, 24))
    truth = (torch.arange(24) >= 12).long().expand(24, 24)
    assert (probabilities.argmax(0) != truth).sum() == 48
    assert (refined.argmax(0) != truth).sum() == 0


def test_crf_without_steps_or_without_weights_changes_nothing(way):
    image = torch.zeros(3, 6, 5, dtype=torch.uint8)
    probabilities = torch.rand(3, 6, 5, generator=torch.Generator().manual_seed(0)).softmax(0)
    for settings in (
        InferenceConfig(crf_iterations=0),
        InferenceConfig(crf_pos_weight=0, crf_bilateral_weight=0),
    ):
        torch.testing.assert_close(dense_crf(image, probabilities, settings), probabilities, atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", [InferenceConfig(), InferenceConfig(crf_bilateral_sigma_rgb=13, crf_pos_sigma=3)])
def test_without_the_library_the_probabilities_are_the_same(settings, monkeypatch):
    pytest.importorskip("pydensecrf")
    image, probabilities = scene(40, 56, 4)
    by_library = dense_crf(image, probabilities, settings)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    by_scipy = dense_crf(image, probabilities, settings)
    assert (by_library - probabilities).abs().mean() > 0.05  # there is something to agree about
    torch.testing.assert_close(by_scipy, by_library, atol=1e-3, rtol=0)


@pytest.mark.parametrize("dim", [2, 5])
def test_the_lattice_filters_by_a_gaussian_of_unit_deviation(dim):
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 4, (1500, dim)).astype(np.float32)
    values = np.stack([np.sin(points[:, 0]), points[:, 1] > 2], axis=1).astype(np.float32)
    lattice = PermutohedralLattice(points)
    found = lattice.filter(values) / lattice.filter(np.ones((len(points), 1), np.float32))
    kernel = np.exp(-((points[:, None] - points[None]) ** 2).sum(2) / 2)
    true = kernel @ values / kernel.sum(1, keepdims=True)
    assert np.abs(found - true).mean() < 0.03 < np.abs(values - true).mean()


def test_a_single_pixel_and_a_single_colour_are_no_special_cases(way):
    for height, width in ((1, 1), (1, 7), (3, 3)):
        probabilities = torch.rand(2, height, width, generator=torch.Generator().manual_seed(0)).softmax(0)
        refined = dense_crf(torch.full((3, height, width), 9, dtype=torch.uint8), probabilities, InferenceConfig())
        assert refined.isfinite().all() and refined.shape == probabilities.shape
