"""COCO's segmentations as label maps; what is broken in one is found here and not by pycocotools, which would crash."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pycocotools import mask as rle

from vdalib.config.reading import shown
from vdalib.data.coco import COCO_IDS
from vdalib.data.images import VOID

INDEX = {number: index for index, number in enumerate(COCO_IDS)}
_FAR = 10  # times an image's longer side: a coordinate further away is no slip of the annotator's hand


def label_mask(annotations: list[dict], height: int, width: int) -> np.ndarray:
    """uint8 (height, width): 0 background, class index + 1 of the smallest segment at a pixel, 255 where only a crowd is.

    Crowds are drawn first, then objects from the largest segment to the smallest. Raises ValueError naming
    the annotation whose segmentation is broken.
    """
    segments = []
    for item in annotations:
        try:
            pixels = _rasterised(item.get("segmentation"), height, width)
        except ValueError as error:
            raise ValueError(f"annotation {item['id']}: broken segmentation ({error})") from error
        crowd = bool(item.get("iscrowd"))
        segments.append((not crowd, -int(pixels.sum()), VOID if crowd else INDEX[item["category_id"]] + 1, pixels))
    mask = np.zeros((height, width), np.uint8)
    for *_, value, pixels in sorted(segments, key=lambda segment: segment[:2]):
        mask[pixels] = value
    return mask


def _rasterised(segmentation: Any, height: int, width: int) -> np.ndarray:
    """bool (height, width) of polygons, or of run lengths, plain or compressed."""
    if isinstance(segmentation, list):
        for polygon in segmentation:
            _require_polygon(polygon, _FAR * max(height, width))
        polygons = [polygon for polygon in segmentation if len(polygon) >= 6]  # less than a triangle has no area
        if not polygons:
            return np.zeros((height, width), bool)
        return rle.decode(rle.merge(rle.frPyObjects(polygons, height, width))).astype(bool)
    if not isinstance(segmentation, dict):
        raise ValueError(f"found {shown(segmentation)}, expected polygons or run lengths")
    if segmentation.get("size") != [height, width]:
        raise ValueError(f"run lengths of size {shown(segmentation.get('size'))}, expected {[height, width]}")
    counts = segmentation.get("counts")
    counts = _decompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError(f"run lengths {shown(counts)}, expected whole numbers from 0 on")
    if sum(counts) != height * width:
        raise ValueError(f"run lengths of {sum(counts)} pixels, expected {height * width}")
    values = np.arange(len(counts)) % 2 == 1  # they begin with zeros and go down the columns
    return np.repeat(values, counts).reshape(width, height).T


def _require_polygon(polygon: Any, limit: float) -> None:
    if not isinstance(polygon, list) or len(polygon) % 2:
        raise ValueError(f"polygon {shown(polygon)}, expected x, y, x, y, ...")
    for number in polygon:
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise ValueError(f"coordinate {shown(number)}, expected a number of pixels")
        if abs(number) > limit:
            raise ValueError(f"coordinate {shown(number)}, expected one near the image")


def _decompressed(text: str) -> list[int]:
    """COCO's compressed run lengths: 5 bits a character, the lowest first; from the third on added to the last but one."""
    counts, value, bits = [], 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or bits > 60:
            raise ValueError(f"compressed run lengths {shown(text)} have a wrong character {character!r}")
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        value -= (code >> 4 & 1) << bits  # two's complement
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = bits = 0
    if bits:
        raise ValueError(f"compressed run lengths {shown(text)} are cut short")
    return counts
