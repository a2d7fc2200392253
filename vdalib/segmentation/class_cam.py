"""Class activation maps of a trained classifier, and the label maps cut from them at two thresholds (ToCo, SeCo).

Source of all of it: [P] ToCo and SeCo; `as published` where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vdalib.data.images import VOID
from vdalib.segmentation.cam import BACKGROUND, label_candidates, precise
from vdalib.segmentation.par import DILATIONS, pixel_adaptive_refinement


def pooled_logits(tokens: Tensor, weight: Tensor) -> Tensor:
    """Image-level logits (B, K) of tokens (B, C, h, w) under a classifier (K, C): each channel's maximum is classified.

    It is not the maximum of the class map.
    """
    return tokens.amax((2, 3)) @ weight.T


def class_maps(tokens: Tensor, weight: Tensor) -> Tensor:
    """(B, K, h, w): the classifier (K, C) at every token of (B, C, h, w)."""
    return torch.einsum("bchw,kc->bkhw", tokens, weight)


@torch.no_grad()
def multi_scale_cam(
    maps: Callable[[Tensor], Tensor], images: Tensor, scales: Sequence[float], patch_size: int = 1, eps: float = 1e-5
) -> Tensor:
    """CAMs over scales: the larger of image and mirror, ReLU, summed over scales, each map scaled to 0..1.

    maps: images (n, 3, h', w') -> class maps (n, M, h", w"). images: (B, 3, H, W).
    patch_size: px; at each scale the image has the nearest size in whole patches, where the published code drops what is over.
    -> (B, M, H, W), at least single precision.
    """
    size, total = images.shape[-2:], 0
    for scale in scales:
        scaled = _resized(images, [max(round(scale * side / patch_size), 1) * patch_size for side in size])
        found = maps(torch.cat([scaled, scaled.flip(-1)]))
        straight, mirrored = _resized(precise(found), size).chunk(2)
        total = total + straight.maximum(mirrored.flip(-1)).relu_()
    total = total - total.amin((2, 3), keepdim=True)
    return total / (total.amax((2, 3), keepdim=True) + eps)


def three_way_labels(
    cams: Tensor, labels: Tensor, high: float, low: float, valid: Tensor | None = None, uncertain: int = VOID
) -> Tensor:
    """Label maps (B, h, w) int64: the strongest class above `high`, background up to `low`, `uncertain` between.

    cams: (B, K, h, w) in 0..1. labels: (B, K) bool, the classes that count.
    valid: (B, h, w) bool, False becomes 255; None = all valid.
    """
    strength, winner = (cams * labels[:, :, None, None]).max(1)
    found = torch.where(strength > high, winner + 1, uncertain).masked_fill(strength <= low, BACKGROUND)
    return found if valid is None else found.masked_fill(~valid, VOID)


def token_labels(
    cams: Tensor,
    labels: Tensor,
    grid: tuple[int, int],
    high: float,
    low: float,
    valid: Tensor | None = None,
    box_units: str = "token",
) -> Tensor:
    """`three_way_labels` of CAMs (B, K, H, W) at the tokens: (B, h, w) for grid (h, w).

    valid: (B, H, W) bool, the rectangle that is picture. A token counts if any of its pixels does. With box_units "pixel" the
        rectangle, in pixels, is laid on the grid as published: a slip that takes most tokens from padded pictures.
    """
    if valid is not None and box_units == "pixel":
        valid = valid[:, : grid[0], : grid[1]]
    elif valid is not None:
        valid = F.adaptive_max_pool2d(valid[:, None].float(), grid)[:, 0] > 0
    return three_way_labels(_resized(cams, grid), labels, high, low, valid)


@torch.no_grad()
def pixel_labels(
    images: Tensor,
    cams: Tensor,
    labels: Tensor,
    high: float,
    low: float,
    valid: Tensor | None = None,
    scale: float = 0.5,
    iterations: int = 10,
    dilations: tuple[int, ...] = DILATIONS,
) -> Tensor:
    """Label maps (B, H, W) int64 from CAMs along the image's own colours, twice: against a background of `high` and of `low`.

    Softmax over background and the image's classes, PAR, strongest. A class that wins against `high` is the label; where even
    `low` wins it is background; 255 between.

    images: (B, 3, H, W) in 0..1. cams: (B, K, H, W) in 0..1. labels: (B, K) bool.
    valid: (B, H, W) bool, False becomes 255; None = all valid.
    scale: PAR's size, times H x W. iterations, dilations: PAR's, px of its size.
    """
    order, present = label_candidates(labels)
    size = images.shape[-2:]
    small = [int(scale * side) for side in size]
    chosen = cams.gather(1, order[:, :, None, None].expand(-1, -1, *size))
    chosen = _resized(chosen, small).masked_fill(~present[:, :, None, None], -torch.inf)  # (B, n, h, w)
    grounds = [torch.full_like(chosen[:, :1], threshold) for threshold in (high, low)]
    scores = torch.cat([torch.cat([ground, chosen], 1).softmax(1) for ground in grounds], 1)  # (B, 2 (1+n), h, w)
    refined = _resized(pixel_adaptive_refinement(_resized(images, small), scores, iterations, dilations), size)
    classes = F.pad(order + 1, (1, 0), value=BACKGROUND)
    strict, lenient = (classes.gather(1, part.max(1).indices.flatten(1)).view(-1, *size) for part in refined.chunk(2, 1))
    target = torch.where(strict > 0, strict, torch.where(lenient > 0, VOID, BACKGROUND))
    return target if valid is None else target.masked_fill(~valid, VOID)


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)
