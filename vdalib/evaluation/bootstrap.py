"""How far numbers of a data set depend on which images are in it: images drawn again with replacement, the bootstrap."""

from __future__ import annotations

import warnings

import numpy as np

from vdalib.data.images import VOID

DRAWS = 1000


def resampled_sums(values: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(draws, ...): sums of values (images, ...) over as many images, drawn with replacement.

    The same seed draws the same images, so that differences of two results are paired.
    """
    random, images = np.random.default_rng(seed), len(values)
    flat = values.reshape(images, -1)
    sums = [np.bincount(random.integers(0, images, images), minlength=images) @ flat for _ in range(draws)]
    return np.stack(sums).reshape(draws, *values.shape[1:])


def interval(samples: np.ndarray, share: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bound that `share` of samples (draws, ...) lie between; nan where all are nan."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an empty slice
        low, high = np.nanquantile(samples, [(1 - share) / 2, (1 + share) / 2], axis=0)
    return low, high


class ImageCounts:
    """Pixels of each class by image, from which the IoU of a data set follows, and that of its bootstrap.

    counts: intersection, true and predicted pixels of each image, (images, 3, num_classes); void (255) is left out, as in
    `ConfusionMatrix`.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes, self._images = num_classes, []

    def update(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Add an image's label maps, uint8 (H, W) of 0..num_classes - 1 or 255."""
        known = target != VOID
        prediction, target = prediction[known], target[known]
        pixels = target[prediction == target], target, prediction
        self._images.append([np.bincount(of, minlength=self.num_classes)[: self.num_classes] for of in pixels])

    @property
    def counts(self) -> np.ndarray:
        return np.array(self._images, np.int64).reshape(-1, 3, self.num_classes)

    def iou(self) -> np.ndarray:
        """(num_classes,) in 0..1; nan where the truth never shows it."""
        return _iou(self.counts.sum(0))

    def resampled_iou(self, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
        """(draws, num_classes), the IoU of as many images drawn with replacement."""
        return _iou(resampled_sums(self.counts, draws, seed))


def _iou(sums: np.ndarray) -> np.ndarray:
    right, truth, predicted = np.moveaxis(sums, -2, 0)
    return np.where(truth > 0, right / np.maximum(truth + predicted - right, 1), np.nan)
