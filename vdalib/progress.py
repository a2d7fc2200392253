"""One bar for every long loop: in a terminal, in a notebook, in a log file, and for whoever watches a notebook from outside."""

from __future__ import annotations

import builtins
import os
import sys
from typing import Any

from tqdm.std import tqdm as Bar

STATUS_FILE = "VDALIB_STATUS_FILE"  # the environment variable by which `vdalib run` asks a notebook's kernel to write here
LOG_EVERY = 60.0  # seconds between lines where the output is no terminal
_FORMAT = "{desc}: {n_fmt}/{total_fmt} {unit}s, {remaining} left{postfix}"


class _Lines(Bar):
    """A bar as whole lines, which a file can keep."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        self.fp.write(f"{self}\n")
        self.fp.flush()

    def close(self) -> None:
        if not self.disable:
            self.disable = True
            if self.n != self.last_print_n:
                self.display()
            self._decr_instances(self)


def progress_bar(iterable=None, **options: Any) -> Bar:
    """A tqdm bar over `iterable`, or of `total`, that suits where its output goes.

    In a terminal and in a notebook the bars of `tqdm.auto`; else a line a minute. Where the environment names a STATUS_FILE, a
    line a second goes there instead, for `vdalib run`.
    """
    status = os.environ.get(STATUS_FILE)
    if status and not options.get("disable"):
        file = open(status, "a", encoding="utf-8")
        return _Lines(iterable, file=file, mininterval=1.0, maxinterval=1.0, bar_format=_FORMAT, **options)
    if sys.stderr.isatty() or hasattr(builtins, "__IPYTHON__"):
        from tqdm.auto import tqdm

        return tqdm(iterable, **options)
    return _Lines(iterable, mininterval=LOG_EVERY, maxinterval=LOG_EVERY, bar_format=_FORMAT, **options)
