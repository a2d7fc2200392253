"""The losses of mixture and anchors: pure functions on tensors. Energies, log weights and log_det are in nats per vector.

Where several processes hold parts of a batch, `total` sums a count (a scalar tensor) over them: each gets its part of the whole
batch's loss, and the parts add up. Without it a batch is whole.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Total = Callable[[Tensor], Tensor]


def whole(count: Tensor) -> Tensor:
    return count


def inter_class_nll(energy: Tensor, log_weights: Tensor, log_det: Tensor, scale: float = 1.0) -> Tensor:
    """L_inter = E[ -LSE_k( c_k - E_k(f(x)) ) - log|det J| ] / scale ([A] sec. 3).

    It is the negative log likelihood of x under the mixture, but for the constant D/2 log(2 pi).

    Args:
        energy: (n, K) class energies; log_weights: (K,) c_k; log_det: (n,).
        scale: 1 for nats per vector (literal), D for nats per dimension ([P] HGAD).

    >>> energy, log_det = torch.tensor([[0.0, 2.0]]), torch.zeros(1)
    >>> inter_class_nll(energy, torch.tensor([0.5, 0.5]).log(), log_det)
    tensor(0.5662)
    """
    return (-torch.logsumexp(log_weights - energy, dim=-1) - log_det).mean() / scale


def intra_class_nll(energy: Tensor, log_weights: Tensor, log_det: Tensor, scale: float = 1.0) -> Tensor:
    """L_intra = E[ -LSE_i( c_k^i - E(f(x), mu_k^i) ) - log|det J| ] / scale for x of class k ([A] sec. 3).

    Args:
        energy: (n, M) attribute energies in each sample's own class; log_weights: (n, M) c_k^i of that class.
        log_det, scale: see `inter_class_nll`.
    """
    return inter_class_nll(energy, log_weights, log_det, scale)


def discriminative(energy: Tensor, log_weights: Tensor, classes: Tensor) -> Tensor:
    """L_dis: cross entropy of softmax_k( stopgrad(c_k) - E_k ) against the class ([N]; [R] after HGAD Eq. 8).

    Args:
        energy: (n, K) class energies; log_weights: (K,) c_k; classes: (n,) in 0..K-1.
    """
    return F.cross_entropy(log_weights.detach() - energy, classes)


def class_contrastive(prototypes: Tensor, anchors: Tensor, classes: Tensor, temperature: float, total: Total = whole) -> Tensor:
    """L_con: InfoNCE that pulls each prototype to its class anchor, away from others ([N], docs/equations.md).

    Args:
        prototypes: (n, D), where n = 0 gives 0; anchors: (K, D), without gradient; classes: (n,) in 0..K-1.
        temperature: divides the cosines, > 0.
    """
    cosine = F.normalize(prototypes, dim=-1) @ F.normalize(anchors.detach(), dim=-1).T
    count = total(torch.tensor(len(classes), device=classes.device)).clamp_min(1)
    return F.cross_entropy(cosine / temperature, classes, reduction="sum") / count
