"""Files that are either complete or not there, and where the workbook's own are."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from torch import Tensor

_TEMPORARY = re.compile(r"\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.partial")  # machine, process, its file
_FOR_EVER = 86_400  # s after which a temporary file of another machine is taken for left over
_ROOM = "make room, or choose a folder that can be written"
_CURES = {errno.ENAMETOOLONG: "shorten its name"}

_INSTALLED = Path(__file__).parent / "workbook"
# The folder that has notebooks/, data/partworld/ and benchmarks/: a checkout, or a part of the installed package.
WORKBOOK = _INSTALLED if _INSTALLED.exists() else Path(__file__).parents[1]
# Where the notebooks put runs unless they are told.
RUNS = Path("runs").absolute() if WORKBOOK == _INSTALLED else WORKBOOK / "runs"


def require_folder(path: str | Path) -> None:
    """NotADirectoryError where `path`, there or not, cannot be a folder: it or one of its parents is a file, or a broken link."""
    for place in (Path(path), *Path(path).parents):
        if os.path.lexists(place):
            if not place.is_dir():
                raise NotADirectoryError(f"{place}: not a folder; choose another place for {path}")
            return


@contextmanager
def named_errors(path: Path) -> Iterator[Path]:
    """Around an appending to `path`: an OSError of the system is raised again with its name and the cure."""
    try:
        yield path
    except OSError as error:
        cure = _CURES.get(error.errno, _ROOM)
        raise OSError(error.errno, f"{error.strerror} (its last lines may be missing; {cure})", str(path)) from error


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, that takes its place when the block ends well.

    A reader sees the old file or the new one and never a part; whoever writes it, its permissions are those of the
    umask. The folder is made where it is missing, and what killed processes left in it is removed. When the block
    raises, the temporary file is removed and the old one stays. An OSError of the system (no space, no permission)
    is raised again with the name of the file and the cure.
    """
    path = Path(path)
    suffix = path.suffix if len(path.suffix.encode()) <= 16 else ""  # a short name wherever `path` itself fits
    temporary = path.with_name(f".{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.partial{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_over(path.parent, os.getpid())
        permissions = _permissions_of_new_files(temporary)
        yield temporary
        os.chmod(temporary, permissions)  # safetensors' files, for one, are their owner's alone
        os.replace(temporary, path)
    except OSError as error:
        about = (None, str(temporary), *map(str, path.parents))
        if error.errno is None or error.filename not in about:  # a library's, or another file's
            raise
        cure = _CURES.get(error.errno, _ROOM)
        raise OSError(error.errno, f"{error.strerror} (nothing was written there; {cure})", str(path)) from error
    finally:
        with suppress(OSError):  # the folder itself may not exist
            temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically, one level indented so that differences can be read."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, atomically, with facts in the header (where there is a tensor); honours the umask."""
    from safetensors.torch import save

    facts = dict(facts) if facts and tensors else None  # without tensors the library writes a header that it cannot read
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, facts)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _permissions_of_new_files(path: Path) -> int:
    """What the system gives a file that is made here; the umask itself can only be read by changing it."""
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return os.fstat(file).st_mode & 0o777
    finally:
        os.close(file)
        path.unlink()


@cache
def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


@cache
def _remove_left_over(folder: Path, process: int) -> None:
    """Remove the temporary files of processes that are no more; once a folder and process."""
    for file in folder.glob(".*.partial*"):
        if found := _TEMPORARY.match(file.name):
            with suppress(OSError):
                dead = found[1] == _machine() and not psutil.pid_exists(int(found[2]))
                if dead or time.time() - file.stat().st_mtime > _FOR_EVER:
                    file.unlink(missing_ok=True)
