"""How long the attribute browser takes to show a change: every control, several images, in milliseconds.

    python benchmarks/browser.py runs/partworld

Time is until the new picture is there; sending it to a browser comes on top.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from vdalib.evaluation.profiling import timings
from vdalib.explore.browsing import MAPS
from vdalib.explore.plots import markdown_table
from vdalib.explore.widgets import AttributeBrowser

KINDS: dict[str, Callable[[AttributeBrowser], Iterable]] = {
    "image": lambda browser: [browser.image.value + 1],
    "class_name": lambda browser: [value for _, value in reversed(browser.class_name.options)],
    "components": lambda browser: [(value,) for _, value in browser.components.options[:3]],
    "query": lambda browser: browser.query.options,
    "map": lambda browser: (*MAPS[1:], MAPS[0]),
    "opacity": lambda browser: (0.3, 0.6),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=20)
    given = parser.parse_args()
    browser = AttributeBrowser(given.run)
    taken = {name: [] for name in KINDS}
    for _ in range(given.images):
        for name, values in KINDS.items():
            control = getattr(browser, name)
            for value in values(browser):
                if value != control.value:
                    taken[name] += [1000 * seconds for seconds in timings(partial(setattr, control, "value", value), 1, warmup=0)]
    rows = [[name, len(own), float(np.median(own)), float(np.max(own))] for name, own in taken.items()]
    print(f"{given.run}, {torch.get_num_threads()} thread(s); an image is new to CLIP each time\n")
    print(markdown_table(["a change of", "times", "median, ms", "slowest, ms"], rows))


if __name__ == "__main__":
    main()
