"""The hierarchical Gaussian mixture in the INN's latent space: classes, and attributes within each class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HierarchicalGMM(nn.Module):
    """p(z) = sum_k pi_k N(z; mu_k, I), and within class k a mixture of M unit Gaussians at mu_k^i.

    The first attribute is the class itself, mu_k^1 = mu_k; the others are
    mu_k^i = stopgrad(mu_k) + Delta_k^i, so that what attributes learn moves the offsets Delta and never a
    class centre ([N], [P] HGAD).

    Args:
        num_classes, num_attributes, dim: K, M >= 1 and D.
        offset_scale: standard deviation, per dimension, of the initial offsets Delta. Over all classes
            a latent channel has a variance of about 1: stay well below ([R], docs/equations.md).
        initial_samples: of a class, after which `initialise` leaves its centre to the optimiser. Before the
            first, the centre is N(0, I).

    Raises ValueError for num_attributes < 1.

    >>> gmm = HierarchicalGMM(num_classes=3, num_attributes=8, dim=4)
    >>> gmm.attribute_centres().shape
    torch.Size([3, 8, 4])
    >>> gmm.class_energy(torch.randn(5, 4)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        num_classes: int,
        num_attributes: int,
        dim: int,
        offset_scale: float = 0.1,
        initial_samples: int = 16,
    ):
        super().__init__()
        if num_attributes < 1:
            raise ValueError(f"num_attributes: expected at least 1, found {num_attributes}")
        self.initial_samples = initial_samples
        self.class_centres = nn.Parameter(torch.randn(num_classes, dim))
        self.class_logits = nn.Parameter(torch.zeros(num_classes))
        self.offsets = nn.Parameter(offset_scale * torch.randn(num_classes, num_attributes - 1, dim))
        self.attribute_logits = nn.Parameter(torch.zeros(num_classes, num_attributes))
        self.register_buffer("met", torch.zeros(num_classes, dtype=torch.long))

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
        """Move each class centre to the running mean of its first latents: z (n, D), classes (n,) ([R]).

        To call in every training step, before the energies. A class that has met `initial_samples` is left to
        the optimiser: data-dependent initialisation, as in ActNorm.
        """
        members = F.one_hot(classes, len(self.met))  # (n, K)
        counts = members.sum(0)
        means = members.to(z.dtype).T @ z / counts.clamp_min(1)[:, None]  # (K, D)
        share = counts / (self.met + counts).clamp_min(1) * (self.met < self.initial_samples)
        self.class_centres.lerp_(means, share[:, None].to(z.dtype))
        self.met += counts

    @torch.no_grad()
    def initialise_attributes(self, z: Tensor, classes: Tensor) -> None:
        """Put mu_k^2..M at the k-means centres of latents z (n, D) of classes (n,) ([R]).

        In hundreds of dimensions offsets that start at random lie far from any latent and most are never used. A class with
        fewer latents than M - 1 keeps them.
        """
        from sklearn.cluster import KMeans

        _, free, _ = self.offsets.shape
        for k in classes.unique().tolist() if free else ():
            own = z[classes == k]
            if len(own) >= free:
                found = KMeans(free, n_init=4, random_state=0).fit(own.cpu().numpy()).cluster_centers_
                self.offsets[k] = torch.from_numpy(found).to(self.offsets) - self.class_centres[k]


def _energy(z: Tensor, centres: Tensor) -> Tensor:
    return 0.5 * (z[:, None] - centres).square().sum(-1)
