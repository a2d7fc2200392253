"""What the user can mend is said in a line or two, without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Wrong files, settings and machines. Others, such as KeyError, are ours to mend, and keep their traceback.
_EXPECTED = (OSError, ValueError, RuntimeError, ImportError, MemoryError, EOFError)
_FOREIGN = {"safetensors_rust", "safetensors", "_pickle", "pickle", "yaml"}  # whose errors derive from Exception only
STOPPED = 130  # exit status of what was stopped by Ctrl+C, as in shells


@contextmanager
def plain_errors(traceback: bool = False, stopped: str = "") -> Iterator[None]:
    """Ends the program with `error: ...` and status 1; with `traceback` errors stay as they are.

    stopped: said after Ctrl+C, where the interrupt itself says nothing.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if traceback:
            raise
        print(f"\nstopped: {str(interrupt) or stopped or 'nothing was kept'}", file=sys.stderr)
        raise SystemExit(STOPPED) from None
    except Exception as error:
        own = isinstance(error, (OSError, ValueError))
        if traceback or not (isinstance(error, _EXPECTED) or type(error).__module__ in _FOREIGN):
            raise
        raise SystemExit(f"error: {error if own and str(error) else _in_a_line(error)}") from error


def _in_a_line(error: Exception) -> str:
    """Of libraries, whose texts may be long: the type where it tells something, and the text without line breaks."""
    text = " ".join(str(error).split())
    text = text if len(text) <= 600 else f"{text[:600]}..."
    name = type(error).__name__
    return text if name in ("CellError", "RuntimeError") and text else f"{name}: {text}"
