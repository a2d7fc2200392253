"""Prepared image-level labels: the one file beside the images that training may read."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from vdalib.config.reading import one_line, shown
from vdalib.data.images import read_image, read_mask
from vdalib.data.sample import Sample
from vdalib.io import write_json


class LabelledImages(Dataset):
    """Image files with prepared image-level labels, and mask files for evaluation.

    names:  unique, one for each image.
    labels: bool (images, K).

    `[i]` gives a Sample. A subclass says where the files are: `image_path(name)` and `mask_path(name)`.
    """

    class_names: tuple[str, ...]

    def __init__(self, names: Sequence[str], labels: torch.Tensor) -> None:
        self.names, self.labels = list(names), labels

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> Sample:
        return Sample(read_image(self.image_path(self.names[i])), self.labels[i].clone(), self.names[i])

    def mask(self, i: int) -> np.ndarray:
        """uint8 (H, W): 0 background, class index + 1 elsewhere, 255 void. Evaluation only."""
        name = self.names[i]
        return read_mask(self.mask_path(name), len(self.class_names), self.image_path(name))


def label_file(folder: str | Path, split: str) -> Path:
    """Where the prepared image-level labels of a split are."""
    return Path(folder) / f"labels_{split}.json"


def write_labels(folder: str | Path, split: str, labels: Mapping[str, Sequence[str]], **facts) -> Path:
    """Write {image name: class names} to `label_file`, with facts about how they were found; returns its path."""
    path = label_file(folder, split)
    write_json(path, {"split": split, **facts, "labels": labels})
    return path


def data_options(root: str | Path, labels: str | Path | None, name: str = "--root") -> str:
    """The options of a command that prepares data, as a shell takes them."""
    return shlex.join([name, str(root), *(("--labels", str(labels)) if labels else ())])


def read_prepared_file(path: Path, fields: Mapping[str, type], cure: str) -> tuple[str, dict]:
    """The text of a file that preparation wrote and what it says, with all of `fields`; ValueError where it is another."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        wrong = [name for name, kind in fields.items() if not isinstance(content[name], kind)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: not a label file ({one_line(repr(error))}); {cure}") from error
    if wrong or not isinstance(content.get("skipped", {}), dict):
        raise ValueError(f"{path}: not a label file (broken: {', '.join(wrong or ['skipped'])}); {cure}")
    return text, content


def read_labels(
    folder: str | Path, split: str, class_names: Sequence[str], cure: str, names: Sequence[str] | None = None
) -> tuple[list[str], torch.Tensor]:
    """The image names of a label file, in its order, and their labels, bool (images, K).

    names: those to look up, less those that preparation skipped; None = all of the file.
    cure: how the file is made, for the error's text.
    Raises FileNotFoundError without the file, ValueError where it is broken or does not fit.
    """
    path = label_file(folder, split)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no prepared image-level labels; {cure}")
    text, content = read_prepared_file(path, {"labels": dict}, cure)
    known = content["labels"]
    skipped = {*content.get("skipped", ())}
    names = list(known) if names is None else [name for name in names if name not in skipped]
    if not names:
        raise ValueError(f"{path}: no image in it, expected at least one; {cure}")
    index = {name: k for k, name in enumerate(class_names)}
    labels = torch.zeros(len(names), len(class_names), dtype=torch.bool)
    for row, name in enumerate(names):
        if name not in known:
            raise ValueError(f"{path}: image {name} of split {split} is not in it; {cure}")
        if not isinstance(known[name], list):
            raise ValueError(f"{path}: image {name}: found {shown(known[name])}, expected a list of classes; {cure}")
        for class_name in known[name]:
            if not isinstance(class_name, str) or class_name not in index:
                line = text.count("\n", 0, text.find(f'"{class_name}"', text.find(f'"{name}"'))) + 1
                classes = f"unknown class {shown(class_name)} (known: {', '.join(class_names)})"
                raise ValueError(f"{path} line {line}: image {name}: {classes}; {cure}")
            labels[row, index[class_name]] = True
    return names, labels
