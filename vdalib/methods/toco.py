"""ToCo, token contrast (Ru et al., CVPR 2023): a vision transformer learns CAMs, tokens that differ, and masks, in one stage."""

from __future__ import annotations

import torch
from torch import Tensor

from vdalib.attributes.losses import Total, whole
from vdalib.methods.parts import crops

UNCERTAIN_SHARE = 0.2  # of a local crop's area; up to it a crop is background


def region_mask(cams: Tensor, labels: Tensor, high: float, low: float, valid: Tensor | None = None) -> Tensor:
    """Where local crops may come from: 0 background, 1 uncertain, 2 a class; 255 outside the picture, (B, S, S) int64.

    cams: (B, K, S, S) in 0..1. labels: (B, K) bool. valid: (B, S, S) bool.
    """
    strength = (cams * labels[:, :, None, None]).amax(1)
    regions = (strength > low).long() + (strength >= high).long()
    return regions if valid is None else regions.masked_fill(~valid, 255)


def crop_flags(regions: Tensor, places: Tensor, size: int) -> Tensor:
    """Which crops show something, (n,) bool: an uncertain pixel counts once, one of a class twice, and they fill over a fifth.

    regions: (S, S) of `region_mask`. places: (n, 2), the crops' centres.
    """
    counted = crops(regions.masked_fill(regions == 255, 0), places, size).flatten(1)
    return counted.sum(1) / size**2 > UNCERTAIN_SHARE


def class_token_contrast(
    student: Tensor, teacher: Tensor, flags: Tensor, temperature: float, extra_zero_positive: bool = True, total: Total = whole
) -> Tensor:
    """Class token contrast: views of an image that show something agree with the whole image, background crops do not.

    For image i and teacher view t, e_j = exp(<z_t, q_j> / temperature) and E = sum of e_j over negatives,

        L_i = 1/(|P| + 1e-4) mean_t [ sum_{j in P} -log(e_j / (e_j + E + 1e-4)) + log(1 + E + 1e-4) ],  L = mean_i L_i.

    The last term is that of a further positive of logit 0: published, a slip; `extra_zero_positive` False leaves it out.

    student: (B, J, D) and teacher: (B, T, D), projected class tokens; no gradient goes to the teacher's.
    flags: (B, J) bool, True for positives.
    """
    logits = torch.einsum("btd,bjd->btj", teacher.detach(), student) / temperature
    others = logits.masked_fill(flags[:, None], -torch.inf)
    eps = torch.full_like(others[:, :, :1], 1e-4).log()
    repelled = torch.cat([others, eps], dim=2).logsumexp(2, keepdim=True)  # log(E + 1e-4)
    terms = ((torch.logaddexp(logits, repelled) - logits) * flags[:, None]).sum(2)  # (B, T)
    if extra_zero_positive:
        terms = terms + torch.logaddexp(torch.zeros_like(repelled), repelled)[:, :, 0]
    images = terms.mean(1) / (flags.sum(1) + 1e-4)
    return images.sum() / total(torch.tensor(float(len(images)), device=images.device))
