"""The invertible neural network (INN): affine couplings and ActNorm, after RealNVP and Glow.

Every bijector maps x (..., D) to `(z, log_det)` and back by `inverse(z)`. In all of them, log_det (...) is
log|det dz/dx|, the sign that is *added* to log p(z) to give log p(x).

References:
    Density Estimation Using Real NVP, Dinh et al., 2016, https://arxiv.org/abs/1605.08803
    Glow: Generative Flow with Invertible 1x1 Convolutions, Kingma and Dhariwal, 2018,
        https://arxiv.org/abs/1807.03039
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

MIXINGS = ("none", "swap", "permute")
COUPLINGS = ("affine", "none")


class ActNorm(nn.Module):
    """z = exp(log_scale) * (x - shift), fitted to the first batch met in training mode ([A] sec. 2, Glow).

    That batch comes out with zero mean and unit variance per channel; until then the layer is the identity.
    Raises ValueError if that batch has fewer than two vectors.

    Args:
        dim: channels D.
        min_std: numerical guard. A channel that hardly varies in the first batch is scaled by 1 / min_std
            at most; the channels of unit vectors spread by about D^-1/2, well above it.
    """

    def __init__(self, dim: int, min_std: float = 1e-3):
        super().__init__()
        self.min_std = min_std
        self.shift = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(dim))
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and not self.initialised:
            self._initialise(x)
        return (x - self.shift) * self.log_scale.exp(), self.log_scale.sum().expand(x.shape[:-1])

    def inverse(self, z: Tensor) -> Tensor:
        return z * torch.exp(-self.log_scale) + self.shift

    @torch.no_grad()
    def _initialise(self, x: Tensor) -> None:
        x = x.reshape(-1, x.shape[-1])
        if len(x) < 2:
            raise ValueError(f"x: ActNorm fits its first batch and needs at least 2 vectors, found {len(x)}")
        std, mean = torch.std_mean(x, dim=0, correction=0)
        self.shift.copy_(mean)
        self.log_scale.copy_(-std.clamp_min(self.min_std).log())
        self.initialised.fill_(True)


class AffineCoupling(nn.Module):
    """z1 = u1, z2 = u2 * exp(s(u1)) + t(u1), where u1, u2 are the halves of the channels ([A] sec. 2).

    Starts as the identity: the last layers of s and t are zero ([R], see docs/equations.md).

    Args:
        dim: channels D, even.
        hidden: width of the networks s and t (default D).
        clamp: numerical guard a > 0. s is softly bounded to -a..a by a tanh(s / a) ([P] HGAD).
    """

    def __init__(self, dim: int, hidden: int | None = None, clamp: float = 1.9):
        super().__init__()
        if dim % 2:
            raise ValueError(f"dim: expected an even number of channels to split equally, found {dim}")
        self.clamp = clamp
        self.scale = _mlp(dim // 2, hidden or dim)
        self.translation = _mlp(dim // 2, hidden or dim)

    def forward(self, u: Tensor) -> tuple[Tensor, Tensor]:
        u1, u2 = u.chunk(2, dim=-1)
        s, t = self._scale_and_translation(u1)
        return torch.cat([u1, u2 * s.exp() + t], dim=-1), s.sum(-1)

    def inverse(self, z: Tensor) -> Tensor:
        z1, z2 = z.chunk(2, dim=-1)
        s, t = self._scale_and_translation(z1)
        return torch.cat([z1, (z2 - t) * torch.exp(-s)], dim=-1)

    def _scale_and_translation(self, u1: Tensor) -> tuple[Tensor, Tensor]:
        return self.clamp * torch.tanh(self.scale(u1) / self.clamp), self.translation(u1)


class Permutation(nn.Module):
    """z = x[order] over the channels, log_det = 0 ([R], see docs/equations.md)."""

    def __init__(self, order: Tensor):
        super().__init__()
        self.register_buffer("order", order)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[..., self.order], x.new_zeros(x.shape[:-1])

    def inverse(self, z: Tensor) -> Tensor:
        return z[..., self.order.argsort()]


class Chain(nn.Sequential):
    """Bijectors one after another; log_dets add up."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(x.shape[:-1])
        for bijector in self:
            x, log_det = bijector(x)
            total = total + log_det
        return x, total

    def inverse(self, z: Tensor) -> Tensor:
        for bijector in reversed(self):
            z = bijector.inverse(z)
        return z


class FlowStep(Chain):
    """[Permutation,] AffineCoupling, ActNorm: one of the INN's layers ([A] sec. 2).

    Args:
        dim, hidden, clamp: see `AffineCoupling`.
        order: permutation (D,) of the channels before the coupling, or None.
        coupling: "affine", or "none" for ActNorm alone.
    """

    def __init__(
        self,
        dim: int,
        hidden: int | None = None,
        clamp: float = 1.9,
        order: Tensor | None = None,
        coupling: str = "affine",
    ):
        layers = OrderedDict() if order is None else OrderedDict(mixing=Permutation(order))
        if coupling == "affine":
            layers["coupling"] = AffineCoupling(dim, hidden, clamp)
        layers["norm"] = ActNorm(dim)
        super().__init__(layers)


class InvertibleNetwork(Chain):
    """The INN f: x (..., D) -> z (..., D) with log_det (...); g = f.inverse ([A] sec. 2).

    Args:
        dim: channels D, even.
        steps: number of `FlowStep`s (6 in [A]).
        mixing: "none" is the appendix to the letter, where half of the channels meet nothing but ActNorm;
            "swap" exchanges the halves before each coupling, "permute" shuffles the channels by fixed
            permutations drawn from `seed` ([R] ours, see docs/equations.md).
        clamp, hidden: see `AffineCoupling`.
        seed: of the permutations.
        coupling: see `FlowStep`; a chain of ActNorms alone is the control that says what the couplings are for.

    Raises ValueError for an odd dim where there are couplings, an unknown mixing or coupling, or an x of another width.

    >>> flow = InvertibleNetwork(dim=8, steps=6)
    >>> x = torch.randn(16, 8)
    >>> z, log_det = flow(x)
    >>> z.shape, log_det.shape
    (torch.Size([16, 8]), torch.Size([16]))
    >>> torch.allclose(flow.inverse(z), x, atol=1e-5)
    True
    """

    def __init__(
        self,
        dim: int,
        steps: int = 6,
        mixing: str = "none",
        clamp: float = 1.9,
        hidden: int | None = None,
        seed: int = 0,
        coupling: str = "affine",
    ):
        generator = torch.Generator().manual_seed(seed)
        orders = {
            "permute": lambda: torch.randperm(dim, generator=generator),
            "swap": lambda: torch.arange(dim).roll(dim // 2),
            "none": lambda: None,
        }
        if mixing not in orders:
            raise ValueError(f"mixing: expected one of {', '.join(MIXINGS)}, found {mixing!r}")
        if coupling not in COUPLINGS:
            raise ValueError(f"coupling: expected one of {', '.join(COUPLINGS)}, found {coupling!r}")
        super().__init__(*(FlowStep(dim, hidden, clamp, orders[mixing](), coupling) for _ in range(steps)))
        self.dim = dim

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[-1] != self.dim:
            raise ValueError(f"x: expected (..., {self.dim}), found {tuple(x.shape)}")
        return super().forward(x)


def _mlp(dim: int, hidden: int) -> nn.Sequential:
    last = nn.Linear(hidden, dim)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), last)
