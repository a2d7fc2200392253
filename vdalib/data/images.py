"""Images and label maps, from files and to files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torchvision import tv_tensors

from vdalib.config.reading import one_line
from vdalib.io import atomic_path

VOID = 255
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # that are decoded: no other program is started for a file
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # of the images that a folder is searched for


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


def read_image(path: str | Path, upright: bool = False, size: int | None = None) -> tv_tensors.Image:
    """An RGB image, uint8 (3, H, W), of any mode: 16 bits are scaled to 8, transparency shows white ground.

    upright: turn it as its EXIF orientation says; not where masks were drawn on the pixels as stored.
    size: px, shrink larger images to about size x size pixels, the aspect kept; None = as it is.
    Raises what `opened` raises.
    """
    with opened(path, "an image") as file:
        file.draft(None, _shrunk(file.size, size))  # JPEG decodes to a half, a quarter or an eighth much faster
        image = _as_rgb(ImageOps.exif_transpose(file) if upright else file)
        shape = _shrunk(image.size, size)
        if shape != image.size:
            image = image.resize(shape, Image.Resampling.BICUBIC, reducing_gap=3.0)
        return tv_tensors.Image(image)


def image_size(path: str | Path, upright: bool = False) -> tuple[int, int]:
    """(H, W) of the image that `read_image` reads, but for a TIFF from the file's head alone; raises what `opened` raises."""
    with opened(path, "an image") as file:
        if upright and file.format == "TIFF":  # some versions of Pillow turn it when it is decoded
            return ImageOps.exif_transpose(file).size[::-1]
        turned = upright and file.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return file.size if turned else file.size[::-1]


def is_text(name: str) -> bool:
    """Whether a file's name can be written to a file of text: on some systems a name may be any bytes."""
    return not re.search("[\ud800-\udfff]", name)


def printable(name: str) -> str:
    """The name, with bytes that are no text as escapes."""
    return name.encode(errors="backslashreplace").decode()


@contextmanager
def opened(path: str | Path, kind: str, formats: Sequence[str] = FORMATS) -> Iterator[Image.Image]:
    """An image file, to be decoded in the block; `kind` is what it is to be, for the error's text.

    Raises ValueError naming the file where it cannot be decoded or has more pixels than Pillow deems safe,
    FileNotFoundError where there is none.
    """
    try:
        with Image.open(path, formats=formats) as file:
            if file.width * file.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError(f"{file.width} x {file.height} pixels")
            yield file
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such {kind.split()[-1]}; put it there or take it out of the list") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = f"{Image.MAX_IMAGE_PIXELS / 1e6:.0f} million"
        raise ValueError(f"{path}: too large to be safe ({error}; at most {most}); scale it down or take it out") from None
    except Exception as error:  # PIL raises a dozen kinds for broken files
        known = f"its content has none of the formats {', '.join(formats)}"
        reason = known if isinstance(error, UnidentifiedImageError) else one_line(error) or type(error).__name__
        raise ValueError(f"{path}: cannot be decoded as {kind} ({reason}); replace the file or take it out") from error


def _shrunk(shape: tuple[int, int], size: int | None) -> tuple[int, int]:
    """(width, height) with an area of about size^2 where it is larger, else as it is."""
    factor = min(1.0, size / math.sqrt(shape[0] * shape[1])) if size else 1.0
    return tuple(max(round(side * factor), 1) for side in shape)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range; save it with 8 or 16 bits per channel")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("32-bit pixels have no known range; save it with 8 or 16 bits per channel")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def read_mask(
    path: str | Path,
    num_classes: int,
    image: str | Path | None = None,
    upright: bool = False,
    palette: np.ndarray | None = None,
) -> np.ndarray:
    """A label map, uint8 (H, W): 0 background, 1..num_classes, 255 void, from a palette, grey or RGB PNG.

    Palette and grey files hold the values themselves, RGB files the colours of `palette` (256, 3), None = VOC's. image:
    the file whose size, as `image_size` gives it, the mask must have. Raises ValueError naming the file and what it holds.
    """
    with opened(path, "a mask", ("PNG",)) as file:
        mode, pixels = file.mode, np.array(file)
    if mode == "RGB":
        mask = _from_colours(pixels, path, voc_palette() if palette is None else palette)
    elif mode in ("P", "L"):
        mask = pixels
    else:
        raise ValueError(f"{path}: a mask of mode {mode!r}, expected a palette (P), grey (L) or RGB PNG; save it as one")
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    unknown = values[(values > num_classes) & (values != VOID)]
    if len(unknown):
        y, x = np.argwhere(mask == unknown[0])[0]
        raise ValueError(
            f"{path}: label {unknown[0]} in a mask (row {y}, column {x}), expected 0..{num_classes} or {VOID} "
            "(void); is it of another data set? Correct the file or replace it"
        )
    if image is not None:
        size = image_size(image, upright)
        if size != mask.shape:
            raise ValueError(
                f"{path}: size {mask.shape[::-1]}, but its image {image} has {size[::-1]} (width, height); replace "
                "the one that is wrong"
            )
    return mask


def save_mask(
    path: str | Path, mask: np.ndarray, palette: np.ndarray | None = None, note: str = "", transparent: bool = False
) -> None:
    """Write a label map (H, W) of 0..255 as a PNG, atomically; `read_mask` reads it.

    path: its suffix becomes .png. palette: uint8 (256, 3); None = VOC's. note: kept as the file's comment.
    transparent: a viewer shows nothing where the label is 0.
    """
    image = Image.fromarray(np.asarray(mask, np.uint8))
    image.putpalette((voc_palette() if palette is None else palette).tobytes())
    comment = PngInfo()
    comment.add_text("Comment", note)
    with atomic_path(Path(path).with_suffix(".png")) as temporary:
        image.save(temporary, pnginfo=comment if note else None, transparency=0 if transparent else None)


def _from_colours(pixels: np.ndarray, path: str | Path, palette: np.ndarray) -> np.ndarray:
    weights = np.array([65536, 256, 1])
    known = palette @ weights
    order = np.argsort(known, kind="stable")  # of equal colours the first
    codes = pixels @ weights
    place = np.searchsorted(known, codes, sorter=order).clip(max=255)
    labels = order[place]
    strange = known[labels] != codes
    if strange.any():
        y, x = np.argwhere(strange)[0]
        raise ValueError(
            f"{path}: colour {tuple(pixels[y, x].tolist())} at row {y}, column {x} is no class's; use the palette's own"
        )
    return labels.astype(np.uint8)
