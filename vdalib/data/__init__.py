"""Data: image and image-level label in, tensors out; masks only for evaluation."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from vdalib.config import Config, DataConfig
from vdalib.config.settings import CORRECTED


def build_dataset(config: DataConfig, split: str, seed: int = 0):
    """A split of the data set that `config.name` names.

    It has `class_names`, `len`, `[i]` -> Sample and, for evaluation only, `mask(i)` -> uint8 (H, W).

    Raises ValueError where its root is not given.
    """
    if config.name == "partworld":
        from vdalib.data.partworld import PartWorld

        sizes = {config.train_split: config.train_size, config.val_split: config.val_size}
        return PartWorld(split, seed, sizes.get(split), config.granularity)
    _require_root(config)
    if config.name == "coco14":
        from vdalib.data.coco import COCOSegmentation

        return COCOSegmentation(config.root, split, config.labels)
    if config.name == "folder":
        from vdalib.data.folder import TaggedFolder

        _require_apart(config)
        return TaggedFolder(config.root, config.labels, config.size, _masks(config) if split == CORRECTED else None)
    from vdalib.data.voc import VOCSegmentation

    return VOCSegmentation(config.root, split, config.labels)


def class_names(config: DataConfig) -> tuple[str, ...]:
    """The foreground classes of a data set in the order of its label maps, without opening it."""
    if config.name == "partworld":
        from vdalib.data.partworld import GRANULARITIES

        return GRANULARITIES[config.granularity]
    if config.name == "coco14":
        from vdalib.data.coco import COCO_CLASSES

        return COCO_CLASSES
    if config.name == "folder":
        if config.classes is None:
            raise ValueError("data.classes: a folder's are known when it is prepared; see vdalib.data.completed")
        return config.classes
    from vdalib.data.voc import VOC_CLASSES

    return VOC_CLASSES


def prepare(config: DataConfig, download: bool = False) -> None:
    """Make a data set ready for training: verify it, write its label files, with `download` get what is missing.

    Raises FileNotFoundError that lists what is missing, ValueError for what is wrong.
    """
    if config.name == "partworld":  # drawn, not read
        return
    _require_root(config)
    if config.name == "folder":
        from vdalib.data.folder import prepare_folder, summary

        _require_apart(config)
        print(summary(prepare_folder(config.root, config.labels, config.on_bad_image)), flush=True)
        return
    if config.name == "coco14":
        from vdalib.data.coco_preparation import prepare as prepare_files
    else:
        from vdalib.data.voc_preparation import prepare as prepare_files
    prepare_files(config, download)


def is_prepared(config: DataConfig) -> bool:
    """Whether both splits have a label file."""
    from vdalib.data.labels import label_file

    roots = (config.labels,) if config.labels else (config.root or "", Path(config.root or "") / "VOCdevkit" / "VOC2012")
    return any(all(label_file(root, split).exists() for split in (config.train_split, config.val_split)) for root in roots)


def completed(config: Config) -> Config:
    """The settings with what only a prepared folder knows, so that a run needs no data to be used.

    Classes and colours, their synonyms and, where classes.yaml has some, background prompts, else the preset's but for
    those that are classes here; other data sets' settings are complete as they are. Raises what
    `vdalib.data.folder.read_prepared` raises.
    """
    if config.data.name != "folder":
        return config
    from vdalib.data.folder import read_prepared

    _require_root(config.data)
    known = read_prepared(config.data.root, config.data.labels)
    clip = replace(config.clip, synonyms=config.clip.synonyms | known["synonyms"])
    words = {word.lower() for own in clip.words(known["classes"]) for word in own}
    background = known["background"] or [word for word in clip.background_prompts if word.lower() not in words]
    data = replace(config.data, classes=known["classes"], colours=known["colours"])
    return replace(config, clip=replace(clip, background_prompts=background), data=data)


def _masks(config: DataConfig) -> str:
    if config.masks is None:
        raise ValueError(f"data.masks: split {CORRECTED!r} of a folder needs the folder of the masks that you corrected")
    return config.masks


def _require_apart(config: DataConfig) -> None:
    """ValueError for masks in a folder whose sub-folders are classes: they would be taken for pictures, and train."""
    root = Path(config.root)
    if config.masks is None or (root / "images").is_dir() or (root / "tags.csv").exists():
        return
    for resolved in (os.path.abspath, os.path.realpath):
        base, masks = Path(resolved(root)), Path(resolved(config.masks))
        if masks.is_relative_to(base) and not masks.relative_to(base).as_posix().startswith(".") or masks == base:
            raise ValueError(f"data.masks: {masks} lies in {base}, whose sub-folders are its classes; move it out of there")


def _require_root(config: DataConfig) -> None:
    if config.root is None:
        raise ValueError(f"data.root: data set {config.name!r} needs its folder; give it by --data DIR or data.root=DIR")
