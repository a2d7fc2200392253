"""Augmented views of a training picture for ToCo and SeCo, made where the loader makes the crop."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2


@dataclass(frozen=True)
class ContrastViews:
    """The views of a training sample, each float (3, S, S) in 0..1, beside the crop of the loader.

    main:   the crop itself, its padding black; with `photometric` jittered, perhaps grey, and blurred (ToCo's view A).
    second: a random part of the whole picture, 40 to 100 % of it, mirrored, jittered, sometimes blurred or solarised (view B).
    source: the crop, jittered, blurred half the time: what local crops are cut from.
    seed:   int64 (), of the random numbers that the sample needs in a step, whatever process has it.

    Main view and source keep the places of the crop, whose mirror they share (clean: each was mirrored anew).
    blur: px, the least and the largest deviation. Source: [P] ToCo sec. 6, SeCo sec. 4.
    """

    photometric: bool
    blur: tuple[float, float] = (0.1, 2.0)

    def __call__(self, picture: Tensor, item: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """picture: uint8 (3, H, W), whole. item: the loader's, with images (3, S, S) in 0..1 and valid (S, S)."""
        crop = (item["images"] * 255).round().to(torch.uint8) * item["valid"]
        jitter = [v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8), v2.RandomGrayscale(0.2)]
        blur = v2.GaussianBlur(2 * math.ceil(3 * self.blur[1]) + 1, self.blur)
        part = v2.RandomResizedCrop(crop.shape[-1], (0.4, 1.0), interpolation=v2.InterpolationMode.BICUBIC)
        main = v2.Compose([*jitter, blur]) if self.photometric else v2.Identity()
        second = v2.Compose(
            [part, v2.RandomHorizontalFlip(), *jitter, v2.RandomApply([blur], 0.1), v2.RandomSolarize(threshold=128, p=0.2)]
        )
        source = v2.Compose([*jitter, v2.RandomApply([blur], 0.5)])
        with torch.random.fork_rng(devices=[]):  # the transforms know torch's global generator only
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            views = {"main": main(crop), "second": second(picture), "source": source(crop)}
            seed = torch.randint(2**62, ())
        return {name: view.float() / 255 for name, view in views.items()} | {"seed": seed}
