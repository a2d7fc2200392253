"""Does the input pipeline keep up? Images a second of decoding, scaling, cropping and flipping, by number of workers, against
what training steps of the same preset consume in the same run; and peak memory along an epoch, which must not grow.

    python benchmarks/loading.py data.root=VOCdevkit/VOC2012 clip.pretrained=null

The images are repeated to `--images` in an epoch. Needs Linux, for the peak memory of workers, and some minutes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from vdalib.config import Config, parse_overrides
from vdalib.data import build_dataset, prepare
from vdalib.data.loader import training_batches
from vdalib.evaluation import profiling
from vdalib.training.trainer import Trainer

PARTS = (1 / 4, 1 / 2, 1)


class Repeated:
    """A data set that shows its images again and again, `size` in all."""

    def __init__(self, dataset, size: int):
        self.dataset, self.size = dataset, size
        self.class_names = dataset.class_names

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, i: int):
        return self.dataset[i % len(self.dataset)]


def with_workers(config: Config, workers: int) -> Config:
    return replace(config, data=replace(config.data, workers=workers))


def images_per_second(dataset, config: Config, images: int) -> float:
    """Of the pipeline alone, once its workers run."""
    size = config.schedule.batch_size
    batches = iter(training_batches(dataset, config))
    next(batches)
    started, count = time.perf_counter(), images // size
    for _ in islice(batches, count):
        pass
    return count * size / (time.perf_counter() - started)


def peaks_along_an_epoch(dataset, config: Config) -> list[int]:
    """Peak resident memory after each of PARTS of an epoch, MiB: of the process that loads, the largest of several."""
    steps = len(dataset) // config.schedule.batch_size
    marks, peaks = {round(part * steps) for part in PARTS}, []
    for done, _ in enumerate(islice(training_batches(dataset, config), steps), 1):
        if done in marks:
            loaders = [child.pid for child in multiprocessing.active_children()] or [os.getpid()]
            peaks.append(max(map(peak_mib, loaders)))
    return peaks


def peak_mib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="voc12")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=4000, help="in an epoch, for the memory")
    parser.add_argument("--timed", type=int, default=400, help="images that a speed is taken from")
    parser.add_argument("--repeats", type=int, default=3, help="training steps that are timed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)

    with tempfile.TemporaryDirectory() as folder:
        config = Config.from_preset(given.preset, {**parse_overrides(given.overrides), "data.labels": folder})
        prepare(config.data)
        images = build_dataset(config.data, config.data.train_split, config.seed)
        dataset = Repeated(images, given.images)
        memory = {workers: peaks_along_an_epoch(dataset, with_workers(config, workers)) for workers in given.workers}
        speed = {workers: images_per_second(dataset, with_workers(config, workers), given.timed) for workers in given.workers}

        consumed = {}
        for precision in ("no", "bf16"):
            trainer = Trainer(replace(config, precision=precision), Path(folder) / precision, dataset)
            trainer.step = trainer.method.stage_ends[-1] - 1
            batch = next(iter(training_batches(dataset, with_workers(config, 0), views=trainer.method.views)))
            batch = {name: value.to(trainer.device) for name, value in batch.items()}
            seconds = profiling.seconds(lambda step=trainer.train_step, batch=batch: step(batch), given.repeats)
            consumed[precision] = config.schedule.batch_size / seconds

    print(f"\n{given.preset}, {config.clip.model}, {len(images)} images repeated, {given.threads} threads")
    for precision, rate in consumed.items():
        print(f"a training step (last stage, precision {precision}) consumes {rate:.2f} images/s")
    print(f"\n{'workers':<9}{'images/s':>9}" + "".join(f"{f'times {name}':>12}" for name in consumed) + f"{'peak MiB after':>18}")
    print(f"{'':<42}" + "".join(f"{part:>8.2f}" for part in PARTS) + "  of an epoch")
    for workers in given.workers:
        ratios = "".join(f"{speed[workers] / rate:>12.1f}" for rate in consumed.values())
        print(f"{workers:<9}{speed[workers]:>9.1f}{ratios}{'':<9}" + "".join(f"{peak:>8}" for peak in memory[workers]))


if __name__ == "__main__":
    main()
