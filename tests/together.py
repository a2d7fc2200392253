"""What each of several processes runs in test_processes.py: a training and an evaluation through the command line."""

import atexit
import os
import sys
from pathlib import Path

from torch import distributed

from vdalib.commands.cli import main
from vdalib.data.partworld import PartWorld


def train_and_evaluate(folder, *changes):
    """Each process is given a run directory of its own, to see who writes, and notes the masks that it opens."""
    number, count = os.environ["RANK"], os.environ["WORLD_SIZE"]
    atexit.register(lambda: (folder / f"group_{number}").write_text("left" if not distributed.is_initialized() else "open"))
    main(["train", "--preset", "partworld-smoke", "--run-dir", str(folder / f"run_{number}"), *changes])
    (folder / f"processes_{number}").write_text(count)
    truth = PartWorld.mask

    def noted(self, i):
        with open(folder / f"masks_{number}", "a") as file:
            print(self.split, i, file=file)
        return truth(self, i)

    PartWorld.mask = noted
    main(["evaluate", "--run", str(folder / "run_0")])


if __name__ == "__main__":
    train_and_evaluate(Path(sys.argv[1]), *sys.argv[2:])
