"""One's own folder of tagged pictures, prepared: what training and evaluation read of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from vdalib.data.checking import check_images
from vdalib.data.classes import MOST, distinct_colours, read_classes
from vdalib.data.images import VOID, read_image, read_mask
from vdalib.data.labels import data_options, read_prepared_file
from vdalib.data.sample import Sample
from vdalib.data.tags import Tagged, read_folder
from vdalib.io import write_json

PREPARED = "labels_folder.json"


class TaggedFolder(Dataset):
    """The images of one's own folder with their classes, as `prepare_folder` found them.

    root:   the folder. labels: the folder of labels_folder.json; None = root.
    size:   px, `data.size`.
    masks:  `data.masks`, for evaluation: only the images that have a mask there, found by name ("trip/1.jpg" has
            trip/1.png or trip/1.jpg.png); None = every image, without masks.

    `[i]` gives a Sample, upright as EXIF says, whose name is its path in the folder. `untagged`: name -> path of the
    images without a tag, which training leaves out; `skipped`: name -> why a file is left out altogether.
    Raises FileNotFoundError where the folder is not prepared, ValueError where it has changed since.
    """

    def __init__(
        self, root: str | Path, labels: str | Path | None = None, size: int | None = None, masks: str | Path | None = None
    ) -> None:
        prepared = read_prepared(root, labels)
        if prepared["fingerprint"] != _fingerprint(Path(root), read_folder(Path(root))):
            raise ValueError(
                f"{Path(labels or root) / PREPARED}: {root} has changed since it was prepared; {_cure(root, labels)}"
            )
        self.size, self.skipped = size, prepared["skipped"]
        self.class_names = tuple(prepared["classes"])
        tags, base = prepared["labels"], Path(root) / prepared["base"]
        self.mask_files = {} if masks is None else find_masks(Path(masks), tags)
        self.names = [name for name in tags if masks is None or name in self.mask_files]
        self.paths = [base / name for name in self.names]
        self.labels = torch.tensor([[known in tags[name] for known in self.class_names] for name in self.names])
        self.untagged = {name: base / name for name in prepared["untagged"]}
        self._palette = _palette([prepared["colours"][name] for name in self.class_names])

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> Sample:
        image = read_image(self.paths[i], upright=True, size=self.size)
        return Sample(image, self.labels[i].clone(), self.names[i])

    def mask(self, i: int) -> np.ndarray:
        """The corrected mask, uint8 as large as the image of the sample: 0 background, class index + 1, 255 void.

        ValueError where it does not fit, or where no masks were given. Evaluation only.
        """
        if self.names[i] not in self.mask_files:
            cure = "give a folder of some that you corrected as data.masks, and evaluate on split masks"
            raise ValueError(f"{self.paths[i]}: a folder of one's own has no masks; {cure}")
        path = self.mask_files[self.names[i]]
        mask = read_mask(path, len(self.class_names), self.paths[i], upright=True, palette=self._palette)
        height, width = self[i].image.shape[-2:]
        return np.array(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def find_masks(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """The PNG files of a folder by the image each belongs to; ValueError for one that belongs to none, or to two.

    FileNotFoundError where there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"data.masks: {folder}: no such folder; give one of masks that you corrected")
    owners: dict[str, list[str]] = {}
    for name in names:
        for key in {name, str(PurePosixPath(name).with_suffix(""))}:
            owners.setdefault(key, []).append(name)
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("[!.]*.png")):
        mine = owners.get(path.relative_to(folder).with_suffix("").as_posix(), [])
        if len(mine) != 1:
            several = f"is of {' or '.join(mine)}; put the image's suffix before .png"
            raise ValueError(f"data.masks: {path} {several if mine else 'is of no tagged image; rename it'}, or take it out")
        if mine[0] in found:
            raise ValueError(f"data.masks: {path} and {found[mine[0]]} are both of {mine[0]}; take one out")
        found[mine[0]] = path
    if not found:
        raise ValueError(f"data.masks: {folder}: no mask in it, expected NAME.png of at least one image NAME.jpg")
    return found


def prepare_folder(root: str | Path, out: str | Path | None = None, on_bad_image: str = "error") -> Path:
    """Read tags and classes.yaml, decode every image and write {out}/labels_folder.json; returns its path.

    out: a folder; None = root. on_bad_image: "error", or "skip" to leave out images that cannot be read.
    The file says the classes, their synonyms, background words and colours, the classes of every image, which images
    have none, and which files were left out and why; training reads images and this file.

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
    others = {found.base / name: name for name in found.untagged}
    untagged, unread = check_images(others, "skip")
    reasons = {(paths | others)[path]: reason.removeprefix(f"{path}: ") for path, reason in (bad | unread).items()}
    prepared = {
        "fingerprint": _fingerprint(root, found),
        "base": found.base.relative_to(root).as_posix(),
        "classes": classes,
        "synonyms": given.synonyms,
        "background": given.background,
        "colours": distinct_colours(classes, given.colours),
        "labels": tags,
        "untagged": [others[path] for path in untagged],
        "skipped": found.left_out | reasons,
    }
    path = Path(out or root) / PREPARED
    write_json(path, {"digest": _digest(prepared), **prepared})
    return path


def read_prepared(root: str | Path, labels: str | Path | None = None) -> dict:
    """What `prepare_folder` wrote; FileNotFoundError or ValueError with the cure where it is not there or broken."""
    path, cure = Path(labels or root) / PREPARED, _cure(root, labels)
    if not path.exists():
        raise FileNotFoundError(f"{path}: the folder is not prepared yet; {cure}")
    _, prepared = read_prepared_file(path, {"digest": str}, cure)
    if prepared.pop("digest") != _digest(prepared):
        raise ValueError(f"{path}: not as it was written; {cure}")
    return prepared


def summary(path: Path) -> str:
    """What `prepare_folder` wrote to `path`, in a line."""
    prepared = json.loads(path.read_text(encoding="utf-8"))
    tags = [tag for own in prepared["labels"].values() for tag in own]
    counts = ", ".join(f"{name} {tags.count(name)}" for name in prepared["classes"])
    others = f"{len(prepared['untagged'])} without a tag, {len(prepared['skipped'])} files left out"
    return f"{len(prepared['labels'])} images ({counts}), {others}; written to {path}"


def _require_images(root: Path, classes: tuple[str, ...], occurring: set[str], cure: str) -> None:
    for name in classes:
        if name not in occurring:
            raise ValueError(f"{root}: class without image: {name!r}; {cure}")


def _fingerprint(root: Path, found: Tagged) -> str:
    """Changes with tags, classes.yaml and the names and sizes of the images."""
    sizes = {name: (found.base / name).stat().st_size for name in (*found.tags, *found.untagged)}
    file = root / "classes.yaml"
    return _digest([found.tags, sizes, found.left_out, file.read_bytes().hex() if file.exists() else ""])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _palette(colours: list[str]) -> np.ndarray:
    """uint8 (256, 3): black, the classes' colours, white for void; the rest black, so that black is background."""
    palette = np.zeros((256, 3), np.uint8)
    palette[1 : len(colours) + 1] = [list(bytes.fromhex(colour[1:])) for colour in colours]
    palette[VOID] = 255
    return palette


def _cure(root: str | Path, labels: str | Path | None) -> str:
    return f"run `python -m vdalib prepare folder {data_options(root, labels, '--data')}`"
