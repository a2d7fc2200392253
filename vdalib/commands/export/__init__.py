"""A run's masks for annotation tools and trainers, and its network for other programs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vdalib.commands.export.formats import FORMATS
from vdalib.commands.export.segments import Left, Picture, picture_files, read_pictures
from vdalib.commands.segment import class_palette, write_class_files
from vdalib.config import Config
from vdalib.data import class_names

__all__ = ["KINDS", "Exported", "export"]

KINDS = (*FORMATS, "onnx")


@dataclass
class Exported:
    """folder: where it lies. pictures, segments: how many there are. small, doubtful: segments that were left out.

    images: the folder in which the pictures belong where they were not copied, else None.
    """

    folder: Path
    pictures: int = 0
    segments: int = 0
    small: int = 0
    doubtful: int = 0
    images: Path | None = None

    def __str__(self) -> str:
        text = f"{self.segments} segments of {self.pictures} pictures: {self.folder}"
        if self.small or self.doubtful:
            text += f"\nleft out: {self.small} smaller than --min-area, {self.doubtful} below --confidence"
        return text + (f"\nthe pictures themselves belong in {self.images} (--images DIR copies them)" if self.images else "")


def export(
    run_dir: str | Path,
    format: str,
    out: str | Path | None = None,
    *,
    masks: str | Path | None = None,
    images: str | Path | None = None,
    min_area: int = 20,
    confidence: float | None = None,
) -> Exported:
    """Write the masks of a run in a format of KINDS; for "onnx" its network (`vdalib.commands.export.network`).

    out:        a folder that is not there yet, or empty; None = {run_dir}/export/{format}.
    masks:      the folder that `segment` wrote masks/ into; None = run_dir, or else {run_dir}/segmented.
    images:     folder of the pictures, to copy them too; None = only annotations.
    min_area:   px, of a segment; smaller ones are left out. A segment is a connected region of one class.
    confidence: 0..1, least mean confidence of a segment, which needs the maps of `segment --probabilities`; None = any.

    Pictures are meant upright, as viewers show them: a reader that ignores EXIF orientation sees turned ones otherwise.
    Raises FileNotFoundError for what is missing, FileExistsError where something lies at `out`, ValueError for what the
    format cannot hold.
    """
    run_dir = Path(run_dir)
    if format not in KINDS:
        raise ValueError(f"--format: found {format!r}, expected one of {', '.join(KINDS)}")
    folder = Path(out) if out else run_dir / "export" / format
    if format == "onnx":
        from vdalib.commands.export.network import export_network

        with _whole_folder(folder) as temporary:
            export_network(run_dir, temporary)
        return Exported(folder)
    config = Config.of_run(run_dir)
    names = class_names(config.data)
    source = Path(masks) if masks else run_dir if (run_dir / "masks").is_dir() else run_dir / "segmented"
    files = picture_files(source, ".jpg" if config.data.name in ("voc12", "coco14") else ".png")
    kind, left, done = FORMATS[format], Left(), Exported(folder)

    def counted() -> Iterator[Picture]:
        for picture in read_pictures(source, files, len(names), min_area, confidence, left):
            done.pictures += 1
            done.segments += len(picture.segments)
            if images:
                _copy(Path(images) / picture.file, temporary / kind.images / picture.file)
            yield picture

    with _whole_folder(folder) as temporary:
        write_class_files(temporary, names, config)
        kind.write(counted(), names, class_palette(names, config)[: len(names) + 1], temporary)
    done.small, done.doubtful = left.small, left.doubtful
    done.images = None if images else folder / kind.images
    return done


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such picture; --images names the folder that was segmented")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder`, new or empty, when the block ends well."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder}: something lies there; take it away, or choose another --out")
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)  # of one that was killed
    temporary.mkdir(parents=True)
    try:
        yield temporary
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
