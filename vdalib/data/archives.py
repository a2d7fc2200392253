"""Archives of published data sets: downloaded with their checksum, unpacked so that every file is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from torchvision.datasets.utils import check_integrity, download_url, extract_archive

from vdalib.config.reading import as_list


@dataclass(frozen=True)
class Archive:
    """A file that its publisher offers. size: for people, such as "2.0 GB"."""

    url: str
    md5: str
    size: str

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[1]


Gap = tuple[str, Archive]  # what is missing, and where it comes from


def complete(
    folder: Path, find_gaps: Callable[[], list[Gap]], unpack: Mapping[Archive, Callable[[Path], None]], download: bool
) -> None:
    """Fill the gaps of a data set, archive by archive; one that nothing is missing from is not downloaded.

    unpack: what to do with each archive, in this order. Without `download`, or where gaps remain, raises
    FileNotFoundError that lists them with their sources.
    """
    for archive, put in unpack.items():
        shutil.rmtree(_unpacked(folder / archive.name), ignore_errors=True)  # of a process that was killed
        gaps = [what for what, source in find_gaps() if source == archive]
        if gaps and download:
            print(f"missing: {'; '.join(gaps)}\n  from {archive.name}, {archive.size}, {archive.url}", flush=True)
            put(fetch(archive, folder))
    if gaps := find_gaps():
        lines = [f"{what}: from {source.name} ({source.size}, {source.url})" for what, source in gaps]
        cure = "these archives do not have it" if download else "have it downloaded by `vdalib prepare` (without --no-download)"
        raise FileNotFoundError(f"{folder}: not complete; put it there, or {cure}; missing: {as_list(lines)}")


def fetch(archive: Archive, folder: Path) -> Path:
    """The archive in `folder`, downloaded unless it is there whole; its MD5 is checked in both cases.

    Raises OSError with the cure where it cannot be had.
    """
    path = folder / archive.name
    if check_integrity(path, archive.md5):
        return path
    partial = path.with_name(f"{path.name}.partial")
    try:
        download_url(archive.url, folder, partial.name, archive.md5)
        os.replace(partial, path)
    except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: the checksum is another
        raise OSError(
            f"{path}: cannot be downloaded from {archive.url} ({error}); try again, or fetch it with "
            f"`curl -C - -O {archive.url}` in {folder} (MD5 {archive.md5}) and run this command again"
        ) from error
    return path


def unpack_into(archive: Path, inner: str, target: Path) -> None:
    """Fill the folder `target` from the folder `inner` of an archive."""
    temporary = _unpacked(archive)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        extract_archive(archive, temporary)
        fill(temporary / inner, target)
    except OSError as error:
        raise OSError(f"{archive}: cannot be unpacked into {target} ({error}); make room and try again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unpacked(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.unpacked")


def fill(source: Path, target: Path) -> None:
    """Move the files below `source` to their places below `target`; what is there already stays as it is."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)
        return
    for file in source.rglob("*"):
        place = target / file.relative_to(source)
        if file.is_file() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(file, place)
    shutil.rmtree(source)
