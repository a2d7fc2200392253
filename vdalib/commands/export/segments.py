"""From masks to segments: connected regions of one class, as pixels and as polygons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import shapely
from contourpy import FillType, contour_generator
from PIL import Image
from scipy import ndimage
from scipy.spatial.distance import cdist

from vdalib.commands.segment import read_note
from vdalib.data.images import read_mask

TOLERANCE = 0.4  # px, how far a polygon may run from the border of its pixels [R] ours


@dataclass
class Segment:
    """A connected region (pixels that share an edge) of one class.

    label:  1..K. box: (x, y, width, height) in px. inside: bool (height, width), the region in its box.
    confidence: mean probability of the label, 0..1; None where no confidence map was written.
    """

    label: int
    box: tuple[int, int, int, int]
    inside: np.ndarray
    confidence: float | None = None

    @property
    def area(self) -> int:
        """Pixels."""
        return int(self.inside.sum())

    @property
    def window(self) -> tuple[slice, slice]:
        """The box as an index into the label map."""
        x, y, width, height = self.box
        return slice(y, y + height), slice(x, x + width)

    def polygon(self) -> np.ndarray:
        """(n, 2) x and y in px, 0..width and 0..height of the picture; the centre of the first pixel is (0.5, 0.5).

        One ring, not closed. A hole is joined to it by a bridge without width, as these formats have no holes.
        """
        points, offsets = contour_generator(z=np.pad(self.inside, 1).astype(float), fill_type=FillType.OuterOffset).filled(0.5, 2)
        rings = [points[0][start:end] for start, end in zip(offsets[0], offsets[0][1:])]
        shape = shapely.Polygon(rings[0], rings[1:]).simplify(TOLERANCE)
        shape = shapely.geometry.polygon.orient(shape)
        ring = np.asarray(shape.exterior.coords)[:-1]
        for interior in shape.interiors:
            hole = np.asarray(interior.coords)[:-1]
            i, j = np.unravel_index(cdist(ring, hole).argmin(), (len(ring), len(hole)))
            ring = np.concatenate([ring[: i + 1], hole[j:], hole[: j + 1], ring[i:]])
        return ring - 0.5 + self.box[:2]


@dataclass
class Picture:
    """A picture with the segments that are exported.

    name: of its mask, without suffix. file: of the picture itself, relative to the folder of the pictures.
    size: (width, height) in px. confidence: mean over the picture; None where it was not written.
    """

    name: str
    file: str
    size: tuple[int, int]
    confidence: float | None
    segments: list[Segment] = field(default_factory=list)


@dataclass
class Left:
    """How many segments were left out."""

    small: int = 0
    doubtful: int = 0


def read_pictures(
    source: Path, names: Mapping[str, str], num_classes: int, min_area: int, least: float | None, left: Left
) -> Iterator[Picture]:
    """The pictures whose masks are in {source}/masks, with their segments of at least `min_area` px.

    names: {mask name: picture file}, as `picture_files` gives it. least: of a segment's confidence; None = any.
    left: counts what was left out. Raises ValueError for a mask that is none, and with `least` FileNotFoundError where
    there is no confidence map.
    """
    for name, file in names.items():
        path = source / "masks" / f"{name}.png"
        mask, probabilities = read_mask(path, num_classes), _confidence_map(source, name)
        if least is not None and probabilities is None:
            missing = source / "confidence" / f"{name}.png"
            raise FileNotFoundError(f"{missing}: --confidence needs it; run `vdalib segment` again with --probabilities")
        picture = Picture(name, file, mask.shape[::-1], read_note(path).get("confidence"))
        for segment in segments_of(mask, num_classes):
            if probabilities is not None:
                segment.confidence = float(probabilities[segment.window][segment.inside].mean())
            if segment.area < min_area:
                left.small += 1
            elif least is not None and segment.confidence < least:
                left.doubtful += 1
            else:
                picture.segments.append(segment)
        yield picture


def segments_of(mask: np.ndarray, num_classes: int) -> Iterator[Segment]:
    """Every segment of a label map (H, W), class by class."""
    for label in np.unique(mask[(mask > 0) & (mask <= num_classes)]):
        regions, _ = ndimage.label(mask == label)
        for number, (rows, columns) in enumerate(ndimage.find_objects(regions), 1):
            box = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
            yield Segment(int(label), box, regions[rows, columns] == number)


def picture_files(source: Path, suffix: str) -> dict[str, str]:
    """{mask name: picture file} of {source}/masks; `suffix` for masks that do not say which picture they belong to."""
    folder, files = source / "masks", {}
    for path in sorted(folder.rglob("*.png")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        own = read_note(path).get("image")
        files[name] = str(PurePosixPath(name).with_name(own)) if own else f"{name}{suffix}"
    if not files:
        raise FileNotFoundError(f"{folder}: no mask there; run `vdalib segment` first, or say by --masks where they are")
    return files


def _confidence_map(source: Path, name: str) -> np.ndarray | None:
    try:
        with Image.open(source / "confidence" / f"{name}.png", formats=("PNG",)) as file:
            return np.asarray(file) / 65535
    except FileNotFoundError:
        return None
