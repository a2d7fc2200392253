"""How long the attribute browser takes to show a change: every control, several images, in milliseconds.

    python benchmarks/browser.py runs/partworld

Time is until the new picture is there; sending it to a browser comes on top. Where the machine is busy, processor time counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from vdalib.explore.browsing import MAPS, SEED
from vdalib.explore.plots import markdown_table
from vdalib.explore.widgets import AttributeBrowser

KINDS: dict[str, Callable[[AttributeBrowser], Iterable[dict]]] = {
    "image": lambda browser: [{"image": browser.settings["image"] + 1}],
    "class": lambda browser: [{"class_name": name} for name in reversed(browser.shown["classes"])],
    "components": lambda browser: [{"components": (number,)} for number in range(3)] + [{"components": ()}],
    "query": lambda browser: [{"query": kind} for kind in browser.shown["views"][0]["queries"][:3]],
    "map": lambda browser: [{"map": name} for name in (*MAPS[1:], SEED)],
    "pixel": lambda browser: [{"pixel": (x, 0.4)} for x in (0.2, 0.5, 0.8)] + [{"pixel": None}],
    "map of two views": lambda browser: [{"second": {}}, *({"second": {"map": name}} for name in MAPS), {"second": None}],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=20)
    given = parser.parse_args()
    browser = AttributeBrowser(given.run)
    taken = {name: [] for name in KINDS}
    for _ in range(given.images):
        for name, changes in KINDS.items():
            for change in changes(browser):
                start = np.array([time.perf_counter(), time.process_time()])
                browser.choose(**change)
                taken[name].append(1000 * (np.array([time.perf_counter(), time.process_time()]) - start))
    rows = [[name, len(own), *np.median(own, 0).tolist(), *np.max(own, 0).tolist()] for name, own in taken.items()]
    print(f"{given.run}, {torch.get_num_threads()} thread(s); an image is new to CLIP each time\n")
    print(markdown_table(["a change of", "times", "median, ms", "of a processor", "slowest, ms", "of a processor"], rows))


if __name__ == "__main__":
    main()
