"""What attribute components mean, over several seeds: the mixture as the paper fits it and our option, beside baselines.

    python benchmarks/attributes.py [--preset partworld] [--seeds 5] [--jobs 2]

Finished runs are kept in `benchmarks/attributes.json` with the version of the code, and not repeated; the table is of this one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ablation import main

from vdalib.explore.plots import markdown_table

RESULTS = Path(__file__).with_suffix(".json")
ROWS: dict[str, dict] = {
    "instances only": {"mixture.patch_attributes": 0},
    "+ 8 patches, k-means start": {"mixture.patch_attributes": 8, "mixture.start": "kmeans"},
}
VAL_IMAGES, PERMUTATIONS = 600, 499  # the first 200 of them are those of the run's own val split


def measure(run_dir: str) -> dict:
    from vdalib.data.partworld import PartWorld
    from vdalib.evaluation.measuring import evaluate_run
    from vdalib.evaluation.measuring_attributes import attribute_report, observe
    from vdalib.evaluation.run import Run

    run = Run.load(run_dir)
    train, val = observe(run, run.dataset("train")), observe(run, PartWorld("val", run.config.seed, VAL_IMAGES))
    report = attribute_report(run, train, val, PERMUTATIONS)
    for factors in report["instances"].values():
        for numbers in factors.values():
            del numbers["classes"]  # some 60 samples each, in 30 tables: too many lines to keep
    return {**evaluate_run(run_dir), "attributes": report}


def markdown(runs: list[dict]) -> str:
    """Mean over seeds +- standard error: of instances the NMI (mean under permutation), of patches and peaks all measures."""

    def cell(numbers: list[dict], name: str, null: str = "") -> str:
        values = [one[name] for one in numbers]
        text = f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"
        return text + (f" ({np.mean([one[null] for one in numbers]):.3f})" if null else "")

    tables = {"instances": [], "patches": []}
    for row in ROWS:
        reports = [run["attributes"] for run in runs if run["row"] == row]
        if len(reports) < 2:
            continue
        for method in reports[0]["patches"]:
            name = f"{row}: {method}" if row != next(iter(ROWS)) else method
            if method in reports[0]["instances"]:
                factors = reports[0]["instances"][method]
                cells = [cell([one["instances"][method][factor] for one in reports], "nmi", "null_nmi") for factor in factors]
                tables["instances"].append([name, *cells])
            patches, games = ([one[unit][method] for one in reports] for unit in ("patches", "pointing"))
            cells = [cell(patches, "nmi", "null_nmi"), cell(patches, "ari"), cell(patches, "purity")]
            tables["patches"].append([name, *cells, cell(games, "consistency", "null_consistency"), cell(games, "favourites")])
    if not tables["patches"]:
        return "fewer than two seeds of any row"
    heads = {"instances": list(factors), "patches": ["part NMI", "part ARI", "purity", "pointing", "favourite parts"]}
    return "\n\n".join(markdown_table([f"{unit}, NMI" * (unit == "instances"), *heads[unit]], tables[unit]) for unit in tables)


if __name__ == "__main__":
    main(__doc__, ROWS, RESULTS, measure, markdown)
