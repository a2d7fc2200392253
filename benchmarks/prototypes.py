"""How often zero shot names a prototype rightly, and what is in the way: the mask, the view, or the other prompts.

    python benchmarks/prototypes.py [--preset partworld] [--seeds 0 1 2 3 4] [--jobs 2]

Prototypes of whole training images of PartWorld and of crops as training cuts them (those that would come next), under the masks
that a finished training predicts and under the true ones. Finished runs are kept in `benchmarks/prototypes.json` with the
version of the code, and not repeated. Masks judge here and teach nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from ablation import ROWS as ABLATION
from ablation import main
from labels import CROPS, WHOLE, training_crops
from torch import Tensor

from vdalib.attributes.assembly import masked_prototypes
from vdalib.data.partworld import CLASSES, PARTS, PartWorld
from vdalib.data.partworld.world import MIN_AREA, MIN_PART_AREA
from vdalib.evaluation import VOID
from vdalib.evaluation.run import Run, WholeImages, whole_images
from vdalib.explore.tables import markdown_table, mean_and_error

RESULTS = Path(__file__).with_suffix(".json")
ROWS = {"all": ABLATION["all"]}
CLASS_OF = torch.tensor([0, *(CLASSES.index(name) + 1 for name, _ in PARTS)])  # of each part number
PREDICTED, TRUE = "predicted", "true"
SHOWN = {"whole": "all its parts show", "part": "a part is missing", "none": "none of it shows"}
NAMED = {
    "won": "the right class prompt is the best",
    "sure": "and above 0.5",
    "sure beside background": "and above 0.5 beside background prompts",
}


def drawn_parts(world: PartWorld, index: int) -> Tensor:
    """(parts + 1,) bool: the parts with which the objects of an image were drawn."""
    things = world.factors(index).objects
    own = {(thing.class_name, part) for thing in things for part in thing.part_colours}
    return torch.tensor([False, *(pair in own for pair in PARTS)])


def views(world: PartWorld, batch: WholeImages) -> Tensor:
    """(B, K): the index in SHOWN of what each class shows, where `batch.masks` are of parts.

    A class of fewer than MIN_AREA px does not show, nor does a part of fewer than MIN_PART_AREA.
    """
    parts = torch.stack([mask[mask != VOID].long().bincount(minlength=len(CLASS_OF)) for mask in batch.masks])
    drawn = torch.stack([drawn_parts(world, index) for index in batch.indices])
    of_class = F.one_hot(CLASS_OF, len(CLASSES) + 1)[:, 1:].float()
    missing = ((drawn & (parts < MIN_PART_AREA)).float() @ of_class) > 0
    return torch.where(parts.float() @ of_class < MIN_AREA, 2, missing.long())


def cover(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, K, h, w): the share of each patch that is of each class, of masks of parts (B, H, W)."""
    classes = CLASS_OF[masks.long().masked_fill(masks == VOID, 0)]
    return F.adaptive_avg_pool2d(F.one_hot(classes, len(CLASSES) + 1)[..., 1:].movedim(-1, 1).float(), grid)


def counted(run: Run, world: PartWorld, batches: Iterator[WholeImages]) -> dict[str, dict[str, dict[str, int]]]:
    """Of prototypes by masks and by view: how many there are, and how many are named rightly in each sense of NAMED."""
    text, background = run.labeller.class_text, run.labeller.background_text
    found: dict[str, dict[str, Counter]] = {masks: defaultdict(Counter) for masks in (PREDICTED, TRUE)}
    for batch in batches:
        seen, shown = run.evidence(batch.images, batch.labels), views(world, batch)
        true = masked_prototypes(seen.features.patches, cover(batch.masks, seen.features.grid))
        for masks, (prototypes, present) in ((PREDICTED, (seen.found.prototypes, seen.found.present)), (TRUE, true)):
            of_class, beside = (
                (run.clip.logit_scale * prototypes.float() @ torch.cat(prompts).T.float()).softmax(-1)
                for prompts in ([text], [text, background])
            )
            own = of_class.diagonal(dim1=1, dim2=2)
            senses = own == of_class.amax(-1), own > 0.5, beside.diagonal(dim1=1, dim2=2) > 0.5
            for number, view in enumerate(SHOWN):
                these = present & batch.labels & (shown == number)
                found[masks][view].update({"all": int(these.sum())})
                found[masks][view].update({name: int((these & sense).sum()) for name, sense in zip(NAMED, senses)})
    return {masks: {view: dict(counts) for view, counts in own.items()} for masks, own in found.items()}


@torch.no_grad()
def measure(run_dir: str) -> dict:
    run = Run.load(run_dir)
    world = run.dataset("train")
    whole = ((b, torch.stack([torch.from_numpy(world.part_mask(i)) for i in b.indices])) for b in whole_images(world))
    whole = (WholeImages(b.indices, b.images, b.labels, parts) for b, parts in whole)
    crops = training_crops(run, world, world.part_mask, len(PARTS))
    return {WHOLE: counted(run, world, whole), CROPS: counted(run, world, crops)}


def markdown(runs: list[dict]) -> str:
    """How many prototypes there are in a run, and what percentage of them are named rightly in each sense."""
    table = []
    for place in (WHOLE, CROPS):
        for masks in (TRUE, PREDICTED):
            for view, told in ({"": "all"} | SHOWN).items():
                sums = [sum((Counter(c) for v, c in run[place][masks].items() if view in ("", v)), Counter()) for run in runs]
                if all(counts["all"] for counts in sums):
                    shares = (mean_and_error([100 * counts[name] / counts["all"] for counts in sums]) for name in NAMED)
                    table.append([f"{place}, {masks} masks: {told}", mean_and_error([c["all"] for c in sums], 0), *shares])
    return markdown_table(["prototypes", "number", *(f"{told}, %" for told in NAMED.values())], table)


if __name__ == "__main__":
    main(__doc__, ROWS, RESULTS, measure, markdown)
