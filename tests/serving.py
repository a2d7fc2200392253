"""A web server on this machine that offers small archives, as a publisher does."""

import hashlib
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from vdalib.data.archives import Archive


class Served:
    """folder: what it offers. asked: the paths that were asked for, in order."""

    def __init__(self, folder, address):
        self.folder, self.address, self.asked = Path(folder), address, []

    def archive(self, name, md5=None):
        """An Archive of a file that has been put into the folder."""
        path = self.folder / name
        return Archive(f"{self.address}/{name}", md5 or hashlib.md5(path.read_bytes()).hexdigest(), "1 kB")

    def downloads(self):
        """The names asked for, each once (a redirect is looked for before a file is taken)."""
        return list(dict.fromkeys(path.lstrip("/") for path in self.asked))


@contextmanager
def serving(folder, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            served.asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    served = Served(folder, f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
