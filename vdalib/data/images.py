"""Images and label maps, from files and to files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torchvision import tv_tensors

from vdalib.io import atomic_path

VOID = 255


def voc_palette() -> np.ndarray:
    """VOC's colour map, uint8 (256, 3): bit i of a channel's index goes to bit 7 - i of the colour.

    >>> voc_palette()[[0, 1, 15, 255]].tolist()
    [[0, 0, 0], [128, 0, 0], [192, 128, 128], [224, 224, 192]]
    """
    index = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return palette


def read_image(path: str | Path) -> tv_tensors.Image:
    """An RGB image, uint8 (3, H, W). Raises ValueError naming the file where it cannot be decoded."""
    try:
        with Image.open(path) as file:
            return tv_tensors.Image(file.convert("RGB"))
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError) as error:  # PIL raises each of them for broken files
        raise ValueError(
            f"{path}: cannot be decoded as an image ({error}); replace the file or take it out of the split"
        ) from error


def read_mask(path: str | Path, num_classes: int) -> np.ndarray:
    """A label map, uint8 (H, W): 0 background, 1..num_classes, 255 void, from a palette, grey or RGB PNG.

    Palette and grey files hold the values themselves, RGB files VOC's colours. Raises ValueError naming the
    file and what it holds.
    """
    try:
        with Image.open(path) as file:
            mode, pixels = file.mode, np.array(file)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: cannot be decoded as a mask ({error})") from error
    if mode == "RGB":
        mask = _from_colours(pixels, path)
    elif mode in ("P", "L"):
        mask = pixels
    else:
        raise ValueError(f"{path}: a mask of mode {mode!r}, expected a palette (P), grey (L) or RGB PNG")
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    unknown = values[(values > num_classes) & (values != VOID)]
    if len(unknown):
        raise ValueError(f"{path}: label {unknown[0]} in a mask, expected 0..{num_classes} or {VOID} (void)")
    return mask


def save_mask(path: str | Path, mask: np.ndarray) -> None:
    """Write a label map (H, W) of 0..255 as a PNG with VOC's palette, atomically; `read_mask` reads it."""
    image = Image.fromarray(np.asarray(mask, np.uint8))
    image.putpalette(voc_palette().tobytes())
    with atomic_path(Path(path).with_suffix(".png")) as temporary:
        image.save(temporary)


def _from_colours(pixels: np.ndarray, path: str | Path) -> np.ndarray:
    weights = np.array([65536, 256, 1])
    known = voc_palette() @ weights
    order = np.argsort(known)
    codes = pixels @ weights
    place = np.searchsorted(known, codes, sorter=order).clip(max=255)
    labels = order[place]
    strange = known[labels] != codes
    if strange.any():
        y, x = np.argwhere(strange)[0]
        raise ValueError(
            f"{path}: colour {tuple(pixels[y, x].tolist())} at row {y}, column {x} is not in VOC's palette"
        )
    return labels.astype(np.uint8)
