"""The ablation of RESULTS.md and of 05_evaluation: every row is a training run of its own, over several seeds.

    python benchmarks/ablation.py [--preset partworld] [--seeds 0 1 2] [--jobs 2]

Finished runs are kept in `benchmarks/ablation.json` with the version of the code and not repeated; the table is of this version.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import joblib

from vdalib import __version__
from vdalib.config import Config
from vdalib.explore.plots import markdown_table, mean_and_error
from vdalib.io import write_json

MEASURES = {
    "text_seed_miou": "seeds, text",
    "seed_miou": "seeds, query",
    "miou": "val",
    "miou_ms_crf": "val, multi-scale + CRF",
}
RESULTS = Path(__file__).with_suffix(".json")
ROWS: dict[str, dict] = {
    "text template only": {"assembly.fusion": False, "assembly.enhancement": False},
    "text template only, its best cut": {
        "assembly.fusion": False,
        "assembly.enhancement": False,
        "refine.background_cut": 0.6,
    },
    "+ VDAF": {"assembly.enhancement": False},
    "+ DSE": {"assembly.fusion": False},
    "all but the reliable filter": {"assembly.reliable_filter": False},
    "all": {},
    "alpha 0.6": {"assembly.density": "static", "assembly.static_density": 0.6},
    "alpha 1": {"assembly.density": "static", "assembly.static_density": 1.0},
    "alpha literal": {"assembly.density": "literal"},
    "responses divided by D": {"assembly.response": "per_dimension"},
    "M = 3": {"mixture.attributes": 3},
    "M = 5": {"mixture.attributes": 5},
    "M = 10": {"mixture.attributes": 10},
    "M = 15": {"mixture.attributes": 15},
    "class mean, no INN": {"method": "class_mean"},
    "nearest of 8 class means, no INN": {"method": "class_mean", "options.centres": 8},
    "ActNorm alone": {"flow.coupling": "none"},
    "without L_dis": {"mixture.discriminative_weight": 0.0},
    "attributes start at k-means": {"mixture.start": "kmeans"},
    "15 replayed updates after each": {"mixture.replay": 15},
    "with the random walk": {"refine.random_walk": True},
    "one attention for all heads": {"clip.share_heads": True},
}


def train_and_measure(
    changes: dict, measure: Callable[[str], dict], preset: str, name: str, seed: int, precision: str, threads: int
) -> dict:
    """One run: train with the row's overrides, then every measure of its directory."""
    import torch

    from vdalib.training.trainer import Trainer

    torch.set_num_threads(threads)
    config = Config.from_preset(preset, {**changes, "seed": seed, "precision": precision})
    with tempfile.TemporaryDirectory() as folder:
        Trainer(config, folder).fit()
        settings = {"version": __version__, "seed": seed, "preset": preset, "precision": precision}
        return {"row": name, **settings, **measure(folder)}


def quality(run_dir: str) -> dict:
    from vdalib.evaluation.measuring import evaluate_run

    return evaluate_run(run_dir)


def markdown(runs: list[dict]) -> str:
    """All measures of every row for the terminal: mean over seeds +- standard error of the mean, in percent."""
    table = []
    for row in ROWS:
        columns = [[run[measure] for run in runs if run["row"] == row] for measure in MEASURES]
        if len(columns[0]) > 1:
            table.append([row, *map(mean_and_error, columns)])
    return markdown_table(["", *MEASURES.values()], table)


def main(
    description: str, rows: dict[str, dict], results: Path, measure: Callable[[str], dict], table: Callable[[list[dict]], str]
) -> None:
    """Make the runs that `results` lacks, one after another or in `--jobs` processes, and print the table."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="partworld")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", default=list(rows), choices=list(rows))
    parser.add_argument("--precision", default="bf16", choices=("no", "bf16"))
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    done = json.loads(results.read_text()) if results.exists() else []
    have = {(run["row"], run["seed"], run["preset"]) for run in done if run["version"] == __version__}
    wanted = [(given.preset, row, seed) for seed in given.seeds for row in given.rows if (row, seed, given.preset) not in have]
    threads = max(joblib.cpu_count() // given.jobs, 1)
    runs = joblib.Parallel(n_jobs=given.jobs, return_as="generator_unordered")(
        joblib.delayed(train_and_measure)(rows[run[1]], measure, *run, given.precision, threads) for run in wanted
    )
    for run in runs:
        done.append(run)
        write_json(results, done)
        measures = ", ".join(f"{name} {value:.1f}" for name, value in run.items() if isinstance(value, float))
        print(f"{run['row']:<30} seed {run['seed']}: {measures}", flush=True)
    print(table([run for run in done if run["version"] == __version__]))


if __name__ == "__main__":
    main(__doc__, ROWS, RESULTS, quality, markdown)
