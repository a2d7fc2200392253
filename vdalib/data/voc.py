"""PASCAL VOC 2012 with SBD-augmented masks, read in VOC's own layout."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from vdalib.data.images import VOID, read_image, read_mask
from vdalib.data.sample import Sample
from vdalib.io import write_json

# Names as prompts: VOC's files say diningtable, pottedplant and tvmonitor.
VOC_CLASSES: tuple[str, ...] = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train",
    "tv monitor",
)  # fmt: skip
_INDEX = {name.replace(" ", ""): index for index, name in enumerate(VOC_CLASSES)}
_MASK_FOLDERS = ("SegmentationClassAug", "SegmentationClass")


class VOCSegmentation(Dataset):
    """A split of VOC 2012: JPEGImages, SegmentationClass(Aug), ImageSets/Segmentation/{split}.txt.

    root:   the folder VOC2012, or one that holds VOCdevkit/VOC2012.
    labels: the folder of labels_{split}.json as `prepare_labels` writes it; None = root. Image-level labels
            come from this file only.

    `[i]` gives a Sample; `mask` is for evaluation. Raises FileNotFoundError for what is missing, ValueError
    for what is wrong.
    """

    class_names: tuple[str, ...] = VOC_CLASSES

    def __init__(self, root: str | Path, split: str, labels: str | Path | None = None) -> None:
        self.root, self.split = voc_folder(root), split
        self.names = read_split(self.root, split)
        self.labels = _read_labels(label_file(labels or self.root, split), self.names, self.root, split)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> Sample:
        name = self.names[i]
        return Sample(read_image(self.root / "JPEGImages" / f"{name}.jpg"), self.labels[i].clone(), name)

    def mask(self, i: int) -> np.ndarray:
        """uint8 (H, W): 0 background, class index + 1 elsewhere, 255 void. Evaluation only."""
        name = self.names[i]
        path = _mask_path(self.root, name)
        if path is None:
            raise FileNotFoundError(f"no mask {name}.png in {self.root}/{' or '.join(_MASK_FOLDERS)}")
        mask = read_mask(path, len(VOC_CLASSES))
        with Image.open(self.root / "JPEGImages" / f"{name}.jpg") as image:
            if image.size != mask.shape[::-1]:
                raise ValueError(
                    f"{path}: size {mask.shape[::-1]}, but its image has {image.size} (width, height)"
                )
        return mask


def prepare_labels(root: str | Path, split: str, out: str | Path | None = None) -> Path:
    """Write the image-level labels of a split to {out}/labels_{split}.json before training; returns its path.

    They come from Annotations/*.xml and, for an image that has none, from the classes in its mask. out: a
    folder, for where the root cannot be written; None = root. Raises FileNotFoundError for an image with
    neither, ValueError for a broken annotation.
    """
    folder = voc_folder(root)
    labels, from_masks = {}, 0
    for name in read_split(folder, split):
        annotation = folder / "Annotations" / f"{name}.xml"
        if annotation.exists():
            indices = _annotated_classes(annotation)
        elif mask := _mask_path(folder, name):
            values = np.unique(read_mask(mask, len(VOC_CLASSES)))
            indices = {int(value) - 1 for value in values if value not in (0, VOID)}
            from_masks += 1
        else:
            places = ", ".join(str(folder / place) for place in ("Annotations", *_MASK_FOLDERS))
            raise FileNotFoundError(f"{name}: neither annotation nor mask, looked in {places}")
        labels[name] = [VOC_CLASSES[index] for index in sorted(indices)]
    path = label_file(out or folder, split)
    write_json(path, {"split": split, "labels_from_masks": from_masks, "labels": labels})
    return path


def voc_folder(root: str | Path) -> Path:
    """The folder that holds JPEGImages: root itself or root/VOCdevkit/VOC2012."""
    tried = (Path(root), Path(root) / "VOCdevkit" / "VOC2012")
    for folder in tried:
        if (folder / "JPEGImages").is_dir():
            return folder
    raise FileNotFoundError(
        f"data.root: no folder JPEGImages in {' or '.join(map(str, tried))}; give VOCdevkit/VOC2012"
    )


def label_file(folder: str | Path, split: str) -> Path:
    """Where the prepared image-level labels of a split are."""
    return Path(folder) / f"labels_{split}.json"


def read_split(folder: Path, split: str) -> list[str]:
    """The image names of ImageSets/Segmentation/{split}.txt."""
    path = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.txt"))) or "none"
        raise FileNotFoundError(f"{path}: no such split (there are: {known})")
    names = path.read_text(encoding="utf-8").split()
    if not names:
        raise ValueError(f"{path}: empty, expected one image name per line")
    return names


def _mask_path(folder: Path, name: str) -> Path | None:
    paths = (folder / place / f"{name}.png" for place in _MASK_FOLDERS)
    return next((path for path in paths if path.exists()), None)


def _annotated_classes(path: Path) -> set[int]:
    try:
        found = [element.text.strip() for element in ElementTree.parse(path).getroot().findall("object/name")]
    except (ElementTree.ParseError, AttributeError) as error:
        raise ValueError(f"{path}: not a VOC annotation ({error}); get the file again") from error
    for name in found:
        if name not in _INDEX:
            raise ValueError(f"{path}: unknown class {name!r} (known: {', '.join(_INDEX)})")
    return {_INDEX[name] for name in found}


def _read_labels(path: Path, names: list[str], root: Path, split: str) -> torch.Tensor:
    """bool (images, K)."""
    call = f"prepare_labels({str(root)!r}, {split!r}, out={str(path.parent)!r})"
    cure = f"make it once with vdalib.data.voc.{call}"
    if not path.exists():
        raise FileNotFoundError(f"{path}: no prepared image-level labels; {cure}")
    try:
        known = json.loads(path.read_text(encoding="utf-8"))["labels"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a label file ({error!r}); {cure}") from error
    labels = torch.zeros(len(names), len(VOC_CLASSES), dtype=torch.bool)
    for row, name in enumerate(names):
        if name not in known:
            raise ValueError(f"{path}: image {name} of split {split} is not in it; {cure}")
        for class_name in known[name]:
            if class_name not in VOC_CLASSES:
                raise ValueError(
                    f"{path}: image {name}: unknown class {class_name!r} (known: {', '.join(VOC_CLASSES)})"
                )
            labels[row, VOC_CLASSES.index(class_name)] = True
    return labels
