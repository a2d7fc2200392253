"""Table 1 on PartWorld: every method on the same images, crops, number of images seen and inference, over several seeds.

    python benchmarks/methods.py [--methods vda excel] [--seeds 0 1 2 3 4] [--preset partworld]

Each training has a process of its own, one after another, the methods in turn, so that a drifting machine is fair to all of them.
Finished ones are kept in `benchmarks/methods.json` at once, with the code's version, and not repeated; a table is of one version.
What each method has other than its source's settings for VOC is listed in docs/own_methods.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import vdalib
from vdalib.config import Config, preset_names
from vdalib.config.methods import BUILT_IN
from vdalib.explore.side_by_side import MEASURES, compared
from vdalib.io import write_json

RESULTS = Path(__file__).with_suffix(".json")
NUMBERS_NEED = ("../vdalib", "../data", ":!../vdalib/explore", ":!../vdalib/commands")  # what a run's numbers depend on


def config_of(method: str, preset: str, changes: Mapping[str, Any] | None = None) -> Config:
    """A method at the scale of a preset: its own METHOD, METHOD-smoke or METHOD-voc12 where there is one, else the preset itself.

    >>> config_of("weclip", "voc12").preset, config_of("excel", "partworld").preset, config_of("text", "partworld").preset
    ('weclip-voc12', 'excel', 'partworld')
    """
    own = "-".join(filter(None, (method, preset.removeprefix("partworld").lstrip("-"))))
    if own in preset_names():
        return Config.from_preset(own, changes)
    return Config.from_preset(preset, {"method": method, **(changes or {})})


def require_fair(configs: Sequence[Config]) -> None:
    """ValueError unless all see the same data, as much of it, and are asked in the same way."""
    first = configs[0]
    for config in configs[1:]:
        for name in ("data", "inference", "schedule.total_steps", "schedule.batch_size"):
            section, _, key = name.partition(".")
            found, expected = (getattr(one, section) for one in (config, first))
            if key:
                found, expected = getattr(found, key), getattr(expected, key)
            if found != expected:
                raise ValueError(f"{config.preset}: {name}: found {found}, expected {expected} as in {first.preset}")


def alone(function: Callable, *arguments: Any) -> Any:
    """What a call returns that has a process for itself, whose peak memory is then the call's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def code_version() -> str:
    """The package's version and, in a repository, the last commit that touched what numbers depend on; "+": changed since."""

    def git(*words: str) -> str:
        command = ["git", *words, "--", *NUMBERS_NEED]
        return subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True).stdout.strip()

    return f"{vdalib.__version__} {git('log', '-1', '--format=%h')}{'+' if git('status', '--porcelain') else ''}".strip()


def train_and_measure(method: str, preset: str, seed: int, precision: str, threads: int) -> dict[str, Any]:
    """One training and its numbers: seconds of `fit`, peak memory of the process so far in GiB, mIoU in percent.

    Also the pixels of each class, [false, right], in masks with multi-scale and CRF; of ExCEL its `separation`, mean over the ten
    steps before its adapter calibrates.
    """
    import torch

    from vdalib.evaluation import ConfusionMatrix, profiling
    from vdalib.evaluation.measuring import CRF, measure_run
    from vdalib.training.trainer import Trainer

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config_of(method, preset, {"seed": seed, "precision": precision}), folder)
        start = time.perf_counter()
        trainer.fit()
        cost = {"seconds": time.perf_counter() - start, "peak_gib": profiling.peak_memory_gib()}
        classes = trainer.dataset.class_names
        matrix = ConfusionMatrix(len(classes) + 1)
        quality = measure_run(folder, device=trainer.device, watch=lambda item: matrix.update(item.maps[CRF], item.truth)).table
        logged = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    right, predicted = matrix.counts.diagonal(), matrix.counts.sum(0)
    pixels = {name: [int(predicted[k] - right[k]), int(right[k])] for k, name in enumerate(classes, start=1)}
    schedule = trainer.config.schedule
    before = range(schedule.first_step(schedule.adapter_joins))[-10:]
    separation = [row["separation"] for row in logged if "separation" in row and row["step"] in before]
    return (
        cost
        | {name: quality[name] for name in MEASURES}
        | {"pixels": pixels}
        | ({"separation": sum(separation) / len(separation)} if separation else {})
    )


def caption(methods: Sequence[str], preset: str, runs: Sequence[Mapping[str, Any]]) -> str:
    """What the table's methods have different from the preset, and by which code it was made."""
    base = Config.from_preset(preset)
    lines = []
    for name in methods:
        changes = [said for setting, said in base.differences(config_of(name, preset)).items() if setting != "method"]
        lines.append(f"{name}: {'; '.join(changes) or 'none'}")
    versions, where = ({run[key] for run in runs} for key in ("version", "precision"))
    made = f"vdalib {', '.join(sorted(versions))}, precision {', '.join(sorted(where))}, preset {preset}"
    return "\n".join(
        [f"mIoU in percent. {made}. Settings that differ from the preset's, as the methods' sources scale them:", *lines]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(BUILT_IN), choices=list(BUILT_IN))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--preset", default="partworld")
    parser.add_argument("--precision", default="no", choices=("no", "bf16"), help="of training; no: fp32")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    require_fair([config_of(method, given.preset) for method in given.methods])
    done = json.loads(given.results.read_text(encoding="utf-8")) if given.results.exists() else []
    version = code_version()
    about = {"preset": given.preset, "precision": given.precision, "threads": given.threads, "version": version}
    shown = [run for run in done if about.items() <= run.items()]
    have = {(run["seed"], run["method"]) for run in shown}
    wanted = [pair for pair in product(given.seeds, given.methods) if pair not in have]
    for number, (seed, method) in enumerate(wanted, start=1):
        if (now := code_version()) != version:
            raise SystemExit(f"the code is {now} and was {version}; start again, in a checkout that nobody changes")
        numbers = alone(train_and_measure, method, given.preset, seed, given.precision, given.threads)
        shown.append({"method": method, "seed": seed, **about, **numbers})
        done.append(shown[-1])
        write_json(given.results, done)
        told = ", ".join(f"{name} {value:.2f}" for name, value in numbers.items() if name != "pixels")
        print(f"{number}/{len(wanted)}: {method}, seed {seed}: {told}", flush=True)
    print(compared(shown))
    print(caption([name for name in BUILT_IN if any(run["method"] == name for run in shown)], given.preset, shown))
    if others := len(done) - len(shown):
        print(f"left out: {others} runs of another version, preset, precision or number of threads")


if __name__ == "__main__":
    main()
