"""Draws the README's pictures: forty samples of PartWorld, and what a trained run makes of held-out images.

python benchmarks/readme_figures.py runs/partworld
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vdalib.data.images import VOID
from vdalib.data.partworld import PartWorld
from vdalib.evaluation.run import Run, whole_images
from vdalib.explore import plots

ROOT = Path(__file__).parents[1]


def samples(path: Path, rows: int = 5, columns: int = 8, width: int = 1152) -> None:
    """A page of PartWorld's first training images, in rows of `width` px whose pictures are of one height."""
    world = PartWorld("train")
    page = [_row([world[n * columns + i].image for i in range(columns)], width) for n in range(rows)]
    Image.fromarray(np.concatenate(page)).save(path, quality=88)


def _row(images: list[torch.Tensor], width: int) -> np.ndarray:
    """Images (3, H, W) of any shape side by side in white frames, uint8 (h, width, 3), each in its own aspect."""
    aspects = [image.shape[2] / image.shape[1] for image in images]
    height, edges = round(width / sum(aspects)), np.rint(width * np.cumsum([0, *aspects]) / sum(aspects)).astype(int)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    sizes = [(int(across) - 2, height) for across in np.diff(edges)]
    scaled = [picture.resize(size, Image.Resampling.LANCZOS) for picture, size in zip(pictures, sizes)]
    return np.concatenate([np.pad(picture, ((1, 1), (1, 1), (0, 0)), constant_values=255) for picture in scaled], 1)


def result(run_dir: Path, path: Path, indices: tuple[int, ...] = (2, 3, 7, 8, 13, 17)) -> None:
    """Rows of images, seeds of text and of the run's query, pseudo labels, predictions and truth on val."""
    run = Run.load(run_dir)
    rows, present = {}, set()
    for batch in whole_images(run.dataset("val"), indices, batch_size=1, masks=True):
        evidence, image = run.evidence(batch.images, batch.labels), batch.images[0]
        shown = {"image": plots.as_picture(image)}
        for name, maps in {"text seed": evidence.text_seeds, "query seed": evidence.seeds}.items():
            shown[name] = plots.cam_overlay(image, maps[0].amax(0))
        labels = {"pseudo label": evidence.pseudo_label, "prediction": evidence.prediction, "truth": batch.masks}
        for name, (mask,) in labels.items():
            shown[name] = plots.mask_overlay(image, mask, run.class_names)
            present |= set(mask.unique().tolist()) - {0, VOID}
        for name, picture in shown.items():
            rows.setdefault(name, []).append(picture)
    classes = [run.class_names[value - 1] for value in sorted(present)]
    figure, _ = plots.picture_table(rows, classes=classes)
    plots.save_figure(figure, path, dpi=90)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    samples(ROOT / "data" / "partworld" / "samples.jpg")
    result(given.run, ROOT / "notebooks" / "figures" / "result.jpg")
