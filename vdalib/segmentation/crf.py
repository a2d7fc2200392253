"""DenseCRF (Kraehenbuehl and Koltun 2011): by pydensecrf where it is installed, by the same mathematics in scipy elsewhere."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.sparse import csr_array, identity
from scipy.special import softmax
from torch import Tensor

from vdalib.config import InferenceConfig

__all__ = ["PermutohedralLattice", "dense_crf"]


def dense_crf(image: Tensor, probabilities: Tensor, settings: InferenceConfig) -> Tensor:
    """Probabilities (K+1, H, W) after `crf_iterations` mean-field steps of DenseCRF, on CPU.

    image: uint8 (3, H, W).
    The library is C++ and has to be compiled: `pip install ".[crf]"` in the clone. Without it scipy computes
    the same up to rounding; `benchmarks/crf.py` measures how many pixels differ and what each costs.
    """
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
    log_unary = probabilities.float().cpu().clamp(1e-5, 1).log().flatten(1).numpy()
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError:
        refined = _by_scipy(pixels, log_unary, settings)
    else:
        refined = _by_library(DenseCRF2D, pixels, log_unary, settings)
    return torch.from_numpy(refined).view(probabilities.shape)


def _by_library(DenseCRF2D, pixels: np.ndarray, log_unary: np.ndarray, settings: InferenceConfig) -> np.ndarray:
    height, width, _ = pixels.shape
    crf = DenseCRF2D(width, height, len(log_unary))
    crf.setUnaryEnergy(-log_unary)
    crf.addPairwiseGaussian(sxy=settings.crf_pos_sigma, compat=settings.crf_pos_weight)
    crf.addPairwiseBilateral(
        sxy=settings.crf_bilateral_sigma_xy,
        srgb=settings.crf_bilateral_sigma_rgb,
        rgbim=pixels,
        compat=settings.crf_bilateral_weight,
    )
    return np.array(crf.inference(settings.crf_iterations), np.float32)


def _by_scipy(pixels: np.ndarray, log_unary: np.ndarray, settings: InferenceConfig) -> np.ndarray:
    y, x = np.indices(pixels.shape[:2], np.float32)
    places = np.stack([x.ravel(), y.ravel()], axis=1)
    colours = pixels.reshape(-1, 3).astype(np.float32) / np.float32(settings.crf_bilateral_sigma_rgb)
    near = places / np.float32(settings.crf_pos_sigma)
    alike = np.concatenate([places / np.float32(settings.crf_bilateral_sigma_xy), colours], axis=1)
    kernels = []
    for weight, features in ((settings.crf_pos_weight, near), (settings.crf_bilateral_weight, alike)):
        lattice = PermutohedralLattice(features)
        norm = lattice.filter(np.ones((len(features), 1), np.float32)) ** -0.5  # symmetric, as in the library
        kernels.append((np.float32(weight) * norm, norm, lattice))
    log_unary = np.ascontiguousarray(log_unary.T)  # (H W, K+1)
    beliefs = softmax(log_unary, axis=1)
    for _ in range(settings.crf_iterations):
        messages = sum(weight * lattice.filter(norm * beliefs) for weight, norm, lattice in kernels)
        beliefs = softmax(log_unary + messages, axis=1)  # Potts: what agrees is rewarded
    return np.ascontiguousarray(beliefs.T)


class PermutohedralLattice:
    """Gaussian filter of unit deviation over N points with d features, in O(N d^2) (Adams, Baek and Davis 2010).

    A point is interpolated between the d+1 vertices of its simplex in a lattice on the plane sum(x) = 0 of d+1 dimensions,
    values are blurred along the lattice's d+1 directions and read out again. Scaled by a constant that depends on d alone.

    features: float32 (N, d).
    """

    def __init__(self, features: np.ndarray):
        count, dim = features.shape
        side = dim + 1
        steps = np.arange(1, side)
        basis = np.triu(np.ones((side, dim)))  # of the plane: column i is 1 i times, then -i
        basis[steps, steps - 1] = -steps
        scale = math.sqrt(2 / 3) * side / np.sqrt(steps * (steps + 1))  # so that the blur's own deviation is 1
        elevated = features @ (basis * scale).T.astype(np.float32)  # (N, d+1), each row sums to 0

        corner = side * np.rint(elevated / side).astype(np.int64)  # the simplex's vertex whose coordinates are multiples of d+1
        excess = corner.sum(1, keepdims=True) // side
        rank = (corner - elevated).argsort(axis=1, kind="stable").argsort(axis=1) + excess
        wrap = (rank < 0).astype(np.int64) - (rank >= side)  # back into the plane
        rank, corner = rank + side * wrap, corner + side * wrap
        rising = np.empty_like(elevated)
        np.put_along_axis(rising, dim - rank, (elevated - corner) / side, axis=1)
        weights = rising - np.roll(rising, 1, axis=1)  # barycentric coordinates: that of vertex r is in column r
        weights[:, 0] += 1

        # A vertex is known by its coordinates' sum weighted by random 64-bit numbers: linear, so neighbours can be looked up.
        secret = np.random.default_rng(0).integers(-(2**63), 2**63, side)
        codes = np.stack([(corner + r - side * (rank > dim - r)) @ secret for r in range(side)], axis=1)
        points, vertices = np.unique(codes.ravel(), return_inverse=True)
        size = len(points)
        owners = np.repeat(np.arange(count), side)
        self._splat = csr_array((weights.ravel(), (vertices.ravel(), owners)), shape=(size, count))
        self._slice = (self._splat.T * np.float32(1 / (1 + 2.0**-dim))).tocsr()
        self._blurs = []
        for direction in side * np.eye(side, dtype=np.int64) - 1:
            sought = points + direction @ secret
            place = np.searchsorted(points, sought).clip(max=size - 1)
            found = np.flatnonzero(points[place] == sought)
            half = csr_array((np.full(len(found), 0.5, np.float32), (found, place[found])), shape=(size, size))
            self._blurs.append(identity(size, np.float32, "csr") + half + half.T)

    def filter(self, values: np.ndarray) -> np.ndarray:
        """Values (N, C) -> (N, C): each point the weighted sum of all, itself included."""
        values = self._splat @ values
        for blur in self._blurs:
            values = blur @ values
        return self._slice @ values
