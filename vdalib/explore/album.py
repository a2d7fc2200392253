"""The images of a split as the attribute browser leafs through them: of a class, or the worst first."""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from vdalib.data.sample import Sample
from vdalib.evaluation import ConfusionMatrix
from vdalib.inference import Predictor

IN_ORDER, WORST_FIRST = ORDERS = ("in order", "worst first")
_CACHED = 256


class Album:
    """A data set, and how well a network segments it.

    dataset: of `vdalib.data.build_dataset`. limit: number of images, spread evenly, whose masks are looked at by WORST_FIRST.
    """

    def __init__(self, dataset, predictor: Predictor, limit: int):
        self.dataset, self.predictor, self.limit = dataset, predictor, limit
        self.sample = lru_cache(_CACHED)(self._sample)
        self.has_parts = hasattr(dataset, "part_mask")

    def _sample(self, index: int) -> Sample:
        return self.dataset[index]

    @cached_property
    def has_masks(self) -> bool:
        """Whether the data set has ground truth, by its first image."""
        try:
            return self.dataset.mask(0) is not None
        except (AttributeError, FileNotFoundError, ValueError):
            return False

    @cached_property
    def labels(self) -> Tensor:
        """(n, K) bool, of all images; a data set without a table of them draws each image once."""
        known = getattr(self.dataset, "labels", None)
        return torch.stack([self.dataset[i].labels for i in range(len(self.dataset))]) if known is None else known

    @cached_property
    def scores(self) -> dict[int, float]:
        """Image -> mean IoU of the prediction in percent over its classes and background; without ground truth the mean
        probability of what is predicted, in percent.
        """
        count = min(self.limit, len(self.dataset))
        return {i: self._score(i) for i in np.linspace(0, len(self.dataset) - 1, count).round().astype(int).tolist()}

    def _score(self, index: int) -> float:
        probabilities = self.predictor.probabilities(self._sample(index).image, multi_scale=False)
        best = probabilities.max(0)
        if not self.has_masks:
            return 100 * best.values.mean().item()
        counts = ConfusionMatrix(len(probabilities))
        counts.update(best.indices.cpu(), self.dataset.mask(index))
        return 100 * counts.mean_iou()

    def images(self, of_class: int | None = None, order: str = IN_ORDER) -> list[int]:
        """The images that show a class (None: all); WORST_FIRST only those that have a score."""
        images = range(len(self.dataset)) if order == IN_ORDER else sorted(self.scores, key=self.scores.get)
        return [i for i in images if of_class is None or self.labels[i, of_class]]
