"""VOC 2012 made ready before training: verified, downloaded where something is missing, SBD's masks converted."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path, PurePosixPath

import numpy as np
from scipy.io import loadmat
from torchvision.datasets import SBDataset
from torchvision.datasets.voc import DATASET_YEAR_DICT

from vdalib.config import DataConfig
from vdalib.config.reading import one_line
from vdalib.data.archives import Archive, Gap, complete, fill, unpack_into
from vdalib.data.checking import bad_names
from vdalib.data.images import VOID, save_mask
from vdalib.data.labels import write_labels
from vdalib.data.voc import AUGMENTED_MASKS, OWN_MASKS, VOC_CLASSES, find_labels, read_split, split_file
from vdalib.io import atomic_path
from vdalib.progress import progress_bar

VOC = Archive(DATASET_YEAR_DICT["2012"]["url"], DATASET_YEAR_DICT["2012"]["md5"], "2.0 GB")
SBD = Archive(SBDataset.url, SBDataset.md5, "1.4 GB")
AUGMENTED = "train_aug"
FULL_SIZE = 10_582  # 1,464 images of VOC's train and 9,118 that only SBD has masks of


def prepare(config: DataConfig, download: bool) -> None:
    """Verify VOC 2012 below `config.root`, get what is missing, write train_aug.txt and the label files.

    The root is the folder VOC2012 or the one that VOCdevkit/VOC2012 is in or comes to. Files that are there
    stay as they are. Raises FileNotFoundError that lists what is missing, OSError where a download fails.
    """
    root = Path(config.root)
    folder = root if (root / "JPEGImages").is_dir() or root.name == "VOC2012" else root / "VOCdevkit" / "VOC2012"
    splits = (config.train_split, config.val_split)

    def find_gaps() -> list[Gap]:
        if AUGMENTED in splits:
            write_train_aug(folder)
        return [gap for split in splits for gap in _gaps(folder, split)]

    unpack = {
        VOC: lambda archive: unpack_into(archive, "VOCdevkit/VOC2012", folder),
        SBD: lambda archive: convert_sbd(archive, folder),
    }
    complete(root, find_gaps, unpack, download)
    found = {}
    for split in splits:
        images = [folder / "JPEGImages" / f"{name}.jpg" for name in read_split(folder, split)]
        found[split] = find_labels(folder, split, bad_names(images, config.on_bad_image))
    for split, labels in found.items():  # last of all: with them a data set counts as prepared
        count = labels["labels_from_masks"]
        remark = f", {count:,} of them from the classes in the image's mask, where it has no annotation" if count else ""
        print(f"image-level labels: {write_labels(config.labels or folder, split, **labels)}{remark}")


def write_train_aug(folder: Path) -> None:
    """Write train_aug.txt where it is missing: every image with a mask of VOC or SBD that is not in val."""
    path = split_file(folder, AUGMENTED)
    if path.exists() or not split_file(folder, "val").exists() or not (folder / AUGMENTED_MASKS).is_dir():
        return
    masks = {file.stem for place in (OWN_MASKS, AUGMENTED_MASKS) for file in (folder / place).glob("[!.]*.png")}
    names = sorted(masks - set(read_split(folder, "val")))
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    remark = "" if len(names) == FULL_SIZE else f"; with all masks of VOC and SBD there are {FULL_SIZE:,}"
    print(f"{path}: {len(names):,} images{remark}")


def convert_sbd(archive: Path, folder: Path) -> None:
    """Write the class masks (GTcls) of SBD's archive as PNGs to SegmentationClassAug, but for images that VOC has masks of.

    Goes on where it was stopped; the folder gets its name when all are there.
    """
    partial = folder / f".{AUGMENTED_MASKS}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as members:
        for member in progress_bar(members, desc="SBD masks", unit="file"):
            path = PurePosixPath(member.name)
            png = f"{path.stem}.png"
            if (path.parent.name, path.suffix) != ("cls", ".mat"):
                continue
            if (folder / OWN_MASKS / png).exists() or (partial / png).exists():
                continue
            save_mask(partial / png, _class_mask(members.extractfile(member).read(), f"{archive}: {member.name}"))
    fill(partial, folder / AUGMENTED_MASKS)


def _class_mask(content: bytes, name: str) -> np.ndarray:
    try:
        mask = np.asarray(loadmat(io.BytesIO(content), variable_names=["GTcls"])["GTcls"][0]["Segmentation"][0])
        known = [*range(len(VOC_CLASSES) + 1), VOID]
        if mask.ndim != 2 or not mask.size or not np.isin(mask, known).all():
            raise ValueError(f"shape {mask.shape}, expected rows and columns of 0..{len(VOC_CLASSES)} or {VOID}")
    except Exception as error:  # SciPy raises a dozen kinds for broken files
        raise ValueError(f"{name}: no class mask of SBD ({one_line(repr(error))}); get the archive again") from error
    return mask


def _gaps(folder: Path, split: str) -> list[Gap]:
    """What is missing of a split: its list, images, masks."""
    source = SBD if split == AUGMENTED else VOC
    path = split_file(folder, split)
    if not path.exists():
        what = f" (written from the masks in {AUGMENTED_MASKS})" if split == AUGMENTED else ""
        return [(f"{path.relative_to(folder)}{what}", source)]
    names, gaps = read_split(folder, split), []
    places = {"images": (["JPEGImages"], ".jpg", VOC), "masks": ([OWN_MASKS, AUGMENTED_MASKS], ".png", source)}
    for kind, (inside, suffix, origin) in places.items():
        there = {file.name for place in inside for file in (folder / place).glob(f"*{suffix}")}
        lost = [name for name in names if name + suffix not in there]
        if lost:
            first = f"{inside[-1]}/{lost[0]}{suffix}"
            gaps.append((f"{len(lost):,} of {len(names):,} {kind} of {split}, the first is {first}", origin))
    return gaps
