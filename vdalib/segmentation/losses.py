"""The segmenter's losses: pure functions on tensors.

`total` sums a count over processes, as in `vdalib.attributes.losses`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vdalib.attributes.losses import Total, whole
from vdalib.data.images import VOID
from vdalib.segmentation.cam import precise


def segmentation_loss(logits: Tensor, target: Tensor, background_weight: float = 0.5, total: Total = whole) -> Tensor:
    """Cross entropy: its mean over background pixels and its mean over foreground, half each ([P] ExCEL).

    Args:
        logits: (B, K+1, H, W); target: (B, H, W) int64, 0 = background, 1..K, 255 = ignored.
        background_weight: share of the background's mean; other values than a half are [R] ours.
    """
    loss = F.cross_entropy(logits, target, ignore_index=VOID, reduction="none")  # (B, H, W)
    background = (target == 0).to(loss.dtype)
    foreground = ((target != 0) & (target != VOID)).to(loss.dtype)
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
    positive, negative = token_pairs(labels, radius)
    attract = ((1 - affinity) * positive).sum() / (total(positive.sum()) + 1)
    repel = (affinity * negative).sum() / (total(negative.sum()) + 1)
    return 0.5 * (attract + repel)


def token_contrast(tokens: Tensor, labels: Tensor, total: Total = whole) -> Tensor:
    """Patch token contrast: tokens of one label should be alike, those of different labels unlike ([P] ToCo).

    1/2 (1 - sum_pos a / (n_pos + 1)) + 1/2 sum_neg a / (n_neg + 1) over ordered pairs of an image's tokens, a token with itself
    left out; a = |cos|. Pairs are counted over the batch of all processes (the published code does so per device).

    Args:
        tokens: (B, C, h, w); labels: (B, h, w) int64, 0 = background, 255 = ignored.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        unit = F.normalize(precise(tokens.flatten(2)), dim=1)
        similarity = (unit.transpose(1, 2) @ unit).abs()  # (B, N, N)
    positive, negative = token_pairs(labels, keep_diagonal=False)
    one = similarity.new_ones(())
    attract = one / total(one) - (similarity * positive).sum() / (total(positive.sum()) + 1)
    return 0.5 * (attract + (similarity * negative).sum() / (total(negative.sum()) + 1))


def token_pairs(labels: Tensor, radius: int | None = None, keep_diagonal: bool = True) -> tuple[Tensor, Tensor]:
    """Ordered pairs of tokens with equal labels and with different ones, two (B, N, N) bool; 255 is in no pair.

    labels: (B, h, w). radius: largest Chebyshev distance of a pair, in tokens; None = any.
    """
    _, h, w = labels.shape
    flat = labels.flatten(1)  # (B, N)
    counted = (flat != VOID)[:, :, None] & (flat != VOID)[:, None, :]
    if radius is not None:
        places = torch.cartesian_prod(*(torch.arange(n, device=labels.device) for n in (h, w)))  # (N, 2)
        counted &= (places[:, None] - places).abs().amax(-1) <= radius
    if not keep_diagonal:
        counted &= ~torch.eye(h * w, dtype=torch.bool, device=labels.device)
    same = flat[:, :, None] == flat[:, None, :]
    return counted & same, counted & ~same


def gated_crf_energy(
    images: Tensor,
    probabilities: Tensor,
    labels: Tensor,
    valid: Tensor,
    sigma_xy: float = 50.0,
    sigma_rgb: float = 15.0,
    scale: float = 1e-7,
    total: Total = whole,
    rows_at_once: int = 512,
) -> Tensor:
    """The dense CRF's energy, gated to pixels that are undecided: near pixels of near colours should agree ([P] ToCo, RRM).

    -scale / B sum_uk S_uk G_u (A S)_uk with S the probabilities on the picture, G = 1 where the label is 255, else 1 - max_k P
    (0 on padding), A_uv = exp(-|xy|^2 / (2 sigma_xy^2) - |rgb|^2 / (2 sigma_rgb^2)), v = u included, not normalised. As
    published, G and A S are constants whose gradient is doubled: -2 scale / B G (A S).

    The sums are exact. The published code's lattice gives about half of them, so that its `scale` weighs half of ours.

    Args:
        images: (B, 3, H, W) in 0..255; probabilities: (B, K+1, H, W); labels: (B, H, W) int64, 255 = undecided.
        valid: (B, H, W) bool, False on padding. sigma_xy: px; sigma_rgb: of 255. rows_at_once: pixels, bounds memory.
    """
    values = []
    for image, probability, label, inside in zip(images, probabilities, labels, valid):
        share = precise(probability[:, inside].T)  # (n, K+1): padding has S = 0
        with torch.no_grad():
            places = inside.nonzero() / sigma_xy
            features = torch.cat([places, image[:, inside].T / sigma_rgb], dim=1).to(share.dtype)  # (n, 5)
            gate = torch.where(label[inside] == VOID, 1.0, (1 - share.amax(1)).clamp_min(0))
            smoothed = gate[:, None] * _gaussian_sums(features, share, rows_at_once)
        values.append((share * smoothed).sum())
    energy = torch.stack(values).sum()
    count = total(torch.tensor(float(len(images)), device=images.device))
    return -scale * (2 * energy - energy.detach()) / count


def _gaussian_sums(features: Tensor, values: Tensor, rows_at_once: int) -> Tensor:
    """sum_v exp(-|f_u - f_v|^2 / 2) values_v for features (n, d) and values (n, M) -> (n, M)."""
    with torch.autocast(features.device.type, enabled=False):
        features = features - features.mean(0)  # smaller numbers round less
        offset = -features.square().sum(1) / 2
        weights = features.new_empty(min(rows_at_once, len(features)), len(features))  # one for all: new ones tear the heap
        result = torch.empty_like(values)
        for start in range(0, len(features), rows_at_once):
            rows = slice(start, start + rows_at_once)
            block = torch.addmm(offset, features[rows], features.T, out=weights[: len(features[rows])])
            torch.mm(block.add_(offset[rows, None]).exp_(), values, out=result[rows])
        return result
