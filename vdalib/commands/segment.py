"""Masks and overlays of image files by a trained run; stops and goes on at any image."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.colors import to_rgb
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from vdalib.config import Config
from vdalib.data import class_names
from vdalib.data.images import SUFFIXES, printable, read_image, save_mask
from vdalib.explore.plots import class_colour
from vdalib.inference import Predictor
from vdalib.io import atomic_path
from vdalib.progress import progress_bar

# Larger images are predicted at about MAX_SIZE x MAX_SIZE px, or MAX_GRID x MAX_GRID patches where a run sees images at
# their own size (inference.size null), and their masks enlarged: memory must not grow with the camera [R] ours.
MAX_SIZE, MAX_GRID = 1448, 64
OVERLAY_SIDE = 1600  # px, longer side of an overlay at most
OUTPUTS = ("masks", "overlays", "confidence")  # folders
_LISTS = ("classes.txt", "labelmap.txt", "confidence.csv")


@dataclass
class Outcome:
    """What became of the images: names of those made now and of those that were there, and why others were not."""

    made: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def find_images(arguments: Iterable[str | Path], out: str | Path | None = None) -> tuple[dict[str, Path], dict[Path, str]]:
    """Files and folders -> ({name: file}, {file passed over: why}), both sorted.

    A name is the path from the folder that all arguments have in common, without suffix; files whose names would be the
    same keep it. Of folders, images are taken by suffix, at any depth, but no hidden ones; what `segment` wrote to `out`
    is neither taken nor mentioned. Bytes in a name that are no text become escapes. Raises FileNotFoundError for what is not
    there and where no image is found.
    """
    own = [Path(os.path.abspath(out)) / kind for kind in OUTPUTS + _LISTS] if out else []
    files, bases, passed_over = set(), [], {}
    for argument in arguments:
        place = Path(os.path.abspath(argument))
        if place.is_dir():
            bases.append(place)
            for path in place.rglob("*"):
                if any(path.is_relative_to(folder) for folder in own):
                    continue
                if path.is_symlink() and not path.is_file():
                    passed_over[path] = "a link to a folder, or to nothing"
                elif not path.is_file():
                    continue
                elif any(part.startswith(".") for part in path.relative_to(place).parts):
                    passed_over[path] = "hidden"
                elif path.suffix.lower() not in SUFFIXES:
                    passed_over[path] = "not an image by its name"
                else:
                    files.add(path)
        elif place.is_file():
            bases.append(place.parent)
            files.add(place)
        else:
            raise FileNotFoundError(f"{argument}: no such file or folder")
    if not files:
        raise FileNotFoundError(
            f"{', '.join(map(str, arguments))}: no image found (known: {', '.join(SUFFIXES)}); convert others to JPEG"
        )
    base = Path(os.path.commonpath(bases))
    names = output_names(printable(path.relative_to(base).as_posix()) for path in sorted(files))
    return dict(zip(names, sorted(files))), {path: passed_over[path] for path in sorted(passed_over.keys() - files)}


def output_names(names: Iterable[str]) -> list[str]:
    """Image names without suffix, but with it where two would be the same (also to a file system that ignores case).

    >>> output_names(["a.jpg", "a.png", "a.png.png", "b.jpg"])
    ['a.jpg', 'a.png', 'a.png.png', 'b']
    """
    names = list(names)
    bare = [str(Path(name).with_suffix("")) for name in names]
    taken = Counter(name.lower() for name in bare) + Counter(name.lower() for name in names)
    return [name if taken[short.lower()] > 1 else short for name, short in zip(names, bare)]


def segment(
    run_dir: str | Path,
    images: Mapping[str, Path],
    out: str | Path,
    *,
    multi_scale: bool = False,
    crf: bool = False,
    probabilities: bool = False,
    progress: bool = True,
) -> Outcome:
    """Write {out}/masks/{name}.png, a palette file as large as the upright image, and {out}/overlays/{name}.jpg.

    Beside them go classes.txt and labelmap.txt, and confidence.csv, whose first rows are the pictures to look at first: the
    probability of the label drawn, mean over the picture. probabilities: also write {out}/confidence/{name}.png, that
    probability of every pixel times 65535.

    An image is done again unless its mask says that it came from this image, run and flags; so a call that was stopped
    goes on. An image that cannot be read, or whose name the disk does not take, is reported and the others are done.
    Raises FileExistsError for a file that was not written here, before anything is computed, OSError where `out` cannot
    be written.
    """
    out, outcome, waiting = Path(out), Outcome(), {}
    identity = run_identity(run_dir)
    kinds = OUTPUTS if probabilities else OUTPUTS[:2]
    for kind in kinds:
        _require_writable(out / kind)
    for name, path in images.items():
        with _told(outcome, name, path):
            facts = path.stat()
            source = {"image": path.name, "bytes": facts.st_size, "modified": facts.st_mtime_ns}
            note = source | {"run": identity, "multi_scale": multi_scale, "crf": crf}
            notes = [_note_of(path) for path in outputs(out, name)[: len(kinds)]]
            if all(found and found | note == found and "confidence" in found for found in notes):
                outcome.found.append(name)
            else:
                waiting[name] = note
    config = Config.of_run(run_dir)
    write_class_files(out, class_names(config.data), config)
    predictor = Predictor.from_run(run_dir, "cuda" if torch.cuda.is_available() else "cpu") if waiting else None
    for name in progress_bar(waiting, desc="segment", unit="image", disable=not progress or not waiting):
        with _told(outcome, name, images[name]):
            image = read_image(images[name], upright=True)
            label_map, confidence = predict(predictor, image, multi_scale, crf)
            note = json.dumps(waiting[name] | {"confidence": round(float(confidence.mean()), 4)})
            _save(out, name, image, label_map, confidence if probabilities else None, note, predictor)
            outcome.made.append(name)
    write_confidences(out)
    return outcome


@contextmanager
def _told(outcome: Outcome, name: str, path: Path) -> Iterator[None]:
    """What is wrong with one image is noted in the outcome; a full or read-only disk and files of others are raised."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) or (number is None and isinstance(error, FileExistsError)):
            raise
        text = str(error) or type(error).__name__
        if number == errno.ENAMETOOLONG:
            text = "its name is too long for the names of its mask and overlay; shorten it"
        outcome.failed[name] = text if str(path) in text else f"{path}: {text}"


def predict(predictor: Predictor, image: torch.Tensor, multi_scale: bool, crf: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of an image uint8 (3, H, W) of any size: label map uint8 (H, W), and its labels' probabilities float32 (H, W)."""
    pixels = Image.fromarray(image.permute(1, 2, 0).numpy())
    factor = min(1.0, side_limit(predictor) / (pixels.width * pixels.height) ** 0.5)
    shape = [max(round(side * factor), 1) for side in pixels.size]
    seen = pixels.resize(shape) if factor < 1 else pixels
    confidence, labels = predictor.probabilities(seen, multi_scale=multi_scale, crf=crf).max(0)
    label_map = Image.fromarray(labels.to(torch.uint8).cpu().numpy()).resize(pixels.size, Image.Resampling.NEAREST)
    confidence = Image.fromarray(confidence.float().cpu().numpy()).resize(pixels.size, Image.Resampling.BILINEAR)
    return np.array(label_map), np.array(confidence).clip(0, 1)


def side_limit(predictor: Predictor) -> float:
    """px: pictures of more than its square in pixels are predicted smaller."""
    settings = predictor.config.inference
    return MAX_SIZE if settings.size else MAX_GRID * predictor.network.patch_size / max(1.0, *settings.scales)


def _save(out: Path, name: str, image, label_map: np.ndarray, confidence: np.ndarray | None, note: str, predictor: Predictor):
    """The mask comes last: a mask that is there says that all is."""
    palette = class_palette(predictor.class_names, predictor.config)
    mask, overlay, map_path = outputs(out, name)
    if confidence is None and (older := read_note(map_path)) and older != json.loads(note):
        map_path.unlink()  # of another picture, run or flags
    with atomic_path(overlay) as temporary:
        overlay_picture(image, label_map, palette).save(temporary, quality=90, comment=note.encode())
    if confidence is not None:
        comment = PngInfo()
        comment.add_text("Comment", note)
        with atomic_path(map_path) as temporary:
            Image.fromarray((65535 * confidence).round().astype(np.uint16)).save(temporary, pnginfo=comment)
    save_mask(mask, label_map, palette, note)


def outputs(out: Path, name: str) -> tuple[Path, Path, Path]:
    """Mask, overlay and confidence map of an image."""
    return tuple(out / kind / f"{name}{suffix}" for kind, suffix in zip(OUTPUTS, (".png", ".jpg", ".png")))


def write_class_files(out: str | Path, names: Sequence[str], config: Config) -> None:
    """classes.txt, whose n-th line is the name of label n, and labelmap.txt, CVAT's list of names and colours.

    Raises FileExistsError where a classes.txt of other classes lies there.
    """
    colours = class_palette(names, config).tolist()
    names = [" ".join(name.split()) for name in names]
    rows = [f"{name.replace(':', ' ')}:{','.join(map(str, colour))}::" for name, colour in zip(("background", *names), colours)]
    path, text = Path(out) / "classes.txt", "".join(f"{name}\n" for name in names)
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
        raise FileExistsError(f"{path}: lists other classes than this run's; choose another --out, or take the file away")
    labelmap = "\n".join(["# label:color_rgb:parts:actions", *rows, ""])
    for target, content in ((path, text), (path.with_name("labelmap.txt"), labelmap)):
        with atomic_path(target) as temporary:
            temporary.write_text(content, encoding="utf-8")


def confidences(out: str | Path) -> dict[str, float]:
    """{name: mean probability of the labels drawn} of the masks that `segment` wrote to `out`, the most doubtful first."""
    folder, found = Path(out) / "masks", {}
    for path in sorted(folder.rglob("*.png")):
        if "confidence" in (note := read_note(path)):
            found[str(path.relative_to(folder).with_suffix(""))] = note["confidence"]
    return dict(sorted(found.items(), key=lambda item: item[1]))


def write_confidences(out: str | Path) -> None:
    """confidence.csv: mask and its mean confidence, the most doubtful first."""
    with atomic_path(Path(out) / "confidence.csv") as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["mask", "confidence"])
        rows.writerows([f"masks/{name}.png", value] for name, value in confidences(out).items())


def class_palette(names: Iterable[str], config: Config) -> np.ndarray:
    """uint8 (256, 3): background black, each class as in all figures, the rest white."""
    colours = [config.data.colours.get(name, class_colour(name)) for name in ("background", *names)]
    palette = np.full((256, 3), 255, np.uint8)
    palette[: len(colours)] = [[round(255 * part) for part in to_rgb(colour)] for colour in colours]
    return palette


def overlay_picture(image: torch.Tensor, label_map: np.ndarray, palette: np.ndarray) -> Image.Image:
    """The image half under its classes' colours, their borders drawn, at most OVERLAY_SIDE on its longer side."""
    picture, labels = Image.fromarray(image.permute(1, 2, 0).numpy()), Image.fromarray(label_map)
    factor = min(1.0, OVERLAY_SIDE / max(picture.size))
    shape = [max(round(side * factor), 1) for side in picture.size]
    pixels = np.asarray(picture.resize(shape) if factor < 1 else picture).astype(np.float32)
    labels = np.asarray(labels.resize(shape, Image.Resampling.NEAREST))
    weight = np.where(labels == 0, 0, np.where(border(labels), 1.0, 0.45))[..., None]
    return Image.fromarray(((1 - weight) * pixels + weight * palette[labels]).round().astype(np.uint8))


def border(labels: np.ndarray) -> np.ndarray:
    """bool (H, W): pixels of a class beside a pixel of another class or of background."""
    around, (height, width) = np.pad(labels, 1, mode="edge"), labels.shape
    near = ((0, 1), (1, 0), (0, -1), (-1, 0))
    other = [around[1 + y : 1 + y + height, 1 + x : 1 + x + width] != labels for y, x in near]
    return np.any(other, axis=0) & (labels != 0)


def run_identity(run_dir: str | Path) -> str:
    """Changes with the weights and the settings of a run; FileNotFoundError where there is no trained run."""
    digest = hashlib.sha256()
    for name in ("config.yaml", "segmenter.safetensors"):
        path = Path(run_dir) / name
        if not path.exists():
            raise FileNotFoundError(f"{path}: missing; {run_dir} is not the directory of a trained run")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _require_writable(folder: Path) -> None:
    """OSError now, not after the first prediction."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} (choose another folder by --out)", str(folder)) from error


def read_note(path: Path) -> dict[str, Any]:
    """What `segment` wrote into a mask, an overlay or a confidence map about its making; {} where it did not write it."""
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as file:
            note = json.loads(file.info.get("Comment") or file.info.get("comment") or "{}")
    except (OSError, SyntaxError, ValueError):
        return {}
    return note if isinstance(note, dict) and "multi_scale" in note else {}


def _note_of(path: Path) -> dict[str, Any]:
    """`read_note`, or {} where there is no such file; FileExistsError where it is another's."""
    try:
        path.stat()
    except FileNotFoundError:
        return {}
    if not (note := read_note(path)):
        raise FileExistsError(f"{path}: was not written by `segment` and is not overwritten; choose another --out")
    return note
