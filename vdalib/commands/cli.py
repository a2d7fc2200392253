"""`vdalib COMMAND`: a thin face on the library. Arguments are checked before anything heavy is imported."""

from __future__ import annotations

import argparse
import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, NoReturn

from vdalib import __version__
from vdalib.commands.errors import plain_errors
from vdalib.config.schema import did_you_mean

EXPORTS = ("coco", "yolo", "cvat", "labelstudio", "voc", "fiftyone", "onnx")


def run(given: Namespace) -> None:
    from vdalib.commands.run import run

    run(given.preset, _run_dir(given), _config(given)[1])


def train(given: Namespace) -> None:
    config, _ = _config(given)
    from vdalib.evaluation.validation import validation
    from vdalib.training.trainer import Trainer

    trainer = Trainer(config, _run_dir(given))
    trainer.fit(validate=validation(trainer.config, trainer.device))


def segment(given: Namespace) -> None:
    """Segment files and folders; exits with 1 after the last image if some could not be segmented."""
    _of_run(given)
    from vdalib.commands.segment import find_images, segment
    from vdalib.data.images import printable

    out = given.out or given.run / "segmented"
    images, passed_over = find_images(given.images, out)
    flags = {"multi_scale": given.multi_scale, "crf": given.crf, "probabilities": given.probabilities}
    outcome = segment(given.run, images, out, **flags)
    if passed_over:
        path, reason = next(iter(passed_over.items()))
        told = f"{len(passed_over)} other files were passed over (hidden, or no image by name)"
        print(f"{told}, the first is {printable(str(path))}: {reason}")
    print(f"{len(outcome.made)} segmented, {len(outcome.found)} were there already: {out}/masks and {out}/overlays")
    if outcome.failed:
        raise SystemExit("\n".join([f"{len(outcome.failed)} could not be segmented:", *outcome.failed.values()]))


def export(given: Namespace) -> None:
    """Write a run's masks for an annotation tool, or its network as ONNX."""
    _of_run(given)
    from vdalib.commands.export import export

    wanted = {name: getattr(given, name) for name in ("masks", "images", "min_area", "confidence")}
    print(export(given.run, given.format, given.out, **wanted))


def evaluate(given: Namespace) -> None:
    """Measure a trained run; several processes share the images and one of them writes RUN/evaluation.json."""
    overrides = _of_run(given)
    from accelerate import PartialState

    from vdalib.evaluation.comparison import Record
    from vdalib.evaluation.measuring import measure_run

    state, out = PartialState(), given.run / "evaluation.json"
    measures = measure_run(given.run, not given.plain, overrides, state.device, progress=state.is_main_process)
    if state.is_main_process:
        measures.write(out)
        print(f"{json.dumps(measures.table, indent=1)}\n{out}")
        if unfinished := Record.read(given.run).unfinished:
            print(f"{given.run}: training has not ended ({unfinished}), these are numbers of its weights so far", file=sys.stderr)


def prepare(given: Namespace) -> None:
    names, given.overrides = _parted(given.overrides)
    if len(names) != 1:
        raise ValueError(f"prepare: expected the name of one preset, such as voc12, got {' '.join(names) or 'none'}")
    given.preset = names[0]
    config, _ = _config(given, {"data.labels": given.labels} if given.labels else {})
    from vdalib.data import prepare

    prepare(config.data, download=not given.no_download)


def submit(given: Namespace) -> None:
    _of_run(given)
    from vdalib.commands.submit import submit

    folder = submit(given.run, given.split, given.root)
    print(f"{folder}\nto upload: tar -czf results.tgz -C {given.run} {folder.relative_to(given.run)}")


def compare(given: Namespace) -> None:
    from vdalib.config import Config

    for folder in given.runs:
        Config.of_run(folder)
    from vdalib.commands.compare import compare

    print(compare(given.runs, given.out, given.measure, given.csv))
    print(f"\ntables and figures: {given.out}/", file=sys.stderr)


def notebooks(given: Namespace) -> None:
    """Execute all notebooks at their defaults, one after another; those that open a run open the one that 02 trains."""
    from vdalib.commands.notebooks import find_notebooks, parameters_of
    from vdalib.commands.run import watched
    from vdalib.io import require_folder

    run_dir = given.run_dir.resolve()
    found = sorted(find_notebooks(), key=lambda path: (not path.stem.startswith("02"), path))
    require_folder(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    for path in found:
        watched(path, run_dir, {"run_dir": str(run_dir)} if "run_dir" in parameters_of(path) else {})


def sweep(given: Namespace) -> None:
    """Run a grid, print its table and list what failed."""
    from vdalib.commands.sweep import Sweep, summary

    plan = Sweep.from_yaml(given.grid)
    outcomes = plan.run(lambda line: print(line, flush=True))
    print(f"\n{summary(outcomes)}\n\nall runs: {plan.out}/results.csv")
    if failed := [outcome for outcome in outcomes if outcome.error]:
        print(f"\n{len(failed)} of {len(outcomes)} failed; run the command again to repeat only those:")
        for outcome in failed:
            print(f"  {outcome}")
        raise SystemExit(1)


def pretrain_clip(given: Namespace) -> None:
    from vdalib.pretraining.model_card import write_card
    from vdalib.pretraining.training import pretrain

    pretrain(given.out)
    print(json.dumps(write_card(given.out), indent=1))


def presets(given: Namespace) -> None:
    from vdalib.commands.listing import preset_lines

    print("\n".join(preset_lines()))


def settings(given: Namespace) -> None:
    from vdalib.commands.listing import setting_lines

    prefixes, given.overrides = _parted(given.overrides)
    print("\n".join(setting_lines(_config(given)[0], prefixes)))


def main(arguments: list[str] | None = None) -> None:
    given = _parsed(sys.argv[1:] if arguments is None else arguments)
    with plain_errors(given.traceback, given.stopped):
        given.function(given)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SystemExit(f"error: {message} (see `{self.prog} --help`)")


def _parsed(words: list[str]) -> Namespace:
    """The command line; settings and other words may stand anywhere among the options."""
    parser, commands = _parser()
    if not words:
        parser.print_help()
        raise SystemExit(0)
    if words[0].startswith("-"):
        return parser.parse_args(words)
    if words[0] not in commands:
        parser.error(f"unknown command '{words[0]}' ({did_you_mean(words[0], commands)})")
    command = commands[words[0]]
    given, unknown = command.parse_known_intermixed_args(words[1:])
    if unknown:
        options = [option for action in command._actions for option in action.option_strings if option.startswith("--")]
        command.error(f"unknown option '{unknown[0]}' ({did_you_mean(unknown[0], options)})")
    return given


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = _Parser(prog="vdalib", description="Visual Description Assembly: masks from image-level labels.")
    parser.add_argument("--version", action="version", version=f"vdalib {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--traceback", action="store_true", help="show where in the code an error came from")

    def add(function, parents=(), stopped: str = "", **options) -> argparse.ArgumentParser:
        command = commands.add_parser(function.__name__.replace("_", "-"), parents=[*parents, common], **options)
        command.set_defaults(function=function, stopped=stopped)
        return command

    data = argparse.ArgumentParser(add_help=False)
    data.add_argument("--root", "--data", help="root of the data set, for presets that need one")
    settings_of = argparse.ArgumentParser(add_help=False)
    settings_of.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="a setting, for example schedule.batch_size=8")
    chosen_preset = argparse.ArgumentParser(add_help=False)
    chosen_preset.add_argument("--preset", default="partworld", help="name of a preset or path of a YAML file")
    training = argparse.ArgumentParser(add_help=False, parents=[data, chosen_preset])
    training.add_argument("--run-dir", type=Path, help="where everything goes (default runs/PRESET)")
    used_run = argparse.ArgumentParser(add_help=False)
    used_run.add_argument("--run", required=True, type=Path, help="directory of a trained run, such as runs/folder")
    goes_on = "the same command goes on from there"

    add(
        run,
        parents=[training, settings_of],
        stopped=goes_on,
        help="train and evaluate through the notebooks; with --preset folder train on your own pictures and report",
    )
    add(
        train,
        parents=[training, settings_of],
        stopped=goes_on,
        help="train only; resumes; for `accelerate launch -m vdalib train`",
    )

    command = add(
        segment,
        parents=[used_run],
        stopped=goes_on,
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
    command.add_argument("--format", required=True, choices=EXPORTS, help="%(choices)s", metavar="FORMAT")
    command.add_argument("--out", type=Path, help="a new folder (default RUN/export/FORMAT)")
    command.add_argument("--masks", type=Path, help="the --out of `segment` (default RUN, or else RUN/segmented)")
    command.add_argument("--images", type=Path, help="folder of the pictures, to copy them beside their annotations")
    command.add_argument("--min-area", type=int, default=20, help="pixels; smaller segments are left out (default 20)")
    command.add_argument("--confidence", type=float, help="0 to 1; segments of less mean confidence are left out")

    command = add(
        evaluate,
        parents=[used_run, data, settings_of],
        help="mIoU of a run's seeds on its training images and of its masks on val; shares the images among processes",
    )
    command.add_argument("--plain", action="store_true", help="without multi-scale and CRF: quicker")

    command = add(
        compare,
        help="runs side by side: settings, measures, IoU by class, curves",
        description="The others are compared with the first run; runs that differ in their seeds only are one variant.",
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories")
    command.add_argument("--measure", help="whose IoU by class is shown, such as miou (default the best that all runs have)")
    command.add_argument("--csv", action="store_true", help="print CSV instead of Markdown")
    command.add_argument("--out", type=Path, default=Path("runs/comparison"), help="where tables and figures go")

    command = add(
        prepare,
        parents=[data],
        stopped=goes_on,
        help="verify or download a data set and write its image-level label files",
    )
    command.add_argument("overrides", nargs="+", metavar="PRESET", help="its name, and settings KEY=VALUE")
    command.add_argument("--labels", help="folder for the label files and masks (default the root)")
    command.add_argument("--no-download", action="store_true", help="only verify; list what is missing")

    command = add(
        submit, parents=[data, used_run], stopped=goes_on, help="segment a split of VOC in the layout of its evaluation server"
    )
    command.add_argument("--split", default="test")

    command = add(notebooks, help="execute all notebooks at their defaults")
    command.add_argument("--run-dir", type=Path, default=Path("runs/notebooks"))

    command = add(
        sweep,
        stopped="the same command goes on with what has not finished",
        help="run one notebook over a grid of parameters and seeds; resumes",
    )
    command.add_argument("grid", type=Path, metavar="GRID.yaml")

    command = add(pretrain_clip, help="train the small CLIP of PartWorld again")
    command.add_argument("--out", type=Path, default=Path("runs/clip"))

    add(presets, help="list the presets")
    command = add(settings, parents=[chosen_preset], help="list settings: value, meaning, trust tags")
    command.set_defaults(root=None)
    command.add_argument("overrides", nargs="*", metavar="PREFIX", help="such as schedule, or options method=toco")
    return parser, commands.choices


def _parted(words: list[str]) -> tuple[list[str], list[str]]:
    """Names and settings, which stand among each other."""
    return [word for word in words if "=" not in word], [word for word in words if "=" in word]


def _run_dir(given: Namespace) -> Path:
    return given.run_dir or Path("runs") / Path(given.preset).stem


def _overrides(given: Namespace) -> dict[str, Any]:
    from vdalib.config import parse_overrides
    from vdalib.config.sources import resolved

    return resolved(parse_overrides(given.overrides) | ({"data.root": str(given.root)} if given.root else {}))


def _config(given: Namespace, more: dict[str, Any] | None = None):
    """The settings of a preset with those of the command line, and the latter alone."""
    from vdalib.config import Config

    overrides = _overrides(given) | (more or {})
    return Config.from_preset(given.preset, overrides), overrides


def _of_run(given: Namespace) -> dict[str, Any]:
    """Settings on top of those of a trained run, both checked."""
    from vdalib.config import Config

    overrides = _overrides(given) if "overrides" in given else {}
    Config.of_run(given.run, overrides)
    return overrides
