"""How long a run will take on this machine, from a few timed steps and images."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from vdalib.config import Config

_STEPS, _IMAGES = 2, 8  # that are timed


@dataclass(frozen=True)
class Estimate:
    """stages: (name, steps that are left, seconds a step). after: seconds for `then`, what is made when training has ended."""

    stages: list[tuple[str, int, float]]
    after: float
    then: str = "evaluation"

    def __str__(self) -> str:
        parts = [f"{steps} steps {name} at {seconds:.2f} s" for name, steps, seconds in self.stages if steps]
        parts += [f"{self.then} {_minutes(self.after)}"] * (self.after > 0)
        total = sum(steps * seconds for _, steps, seconds in self.stages) + self.after
        return f"about {_minutes(total)} on this machine, and minutes more for figures ({', '.join(parts) or 'all is there'})"


def estimate(config: Config, run_dir: Path) -> Estimate:
    """Time it in a process of its own, whose memory is free again before the run begins."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        return apart.submit(_timed, config, run_dir).result()


def _timed(config: Config, run_dir: Path) -> Estimate:
    import torch

    from vdalib.commands.segment import predict
    from vdalib.data.images import read_image
    from vdalib.data.loader import training_batches
    from vdalib.evaluation.measuring import label_quality, segmentations
    from vdalib.evaluation.run import Run
    from vdalib.training import checkpoints
    from vdalib.training.trainer import Trainer

    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(config, scratch)
    method, done = trainer.method, max(checkpoints.steps(run_dir), default=0)
    stages = []
    for name, first, end in zip(method.stages, (0, *method.stage_ends), method.stage_ends):
        if (left := end - max(first, done)) > 0:
            trainer.step, ends = first, []
            batches = training_batches(trainer.dataset, trainer.config, first, views=method.views)
            for batch in islice(batches, 1 + _STEPS):  # the first warms up
                terms = trainer.train_step({key: value.to(trainer.device) for key, value in batch.items()})
                torch.stack([*terms.values()]).tolist()  # waits for the device
                ends.append(time.perf_counter())
            stages.append((name, left, (ends[-1] - ends[0]) / _STEPS))
    for module in (method.model, method.memory):
        module.eval().requires_grad_(False)
    run, after = Run(method, config.schedule.total_steps), 0.0
    own_folder = config.data.name == "folder"
    for split in ("train",) if own_folder else ("train", "val"):
        dataset, started = run.dataset(split), time.perf_counter()
        indices = range(min(_IMAGES, len(dataset)))
        if own_folder:
            for i in indices:
                predict(run.predictor, read_image(dataset.paths[i], upright=True), multi_scale=True, crf=True)
        elif split == "train":
            label_quality(run, dataset, indices)
        else:
            _ = [*segmentations(run, dataset, indices=indices)]
        after += (time.perf_counter() - started) / len(indices) * len(dataset)
    return Estimate(stages, after, "masks" if own_folder else "evaluation")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
