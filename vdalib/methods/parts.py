"""What ToCo and SeCo are built from beside their backbone: heads, a momentum teacher, local crops."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ProjectionHead(nn.Module):
    """Tokens (..., C) to unit vectors (..., bottleneck) or, with `out`, to their products with `out` unit rows, not normalised.

    Three linear layers with GELU between, truncated normal 0.02, bias 0.
    Source: [P] ToCo (with `out`), SeCo (without).
    """

    def __init__(self, width: int, hidden: int, bottleneck: int, out: int | None = None):
        super().__init__()
        layers = nn.Linear(width, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, bottleneck)
        for layer in layers:
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        self.layers = nn.Sequential(layers[0], nn.GELU(), layers[1], nn.GELU(), layers[2])
        self.rows = nn.Parameter(torch.randn(out, bottleneck)) if out else None

    def forward(self, tokens: Tensor) -> Tensor:
        unit = F.normalize(self.layers(tokens), dim=-1)
        return unit if self.rows is None else F.linear(unit, F.normalize(self.rows, dim=1))


class LargeFOV(nn.Sequential):
    """ToCo's segmentation head: two dilated 3 x 3 convolutions with ReLU and a 1 x 1, no biases; (B, C, h, w) -> (B, K+1, h, w).

    Source: [P] ToCo (width 512, dilation 5 on a grid of 28).
    """

    def __init__(self, in_channels: int, num_outputs: int, width: int = 512, dilation: int = 5):
        wide = {"kernel_size": 3, "padding": dilation, "dilation": dilation, "bias": False}
        super().__init__(
            nn.Conv2d(in_channels, width, **wide),
            nn.ReLU(),
            nn.Conv2d(width, width, **wide),
            nn.ReLU(),
            nn.Conv2d(width, num_outputs, 1, bias=False),
        )


class ASPP(nn.Module):
    """SeCo's segmentation head: the sum of 3 x 3 convolutions of several dilations; (B, C, h, w) -> (B, K+1, h, w).

    Source: [P] SeCo (6, 12, 18, 24 on a grid of 28; weights N(0, 0.01^2), bias 0).
    """

    def __init__(self, in_channels: int, num_outputs: int, dilations: Sequence[int] = (6, 12, 18, 24)):
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(in_channels, num_outputs, 3, padding=d, dilation=d) for d in dilations)
        for branch in self.branches:
            nn.init.normal_(branch.weight, std=0.01)
            nn.init.zeros_(branch.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        return sum(branch(tokens) for branch in self.branches)


@torch.no_grad()
def momentum_update(target: nn.Module, source: nn.Module, momentum: float) -> None:
    """Every parameter of `target` becomes momentum * itself + (1 - momentum) * that of `source`."""
    for mine, other in zip(target.parameters(), source.parameters(), strict=True):
        mine.lerp_(other, 1 - momentum)


def draw_places(allowed: Tensor, valid: Tensor, count: int, margin: int, generator: torch.Generator) -> Tensor:
    """Centres (count, 2), row and column, drawn without replacement among allowed places at least `margin` px from the border.

    allowed, valid: (S, S) bool. Where fewer than `count` are allowed, all places of the picture are, which is where `valid`; in a
    picture that is smaller than that, all places. `generator` is a CPU's.
    """
    inner = slice(margin, len(allowed) - margin)
    for mask in (allowed, valid, torch.ones_like(allowed)):
        places = mask[inner, inner].nonzero()
        if len(places) >= count:
            break
    chosen = torch.randperm(len(places), generator=generator)[:count]
    return places[chosen.to(places.device)] + margin


def crops(image: Tensor, places: Tensor, size: int) -> Tensor:
    """Windows (n, ..., size, size) of an image (..., S, S) centred on places (n, 2)."""
    corners = (places - size // 2).tolist()
    return torch.stack([image[..., row : row + size, column : column + size] for row, column in corners])
