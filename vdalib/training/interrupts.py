"""Ctrl+C between two steps, where everything can be saved, and not within one."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def deferred_interrupt(enabled: bool = True) -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether Ctrl+C was typed; the first one does nothing else, a second one stops at once.

    Outside of the main thread, or where not `enabled`, Ctrl+C remains what it was.
    """
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    typed, before, process = threading.Event(), signal.getsignal(signal.SIGINT), os.getpid()

    def first(*_) -> None:
        typed.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if os.getpid() == process:  # not in the loader's workers, which inherit this
            print("\nstopping after this step; Ctrl+C again stops at once and saves nothing", file=sys.stderr, flush=True)

    signal.signal(signal.SIGINT, first)
    try:
        yield typed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
