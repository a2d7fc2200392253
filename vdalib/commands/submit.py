"""A run's masks in the layout that the evaluation server of PASCAL VOC 2012 takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from vdalib.data import build_dataset
from vdalib.data.images import save_mask
from vdalib.inference import Predictor
from vdalib.progress import progress_bar

# comp5 is for methods that have seen nothing but VOC's own trainval; CLIP has, and train_aug is SBD's.
COMPETITION = "comp6"


def submit(run_dir: str | Path, split: str = "test", root: str | Path | None = None) -> Path:
    """Segment a split of VOC 2012 with a trained run, multi-scale and CRF ([A] section 1), on a GPU if there is one.

    Writes {run_dir}/results/VOC2012/Segmentation/comp6_{split}_cls/{image}.png, palette PNGs of the images'
    own sizes, and returns that folder. Goes on where it was stopped: masks younger than the run's weights are
    kept. root: where VOC is; None = where the run was trained on it.

    Raises ValueError for a run of other classes, FileNotFoundError for what is missing.
    """
    run_dir = Path(run_dir)
    predictor = Predictor.from_run(run_dir, "cuda" if torch.cuda.is_available() else "cpu")
    data = predictor.config.data
    if data.name != "voc12":
        raise ValueError(f"{run_dir}: a run on {data.name!r}, but the server takes VOC's classes (data.name: voc12)")
    dataset = build_dataset(replace(data, root=str(root)) if root else data, split)
    folder = run_dir / "results" / "VOC2012" / "Segmentation" / f"{COMPETITION}_{split}_cls"
    trained = (run_dir / "segmenter.safetensors").stat().st_mtime
    for i, name in enumerate(progress_bar(dataset.names, desc=split, unit="image")):
        path = folder / f"{name}.png"
        if not path.exists() or path.stat().st_mtime < trained:
            save_mask(path, predictor.predict(dataset[i].image))
    return folder
