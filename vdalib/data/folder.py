"""One's own folder of tagged pictures: images/ with tags.csv, or one sub-folder per class."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import torch
from torch.utils.data import Dataset

from vdalib.data.checking import check_images
from vdalib.data.classes import MOST, distinct_colours, read_classes
from vdalib.data.images import SUFFIXES, read_image
from vdalib.data.sample import Sample
from vdalib.io import write_json

PREPARED = "labels_folder.json"
_FIELDS = ("fingerprint", "base", "classes", "synonyms", "background", "colours", "labels", "skipped")
LAYOUTS = """give a folder in one of two layouts:
  images/ with the pictures and, beside it, tags.csv:    one sub-folder per class:
    file,tags                                              cat/IMG_1.jpg
    IMG_1.jpg,cat                                          cat/IMG_2.jpg
    IMG_2.jpg,cat;dog                                      dog/IMG_3.jpg"""


@dataclass
class Tagged:
    """What a folder says, before anything is decoded.

    base:   the folder that image names are relative to.
    tags:   image name -> its classes. left_out: image name -> why it has no part in training.
    """

    base: Path
    tags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


class TaggedFolder(Dataset):
    """The images of one's own folder with their classes, as `prepare_folder` found them; there are no splits.

    root:   the folder. labels: the folder of labels_folder.json; None = root.
    size:   px, `data.size`.

    `[i]` gives a Sample, upright as EXIF says, whose name is its path in the folder. There are no masks.
    Raises FileNotFoundError where the folder is not prepared, ValueError where it has changed since.
    """

    def __init__(self, root: str | Path, labels: str | Path | None = None, size: int | None = None) -> None:
        prepared = read_prepared(root, labels)
        if prepared["fingerprint"] != _fingerprint(Path(root), read_folder(Path(root))):
            raise ValueError(
                f"{Path(labels or root) / PREPARED}: {root} has changed since it was prepared; {_cure(root, labels)}"
            )
        self.size, self.skipped = size, prepared["skipped"]
        self.class_names = tuple(prepared["classes"])
        self.names = list(prepared["labels"])
        self.paths = [Path(root) / prepared["base"] / name for name in self.names]
        self.labels = torch.tensor([[name in tags for name in self.class_names] for tags in prepared["labels"].values()])

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> Sample:
        image = read_image(self.paths[i], upright=True, size=self.size)
        return Sample(image, self.labels[i].clone(), self.names[i])

    def mask(self, i: int):
        """A folder has none: raises ValueError."""
        raise ValueError(f"{self.paths[i]}: a folder of one's own has no masks, so nothing can be evaluated on it")


def prepare_folder(root: str | Path, out: str | Path | None = None, on_bad_image: str = "error") -> Path:
    """Read tags and classes.yaml, decode every image and write {out}/labels_folder.json; returns its path.

    out: a folder; None = root. on_bad_image: "error", or "skip" to leave out images that cannot be read.
    The file says the classes, their synonyms, background words and colours, the classes of every image, and which
    files were left out and why; training reads images and this file.

    Raises FileNotFoundError or ValueError, naming file, line and cure, before anything is written.
    """
    root = Path(root)
    given, found = read_classes(root / "classes.yaml"), read_folder(root)
    occurring = {tag for tags in found.tags.values() for tag in tags}
    classes = given.classes or tuple(sorted(occurring))
    if len(classes) > MOST:
        raise ValueError(f"{root}: {len(classes)} classes, expected at most {MOST}")
    given.require_known(root / "classes.yaml", classes)
    _require_images(root, classes, occurring, "tag an image with it, or take it out of classes.yaml")
    paths = {found.base / name: name for name in found.tags}
    good, bad = check_images(paths, on_bad_image)
    tags = {paths[path]: found.tags[paths[path]] for path in good}
    still = {tag for own in tags.values() for tag in own}
    _require_images(root, classes, still, "all of its images are among those that cannot be read; mend one")
    unread = {paths[path]: reason.removeprefix(f"{path}: ") for path, reason in bad.items()}
    path = Path(out or root) / PREPARED
    write_json(
        path,
        {
            "fingerprint": _fingerprint(root, found),
            "base": found.base.relative_to(root).as_posix(),
            "classes": classes,
            "synonyms": given.synonyms,
            "background": given.background,
            "colours": distinct_colours(classes, given.colours),
            "labels": tags,
            "skipped": found.left_out | unread,
        },
    )
    return path


def read_prepared(root: str | Path, labels: str | Path | None = None) -> dict:
    """What `prepare_folder` wrote; FileNotFoundError or ValueError with the cure where it is not there or broken."""
    path = Path(labels or root) / PREPARED
    try:
        prepared = json.loads(path.read_text(encoding="utf-8"))
        return {name: prepared[name] for name in _FIELDS}
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: the folder is not prepared yet; {_cure(root, labels)}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a label file ({error!r}); {_cure(root, labels)}") from error


def summary(path: Path) -> str:
    """What `prepare_folder` wrote to `path`, in a line."""
    prepared = json.loads(path.read_text(encoding="utf-8"))
    tags = [tag for own in prepared["labels"].values() for tag in own]
    counts = ", ".join(f"{name} {tags.count(name)}" for name in prepared["classes"])
    return f"{len(prepared['labels'])} images ({counts}), {len(prepared['skipped'])} files left out; written to {path}"


def read_folder(root: Path) -> Tagged:
    """The images and tags of a folder in either layout, sorted by name; nothing is decoded.

    Raises FileNotFoundError for a folder, file or image that is not there, ValueError for what is wrong, with its line.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; {LAYOUTS}")
    table, images = root / "tags.csv", root / "images"
    if table.exists() or images.is_dir():
        for path, kind in ((table, "file"), (images, "folder")):
            if not path.exists():
                raise FileNotFoundError(f"{path}: no such {kind}; {LAYOUTS}")
        found = _read_table(table, images)
    else:
        found = _read_sub_folders(root)
    if not found.tags:
        raise ValueError(f"{root}: found no tagged image; {LAYOUTS}")
    _require_alike(root, found)
    return found


def _read_table(table: Path, images: Path) -> Tagged:
    found, lines, known = Tagged(images), {}, read_classes(table.parent / "classes.yaml").classes
    for line, name, tags in _rows(table):
        if name in lines:
            raise ValueError(f"{table} line {line}: {name} is in line {lines[name]} already; put all of its tags into one line")
        lines[name] = line
        if not tags:
            raise ValueError(f"{table} line {line}: {name} has no tag; give it one, or take the line out")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not (images / name).is_file():
            raise FileNotFoundError(f"{table} line {line}: no image {name} in {images}; put it there, or take the line out")
        for tag in tags:
            if known and tag not in known:
                raise ValueError(f"{table} line {line}: unknown class {tag!r} (known: {', '.join(known)})")
        found.tags[name] = tags
    for name in _files(images):
        if name not in lines:
            found.left_out[name] = "has no line in tags.csv"
    return found


def _rows(table: Path):
    """(line number, image name, tags) of every row; columns beside file and tags are left alone."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{table}: not UTF-8 text ({error}); save it as `CSV UTF-8`") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        if not {"file", "tags"} <= set(header):
            raise ValueError(
                f"{table} line 1: found {','.join(header)!r}, expected the header file,tags; "
                "columns are separated by commas, tags by semicolons"
            )
        reader.fieldnames = header
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(
                    f"{table} line {reader.line_num}: expected {len(header)} columns as in the header; separate tags by "
                    "semicolons, and put a name that has a comma in quotes"
                )
            tags = dict.fromkeys(tag.strip() for tag in row["tags"].split(";"))
            name = PurePosixPath(row["file"].strip().replace("\\", "/")).as_posix()
            yield reader.line_num, name, tuple(tag for tag in tags if tag)
    except csv.Error as error:
        cure = "look for a quotation mark left open"
        raise ValueError(f"{table} after line {reader.line_num}: not CSV ({error}); {cure}") from error


def _read_sub_folders(root: Path) -> Tagged:
    found, known = Tagged(root), read_classes(root / "classes.yaml").classes
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if known and folder.name not in known:
            raise ValueError(f"{folder}: unknown class {folder.name!r} (known: {', '.join(known)})")
        images = _files(folder)
        if not any(name.lower().endswith(SUFFIXES) for name in images):
            raise ValueError(f"{folder}: class without image; put one there, or take the folder away")
        for name in images:
            path = f"{folder.name}/{name}"
            if name.lower().endswith(SUFFIXES):
                found.tags[path] = (folder.name,)
            else:
                found.left_out[path] = f"not an image by its name (known: {', '.join(SUFFIXES)}); save it as JPEG"
    return found


def _files(folder: Path) -> list[str]:
    """Every file below a folder but hidden ones, as sorted relative paths with slashes."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))


def _require_images(root: Path, classes: tuple[str, ...], occurring: set[str], cure: str) -> None:
    for name in classes:
        if name not in occurring:
            raise ValueError(f"{root}: class without image: {name!r}; {cure}")


def _require_alike(root: Path, found: Tagged) -> None:
    """ValueError for two tags that differ by upper and lower case only, which is nearly always a slip."""
    first: dict[str, str] = {}
    for name, tags in found.tags.items():
        for tag in tags:
            if first.setdefault(tag.lower(), tag) != tag:
                raise ValueError(f"{root}: {name} is tagged {tag!r}, others {first[tag.lower()]!r}; write both alike")


def _fingerprint(root: Path, found: Tagged) -> str:
    """Changes with tags, classes.yaml and the names and sizes of the images."""
    sizes = {name: (found.base / name).stat().st_size for name in found.tags}
    file = root / "classes.yaml"
    content = json.dumps([found.tags, sizes, found.left_out, file.read_text("utf-8") if file.exists() else ""])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _cure(root: str | Path, labels: str | Path | None) -> str:
    return f"run `python -m vdalib prepare folder --data {root}{f' --labels {labels}' if labels else ''}`"
