"""How a command says what it is doing now."""

from __future__ import annotations

import shutil
import sys
import time

from vdalib.progress import LOG_EVERY


class StatusLine:
    """One line that is rewritten in a terminal; elsewhere, such as in a log file, a line a minute."""

    def __init__(self, label: str = ""):
        self.label, self.shown, self.last = label, "", -LOG_EVERY

    def __call__(self, text: str) -> None:
        text = f"{self.label}: {text}" if self.label else text
        if sys.stderr.isatty():
            text = text[: shutil.get_terminal_size().columns - 1]
            print(f"\r{text:<{len(self.shown)}}", end="", file=sys.stderr, flush=True)
            self.shown = text
        elif text != self.shown and time.monotonic() - self.last >= LOG_EVERY:
            print(text, file=sys.stderr, flush=True)
            self.shown, self.last = text, time.monotonic()

    def clear(self) -> None:
        """Make room for a line that stays."""
        if sys.stderr.isatty():
            print(f"\r{'':<{len(self.shown)}}\r", end="", file=sys.stderr, flush=True)
            self.shown = ""
