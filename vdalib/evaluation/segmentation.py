"""How good masks and seeds are: mIoU from one confusion matrix over the data set."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vdalib.data.images import VOID


class ConfusionMatrix:
    """Pixel counts over a data set, from which VOC's mIoU follows.

    num_classes: with background, K + 1.
    counts:      int64 (num_classes, num_classes), rows are the truth, columns the prediction.
    undecided:   int64 (num_classes,), pixels of each class whose prediction is 255: missed, but nobody's
                 false positive.
    """

    def __init__(self, num_classes: int) -> None:
        self.counts = np.zeros((num_classes, num_classes), np.int64)
        self.undecided = np.zeros(num_classes, np.int64)

    @property
    def num_classes(self) -> int:
        return len(self.counts)

    def update(self, prediction, target) -> None:
        """Add label maps of equal shape, arrays or tensors of 0..K or 255; target 255 is left out."""
        prediction, target = torch.as_tensor(prediction), torch.as_tensor(target)
        if prediction.shape != target.shape:
            raise ValueError(f"prediction: shape {tuple(prediction.shape)} differs from target {tuple(target.shape)}")
        prediction, target = prediction.to(target.device).long(), target.long()
        known = target != VOID
        prediction, target, n = prediction[known], target[known], self.num_classes
        prediction = prediction.where(prediction != VOID, torch.full_like(prediction, n))
        for name, values, top in (("prediction", prediction, n), ("target", target, n - 1)):
            if values.numel() and not 0 <= values.min() <= values.max() <= top:
                raise ValueError(f"{name}: values {values.min()}..{values.max()}, expected 0..{n - 1} or {VOID}")
        counts = torch.bincount(target * (n + 1) + prediction, minlength=n * (n + 1)).view(n, n + 1).cpu().numpy()
        self.counts += counts[:, :n]
        self.undecided += counts[:, n]

    def iou(self) -> np.ndarray:
        """Intersection over union per class (num_classes,), 0..1; nan where the truth never shows it."""
        truth = self.counts.sum(1) + self.undecided
        union = truth + self.counts.sum(0) - self.counts.diagonal()
        return np.where(truth > 0, self.counts.diagonal() / np.maximum(union, 1), np.nan)

    def mean_iou(self) -> float:
        """Mean over the classes that occur in the ground truth, 0..1; nan where nothing was counted."""
        iou = self.iou()
        seen = ~np.isnan(iou)
        return float(iou[seen].mean()) if seen.any() else float("nan")

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        if not isinstance(other, ConfusionMatrix):
            return NotImplemented
        if other.num_classes != self.num_classes:
            raise ValueError(f"cannot add matrices of {self.num_classes} and {other.num_classes} classes")
        total = ConfusionMatrix(self.num_classes)
        total.counts = self.counts + other.counts
        total.undecided = self.undecided + other.undecided
        return total


class SeedCurve:
    """mIoU of CAM seeds at many background thresholds in one pass.

    At threshold t a pixel belongs to its strongest class where that CAM is above t, else to the background.
    Pixels are counted by (truth, strongest class, thresholds passed), from which every threshold's confusion
    matrix is a cumulative sum.
    """

    def __init__(self, thresholds: Iterable[float] = np.arange(1, 100) / 100) -> None:
        self.thresholds = np.asarray(sorted(thresholds), np.float32)
        if not len(self.thresholds):
            raise ValueError("thresholds: expected at least one")
        self._counts: np.ndarray | None = None  # (K+1, K, T+1)

    def update(self, cam: Tensor, labels: Tensor, masks) -> None:
        """Add CAMs (B, K, h, w) in 0..1 with labels bool (B, K) and masks (B, H, W) of 0..K or 255.

        CAMs of another size than the masks are resized bilinearly.
        """
        masks = torch.as_tensor(masks, device=cam.device).long()
        num_classes, num_bins = cam.shape[1], len(self.thresholds) + 1
        if cam.shape[-2:] != masks.shape[-2:]:
            cam = F.interpolate(cam.float(), masks.shape[-2:], mode="bilinear", align_corners=False)
        cam = cam.float().masked_fill(~labels.to(cam.device)[:, :, None, None], -torch.inf)
        score, winner = cam.max(1)  # (B, H, W)
        known = masks != VOID
        score, winner, truth = score[known], winner[known], masks[known]
        if truth.numel() and truth.max() > num_classes:
            raise ValueError(f"masks: label {truth.max()}, expected 0..{num_classes} or {VOID}")
        passed = torch.bucketize(score, torch.as_tensor(self.thresholds, device=cam.device))  # thresholds below the score
        flat = (truth * num_classes + winner) * num_bins + passed
        shape = (num_classes + 1, num_classes, num_bins)
        counts = torch.bincount(flat, minlength=int(np.prod(shape))).view(shape).cpu().numpy()
        self._counts = counts if self._counts is None else self._counts + counts

    def __add__(self, other: SeedCurve) -> SeedCurve:
        if not isinstance(other, SeedCurve):
            return NotImplemented
        if not np.array_equal(self.thresholds, other.thresholds):
            raise ValueError("cannot add seed curves of different thresholds")
        total = SeedCurve(self.thresholds)
        counted = [curve._counts for curve in (self, other) if curve._counts is not None]
        total._counts = sum(counted) if counted else None
        return total

    def confusions(self) -> list[ConfusionMatrix]:
        """One matrix per threshold, in ascending order of thresholds."""
        if self._counts is None:
            raise ValueError("SeedCurve: nothing was counted yet; call update first")
        below = self._counts.cumsum(2)[:, :, :-1]  # (K+1, K, T) pixels at or below each threshold
        above = self._counts.sum(2, keepdims=True) - below
        matrices = []
        for t in range(len(self.thresholds)):
            matrix = ConfusionMatrix(len(self._counts))
            matrix.counts[:, 0] = below[:, :, t].sum(1)
            matrix.counts[:, 1:] = above[:, :, t]
            matrices.append(matrix)
        return matrices

    def mean_iou(self) -> np.ndarray:
        """(T,) mIoU in 0..1 at every threshold."""
        return np.array([matrix.mean_iou() for matrix in self.confusions()])

    def best(self) -> tuple[float, float]:
        """The threshold with the highest mIoU, and that mIoU in 0..1."""
        curve = self.mean_iou()
        if np.isnan(curve).all():
            raise ValueError("SeedCurve: every mask was void (255) all over; evaluate images whose masks show something")
        at = int(np.nanargmax(curve))
        return float(self.thresholds[at]), float(curve[at])
