"""From a data set to a trained and measured run by one command: the notebooks, watched."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from vdalib.commands.estimate import estimate
from vdalib.commands.notebooks import NOTEBOOKS, execute
from vdalib.commands.status import StatusLine
from vdalib.config import Config, preset_names
from vdalib.config.methods import method_class
from vdalib.config.sources import preset_paths

LEFT = {  # what a run leaves in its directory -> what it is
    "report.html": "the report: open it in a browser",
    "02_staged_training.ipynb": "the training, executed",
    "05_evaluation.ipynb": "the evaluation, executed",
    "metrics.json": "all measures",
    "metrics.jsonl": "losses and learning rate of every step",
    "masks": "label maps, one byte a pixel",
    "overlays": "the pictures under their masks",
    "figures": "all figures",
    "segmenter.safetensors": "the weights that inference needs",
    "checkpoints": "from which training goes on",
}


def run(preset: str, run_dir: Path, overrides: dict[str, Any]) -> None:
    """Execute the training notebook in the run directory, then the evaluation notebook and print its table.

    A folder of one's own has no masks to evaluate with: its images are segmented and shown in report.html.

    Raises ValueError for a method without VDA's three stages, which the training notebook shows.
    """
    run_dir = run_dir.resolve()
    preset = preset if preset in preset_names() else str(Path(preset).resolve())  # notebooks run elsewhere
    overrides = preset_paths(preset) | overrides
    _require_stages(Config.from_preset(preset, overrides).method)
    overrides, own_folder = _ready_data(preset, overrides, run_dir)
    print(estimate(Config.from_preset(preset, overrides), run_dir), flush=True)
    run_dir.mkdir(parents=True, exist_ok=True)
    parameters = {"preset": preset, "run_dir": str(run_dir), "overrides": overrides}
    for name in ("02_staged_training",) if own_folder else ("02_staged_training", "05_evaluation"):
        watched(NOTEBOOKS / f"{name}.ipynb", run_dir, parameters)
    if own_folder:
        from vdalib.commands.report import segment_and_report

        segment_and_report(run_dir)
    else:
        from vdalib.evaluation.measures import MEASURES, Measures

        print(f"\n{'mIoU, %':<42}{'':>8}")
        for name, value in Measures.read(run_dir / "metrics.json").table.items():
            print(f"{MEASURES.get(name, name):<42}{value:>8.1f}")
    print(f"\n{run_dir}/ now has")
    for name, meaning in LEFT.items():
        if (run_dir / name).exists():
            print(f"  {name + '/' * (run_dir / name).is_dir():<25}{meaning}")


def _require_stages(method: str) -> None:
    from vdalib.methods.visual_query import VisualQueryMethod

    if not issubclass(method_class(method), VisualQueryMethod):
        raise ValueError(
            f"method: {method!r} lacks VDA's three stages, which notebook 02 shows; use `vdalib train`, then `vdalib evaluate`"
        )


def watched(notebook: Path, run_dir: Path, parameters: dict[str, Any]) -> None:
    """Execute a notebook into the run directory under a line that says how far it is."""
    started, status = time.perf_counter(), StatusLine(notebook.stem)
    try:
        execute(notebook, run_dir / notebook.name, parameters, cwd=run_dir, watch=status)
    finally:
        status.clear()
    print(f"{notebook.stem}: {(time.perf_counter() - started) / 60:.1f} min, executed copy {run_dir / notebook.name}", flush=True)


def _ready_data(preset: str, overrides: dict[str, Any], run_dir: Path) -> tuple[dict[str, Any], bool]:
    """Prepare what is not prepared yet; the settings to train with, and whether the data are a folder of one's own."""
    data = Config.from_preset(preset, overrides).data
    own_folder = data.name == "folder"
    if own_folder and data.labels is None:  # nothing is written among the pictures
        overrides = {**overrides, "data.labels": str(run_dir)}
        data = Config.from_preset(preset, overrides).data
        if data.root and run_dir.is_relative_to(data.root):
            raise ValueError(f"--run-dir {run_dir}: lies among the pictures of {data.root}; choose one outside")
    from vdalib.clip.loading import require_words
    from vdalib.data import completed, is_prepared, prepare

    if own_folder or not is_prepared(data):
        prepare(data)
    require_words(completed(Config.from_preset(preset, overrides)))
    return overrides, own_folder
