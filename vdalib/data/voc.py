"""PASCAL VOC 2012 with SBD-augmented masks, read in VOC's own layout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch

from vdalib.config.reading import one_line, shown
from vdalib.data.images import VOID, read_mask
from vdalib.data.labels import LabelledImages, data_options, read_labels, write_labels

# Names as prompts: VOC's files say diningtable, pottedplant and tvmonitor.
VOC_CLASSES: tuple[str, ...] = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train",
    "tv monitor",
)  # fmt: skip
UNLABELLED = "test"  # VOC publishes neither labels nor masks of this split
OWN_MASKS, AUGMENTED_MASKS = "SegmentationClass", "SegmentationClassAug"
_INDEX = {name.replace(" ", ""): index for index, name in enumerate(VOC_CLASSES)}


class VOCSegmentation(LabelledImages):
    """A split of VOC 2012: JPEGImages, SegmentationClass(Aug), ImageSets/Segmentation/{split}.txt.

    root:   the folder VOC2012, or one that holds VOCdevkit/VOC2012.
    labels: the folder of labels_{split}.json as `prepare_labels` writes it; None = root. Image-level labels
            come from this file only; of "test", which has none, they are all False.

    Raises FileNotFoundError for what is missing, ValueError for what is wrong.
    """

    class_names = VOC_CLASSES

    def __init__(self, root: str | Path, split: str, labels: str | Path | None = None) -> None:
        self.root, self.split = voc_folder(root), split
        names = read_split(self.root, split)
        if split == UNLABELLED:
            super().__init__(names, torch.zeros(len(names), len(VOC_CLASSES), dtype=torch.bool))
            return
        cure = f"make it with `python -m vdalib prepare voc12 {data_options(root, labels)}`"
        super().__init__(*read_labels(labels or self.root, split, VOC_CLASSES, cure, names))

    def image_path(self, name: str) -> Path:
        return self.root / "JPEGImages" / f"{name}.jpg"

    def mask_path(self, name: str) -> Path:
        """VOC's own mask, which the benchmark is measured with, and where it has none SBD's."""
        path = find_mask(self.root, name)
        if path is None:
            cure = "VOC publishes none of test" if self.split == UNLABELLED else "see `python -m vdalib prepare voc12`"
            raise FileNotFoundError(f"no mask {name}.png in {self.root}/{OWN_MASKS} or {AUGMENTED_MASKS}; {cure}")
        return path


def prepare_labels(root: str | Path, split: str, out: str | Path | None = None, skipped: Mapping[str, str] | None = None) -> Path:
    """Write what `find_labels` finds to {out}/labels_{split}.json before training; returns its path.

    out: a folder, for where the root cannot be written; None = root.
    """
    return write_labels(out or voc_folder(root), split, **find_labels(root, split, skipped))


def find_labels(root: str | Path, split: str, skipped: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The image-level labels of a split and facts about them, as `write_labels` takes them.

    They come from Annotations/*.xml and, for an image that has none, from the classes in its mask. skipped: image name
    -> why the split does without it. Raises FileNotFoundError for an image with neither, ValueError for a broken annotation.
    """
    folder = voc_folder(root)
    labels, from_masks, skipped = {}, 0, {**(skipped or {})}
    for name in read_split(folder, split):
        if name in skipped:
            continue
        annotation = folder / "Annotations" / f"{name}.xml"
        if annotation.exists():
            indices = _annotated_classes(annotation)
        elif mask := find_mask(folder, name):
            values = np.unique(read_mask(mask, len(VOC_CLASSES)))
            indices = {int(value) - 1 for value in values if value not in (0, VOID)}
            from_masks += 1
        else:
            places = ", ".join(str(folder / place) for place in ("Annotations", OWN_MASKS, AUGMENTED_MASKS))
            raise FileNotFoundError(
                f"{name}: neither annotation nor mask, looked in {places}; get one or take the image out of {split}.txt"
            )
        labels[name] = [VOC_CLASSES[index] for index in sorted(indices)]
    return {"labels": labels, "labels_from_masks": from_masks, "skipped": skipped}


def voc_folder(root: str | Path) -> Path:
    """The folder that holds JPEGImages: root itself or root/VOCdevkit/VOC2012."""
    tried = (Path(root), Path(root) / "VOCdevkit" / "VOC2012")
    for folder in tried:
        if (folder / "JPEGImages").is_dir():
            return folder
    raise FileNotFoundError(
        f"data.root: no folder JPEGImages in {' or '.join(map(str, tried))}; give VOCdevkit/VOC2012, or get it with "
        f"`python -m vdalib prepare voc12 {data_options(root, None)}`"
    )


def split_file(folder: Path, split: str) -> Path:
    """Where the image names of a split are."""
    return folder / "ImageSets" / "Segmentation" / f"{split}.txt"


def read_split(folder: Path, split: str) -> list[str]:
    """The image names of a split."""
    path = split_file(folder, split)
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.txt"))) or "none"
        cure = ""
        if split == UNLABELLED:
            cure = "; unpack VOC2012test.tar over it, which the evaluation server host.robots.ox.ac.uk:8080 gives to members"
        raise FileNotFoundError(f"{path}: no such split (there are: {known}){cure}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error}); unpack the file again") from None
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if not name:
            continue
        if not re.fullmatch(r"[\w-][\w.-]*", name):
            raise ValueError(f"{path} line {number}: found {shown(name)}, expected one image name such as 2007_000032")
        if name in found:
            raise ValueError(f"{path} line {number}: {name} is in line {found[name]} already; take one of them out")
        found[name] = number
    if not found:
        raise ValueError(f"{path}: empty, expected one image name per line")
    return list(found)


def find_mask(folder: Path, name: str) -> Path | None:
    """The mask of an image, VOC's own before SBD's."""
    paths = (folder / place / f"{name}.png" for place in (OWN_MASKS, AUGMENTED_MASKS))
    return next((path for path in paths if path.exists()), None)


def _annotated_classes(path: Path) -> set[int]:
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two for encodings
        raise ValueError(f"{path}: not a VOC annotation ({one_line(error)}); get the file again") from error
    if root.tag != "annotation":
        raise ValueError(f"{path}: not a VOC annotation (it is <{root.tag}>); get the file again")
    found = set()
    for number, item in enumerate(root.findall("object"), 1):
        name = (item.findtext("name") or "").strip()
        if name not in _INDEX:
            written = re.search(rf">\s*{re.escape(name)}\s*<", path.read_text(encoding="utf-8", errors="replace"))
            place = f" object {number}"
            if name and written:  # not where entities spell it
                place = f" line {written.string.count(chr(10), 0, written.start()) + 1}"
            raise ValueError(f"{path}{place}: unknown class {shown(name)} (known: {', '.join(_INDEX)}); correct it")
        found.add(_INDEX[name])
    return found
