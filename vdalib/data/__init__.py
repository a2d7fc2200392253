"""Data: image and image-level label in, tensors out; masks only for evaluation."""

from __future__ import annotations

from vdalib.config import DataConfig

_KNOWN = ("partworld", "voc12")


def build_dataset(config: DataConfig, split: str, seed: int = 0):
    """A split of the data set that `config.name` names.

    It has `class_names`, `len`, `[i]` -> Sample and, for evaluation only, `mask(i)` -> uint8 (H, W).

    Raises ValueError where the data set is not known here or its root is not given.
    """
    if config.name == "partworld":
        from vdalib.data.partworld import PartWorld

        sizes = {config.train_split: config.train_size, config.val_split: config.val_size}
        return PartWorld(split, seed, sizes.get(split))
    _require_known(config)
    from vdalib.data.voc import VOCSegmentation

    if config.root is None:
        raise ValueError(
            f"data.root: data set {config.name!r} needs its folder, for example .../VOCdevkit/VOC2012"
        )
    return VOCSegmentation(config.root, split, config.labels)


def class_names(config: DataConfig) -> tuple[str, ...]:
    """The foreground classes of a data set in the order of its label maps, without opening it."""
    if config.name == "partworld":
        from vdalib.data.partworld import CLASSES

        return CLASSES
    _require_known(config)
    from vdalib.data.voc import VOC_CLASSES

    return VOC_CLASSES


def _require_known(config: DataConfig) -> None:
    if config.name not in _KNOWN:
        raise ValueError(f"data.name: no reader for {config.name!r} yet (known: {', '.join(_KNOWN)})")
