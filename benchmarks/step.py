"""Times a full training step of a preset, split by part, against one plain open_clip image-encoder forward in the same run.

    python benchmarks/step.py --preset voc12 --threads 2 data.root=DIR clip.pretrained=null precision=bf16

Weights may be random (`clip.pretrained=null`): time does not depend on them.
"""

from __future__ import annotations

import argparse
import copy
import tempfile

import torch

from vdalib.clip.dense import patch_grid, position_embedding
from vdalib.config import Config, parse_overrides
from vdalib.data.loader import training_batches
from vdalib.evaluation import profiling
from vdalib.training.trainer import STAGES, Trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="partworld")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = Config.from_preset(given.preset, parse_overrides(given.overrides))

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, folder)
        schedule = config.schedule
        firsts = (0, schedule.segmenter_steps, schedule.segmenter_steps + schedule.inter_steps)
        batches = training_batches(trainer.dataset, config, 0, 1, 0)
        batch = {name: value.to(trainer.device) for name, value in next(iter(batches)).items()}
        clip = trainer.clip
        images = (batch["images"] - clip.mean) / clip.std
        # Under autocast PyTorch takes a path five times slower for sequence-first attention if weights need no gradient.
        visual = copy.deepcopy(clip.model.visual).requires_grad_(True)
        position = position_embedding(visual.positional_embedding, visual.grid_size, patch_grid(visual, images))
        visual.positional_embedding = torch.nn.Parameter(position)

        def plain() -> None:
            with torch.no_grad(), trainer.accelerator.autocast():
                visual(images)

        reference = profiling.seconds(plain, given.repeats)
        shape = tuple(images.shape)
        print(f"{given.preset}, {config.clip.model}, images {shape}, precision {config.precision}, {given.threads} threads")
        print(f"plain open_clip forward {reference:.3f} s; parts in s (ratio to it)\n")
        print(f"{'':<22}" + "".join(f"{stage:>20}" for stage in STAGES))
        columns = []
        for first in firsts:
            trainer.step = first
            trainer.train_step(batch)
            parts = profiling.part_seconds(lambda: trainer.train_step(batch), given.repeats)
            columns.append(parts | {"whole step": profiling.seconds(lambda: trainer.train_step(batch), given.repeats)})
        for part in columns[0]:
            print(f"{part:<22}" + "".join(f"{column[part]:>11.3f} ({column[part] / reference:5.2f})" for column in columns))
        print(f"\npeak memory {profiling.peak_memory_gib():.2f} GiB (whole process)")


if __name__ == "__main__":
    main()
