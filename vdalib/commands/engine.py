"""The papermill engine of `vdalib run`: kernels that keep quiet, are watched, and are given Ctrl+C to save their work."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines

ENGINE = "vdalib"
_QUIET = ["--log-level=CRITICAL"]  # not its warnings about the transport, nor that it is interrupted before it is shut down


class _Client(PapermillNotebookClient):
    """papermill's client, which besides says what cell begins."""

    at_cell: Callable[[int, int], None]
    begun = False

    def execute_cell(self, cell, index, **options):
        self.begun = True
        self.at_cell(index, len(self.nb.cells))
        return super().execute_cell(cell, index, **options)


class WatchedEngine(Engine):
    """environment: added to that of the kernel. at_cell: called with the index of each cell and their number."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man,
        kernel_name: str,
        *,
        resources: Mapping,
        environment: Mapping[str, str],
        at_cell: Callable[[int, int], None],
        start_timeout: int = 60,
        **_,
    ) -> None:
        client = _Client(
            nb_man,
            kernel_name=kernel_name,
            startup_timeout=start_timeout,
            resources=resources,
            extra_arguments=_QUIET,
        )
        client.at_cell = at_cell
        with _passed_on(client):
            client.execute(env={**os.environ, **environment})


@contextmanager
def _passed_on(client: _Client) -> Iterator[None]:
    """The first Ctrl+C goes to the kernel, which has a session of its own and would not see it; the second is ours.

    So is the first while the kernel starts: it would die of it, and take that for a fault of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def pass_on(*_) -> None:
        signal.signal(signal.SIGINT, before)
        if not client.begun or not client.km.has_kernel:
            raise KeyboardInterrupt
        os.killpg(os.getpgid(client.km.provisioner.pid), signal.SIGINT)

    signal.signal(signal.SIGINT, pass_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


papermill_engines.register(ENGINE, WatchedEngine)
