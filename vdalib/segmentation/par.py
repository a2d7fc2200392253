"""Pixel-adaptive refinement (PAR): masks are carried along an image's own colours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DILATIONS = (1, 2, 4, 8, 12, 24)  # px
BANDWIDTH = 0.3  # of the neighbours' standard deviation, in colour and in distance
POSITION_WEIGHT = 0.01
PIXELS_AT_ONCE = 4096  # so that the colours of their neighbours stay in the processor's cache


def pixel_adaptive_refinement(
    images: Tensor, masks: Tensor, iterations: int = 20, dilations: tuple[int, ...] = DILATIONS
) -> Tensor:
    """Replace every pixel of a mask, again and again, by its neighbours' mean, weighted by colour likeness.

    images: (B, C, H, W) in 0..1. masks: (B, M, H, W), any range; a mask's cost hardly depends on M.
    dilations: px; each gives 8 neighbours, pixels beyond the border are those at the border.
    -> (B, M, H, W), at least single precision. Weights sum to 1.01: a constant mask grows 1 % an iteration.

    With a table of every pixel's neighbours an iteration is one `embedding_bag`, a weighted sum of rows.
    Images are taken one by one, which is as fast as all at once and holds the weights of one image only.

    Raises ValueError if images and masks differ in batch or size.
    Source: [P] ExCEL, WeCLIP.
    """
    (batch, _, height, width), found = images.shape, masks.shape
    if (found[0], *found[2:]) != (batch, height, width):
        raise ValueError(f"masks: expected shape ({batch}, M, {height}, {width}) as the images have, got {tuple(found)}")
    dtype = torch.promote_types(torch.promote_types(images.dtype, masks.dtype), torch.float32)
    neighbours, offsets = _neighbourhood(height, width, dilations, images.device)
    distances = offsets.to(dtype).norm(dim=1)
    position = POSITION_WEIGHT * _likeness(distances, _spread(distances)).softmax(0)
    refined = torch.empty(found, dtype=dtype, device=masks.device)
    for image, mask, result in zip(images.to(dtype), masks.to(dtype), refined):
        weights = _colour_weights(image.flatten(1), neighbours).add_(position)
        table = mask.flatten(1).T.contiguous()  # (HW, M)
        for _ in range(iterations):
            table = F.embedding_bag(neighbours, table, per_sample_weights=weights, mode="sum")
        result.copy_(table.T.view_as(result))
    return refined


def _neighbourhood(height: int, width: int, dilations: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Numbers (HW, n) of the n = 8 * dilations pixels around every pixel, and their offsets (n, 2) in px."""
    steps = [(d * y, d * x) for d in dilations for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x]
    offsets = torch.tensor(steps, dtype=torch.int32, device=device)
    rows, columns = (torch.arange(size, dtype=torch.int32, device=device) for size in (height, width))
    rows = (rows[:, None] + offsets[:, 0]).clamp(0, height - 1)  # (H, n)
    columns = (columns[:, None] + offsets[:, 1]).clamp(0, width - 1)  # (W, n)
    return (rows[:, None] * width + columns).flatten(0, 1), offsets


def _colour_weights(image: Tensor, neighbours: Tensor) -> Tensor:
    """(C, HW) -> (HW, n): softmax over neighbours of the likeness of colours, mean over channels."""
    weights = image.new_empty(neighbours.shape)
    pieces = zip(
        image[..., None].split(PIXELS_AT_ONCE, dim=1),
        neighbours.split(PIXELS_AT_ONCE),
        weights.split(PIXELS_AT_ONCE),
    )
    for centre, index, result in pieces:
        colours = image.index_select(1, index.flatten()).unflatten(1, index.shape)  # (C, pixels, n)
        spread = _spread(colours)  # (C, pixels, 1)
        torch.softmax(_likeness(colours.sub_(centre), spread).mean(0), dim=1, out=result)
    return weights


def _spread(values: Tensor, eps: float = 1e-8) -> Tensor:
    """Unbiased standard deviation over the last dimension, which is kept; `eps` keeps it above zero."""
    deviation = values - values.mean(-1, keepdim=True)
    return torch.linalg.vector_norm(deviation, dim=-1, keepdim=True) * (values.shape[-1] - 1) ** -0.5 + eps


def _likeness(differences: Tensor, spread: Tensor) -> Tensor:
    """Minus the square of differences in bandwidths; overwrites them."""
    return differences.div_(BANDWIDTH * spread).square_().neg_()
