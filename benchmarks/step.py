"""A full training step against one plain open_clip image-encoder forward of the same batch, each in a process of its own.

    python benchmarks/step.py --preset voc12 --threads 2 clip.pretrained=null precision=bf16
    python benchmarks/step.py --methods all --preset voc12 clip.pretrained=null

The first splits a preset's step by part. The second compares methods, each at its own published crop, batch and schedule, in fp32
and bf16, splits VDA's by part, and keeps the numbers in `benchmarks/step.json`. Weights may be random (`clip.pretrained=null`):
time does not depend on them; `assembly.reliable_filter=false` then gives VDA's INN its prototypes. Without `data.root` the
pictures are noise of VOC's usual size, with one or two classes each.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from methods import alone, code_version, config_of

from vdalib.config import Config, parse_overrides
from vdalib.config.methods import BUILT_IN
from vdalib.explore.side_by_side import REFERENCE, steps
from vdalib.io import write_json

RESULTS = Path(__file__).with_suffix(".json")
KEEP_ALL = {"assembly.reliable_filter": False}  # random weights name no class right; VDA's INN has what a trained CLIP gives it


@dataclass
class Cost:
    """stages: name -> mean seconds of a step at the stage's end; parts: likewise, seconds of each part of the step.

    peak_gib: of the process, over all stages. hours: of the whole schedule. device: the GPU's name or "CPU".
    """

    stages: dict[str, float]
    parts: dict[str, dict[str, float]]
    peak_gib: float
    hours: float
    device: str


class Noise:
    """Pictures of VOC's usual size and names of its classes; picture i shows one class where i is even, else two."""

    def __init__(self, class_names: Sequence[str], size: int = 64):
        self.class_names, self.size = tuple(class_names), size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, i: int):
        import torch
        from torchvision import tv_tensors

        from vdalib.data.sample import Sample

        image = torch.randint(256, (3, 375, 500), dtype=torch.uint8, generator=torch.Generator().manual_seed(i))
        labels = torch.zeros(len(self.class_names), dtype=torch.bool)
        labels[[(i + k) % len(labels) for k in range(1 + i % 2)]] = True
        return Sample(tv_tensors.Image(image), labels, f"noise_{i}")


def _trainer(config: Config, folder: str, threads: int):
    import torch

    from vdalib.data import class_names
    from vdalib.training.trainer import Trainer

    torch.set_num_threads(threads)
    pictures = config.data.name in ("voc12", "coco14") and config.data.root is None
    return Trainer(config, folder, Noise(class_names(config.data)) if pictures else None)


def _batch(trainer) -> dict:
    from vdalib.data.loader import training_batches

    batches = training_batches(trainer.dataset, trainer.config, views=trainer.method.views)
    return {name: value.to(trainer.device) for name, value in next(iter(batches)).items()}


def plain_forward(config: Config, threads: int, repeats: int) -> float:
    """Median seconds of open_clip's own forward of a batch."""
    import torch

    from vdalib.clip import FrozenCLIP
    from vdalib.clip.dense import patch_grid, position_embedding
    from vdalib.evaluation import profiling
    from vdalib.training.devices import accelerator_for, autocast

    torch.set_num_threads(threads)
    device = accelerator_for(config.precision, None, Path()).device
    clip = FrozenCLIP.from_config(config.clip).to(device)
    clip.drop_text()
    # Under autocast PyTorch takes a path five times slower for sequence-first attention if weights need no gradient.
    visual = clip.model.visual.requires_grad_(True)
    images = torch.rand(config.schedule.batch_size, 3, config.data.crop, config.data.crop, device=device)
    position = position_embedding(visual.positional_embedding, visual.grid_size, patch_grid(visual, images))
    visual.positional_embedding = torch.nn.Parameter(position)

    def forward() -> None:
        with torch.no_grad(), autocast(device, config.precision):
            visual(images)

    return profiling.seconds(forward, repeats)


def training_step(config: Config, threads: int, repeats: int, parts: bool = False) -> Cost:
    """Steps at the end of every stage of a method, on one batch.

    A segmenter on CLIP shuns background here, so that untrained ones find the classes of every image, as trained ones do.
    """
    from vdalib.evaluation import profiling

    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(config, folder, threads)
        if hasattr(trainer.method, "segmenter"):
            trainer.method.segmenter.decoder.classify.bias.data[0] -= 10
        batch, ends, starts = _batch(trainer), trainer.method.stage_ends, (0, *trainer.method.stage_ends)
        known = {name: (end, end - start) for name, start, end in zip(trainer.method.stages, starts, ends) if end > start}
        seconds, split = {}, {}
        for name, (end, _) in known.items():
            trainer.step = end - 1
            seconds[name] = statistics.mean(profiling.timings(lambda: trainer.train_step(batch), repeats))
        peak = profiling.peak_memory_gib()
        for name, (end, _) in known.items() if parts else ():
            trainer.step = end - 1
            split[name] = profiling.part_seconds(lambda: trainer.train_step(batch), repeats)
        hours = sum(seconds[name] * steps for name, (_, steps) in known.items()) / 3600
    return Cost(seconds, split, peak, hours, profiling.device_name())


def by_part(config: Config, threads: int, repeats: int) -> str:
    """The step of one preset, stage by stage and part by part, in seconds and as ratio to the plain forward."""
    reference = alone(plain_forward, config, threads, repeats)
    cost = alone(training_step, config, threads, repeats, True)
    shape = (config.schedule.batch_size, 3, config.data.crop, config.data.crop)
    lines = [
        f"{config.preset}, {config.method}, {config.clip.model}, images {shape}, precision {config.precision}, {threads} threads",
        f"plain open_clip forward {reference:.3f} s; parts in s (ratio to it)\n",
        f"{'':<22}" + "".join(f"{name:>20}" for name in cost.stages),
    ]
    columns = [{**cost.parts[name], "whole step": seconds} for name, seconds in cost.stages.items()]
    for part in columns[0]:
        lines.append(f"{part:<22}" + "".join(f"{column[part]:>11.3f} ({column[part] / reference:5.2f})" for column in columns))
    return "\n".join([*lines, f"\npeak memory {cost.peak_gib:.2f} GiB (whole process)"])


def compared(methods: Sequence[str], preset: str, overrides: Mapping[str, Any], threads: int, repeats: int) -> Iterator[dict]:
    """One entry a method and precision, in turn; `plain_seconds` is of the reference method's crop and batch."""
    for precision in ("no", "bf16"):
        changes = {**overrides, "precision": precision}
        random = {"backbone.pretrained": None} if overrides.get("clip.pretrained", "") is None else {}
        plain = alone(plain_forward, config_of(REFERENCE, preset, changes), threads, repeats)
        for method in methods:
            config = config_of(method, preset, KEEP_ALL | changes | random)
            cost = alone(training_step, config, threads, repeats, method == REFERENCE)
            yield {
                "method": method,
                "preset": config.preset,
                "precision": precision,
                "device": cost.device,
                "threads": threads,
                "version": code_version(),
                "crop": config.data.crop,
                "batch_size": config.schedule.batch_size,
                "steps": config.schedule.total_steps,
                "plain_seconds": plain,
                "stage_seconds": cost.stages,
                "part_seconds": cost.parts,
                "hours": cost.hours,
                "peak_gib": cost.peak_gib,
            }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="partworld")
    parser.add_argument("--methods", nargs="+", choices=["all", *BUILT_IN], help="compare these")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    given = parser.parse_args(arguments)
    overrides = parse_overrides(given.overrides)
    if not given.methods:
        print(by_part(Config.from_preset(given.preset, overrides), given.threads, given.repeats))
        return
    methods = list(BUILT_IN) if "all" in given.methods else given.methods
    entries = []
    for entry in compared(methods, given.preset, overrides, given.threads, given.repeats):
        entries.append(entry)
        write_json(given.results, entries)
        print(f"{entry['method']}, precision {entry['precision']}: {entry['hours']:.1f} hours", flush=True)
    print(steps(entries))


if __name__ == "__main__":
    main()
