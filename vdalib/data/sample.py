"""What every training data set returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torchvision import tv_tensors


@dataclass
class Sample:
    """One image and the classes that it shows, which is all that training may know.

    image:  tv_tensors.Image, uint8 (3, H, W), RGB.
    labels: torch.BoolTensor (K,), true where the class is in the image (background is not a class).
    name:   unique within the data set, e.g. "train_0_000123" or "2007_000032".
    """

    image: tv_tensors.Image
    labels: torch.Tensor
    name: str
