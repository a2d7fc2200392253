"""The convolutional teacher of PartWorld's small CLIP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MatrixConv(nn.Module):
    """Convolution of a square kernel whose weight is a matrix (outputs, inputs * size * size), as Muon wants it."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, stride: int = 1):
        super().__init__()
        self.size, self.stride = size, stride
        fan_in = inputs * size * size
        self.weight = nn.Parameter(torch.randn(outputs, fan_in) * (2 / fan_in) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.unflatten(1, (-1, self.size, self.size)).to(memory_format=torch.channels_last)
        return F.conv2d(x, weight, stride=self.stride, padding=self.size // 2)


class _Unit(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, size: int = 3, stride: int = 1):
        super().__init__(MatrixConv(inputs, outputs, size, stride), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class _Residual(_Unit):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Teacher(nn.Module):
    """Convolutional network with an output for every 8 x 8 patch: (B, 3, H, W) in 0..1 -> (B, D, H/8, W/8), L2-normalised.

    A place sees 58 x 58 px and no more: what a wider one says of a place is said of the whole object.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.PixelUnshuffle(2),
            _Unit(12, 48), _Unit(48, 96, stride=2), _Residual(96, 96), _Unit(96, 192, stride=2),
            _Residual(192, 192), _Residual(192, 192), _Residual(192, 192, size=1),
        )  # fmt: skip
        self.head = nn.Conv2d(192, dim, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.look(images)[0]

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The output, and the features (B, 192, H/8, W/8) of a place's nearer surroundings, 42 x 42 px."""
        near = self.trunk[:6](images * 2 - 1)
        return F.normalize(self.head(self.trunk[6:](near)).float(), dim=1), near.float()
