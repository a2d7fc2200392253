"""`python -m vdalib COMMAND`: a thin face on the library."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def prepare(config) -> None:
    """Write the label files that a data set needs before training and does not have yet."""
    if config.data.name != "voc12":
        return
    from vdalib.data.voc import label_file, prepare_labels

    folder = config.data.labels or config.data.root
    for split in (config.data.train_split, config.data.val_split):
        if not label_file(folder, split).exists():
            print("image-level labels:", prepare_labels(config.data.root, split, folder))


def run(preset: str, run_dir: Path, data: str | None) -> None:
    """Execute the training and the evaluation notebook in `run_dir` and print the mIoU table."""
    from vdalib.config import Config
    from vdalib.headless import execute

    prepare(Config.from_preset(preset, {"data.root": data} if data else {}))
    run_dir.mkdir(parents=True, exist_ok=True)
    parameters = {"preset": preset, "run_dir": str(run_dir.resolve()), "data_root": data or ""}
    for name in ("02_staged_training", "05_evaluation"):
        print(f"{name}: running, the executed copy will be {run_dir / name}.ipynb", flush=True)
        execute(NOTEBOOKS / f"{name}.ipynb", run_dir / f"{name}.ipynb", parameters, cwd=run_dir)
    metrics = json.loads((run_dir / "metrics.json").read_text())
    print(f"\n{'mIoU, %':<42}{'':>8}")
    for name, value in metrics["table"].items():
        print(f"{name:<42}{value:>8.1f}")
    print(f"\nmasks, figures and the executed notebooks: {run_dir}/")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m vdalib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--preset", default="partworld", help="name of a preset or path of a YAML file")
    common.add_argument("--run-dir", type=Path, help="where everything goes (default runs/PRESET)")
    common.add_argument("--data", help="root of the data set, for presets that need one")
    commands.add_parser("run", parents=[common], help="train and evaluate through the notebooks")
    command = commands.add_parser(
        "train", parents=[common], help="train only; resumes; for `accelerate launch -m vdalib train`"
    )
    command.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for example schedule.batch_size=8")

    command = commands.add_parser("prepare", help="write the image-level label files of a data set")
    command.add_argument("preset")
    command.add_argument("--data", required=True, help="root of the data set")
    command.add_argument("--labels", help="folder for the label files (default the root)")

    command = commands.add_parser("pretrain-clip", help="train the small CLIP of PartWorld again")
    command.add_argument("--out", type=Path, default=Path("runs/clip"))

    given = parser.parse_args(arguments)
    if given.command == "pretrain-clip":
        from vdalib.model_card import write_card
        from vdalib.pretraining import pretrain

        pretrain(given.out)
        print(json.dumps(write_card(given.out), indent=1))
        return
    from vdalib.config import Config, parse_overrides

    if given.command == "prepare":
        prepare(Config.from_preset(given.preset, {"data.root": given.data, "data.labels": given.labels}))
        return
    run_dir = given.run_dir or Path("runs") / Path(given.preset).stem
    if given.command == "run":
        run(given.preset, run_dir, given.data)
        return
    from vdalib.training import Trainer

    overrides = parse_overrides(given.overrides) | ({"data.root": given.data} if given.data else {})
    Trainer(Config.from_preset(given.preset, overrides), run_dir).fit()
