"""Where masks of a class are wrong: what false pixels of it lie on, in runs that differ in what they ask by.

    python benchmarks/mistakes.py [--preset partworld] [--seeds 0 1 2 3 4] [--jobs 2]

Masks are those of held-out images with multi-scale and CRF. Runs are those of some of the ablation's rows. Finished ones are kept
in `benchmarks/mistakes.json` with the version of the code, and not repeated.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from ablation import ROWS as ABLATION
from ablation import main

from vdalib.evaluation import VOID
from vdalib.evaluation.measuring import CRF, segmentations
from vdalib.evaluation.run import Run
from vdalib.explore.ablation import mistakes

RESULTS = Path(__file__).with_suffix(".json")
ROWS = {name: ABLATION[name] for name in ("text template only", "class mean, no INN", "all")}
SHOWN = "boat", "water"  # the class that rows with visual queries lose most of, and its usual scene


def false_pixels(predicted: np.ndarray, truth: np.ndarray, k: int, scene: str) -> Counter:
    """Pixels of class k (its number in the masks) in an image: true, right, and what false ones lie on."""
    false = (predicted == k) & (truth != k)
    background = int((false & (truth == 0)).sum())
    found = Counter(true=int((truth == k).sum()), right=int(((predicted == k) & (truth == k)).sum()))
    found["on others"] = int((false & (truth != VOID)).sum()) - background
    found["around it" if found["true"] else f"elsewhere, {scene}"] = background
    return found


def measure(run_dir: str) -> dict:
    """Class -> pixels over all held-out images, see `false_pixels`."""
    run = Run.load(run_dir)
    val = run.dataset("val")
    found = {name: Counter() for name in run.class_names}
    for item in segmentations(run, val):
        scene = val.factors(item.index).scene
        for k, name in enumerate(run.class_names, start=1):
            found[name] += false_pixels(item.maps[CRF], item.truth, k, scene)
    return {"classes": {name: dict(counts) for name, counts in found.items()}}


def markdown(runs: list[dict]) -> str:
    return mistakes(runs, *SHOWN)


if __name__ == "__main__":
    main(__doc__, ROWS, RESULTS, measure, markdown)
