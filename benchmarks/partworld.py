"""Milliseconds an image of PartWorld, one core: `OMP_NUM_THREADS=1 python benchmarks/partworld.py [images]`."""

from __future__ import annotations

import sys
import time

import numpy as np

from vdalib.data.partworld import PartWorld


def main(images: int = 500) -> None:
    world = PartWorld("clip")
    for name, make in (("layout", world.layout), ("image, masks and factors", world.render)):
        make(images)  # warm up
        times = []
        for i in range(images):
            start = time.perf_counter()
            make(i)
            times.append(1e3 * (time.perf_counter() - start))
        print(f"{name}: mean {np.mean(times):.2f} ms, 95th percentile {np.percentile(times, 95):.2f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
