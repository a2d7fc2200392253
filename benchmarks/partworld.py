"""What PartWorld is like and what it costs: `OMP_NUM_THREADS=1 python benchmarks/partworld.py [images]`.

Milliseconds an image on one core (processor time, the least of three runs for each image), how much of a picture is objects,
how many objects the border cuts, and how often a training view shows an object without some of its parts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
import torch

from vdalib.data.partworld import PARTS, PartWorld
from vdalib.data.partworld.world import MIN_AREA, MIN_PART_AREA


def views(world: PartWorld, crop: int, scale: tuple[float, float], seed: int = 0) -> Iterator[bool]:
    """Of each object in one training view of each image: whether all the parts show that it was drawn with.

    Objects of which fewer than MIN_AREA px are in the view are left out; a part is seen from MIN_PART_AREA px on.
    """
    for i in range(len(world)):
        drawn = world.render(i)
        generator = torch.Generator().manual_seed(seed + i)
        _, size, *corner = torch.rand(4, generator=generator).tolist()
        factor = scale[0] + size * (scale[1] - scale[0])
        window = tuple([_window(side, factor, place, crop) for side, place in zip(drawn.owner.shape, corner)])
        for n, thing in enumerate(drawn.factors.objects):
            mine = drawn.owner[window] == n + 1
            area = factor**2 * np.bincount(drawn.part_mask[window][mine], minlength=len(PARTS) + 1)[1:]
            if area.sum() >= MIN_AREA:
                parts = {part for (name, part), px in zip(PARTS, area) if name == thing.class_name and px >= MIN_PART_AREA}
                yield parts >= set(thing.part_colours)


def _window(side: int, factor: float, place: float, crop: int) -> slice:
    """Which px of a side the loader's crop shows of an image scaled by factor."""
    scaled = round(side * factor)
    start = int(place * (abs(scaled - crop) + 1)) if scaled > crop else 0
    return slice(round(start / factor), round((start + crop) / factor))


def main(images: int = 500) -> None:
    world = PartWorld("train", size=images)
    for name, make in (("layout", world.layout), ("image, masks and factors", world._draw)):
        make(0)  # warm up
        times = np.full((3, images), np.inf)
        for run in times:
            for i in range(images):
                start = time.thread_time()
                make(i)
                run[i] = 1e3 * (time.thread_time() - start)
        times = times.min(0)
        print(f"{name}: mean {np.mean(times):.2f} ms, 95th percentile {np.percentile(times, 95):.2f} ms")
    drawn = [world.render(i) for i in range(images)]
    things = [(thing, one.mask.shape) for one in drawn for thing in one.factors.objects]
    cut = [min(t.bbox[:2]) == 0 or t.bbox[2] == shape[1] or t.bbox[3] == shape[0] for t, shape in things]
    print(f"objects: {len(things) / images:.2f} an image, covering {np.mean([(one.mask > 0).mean() for one in drawn]):.3f} of it")
    print(f"at the border: {np.mean(cut):.3f} of objects")
    for scale in ((0.5, 2.0), (0.8, 1.25)):
        lacking = 1 - np.mean([*views(world, 96, scale)])
        print(f"views at scales {scale}, crop 96: {lacking:.3f} of objects lack a part")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
