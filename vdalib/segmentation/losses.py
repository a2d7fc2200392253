"""The segmenter's losses: pure functions on tensors.

`total` sums a count over processes, as in `vdalib.attributes.losses`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vdalib.attributes.losses import Total, whole

IGNORE = 255


def segmentation_loss(logits: Tensor, target: Tensor, background_weight: float = 0.5, total: Total = whole) -> Tensor:
    """Cross entropy: its mean over background pixels and its mean over foreground, half each ([P] ExCEL).

    Args:
        logits: (B, K+1, H, W); target: (B, H, W) int64, 0 = background, 1..K, 255 = ignored.
        background_weight: share of the background's mean; other values than a half are [R] ours.
    """
    loss = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none")  # (B, H, W)
    background = (target == 0).to(loss.dtype)
    foreground = ((target != 0) & (target != IGNORE)).to(loss.dtype)
    shares = ((background, background_weight), (foreground, 1 - background_weight))
    return sum(share * (loss * pixels).sum() / (total(pixels.sum()) + 1e-6) for pixels, share in shares)


def affinity_loss(affinity: Tensor, labels: Tensor, radius: int = 8, total: Total = whole) -> Tensor:
    """Near patches should be alike if their pseudo labels agree and unlike if not ([P] AFA, ExCEL).

    Counts ordered pairs, a patch with itself among them, as published.

    Args:
        affinity: (B, N, N) in 0..1, N = h * w patches in row-major order.
        labels: (B, h, w) pseudo labels at the grid, 255 = ignored.
        radius: largest Chebyshev distance of a pair, in patches.
    """
    _, h, w = labels.shape
    flat = labels.flatten(1)  # (B, N)
    places = torch.cartesian_prod(*(torch.arange(n, device=labels.device) for n in (h, w)))  # (N, 2)
    near = (places[:, None] - places).abs().amax(-1) <= radius  # (N, N)
    known = flat != IGNORE
    counted = near & known[:, :, None] & known[:, None, :]
    same = flat[:, :, None] == flat[:, None, :]
    positive, negative = counted & same, counted & ~same
    attract = ((1 - affinity) * positive).sum() / (total(positive.sum()) + 1)
    repel = (affinity * negative).sum() / (total(negative.sum()) + 1)
    return 0.5 * (attract + repel)
