"""What one's own folder says before anything is decoded: images/ with tags.csv, or one sub-folder per class."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from vdalib.config.reading import one_line, shown
from vdalib.data.classes import ClassesFile, read_classes
from vdalib.data.images import SUFFIXES, is_text, printable

LAYOUTS = (
    "give a folder in one of two layouts: images/ with the pictures and, beside it, tags.csv (first line file,tags; then "
    "lines such as IMG_1.jpg,cat;dog), or one sub-folder per class (cat/IMG_1.jpg)"
)


@dataclass
class Tagged:
    """The pictures of a folder.

    base:     the folder that image names are relative to.
    tags:     image name -> its classes. untagged: names of images without any, which are not trained on.
    left_out: name of a file that is no image -> why it is left alone.
    """

    base: Path
    tags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    untagged: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def _add_untagged(self, name: str) -> None:
        if is_image(name) and is_text(name):
            self.untagged.append(name)
        elif is_image(name):
            self.left_out[printable(name)] = "its name is not UTF-8; rename it"
        elif name.lower().endswith(SUFFIXES):
            self.left_out[printable(name)] = "hidden (a dot in front); rename it if it is a picture of yours"
        elif not _is_hidden(name):
            self.left_out[printable(name)] = f"not an image by its name (known: {', '.join(SUFFIXES)}); save it as JPEG"


def read_folder(root: Path) -> Tagged:
    """The images and tags of a folder in either layout, sorted by name; nothing is decoded.

    Raises FileNotFoundError for a folder, file or image that is not there, ValueError for what is wrong, with its line.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; {LAYOUTS}")
    table, images, given = root / "tags.csv", root / "images", read_classes(root / "classes.yaml")
    if table.exists() or images.is_dir():
        if not table.is_file():
            raise FileNotFoundError(f"{table}: no such file; {LAYOUTS}")
        if not images.is_dir():
            raise FileNotFoundError(f"{images}: no such folder; {LAYOUTS}")
        found, source = _read_table(table, images, given), table
    else:
        found, source = _read_sub_folders(root, given), root
    if not found.tags:
        raise ValueError(f"{root}: found no tagged image; {LAYOUTS}")
    _require_different(source, found, given)
    return found


def is_image(name: str) -> bool:
    """By its suffix, and not hidden as the ._NAME.jpg that some systems write beside each file."""
    return name.lower().endswith(SUFFIXES) and not _is_hidden(name)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _read_table(table: Path, images: Path, given: ClassesFile) -> Tagged:
    found, lines = Tagged(images), {}
    for line, name, tags in _rows(table):
        where = f"{table} line {line}"
        if name in lines:
            raise ValueError(f"{where}: {name} is in line {lines[name]} already; put all of its tags into one line")
        lines[name] = line
        if not tags:
            raise ValueError(f"{where}: {name} has no tag; give it one, or take the line out")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not os.path.isfile(images / name):
            named = name if len(name) < 300 else shown(name)
            raise FileNotFoundError(f"{where}: no image {named} in {images}; put it there, or take the line out")
        for tag in tags:
            given.require_class(tag, where)
            if not given.classes and re.search("[,|\t]", tag):
                raise ValueError(f"{where}: tag {tag!r}: expected tags with semicolons between; or list it in classes.yaml")
        found.tags[name] = tags
    for name in _files(images):
        if name not in lines:
            found._add_untagged(name)
    return found


def _rows(table: Path) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(line number, image name, tags) of every row; columns beside file and tags are left alone."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{table}: not UTF-8 text ({error}); save it as `CSV UTF-8`") from error
    if "\0" in text:
        raise ValueError(f"{table} line {text.count(chr(10), 0, text.index(chr(0))) + 1}: NUL byte; save it as `CSV UTF-8`")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        if header.count("file") != 1 or header.count("tags") != 1:
            raise ValueError(
                f"{table} line 1: found {shown(','.join(header))}, expected the header file,tags, each once; "
                "columns are separated by commas, tags by semicolons"
            )
        reader.fieldnames = header
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(
                    f"{table} line {reader.line_num}: expected {len(header)} columns as in the header; separate tags by "
                    "semicolons, and put a name that has a comma in quotes"
                )
            if re.search(r"[\x00-\x1f\x7f-\x9f]", row["file"].strip()):
                raise ValueError(f"{table} line {reader.line_num}: file: {shown(row['file'])} has a control character; rename it")
            tags = dict.fromkeys(tag.strip() for tag in row["tags"].split(";"))
            name = PurePosixPath(row["file"].strip().replace("\\", "/")).as_posix()
            yield reader.line_num, name, tuple(tag for tag in tags if tag)
    except csv.Error as error:
        cure = "look for a quotation mark left open"
        raise ValueError(f"{table} after line {reader.line_num}: not CSV ({one_line(error)}); {cure}") from error


def _read_sub_folders(root: Path, given: ClassesFile) -> Tagged:
    found = Tagged(root)
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        given.require_class(folder.name, str(folder))
        images = _files(folder)
        if not any(is_image(name) and is_text(name) for name in images):
            raise ValueError(f"{folder}: class without image; put one there, or take the folder away")
        for name in images:
            path = f"{folder.name}/{name}"
            if is_image(name) and is_text(name):
                found.tags[path] = (folder.name,)
            else:
                found._add_untagged(path)
    for file in sorted(path.name for path in root.iterdir() if path.is_file() and path.name.lower().endswith(SUFFIXES)):
        found._add_untagged(file)
    return found


def _files(folder: Path) -> list[str]:
    """Every file below a folder, as sorted relative paths with slashes."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _require_different(source: Path, found: Tagged, given: ClassesFile) -> None:
    """ValueError for two tags that are nearly always a slip for one, such as Cat, or cats where classes.yaml lists no classes."""
    first: dict[str, tuple[str, str]] = {}  # what is compared -> tag, and an image that has it
    for name, tags in found.tags.items():
        for tag in tags:
            other, image = first.setdefault(re.sub("[ _-]", "", tag.lower()), (tag, name))
            if other != tag:
                raise ValueError(f"{source}: {name} is tagged {tag!r}, {image} {other!r}; write both alike")
    for short, (tag, image) in first.items():
        for ending in ("s", "es"):
            if short + ending in first and not given.classes:
                plural, other = first[short + ending]
                cure = "write both alike, or list both in classes.yaml under classes"
                raise ValueError(f"{source}: {image} is tagged {tag!r}, {other} {plural!r}; {cure}")
