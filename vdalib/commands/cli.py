"""`python -m vdalib COMMAND`: a thin face on the library."""

from __future__ import annotations

import argparse
import json
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vdalib.commands.notebooks import NOTEBOOKS


@contextmanager
def plain_errors() -> Iterator[None]:
    """What the user can mend is said in a line or two, without a traceback."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error


def run(given: Namespace) -> None:
    """Execute the training notebook in the run directory, then the evaluation notebook and print its table.

    A folder of one's own has no masks to evaluate with: its images are segmented and shown in report.html.
    """
    from vdalib.commands.notebooks import execute
    from vdalib.config import preset_names

    run_dir, overrides = _run_dir(given).resolve(), _overrides(given)
    preset = given.preset if given.preset in preset_names() else str(Path(given.preset).resolve())  # notebooks run elsewhere
    with plain_errors():
        overrides, own_folder = _ready_data(preset, overrides, run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    parameters = {"preset": preset, "run_dir": str(run_dir), "overrides": overrides}
    for name in ("02_staged_training",) if own_folder else ("02_staged_training", "05_evaluation"):
        print(f"{name}: running, the executed copy will be {run_dir / name}.ipynb", flush=True)
        execute(NOTEBOOKS / f"{name}.ipynb", run_dir / f"{name}.ipynb", parameters, cwd=run_dir)
    if own_folder:
        from vdalib.commands.report import segment_and_report

        print(f"\nlook at {segment_and_report(run_dir)} (masks, overlays and the executed notebook are beside it)")
        return
    metrics = json.loads((run_dir / "metrics.json").read_text())
    print(f"\n{'mIoU, %':<42}{'':>8}")
    for name, value in metrics["table"].items():
        print(f"{name:<42}{value:>8.1f}")
    print(f"\nmasks, figures and the executed notebooks: {run_dir}/")


def train(given: Namespace) -> None:
    from vdalib.config import Config
    from vdalib.training.trainer import Trainer

    Trainer(Config.from_preset(given.preset, _overrides(given)), _run_dir(given)).fit()


def segment(given: Namespace) -> None:
    """Segment files and folders; exits with 1 after the last image if some could not be segmented."""
    from vdalib.commands.segment import find_images, segment

    out = given.out or given.run / "segmented"
    with plain_errors():
        images, passed_over = find_images(given.images, out)
        flags = {"multi_scale": given.multi_scale, "crf": given.crf, "probabilities": given.probabilities}
        outcome = segment(given.run, images, out, **flags)
    if passed_over:
        path, reason = next(iter(passed_over.items()))
        print(f"{len(passed_over)} other files were passed over (hidden, or no image by name), the first is {path}: {reason}")
    print(f"{len(outcome.made)} segmented, {len(outcome.found)} were there already: {out}/masks and {out}/overlays")
    if outcome.failed:
        raise SystemExit("\n".join([f"{len(outcome.failed)} could not be segmented:", *outcome.failed.values()]))


def export(given: Namespace) -> None:
    """Write a run's masks for an annotation tool, or its network as ONNX."""
    from vdalib.commands.export import export

    wanted = {name: getattr(given, name) for name in ("masks", "images", "min_area", "confidence")}
    with plain_errors():
        print(export(given.run, given.format, given.out, **wanted))


def evaluate(given: Namespace) -> None:
    """Measure a trained run; several processes share the images and one of them writes RUN/evaluation.json."""
    from accelerate import PartialState

    from vdalib.evaluation.measuring import evaluate_run
    from vdalib.io import write_json

    state, out = PartialState(), given.run / "evaluation.json"
    with plain_errors():
        values = evaluate_run(given.run, not given.plain, _overrides(given), state.device, progress=state.is_main_process)
        if state.is_main_process:
            write_json(out, values)
            print(f"{json.dumps(values, indent=1)}\n{out}")


def prepare(given: Namespace) -> None:
    from vdalib.config import Config, parse_overrides
    from vdalib.data import prepare

    settings = {**parse_overrides(given.overrides), "data.root": given.root, "data.labels": given.labels}
    with plain_errors():
        config = Config.from_preset(given.preset, settings)
        prepare(config.data, download=not given.no_download)


def submit(given: Namespace) -> None:
    from vdalib.commands.submit import submit

    folder = submit(given.run, given.split, given.root)
    print(f"{folder}\nto upload: tar -czf results.tgz -C {given.run} {folder.relative_to(given.run)}")


def notebooks(given: Namespace) -> None:
    """Execute all notebooks at their defaults, one after another; those that open a run open the one that 02 trains."""
    from vdalib.commands.notebooks import defaults, execute

    run_dir = given.run_dir.resolve()
    run_dir.mkdir(parents=True, exist_ok=True)
    for path in sorted(NOTEBOOKS.glob("*.ipynb"), key=lambda path: (not path.stem.startswith("02"), path)):
        started = time.perf_counter()
        own = {"run_dir": str(run_dir)} if "run_dir" in defaults(path) else {}
        execute(path, run_dir / path.name, own, cwd=run_dir)
        print(f"{path.stem}: {(time.perf_counter() - started) / 60:.1f} min, executed copy {run_dir / path.name}", flush=True)


def sweep(given: Namespace) -> None:
    """Run a grid, print its table and list what failed."""
    from vdalib.commands.sweep import Sweep, summary

    with plain_errors():
        plan = Sweep.from_yaml(given.grid)
    outcomes = plan.run()
    print(summary(outcomes))
    print(f"\nall runs: {plan.out}/results.csv")
    if failed := [outcome for outcome in outcomes if outcome.error]:
        print(f"\n{len(failed)} of {len(outcomes)} failed; run the command again to repeat only those:")
        for outcome in failed:
            print(f"  {outcome.given}\n    {outcome.error}\n    see {outcome.notebook}")
        raise SystemExit(1)


def pretrain_clip(given: Namespace) -> None:
    from vdalib.pretraining.model_card import write_card
    from vdalib.pretraining.training import pretrain

    pretrain(given.out)
    print(json.dumps(write_card(given.out), indent=1))


def main(arguments: list[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    given.function(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vdalib", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(function, **options) -> argparse.ArgumentParser:
        command = commands.add_parser(function.__name__.replace("_", "-"), **options)
        command.set_defaults(function=function)
        return command

    data = argparse.ArgumentParser(add_help=False)
    data.add_argument("--root", "--data", help="root of the data set, for presets that need one")
    settings = argparse.ArgumentParser(add_help=False)
    settings.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="a setting, for example schedule.batch_size=8")
    named_preset = argparse.ArgumentParser(add_help=False)
    named_preset.add_argument("preset")
    training = argparse.ArgumentParser(add_help=False, parents=[data])
    training.add_argument("--preset", default="partworld", help="name of a preset or path of a YAML file")
    training.add_argument("--run-dir", type=Path, help="where everything goes (default runs/PRESET)")
    used_run = argparse.ArgumentParser(add_help=False)
    used_run.add_argument("--run", required=True, type=Path, help="directory of a trained run, such as runs/folder")

    add(
        run,
        parents=[training, settings],
        help="train and evaluate through the notebooks; with --preset folder train on your own pictures and report",
    )
    add(train, parents=[training, settings], help="train only; resumes; for `accelerate launch -m vdalib train`")

    command = add(
        segment,
        parents=[used_run],
        help="segment your pictures with a trained run",
        description="Writes OUT/masks/NAME.png (one byte a pixel: 0 background, then the run's classes) and "
        "OUT/overlays/NAME.jpg of every picture, upright as viewers show it. Stopped, it goes on where it was.",
    )
    command.add_argument("images", nargs="+", metavar="IMAGES", help="image files, or folders of them")
    command.add_argument("--out", type=Path, help="where masks and overlays go (default RUN/segmented)")
    command.add_argument("--multi-scale", action="store_true", help="average several sizes and mirrored views: better, slower")
    command.add_argument("--crf", action="store_true", help="let borders follow the picture's edges (DenseCRF): slower")
    command.add_argument("--probabilities", action="store_true", help="also write OUT/confidence/NAME.png, 16 bits a pixel")

    command = add(export, help="write a run's masks for an annotation tool, or its network as ONNX")
    command.add_argument("run", type=Path, metavar="RUN", help="directory of a trained run, such as runs/folder")
    command.add_argument("--format", required=True, help="coco, yolo, cvat, labelstudio, voc, fiftyone or onnx")
    command.add_argument("--out", type=Path, help="a new folder (default RUN/export/FORMAT)")
    command.add_argument("--masks", type=Path, help="the --out of `segment` (default RUN, or else RUN/segmented)")
    command.add_argument("--images", type=Path, help="folder of the pictures, to copy them beside their annotations")
    command.add_argument("--min-area", type=int, default=20, help="pixels; smaller segments are left out (default 20)")
    command.add_argument("--confidence", type=float, help="0 to 1; segments of less mean confidence are left out")

    command = add(
        evaluate,
        parents=[used_run, data, settings],
        help="mIoU of a run's seeds on its training images and of its masks on val; shares the images among processes",
    )
    command.add_argument("--plain", action="store_true", help="without multi-scale and CRF: quicker")

    command = add(
        prepare,
        parents=[data, named_preset, settings],
        help="verify or download a data set and write its image-level label files",
    )
    command.add_argument("--labels", help="folder for the label files and masks (default the root)")
    command.add_argument("--no-download", action="store_true", help="only verify; list what is missing")

    command = add(submit, parents=[data, used_run], help="segment a split of VOC in the layout of its evaluation server")
    command.add_argument("--split", default="test")

    command = add(notebooks, help="execute all notebooks at their defaults")
    command.add_argument("--run-dir", type=Path, default=Path("runs/notebooks"))

    command = add(sweep, help="run one notebook over a grid of parameters and seeds; resumes")
    command.add_argument("grid", type=Path, metavar="GRID.yaml")

    command = add(pretrain_clip, help="train the small CLIP of PartWorld again")
    command.add_argument("--out", type=Path, default=Path("runs/clip"))
    return parser


def _run_dir(given: Namespace) -> Path:
    return given.run_dir or Path("runs") / Path(given.preset).stem


def _overrides(given: Namespace) -> dict[str, Any]:
    from vdalib.config import parse_overrides

    return parse_overrides(given.overrides) | ({"data.root": str(Path(given.root).resolve())} if given.root else {})


def _ready_data(preset: str, overrides: dict[str, Any], run_dir: Path) -> tuple[dict[str, Any], bool]:
    """Prepare what is not prepared yet; the settings to train with, and whether the data are a folder of one's own."""
    from vdalib.clip.loading import require_words
    from vdalib.config import Config
    from vdalib.data import completed, prepare
    from vdalib.data.labels import label_file

    data = Config.from_preset(preset, overrides).data
    own_folder = data.name == "folder"
    if own_folder and data.labels is None:  # nothing is written among the pictures
        overrides = {**overrides, "data.labels": str(run_dir)}
        data = Config.from_preset(preset, overrides).data
        if data.root and run_dir.is_relative_to(data.root):
            raise ValueError(f"--run-dir {run_dir}: lies among the pictures of {data.root}; choose one outside")
    splits = (data.train_split, data.val_split)
    if own_folder or not all(label_file(data.labels or data.root or "", split).exists() for split in splits):
        prepare(data)
    require_words(completed(Config.from_preset(preset, overrides)))
    return overrides, own_folder
