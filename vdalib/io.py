"""Files that are either complete or not there, and where the workbook's own are."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_INSTALLED = Path(__file__).parent / "workbook"
# The folder that has notebooks/, data/partworld/ and benchmarks/: a checkout, or a part of the installed package.
WORKBOOK = _INSTALLED if _INSTALLED.exists() else Path(__file__).parents[1]
# Where the notebooks put runs unless they are told.
RUNS = Path("runs").absolute() if WORKBOOK == _INSTALLED else WORKBOOK / "runs"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, that takes its place when the block ends well.

    A reader sees the old file or the new one and never a part. The folder is made where it is missing. When
    the block raises, the temporary file is removed and the old one stays. An OSError of the system (no space,
    no permission) is raised again with the name of the file and the cure.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        about = (None, str(temporary), *map(str, path.parents))
        if error.errno is None or error.filename not in about:  # a library's, or another file's
            raise
        cure = "nothing was written there; make room, or choose a folder that can be written"
        raise OSError(error.errno, f"{error.strerror} ({cure})", str(path)) from error
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
