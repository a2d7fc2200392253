"""DenseCRF by pydensecrf and by scipy: how far their masks agree, and what an image costs.

    python benchmarks/crf.py runs/partworld [--images 200]

Held-out images, multi-scale; needs `pip install ".[crf]"` to compare with.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from unittest.mock import patch

import torch

from vdalib.evaluation import ConfusionMatrix
from vdalib.evaluation.run import Run
from vdalib.explore.plots import markdown_table
from vdalib.inference import Predictor
from vdalib.segmentation.crf import dense_crf

WAYS = {"pydensecrf": {}, "scipy": {"pydensecrf.densecrf": None}}  # what is hidden from `import`


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=200)
    given = parser.parse_args()
    import pydensecrf.densecrf  # noqa: F401  # an error here, not a comparison of scipy with itself

    predictor, val = Predictor.from_run(given.run), Run.load(given.run).dataset("val")
    matrices = {way: ConfusionMatrix(len(predictor.class_names) + 1) for way in ("no CRF", *WAYS)}
    seconds, differing = dict.fromkeys(WAYS, 0.0), 0.0
    count = min(given.images, len(val))
    for index in range(count):
        image = val[index].image
        probabilities = predictor.probabilities(image)
        maps = {"no CRF": probabilities.argmax(0)}
        for way, hidden in WAYS.items():
            with patch.dict(sys.modules, hidden):
                started = time.perf_counter()
                maps[way] = dense_crf(image, probabilities, predictor.config.inference).argmax(0)
                seconds[way] += time.perf_counter() - started
        for way, found in maps.items():
            matrices[way].update(found, val.mask(index))
        differing += (maps["pydensecrf"] != maps["scipy"]).float().mean().item()
    rows = [[way, 100 * float(matrix.mean_iou()), 1000 * seconds.get(way, 0.0) / count] for way, matrix in matrices.items()]
    print(f"{count} images, {torch.get_num_threads()} thread(s); {100 * differing / count:.3f} % of pixels differ\n")
    print(markdown_table(["DenseCRF by", "mIoU, %", "ms an image"], rows))


if __name__ == "__main__":
    main()
