"""The ablation of RESULTS.md and of 05_evaluation: every row is a training run of its own, over several seeds.

    python benchmarks/ablation.py [--preset partworld] [--seeds 0 1 2 3 4] [--rows "all" "M = 3"] [--jobs 2]

Each run is kept in `benchmarks/ablation.json` as soon as it ends, with the version of the code, and not repeated; tables are of
this version. Several such commands may run beside each other; give each its own rows.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import joblib
from filelock import FileLock
from methods import code_version

from vdalib.config import Config
from vdalib.evaluation.ablation import REPLAYED, by_row, present_entries
from vdalib.explore.ablation import aims, differences, means
from vdalib.io import write_json

KEYS = ("row", "seed", "preset", "precision")
RESULTS = Path(__file__).with_suffix(".json")
ROWS: dict[str, dict] = {
    "text template only": {"assembly.fusion": False, "assembly.enhancement": False},
    "+ VDAF": {"assembly.enhancement": False},
    "+ DSE": {"assembly.fusion": False},
    "all but the reliable filter": {"assembly.reliable_filter": False},
    "all": {},
    "text template only, cut 0.6": {
        "assembly.fusion": False,
        "assembly.enhancement": False,
        "refine.background_cut": 0.6,
    },
    "alpha 0.6": {"assembly.density": "static", "assembly.static_density": 0.6},
    "alpha 1": {"assembly.density": "static", "assembly.static_density": 1.0},
    "alpha literal": {"assembly.density": "literal"},
    "responses divided by D": {"assembly.response": "per_dimension"},
    "M = 3": {"mixture.attributes": 3},
    "M = 5": {"mixture.attributes": 5},
    "M = 8": {"mixture.attributes": 8},
    "M = 10": {"mixture.attributes": 10},
    "M = 15": {"mixture.attributes": 15},
    "class mean, no INN": {"method": "class_mean"},
    "k-means of 8 a class, no INN": {"method": "class_mean", "options.centres": 8},
    "ActNorm alone": {"flow.coupling": "none"},
    "without L_dis": {"mixture.discriminative_weight": 0.0},
    "attributes start at k-means": {"mixture.start": "kmeans"},
    "alpha 0.6, attributes start at k-means": {
        "assembly.density": "static",
        "assembly.static_density": 0.6,
        "mixture.start": "kmeans",
    },
    **{row: {"mixture.replay": count} for row, count in REPLAYED.items()},
    "replay of every class alike": {"mixture.replay_balanced": True},
    "permutations in the flow": {"flow.mixing": "permute"},
    "L_inter and L_intra divided by D": {"mixture.nll_scale": "per_dimension"},
    "permutations, losses divided by D": {"flow.mixing": "permute", "mixture.nll_scale": "per_dimension"},
    "stages of 30 and 20 %": {"schedule.segmenter_steps": 90, "schedule.inter_steps": 60},
    "centres learn at ten times the INN's rate": {"mixture.centre_lr_factor": 10.0},
    "centres learn as fast as the INN": {"mixture.centre_lr_factor": 1.0},
    "filter at 0.95": {"assembly.reliable_threshold": 0.95},
    "background cut 0.6": {"refine.background_cut": 0.6},
    "without the random walk": {"refine.random_walk": False},
    "one attention for all heads": {"clip.share_heads": True},
    "20 iterations of PAR": {"refine.par_iterations": 20},
    "segmenter of width 256": {"segmenter.width": 256},
    "affinity of 6 blocks": {"clip.affinity_blocks": 6},
    "calibration by the adapter": {"clip.calibration": "learnable"},
    "affinity labels from the prediction": {"schedule.prediction_joins": 0.8},
    "learning rate 1e-4": {"schedule.learning_rate": 1e-4},
    "batches of 4": {"schedule.batch_size": 4},
    "prediction at four scales": {"inference.scales": [0.7, 1.0, 1.2, 1.5]},
}


def distinct(rows: dict[str, dict], preset: str) -> dict[str, dict]:
    """The rows without those that, with this preset, an earlier one is already, or cannot be."""
    found: dict[str, Config] = {}
    for name, changes in rows.items():
        with suppress(ValueError):  # such as steps of stages in a schedule that is shorter
            config = Config.from_preset(preset, changes)
            if config not in found.values():
                found[name] = config
    return {name: rows[name] for name in found}


def keep(results: Path, entry: dict) -> None:
    """Add an entry to a file that other processes may add to at the same time; of two of one run the first stays."""
    with FileLock(results.with_suffix(".lock")):
        there = json.loads(results.read_text(encoding="utf-8")) if results.exists() else []
        if _key(entry) not in _keys(results):
            write_json(results, [*there, entry])


def train_and_measure(about: dict, changes: dict, measure: Callable[[str], dict], threads: int, results: Path) -> dict | None:
    """One run: train with the row's overrides, keep every measure of its directory; None where another process was faster."""
    import torch

    from vdalib.training.trainer import Trainer

    if _key(about) in _keys(results):
        return None
    torch.set_num_threads(threads)
    version = code_version()
    config = Config.from_preset(about["preset"], {**changes, "seed": about["seed"], "precision": about["precision"]})
    with tempfile.TemporaryDirectory() as folder:
        Trainer(config, folder).fit()
        entry = {**about, "version": version, **measure(folder)}
    keep(results, entry)
    return entry


def prototypes(run_dir: str) -> dict[str, list[int]]:
    """How many prototypes of each class the mixture learned from, replay aside; nothing where there is no mixture."""
    from vdalib.evaluation.run import Run

    mixture = Run.load(run_dir).mixture
    return {} if mixture is None else {"prototypes": mixture.gmm.met.tolist()}


def quality(run_dir: str) -> dict:
    """mIoU by every measure, and of each class [IoU, its standard error by bootstrap over images], multi-scale + CRF; percent.

    Beside them the prototypes of each class.
    """
    import numpy as np

    from vdalib.data import class_names
    from vdalib.evaluation.bootstrap import ImageCounts
    from vdalib.evaluation.measuring import CRF, measure_run

    names = ("background", *class_names(Config.of_run(run_dir).data))
    counts = ImageCounts(len(names))
    table = measure_run(run_dir, watch=lambda item: counts.update(item.maps[CRF], item.truth)).table
    iou, resampled = 100 * counts.iou(), 100 * counts.resampled_iou()
    occurs = [n for n, value in enumerate(iou) if value == value]
    per_class = {names[n]: [round(float(value), 2) for value in (iou[n], np.nanstd(resampled[:, n]))] for n in occurs}
    return {**table, "per_class": per_class, **prototypes(run_dir)}


def markdown(runs: list[dict]) -> str:
    """Means, paired differences and verdicts, for the terminal."""
    rows = by_row(runs)
    return "\n\n".join([means(rows), differences(rows), aims(rows)])


def main(
    description: str, rows: dict[str, dict], results: Path, measure: Callable[[str], dict], table: Callable[[list[dict]], str]
) -> None:
    """Make the runs that `results` lacks, one after another or in `--jobs` processes, and print the table."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="partworld")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="which")
    parser.add_argument("--rows", nargs="+", choices=list(rows))
    parser.add_argument("--precision", default="no", choices=("no", "bf16"), help="of training; no: fp32")
    parser.add_argument("--jobs", type=int, default=2, choices=range(1, 257), metavar="N")
    parser.add_argument("--results", type=Path, default=results)
    given = parser.parse_args()
    known = distinct(rows, given.preset)
    if missing := {*(given.rows or ())} - known.keys():
        parser.error(f"--rows: with preset {given.preset} {', '.join(missing)} is what another row is already, or cannot be")
    chosen = [name for name in known if given.rows is None or name in given.rows]
    try:  # before the trainings, not after
        with FileLock(given.results.with_suffix(".lock")):
            pass
    except OSError as error:
        parser.error(f"--results: {given.results} cannot be written ({error}); choose another file")
    wanted = [
        {"row": row, "seed": seed, "preset": given.preset, "precision": given.precision} for seed in given.seeds for row in chosen
    ]
    threads = max(joblib.cpu_count() // given.jobs, 1)
    runs = joblib.Parallel(n_jobs=given.jobs, return_as="generator_unordered")(
        joblib.delayed(train_and_measure)(about, rows[about["row"]], measure, threads, given.results)
        for about in wanted
        if _key(about) not in _keys(given.results)
    )
    for run in filter(None, runs):
        measures = ", ".join(f"{name} {value:.1f}" for name, value in run.items() if isinstance(value, float))
        print(f"{run['row']:<30} seed {run['seed']}: {measures}", flush=True)
    of_these = (given.preset, given.precision)
    print(table([run for run in present_entries(given.results) if (run["preset"], run["precision"]) == of_these]))


def _key(entry: dict) -> tuple:
    return tuple(entry[name] for name in KEYS)


def _keys(results: Path) -> set[tuple]:
    return {_key(entry) for entry in present_entries(results)}


if __name__ == "__main__":
    main(__doc__, ROWS, RESULTS, quality, markdown)
