"""The hierarchical Gaussian mixture in the INN's latent space: classes, and attributes within each class."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class HierarchicalGMM(nn.Module):
    """p(z) = sum_k pi_k N(z; mu_k, I), and within class k a mixture of M unit Gaussians at mu_k^i.

    The first attribute is the class itself, mu_k^1 = mu_k; the others are mu_k^i = stopgrad(mu_k) + Delta_k^i,
    so that what attributes learn moves the offsets Delta and never a class centre ([N], [P] HGAD). Class centres
    are N(0, I) until `initialise` meets the class ([R] ours, see method.md sec. 5).

    Args:
        num_classes, num_attributes, dim: K, M >= 1 and D.
        offset_scale: standard deviation, per dimension, of the initial offsets Delta. Over all classes a latent
            channel has a variance of about 1, so this must be well below 1 ([R], see method.md sec. 5).

    >>> gmm = HierarchicalGMM(num_classes=3, num_attributes=8, dim=4)
    >>> gmm.attribute_centres().shape
    torch.Size([3, 8, 4])
    >>> gmm.class_energy(torch.randn(5, 4)).shape
    torch.Size([5, 3])
    """

    def __init__(self, num_classes: int, num_attributes: int, dim: int, offset_scale: float = 0.1):
        super().__init__()
        if num_attributes < 1:
            raise ValueError(f"num_attributes: expected at least 1 (the class itself), found {num_attributes}")
        self.class_centres = nn.Parameter(torch.randn(num_classes, dim))
        self.class_logits = nn.Parameter(torch.zeros(num_classes))
        self.offsets = nn.Parameter(offset_scale * torch.randn(num_classes, num_attributes - 1, dim))
        self.attribute_logits = nn.Parameter(torch.zeros(num_classes, num_attributes))
        self.register_buffer("initialised", torch.zeros(num_classes, dtype=torch.bool))

    @property
    def log_class_weights(self) -> Tensor:
        """c_k = log pi_k (K,), pi = softmax(psi) [A]."""
        return self.class_logits.log_softmax(-1)

    @property
    def log_attribute_weights(self) -> Tensor:
        """c_k^i (K, M), normalised within each class."""
        return self.attribute_logits.log_softmax(-1)

    def attribute_centres(self) -> Tensor:
        """mu_k^i (K, M, D); no gradient reaches mu_k."""
        main = self.class_centres.detach()[:, None]  # (K, 1, D)
        return torch.cat([main, main + self.offsets], dim=1)

    def class_energy(self, z: Tensor) -> Tensor:
        """E_k(z) = 1/2 ||z - mu_k||^2 in nats, (n, K), of latents z (n, D) [A]."""
        return _energy(z, self.class_centres)

    def attribute_energy(self, z: Tensor, classes: Tensor) -> Tensor:
        """1/2 ||z - mu_k^i||^2 in nats, (n, M), of latents z (n, D) within their own classes k (n,)."""
        return _energy(z, self.attribute_centres()[classes])

    @torch.no_grad()
    def initialise(self, z: Tensor, classes: Tensor) -> None:
        """Set the centre of each class met for the first time to the mean of its latents z (n, D), classes (n,).

        To call in every training step before the energies: data-dependent initialisation, as in ActNorm ([R] ours).
        """
        members = (classes == torch.arange(len(self.initialised), device=classes.device)[:, None]).to(z.dtype)  # (K, n)
        counts = members.sum(1, keepdim=True)
        new = (counts[:, 0] > 0) & ~self.initialised
        means = members @ z / counts.clamp_min(1)
        self.class_centres.copy_(torch.where(new[:, None], means, self.class_centres))
        self.initialised |= new


def _energy(z: Tensor, centres: Tensor) -> Tensor:
    return 0.5 * (z[:, None] - centres).square().sum(-1)
