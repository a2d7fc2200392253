"""Masks and overlays of image files by a trained run; stops and goes on at any image."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import to_rgb
from PIL import Image
from tqdm.auto import tqdm

from vdalib.config import Config
from vdalib.data.images import SUFFIXES, read_image, save_mask
from vdalib.explore.plots import class_colour
from vdalib.inference import Predictor
from vdalib.io import atomic_path

# Larger images are predicted at about MAX_SIZE x MAX_SIZE px, or MAX_GRID x MAX_GRID patches where a run sees images at
# their own size (inference.size null), and their masks enlarged: memory must not grow with the camera [R] ours.
MAX_SIZE, MAX_GRID = 1448, 64
OVERLAY_SIDE = 1600  # px, longer side of an overlay at most


@dataclass
class Outcome:
    """What became of the images: names of those made now and of those that were there, and why others could not be read."""

    made: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def find_images(arguments: Iterable[str | Path], out: str | Path | None = None) -> dict[str, Path]:
    """Files and folders -> {name: file}, sorted; a name is the path from the folder that all have in common, without suffix.

    Files whose names differ by suffix only keep it. Of folders, images are taken by suffix, at any depth; masks and overlays
    of `out` are not. Raises FileNotFoundError for what is not there and where no image is found.
    """
    own = [Path(os.path.abspath(out)) / kind for kind in ("masks", "overlays")] if out else []
    files, bases = set(), []
    for argument in arguments:
        place = Path(os.path.abspath(argument))
        if place.is_dir():
            bases.append(place)
            inside = (path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
            files |= {path for path in inside if not any(path.is_relative_to(folder) for folder in own)}
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
    return dict(zip(output_names(path.relative_to(base).as_posix() for path in sorted(files)), sorted(files)))


def output_names(names: Iterable[str]) -> list[str]:
    """Image names without suffix, but with it where two would be the same (also to a file system that ignores case)."""
    names = list(names)
    bare = [str(Path(name).with_suffix("")) for name in names]
    lower = [name.lower() for name in bare]
    return [name if lower.count(low) > 1 else short for name, short, low in zip(names, bare, lower)]


def segment(
    run_dir: str | Path,
    images: Mapping[str, Path],
    out: str | Path,
    *,
    multi_scale: bool = False,
    crf: bool = False,
    progress: bool = True,
) -> Outcome:
    """Write {out}/masks/{name}.png, a palette file as large as the upright image, and {out}/overlays/{name}.jpg.

    An image is done again unless its mask says that it came from this image, run and flags; so a call that was stopped
    goes on. An image that cannot be read is reported and the others are done. Raises FileExistsError for a mask that
    was not written here, before anything is computed, OSError where `out` cannot be written.
    """
    out, outcome, waiting = Path(out), Outcome(), {}
    identity = run_identity(run_dir)
    for kind in ("masks", "overlays"):
        _require_writable(out / kind)
    for name, path in images.items():
        facts = path.stat()
        source = {"image": path.name, "bytes": facts.st_size, "modified": facts.st_mtime_ns}
        note = json.dumps(source | {"run": identity, "multi_scale": multi_scale, "crf": crf})
        mask, overlay = _outputs(out, name)
        if mask.exists() and _note_of(mask) == note and overlay.exists():
            outcome.found.append(name)
        else:
            waiting[name] = note
    if not waiting:
        return outcome
    predictor = Predictor.from_run(run_dir, "cuda" if torch.cuda.is_available() else "cpu")
    palette = class_palette(predictor.class_names, predictor.config)
    for name in tqdm(waiting, desc="segment", unit="image", disable=not progress):
        try:
            image = read_image(images[name], upright=True)
        except (ValueError, FileNotFoundError) as error:
            outcome.failed[name] = str(error)
            continue
        label_map = predict(predictor, image, multi_scale, crf)
        mask, overlay = _outputs(out, name)
        with atomic_path(overlay) as temporary:
            overlay_picture(image, label_map, palette).save(temporary, quality=90)
        save_mask(mask, label_map, palette, waiting[name])  # last: a mask that is there says that all is
        outcome.made.append(name)
    return outcome


def predict(predictor: Predictor, image: torch.Tensor, multi_scale: bool, crf: bool) -> np.ndarray:
    """Label map uint8 (H, W) of an image uint8 (3, H, W) of any size."""
    pixels, settings = Image.fromarray(image.permute(1, 2, 0).numpy()), predictor.config.inference
    limit = MAX_SIZE if settings.size else MAX_GRID * predictor.network.patch_size / max(1.0, *settings.scales)
    factor = min(1.0, limit / (pixels.width * pixels.height) ** 0.5)
    shape = [max(round(side * factor), 1) for side in pixels.size]
    label_map = predictor.predict(pixels.resize(shape) if factor < 1 else pixels, multi_scale=multi_scale, crf=crf)
    return np.array(Image.fromarray(label_map).resize(pixels.size, Image.Resampling.NEAREST))


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
    around = np.pad(labels, 1, mode="edge")
    inside = [around[1 + y : y + 1 + labels.shape[0], 1 + x : x + 1 + labels.shape[1]] == labels for y, x in _NEAR]
    weight = np.where(labels == 0, 0, np.where(np.all(inside, axis=0), 0.45, 1.0))[..., None]
    return Image.fromarray(((1 - weight) * pixels + weight * palette[labels]).round().astype(np.uint8))


_NEAR = ((0, 1), (1, 0), (0, -1), (-1, 0))


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


def _outputs(out: Path, name: str) -> tuple[Path, Path]:
    return out / "masks" / f"{name}.png", out / "overlays" / f"{name}.jpg"


def _note_of(mask: Path) -> str:
    """What `segment` wrote into a mask; FileExistsError where it is another's."""
    try:
        with Image.open(mask) as file:
            note = file.info.get("Comment", "")
    except OSError:
        note = ""
    if '"multi_scale"' not in note:
        raise FileExistsError(f"{mask}: was not written by `segment` and is not overwritten; choose another --out")
    return note
