"""Every number of a trained run: seeds, pseudo labels and masks against the ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vdalib.evaluation import ConfusionMatrix, SeedCurve
from vdalib.evaluation.measures import Measures
from vdalib.evaluation.run import Run, WholeImages, whole_images
from vdalib.inference import dense_crf, multi_scale_logits
from vdalib.methods.base import Evidence
from vdalib.progress import progress_bar
from vdalib.training.devices import autocast, merged, own_share

PLAIN, MULTI_SCALE, CRF = "plain", "multi-scale + flip", "multi-scale + flip + CRF"
SEEDS = {  # name -> attribute of the evidence; "text" ones are of methods with a frozen CLIP
    "text seed": "text_seeds",
    "text seed, refined": "refined_text_seeds",
    "query seed": "seeds",
    "query seed, refined": "refined_seeds",
}


@dataclass
class LabelQuality:
    """How good the labels are that a run makes for itself of images whose classes it is told.

    seeds:        name in SEEDS -> SeedCurve. "query" seeds are the method's own, fused where the run fuses.
    pseudo_label: None where it was not asked for.
    prediction:   of the segmenter on the same images, which is not told the classes.
    """

    seeds: dict[str, SeedCurve]
    pseudo_label: ConfusionMatrix | None
    prediction: ConfusionMatrix


def label_quality(
    run: Run, dataset, indices: Sequence[int] | None = None, pseudo_labels: bool = True, progress: bool = False
) -> LabelQuality:
    """One pass over whole images of a data set, or some of them: one scale, no augmentation, one CLIP pass."""
    indices = range(len(dataset)) if indices is None else indices
    num_classes = len(run.class_names) + 1
    quality = LabelQuality(
        {name: SeedCurve() for name in SEEDS if run.labeller is not None or not name.startswith("text")},
        ConfusionMatrix(num_classes) if pseudo_labels else None,
        ConfusionMatrix(num_classes),
    )
    bar = progress_bar(total=len(indices), desc="seeds", unit="image", disable=not progress)
    for batch in whole_images(dataset, indices, masks=True):
        evidence = run.evidence(batch.images, batch.labels)
        for name, curve in quality.seeds.items():
            curve.update(getattr(evidence, SEEDS[name]), batch.labels, batch.masks)
        quality.prediction.update(evidence.prediction_at(batch.masks.shape[-2:]).cpu(), batch.masks)
        if pseudo_labels:
            quality.pseudo_label.update(at_size(evidence.pseudo_label, batch.masks.shape[-2:]), batch.masks)
        bar.update(len(batch.indices))
    bar.close()
    return quality


def cut_seeds(seeds: Tensor, labels: Tensor, threshold: float, size: tuple[int, int]) -> Tensor:
    """Seeds (B, K, h, w) as label maps (B, *size): the strongest of the classes in labels (B, K), if above.

    The rule of `SeedCurve` at one threshold in 0..1.
    """
    seeds = F.interpolate(seeds, size, mode="bilinear", align_corners=False)
    score, winner = seeds.masked_fill(~labels[:, :, None, None], -torch.inf).max(1)
    return torch.where(score > threshold, winner + 1, 0)


@dataclass
class Segmented:
    """An image's predicted label maps, uint8 (H, W), by the way of inference, and its true one."""

    index: int
    maps: dict[str, np.ndarray]
    truth: np.ndarray


def segmentations(
    run: Run, dataset, multi_scale_crf: bool = True, progress: bool = False, indices: Sequence[int] | None = None
) -> Iterator[Segmented]:
    """Images of a data set, all or some, by PLAIN and, if asked for, by MULTI_SCALE and CRF ([A] section 1)."""
    settings = run.config.inference
    indices = range(len(dataset)) if indices is None else indices
    bar = progress_bar(total=len(indices), desc="segment", unit="image", disable=not progress)
    for batch in whole_images(dataset, indices, masks=True):
        images = batch.images.to(run.device)
        ways = {PLAIN: ((1.0,), False)}
        if multi_scale_crf:
            ways[MULTI_SCALE] = (settings.scales, settings.flip)
        with autocast(run.device, run.config.precision):
            logits = {
                name: multi_scale_logits(run.method.network, images, scales, flip, **settings.fusion)
                for name, (scales, flip) in ways.items()
            }
        maps = {name: values.max(1).indices for name, values in logits.items()}
        if multi_scale_crf:
            probabilities = logits[MULTI_SCALE].softmax(1).cpu()
            pixels = (255 * batch.images).round().to(torch.uint8)
            refined = [dense_crf(*pair, settings) for pair in zip(pixels, probabilities)]
            maps[CRF] = torch.stack(refined).max(1).indices
        arrays = {name: values.to(torch.uint8).cpu().numpy() for name, values in maps.items()}
        for place, index in enumerate(batch.indices):
            own = {name: values[place] for name, values in arrays.items()}
            yield Segmented(index, own, batch.masks[place].numpy())
        bar.update(len(batch.indices))
    bar.close()


def evaluate_run(
    run_dir: str | Path,
    multi_scale_crf: bool = True,
    overrides: Mapping[str, Any] | None = None,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> dict[str, float]:
    """The table of `measure_run`."""
    return measure_run(run_dir, multi_scale_crf, overrides, device, progress).table


def measure_run(
    run_dir: str | Path,
    multi_scale_crf: bool = True,
    overrides: Mapping[str, Any] | None = None,
    device: str | torch.device = "cpu",
    progress: bool = False,
    watch: Callable[[Segmented], None] | None = None,
) -> Measures:
    """A run's mIoU in percent by the names of MEASURES: seeds on its training images at their best threshold, masks on val.

    multi_scale_crf: False leaves out `miou_ms` and `miou_ms_crf`.
    overrides, device: see `Run.load`. Where there are several processes they share the images, and each returns the whole.
    watch: sees each segmented image of val, of its own process.
    Of one's own folder all is measured on the pictures with a mask in `data.masks`, which are training images, too.
    """
    run = Run.load(run_dir, overrides=overrides, device=device)
    val = run.dataset("val")
    train = val if run.config.data.name == "folder" else run.dataset("train")
    seeds = label_quality(run, train, own_share(len(train)), pseudo_labels=False, progress=progress).seeds
    names = {
        "text_seed_miou": "text seed",
        "seed_miou": "query seed",
        "refined_seed_miou": "query seed, refined",
    }
    of_seeds = {key: 100 * merged(seeds[name]).best()[1] for key, name in names.items() if name in seeds}
    ways = {"miou": PLAIN} | ({"miou_ms": MULTI_SCALE, "miou_ms_crf": CRF} if multi_scale_crf else {})
    matrices = {key: ConfusionMatrix(len(run.class_names) + 1) for key in ways}
    for item in segmentations(run, val, multi_scale_crf, progress, own_share(len(val))):
        for key, way in ways.items():
            matrices[key].update(item.maps[way], item.truth)
        if watch:
            watch(item)
    return Measures.of_masks({key: merged(matrix) for key, matrix in matrices.items()}, run.class_names, of_seeds)


@dataclass
class Prototypes:
    """Prototypes of labelled images, one row for each (image, class) that the decoder finds.

    prototypes: (n, D). classes, images: (n,) int64, indices of class and image. reliable: (n,) bool.
    """

    prototypes: Tensor
    classes: Tensor
    images: Tensor
    reliable: Tensor


def collect_prototypes(
    run: Run, dataset, indices: Iterable[int] | None = None, watch: Callable[[WholeImages, Evidence], None] | None = None
) -> Prototypes:
    """The instance prototypes of whole images, as the INN would be given them; `watch` sees each batch and its evidence, too."""
    columns = []
    for batch in whole_images(dataset, indices):
        evidence = run.evidence(batch.images, batch.labels)
        if watch:
            watch(batch, evidence)
        found = evidence.found
        image, classes = found.present.nonzero(as_tuple=True)
        chosen = found.prototypes[image, classes].float(), classes, torch.tensor(batch.indices)[image.cpu()]
        columns.append((*chosen, found.reliable[image, classes]))
    return Prototypes(*(torch.cat(column).cpu() for column in zip(*columns)))


def principal_plane(points: Tensor, dimensions: int = 2) -> tuple[Tensor, Tensor]:
    """The mean (D,) of points (n, D) and their main directions (D, dimensions): (x - mean) @ directions is flat.

    Two dimensions make a map, three the colours of a picture. The largest entry of each direction is positive, so
    that the same points give the same picture.
    """
    mean = points.mean(0)
    few = len(points) < dimensions  # of one point, too
    directions = torch.linalg.svd(points - mean, full_matrices=few).Vh[:dimensions].T  # (D, dimensions)
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return mean, directions * largest.sign()


def cloud_offsets(points: Tensor, classes: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """How far each class's centre lies from the mean of its points, and the points' variance per dimension, (c,) each.

    points: (n, D) of classes (n,). centres: (K, D). c: classes with at least two points.
    """
    found, counts = classes.unique(return_counts=True)
    clouds = [(points[classes == k], centres[k]) for k in found[counts > 1]]
    if not clouds:
        return points.new_zeros(0), points.new_zeros(0)
    offsets, variances = zip(*(((own.mean(0) - centre).norm(), own.var(0).mean()) for own, centre in clouds))
    return torch.stack(offsets), torch.stack(variances)


def at_size(label_map: Tensor, size: tuple[int, int]) -> Tensor:
    """Label maps (B, h, w) as (B, *size), on the CPU: the nearest pixel's."""
    return F.interpolate(label_map[:, None].float(), size, mode="nearest")[:, 0].long().cpu()
