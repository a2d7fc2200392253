"""All images of a data set decoded once, before anything is trained on them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vdalib.config.reading import as_list
from vdalib.data.images import read_image
from vdalib.progress import progress_bar

_SHOWN = 10  # of the bad ones in an error


def check_images(paths: Iterable[Path], on_bad_image: str = "error", progress: bool = True) -> tuple[list[Path], dict[Path, str]]:
    """Decode every image in parallel -> the good ones, and the bad ones with the reason; both in the order given.

    on_bad_image: `data.on_bad_image`. "error" raises ValueError, naming the bad ones and the cure, when all are looked at;
        "skip" returns them.
    """
    paths = list(paths)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding leaves Python's lock
        faults = pool.map(_fault, paths)
        bar = progress_bar(faults, total=len(paths), desc="checking images", unit="image", disable=not (progress and paths))
        bad = {path: fault for fault, path in zip(bar, paths) if fault}  # the bar first, so that it comes to its end
    if bad and on_bad_image == "error":
        some = [*bad.values()][:_SHOWN] + ["..."] * (len(bad) > _SHOWN)
        cure = "mend them, or leave them out with data.on_bad_image=skip"
        raise ValueError(f"{len(bad)} of {len(paths)} images cannot be used; {cure}: {as_list(some)}")
    return [path for path in paths if path not in bad], bad


def bad_names(paths: Iterable[Path], on_bad_image: str) -> dict[str, str]:
    """Image name -> why it is left out, of `check_images`; printed where there are some."""
    bad = {path.stem: reason for path, reason in check_images(paths, on_bad_image)[1].items()}
    for reason in bad.values():
        print("left out:", reason)
    return bad


def _fault(path: Path) -> str:
    try:
        read_image(path)
    except (ValueError, OSError) as error:
        return str(error)
    return ""
