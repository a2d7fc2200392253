"""Where better seeds get lost: from CAM over pseudo label to the segmenter's own prediction, by a run's queries and by text.

    python benchmarks/labels.py [--preset partworld] [--seeds 0 1 2 3 4] [--jobs 2]

Runs are those of some of the ablation's rows; in each, CLIP features and affinity are the same for its own queries and for text.
All is judged on whole training images and on crops as training cuts them (those that would come next). Finished runs are kept in
`benchmarks/labels.json` with the version of the code, and not repeated. Masks judge here and teach nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from ablation import ROWS as ABLATION
from ablation import main, prototypes

from vdalib.data.loader import TrainingView
from vdalib.data.sample import Sample
from vdalib.evaluation import VOID, ConfusionMatrix, SeedCurve
from vdalib.evaluation.measuring import at_size, cut_seeds
from vdalib.evaluation.run import Run, WholeImages, whole_images
from vdalib.explore.ablation import lost_on_the_way

RESULTS = Path(__file__).with_suffix(".json")
ROWS = {name: ABLATION[name] for name in ("text template only", "class mean, no INN", "k-means of 8 a class, no INN", "all")}
WHOLE, CROPS = "whole images", "training crops"


class MasksAsImages:
    """A data set whose images are masks of it, so that they are cut alike: planes (H, W) of 0 or 255, of 0..highest and void."""

    def __init__(self, dataset, mask: Callable[[int], np.ndarray], highest: int):
        self.dataset, self.mask, self.highest = dataset, mask, highest

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        mask = torch.from_numpy(self.mask(index))
        planes = torch.stack([mask == k for k in (*range(self.highest + 1), VOID)]).to(torch.uint8) * 255
        return Sample(planes, self.dataset[index].labels, "")


def training_crops(
    run: Run, dataset, mask: Callable[[int], np.ndarray], highest: int, batch_size: int = 8
) -> Iterator[WholeImages]:
    """Batches of crops as training would cut them of each image of a data set after its last sample, not of whole images.

    mask: of image i, (H, W) uint8 in 0..highest or VOID. Padding is VOID in masks.
    """
    config = run.config
    first = config.schedule.total_steps * config.schedule.batch_size
    seen, masks = (
        TrainingView(shown, config.data.crop, config.data.scale, config.seed)
        for shown in (dataset, MasksAsImages(dataset, mask, highest))
    )
    for start in range(first, first + len(dataset), batch_size):
        items = [(seen[n], masks[n]) for n in range(start, min(start + batch_size, first + len(dataset)))]
        images, labels = (torch.stack([item[name] for item, _ in items]) for name in ("images", "labels"))
        truth, valid = (torch.stack([cut[name] for _, cut in items]) for name in ("images", "valid"))
        truth = truth.argmax(1)
        truth = truth.masked_fill(~valid | (truth > highest), VOID)
        yield WholeImages([item["index"] for item, _ in items], images, labels, truth)


def way(run: Run, batches: Iterator[WholeImages]) -> dict[str, dict[str, float]]:
    """mIoU in percent by query ("text", "own") and rung; seeds at their best threshold unless at the cut.

    The segmenter's prediction, which is not told the classes, is beside its run's own queries.
    """
    cut, num_classes = run.config.refine.background_cut, len(run.class_names) + 1
    found = {
        query: {
            "seeds": SeedCurve(),
            "after the walk": SeedCurve(),
            "at the cut": ConfusionMatrix(num_classes),
            "pseudo labels": ConfusionMatrix(num_classes),
        }
        for query in ("text", "own")
    }
    found["own"]["prediction"] = ConfusionMatrix(num_classes)
    for batch in batches:
        labels, masks = batch.labels, batch.masks.long()
        seen, size = run.evidence(batch.images, labels), masks.shape[-2:]
        found["own"]["prediction"].update(seen.prediction_at(size), masks)
        for query, asked in (("text", seen.text_queries), ("own", seen.queries)):
            seeds = seen.seeds_of(asked)
            walked = seen.refined_of(seeds)
            own = found[query]
            own["seeds"].update(seeds, labels, masks)
            own["after the walk"].update(walked, labels, masks)
            own["at the cut"].update(cut_seeds(walked, labels, cut, size), masks)
            own["pseudo labels"].update(at_size(seen.pseudo_label_of(asked), size), masks)
    return {
        query: {
            rung: round(100 * (kept.best()[1] if isinstance(kept, SeedCurve) else kept.mean_iou()), 2)
            for rung, kept in own.items()
        }
        for query, own in found.items()
    }


@torch.no_grad()
def measure(run_dir: str) -> dict:
    run = Run.load(run_dir)
    train = run.dataset("train")
    crops = training_crops(run, train, train.mask, len(run.class_names))
    return {WHOLE: way(run, whole_images(train, masks=True)), CROPS: way(run, crops), **prototypes(run_dir)}


if __name__ == "__main__":
    main(__doc__, ROWS, RESULTS, measure, lost_on_the_way)
