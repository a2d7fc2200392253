"""Augmented views of a training picture for ToCo and SeCo, made where the loader makes the crop.

Source: [P] ToCo sec. 6, SeCo sec. 4; the mirror of the crop is shared by all views that are cut at its places (clean).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2


@dataclass(frozen=True)
class ContrastViews:
    """A crop and its picture to the views of one training sample, each float (3, S, S) in 0..1.

    main: the crop itself, its padding black; with `main_photometric` jittered, perhaps grey, and blurred (ToCo's view A).
    second: a random part of the whole picture, 40 to 100 % of it, mirrored, jittered, sometimes blurred or solarised (view B).
    source: the crop, jittered, blurred half the time: what local crops are cut from.
    seed: int64 (), for the random numbers that the sample needs in a step: the same in any number of processes.

    blur: px, the least and the largest deviation.
    """

    main_photometric: bool
    blur: tuple[float, float]

    def __call__(self, picture: Tensor, crop: Tensor, valid: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """picture: uint8 (3, H, W); crop: uint8 (3, S, S), valid: bool (S, S), False on its padding."""
        size = crop.shape[-1]
        crop = crop * valid
        jitter = [v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8), v2.RandomGrayscale(0.2)]
        blur = v2.GaussianBlur(2 * math.ceil(3 * self.blur[1]) + 1, self.blur)
        anywhere = v2.RandomResizedCrop(size, (0.4, 1.0), interpolation=v2.InterpolationMode.BICUBIC, antialias=True)
        main = v2.Compose([*jitter, blur])
        second = v2.Compose(
            [anywhere, v2.RandomHorizontalFlip(), *jitter, v2.RandomApply([blur], 0.1), v2.RandomSolarize(threshold=128, p=0.2)]
        )
        source = v2.Compose([*jitter, v2.RandomApply([blur], 0.5)])
        with torch.random.fork_rng(devices=[]):  # transforms draw from torch's global generator only
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            views = {
                "main": main(crop) if self.main_photometric else crop,
                "second": second(picture),
                "source": source(crop),
            }
            seed = torch.randint(2**62, ())
        return {name: view.float() / 255 for name, view in views.items()} | {"seed": seed}
