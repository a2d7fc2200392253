"""Draws the README's pictures: forty samples of PartWorld, and what a trained run makes of held-out images.

python benchmarks/readme_figures.py runs/partworld
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vdalib.data.partworld import PartWorld
from vdalib.evaluation.run import Run, whole_images
from vdalib.explore import plots

ROOT = Path(__file__).parents[1]


def samples(path: Path, rows: int = 5, columns: int = 8) -> None:
    """A page of PartWorld's first training images."""
    world = PartWorld("train")
    images = np.stack([world[i].image.permute(1, 2, 0).numpy() for i in range(rows * columns)])
    page = images.reshape(rows, columns, *images.shape[1:]).transpose(0, 2, 1, 3, 4).reshape(rows * 96, columns * 96, 3)
    Image.fromarray(page).resize((columns * 144, rows * 144), Image.Resampling.LANCZOS).save(path, quality=88)


def result(run_dir: Path, path: Path, indices: tuple[int, ...] = (2, 3, 7, 8, 13, 17)) -> None:
    """Rows of image, seeds of text and of the run's query, pseudo label, prediction and truth on val."""
    run = Run.load(run_dir)
    [batch] = whole_images(run.dataset("val"), indices, batch_size=len(indices), masks=True)
    evidence = run.evidence(batch.images, batch.labels)
    pictures, titles = [], ("image", "text seed", "query seed", "pseudo label", "prediction", "truth")
    for row, image in enumerate(batch.images):
        masks = [maps[row] for maps in (evidence.pseudo_label, evidence.prediction, batch.masks)]
        seeds = [plots.cam_overlay(image, maps[row].amax(0)) for maps in (evidence.text_seeds, evidence.seeds)]
        pictures += [plots.as_picture(image), *seeds, *(plots.mask_overlay(image, mask, run.class_names) for mask in masks)]
    figure, _ = plots.image_grid(pictures, titles, columns=len(titles))
    plots.save_figure(figure, path, dpi=90)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    samples(ROOT / "data" / "partworld" / "samples.jpg")
    result(given.run, ROOT / "notebooks" / "figures" / "result.jpg")
