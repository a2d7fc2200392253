"""Training batches as a pure function of (seed, sample number), in any number of workers and processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms.v2 import functional as transforms

from vdalib.config import Config

_ORDER, _AUGMENTATION, _VIEWS = 0, 1, 2  # random streams

Views = Callable[[Tensor, dict, torch.Generator], dict[str, Tensor]]


class TrainingView(Dataset):
    """A data set as an endless row of augmented samples: item n is sample n of the run.

    Every epoch is a permutation drawn from (seed, epoch), every augmentation is drawn from (seed, n):
    horizontal flip, random scaling of the image's own size by a factor in `scale`, random crop x crop window
    [A]. Where the scaled image is smaller than the window it lies at a random place in it, surrounded by its
    mean colour.

    An item is a dict: images float (3, crop, crop) in 0..1, labels bool (K,), index int, valid bool (crop,
    crop), False on padding; and what `views` makes of the whole image uint8 (3, H, W), this item and a generator of sample n.
    """

    def __init__(self, dataset, crop: int, scale: tuple[float, float], seed: int, views: Views | None = None) -> None:
        if not len(dataset):
            raise ValueError("dataset: it is empty, expected at least one training image")
        self.dataset, self.crop, self.scale, self.seed, self.views = dataset, crop, scale, seed, views

    def index(self, n: int) -> int:
        """Which image of the data set sample n shows."""
        epoch, place = divmod(n, len(self.dataset))
        return int(_order(self.seed, epoch, len(self.dataset))[place])

    def __getitem__(self, n: int) -> dict:
        index = self.index(n)
        sample = self.dataset[index]
        image, valid = self._augmented(sample.image.as_subclass(Tensor), _generator(self.seed, _AUGMENTATION, n))
        item = {"images": image.float() / 255, "labels": sample.labels, "index": index, "valid": valid}
        if self.views is not None:
            item |= self.views(sample.image.as_subclass(Tensor), item, _generator(self.seed, _VIEWS, n))
        return item

    def _augmented(self, image: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        flip, scale, *corner = torch.rand(4, generator=generator).tolist()
        if flip < 0.5:
            image = transforms.horizontal_flip(image)
        factor = self.scale[0] + scale * (self.scale[1] - self.scale[0])
        size = [max(round(side * factor), 2) for side in image.shape[-2:]]  # torch cannot resize to a single pixel
        image = transforms.resize(image, size, antialias=True)
        mean = image.float().mean((1, 2), keepdim=True).round().to(image.dtype)
        window = mean.repeat(1, self.crop, self.crop)
        valid = torch.zeros(self.crop, self.crop, dtype=torch.bool)
        (y_from, y_to), (x_from, x_to) = (_overlap(*pair, self.crop) for pair in zip(size, corner))
        window[:, y_to, x_to] = image[:, y_from, x_from]
        valid[y_to, x_to] = True
        return window, valid


def _overlap(side: int, place: float, crop: int) -> tuple[slice, slice]:
    """The pixels of a side that a crop takes, and where they go; place in [0, 1) chooses among positions."""
    length = min(side, crop)
    offset = int(place * (abs(side - crop) + 1))
    if side >= crop:
        return slice(offset, offset + length), slice(0, length)
    return slice(0, length), slice(offset, offset + length)


class StepBatches(Sampler):
    """The sample numbers of one process's share of every global batch, from a step on."""

    def __init__(self, start_step: int, total_steps: int, batch_size: int, num_processes: int, process_index: int) -> None:
        if batch_size % num_processes:
            raise ValueError(
                f"schedule.batch_size: {batch_size} images cannot be shared by {num_processes} processes; "
                f"choose a multiple of {num_processes}"
            )
        self.steps, self.batch_size = range(start_step, total_steps), batch_size
        self.share = range(process_index * batch_size // num_processes, (process_index + 1) * batch_size // num_processes)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            yield [step * self.batch_size + place for place in self.share]


def training_batches(
    dataset, config: Config, start_step: int = 0, num_processes: int = 1, process_index: int = 0, views: Views | None = None
) -> DataLoader:
    """The batches of steps start_step .. total_steps - 1 for one process, the same wherever one starts.

    A batch is a dict with b = batch_size / num_processes images: images float (b, 3, crop, crop) in 0..1,
    labels bool (b, K), index long (b,) into the data set, valid bool (b, crop, crop), False on padding;
    and what `views` adds.
    Raises ValueError where b is not whole.
    """
    schedule, data = config.schedule, config.data
    return DataLoader(
        TrainingView(dataset, data.crop, data.scale, config.seed, views),
        batch_sampler=StepBatches(start_step, schedule.total_steps, schedule.batch_size, num_processes, process_index),
        num_workers=data.workers,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # its own, so that the global random state is left alone
    )


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, size: int) -> Tensor:
    return torch.randperm(size, generator=_generator(seed, _ORDER, epoch))


def _generator(seed: int, stream: int, number: int) -> torch.Generator:
    state = np.random.SeedSequence([seed, stream, number]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
