"""COCO 2014 made ready before training: verified or downloaded, its annotations turned into labels and masks."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Mapping
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from PIL import Image
from pycocotools import mask as rle
from tqdm.auto import tqdm

from vdalib.config import DataConfig
from vdalib.data.archives import Archive, Gap, complete, unpack_into
from vdalib.data.checking import bad_names
from vdalib.data.coco import COCO_CLASSES, COCO_IDS, mask_file
from vdalib.data.images import VOID, save_mask
from vdalib.data.labels import write_labels

# The checksums are not COCO's own word: they are the ETags of its server, as many projects have them.
ANNOTATIONS = Archive(
    "http://images.cocodataset.org/annotations/annotations_trainval2014.zip", "0a379cfc70b0e71301e0f377548639bd", "0.25 GB"
)
IMAGES = {
    "train2014": Archive("http://images.cocodataset.org/zips/train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88", "13.5 GB"),
    "val2014": Archive("http://images.cocodataset.org/zips/val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3", "6.6 GB"),
}
_INDEX = {number: index for index, number in enumerate(COCO_IDS)}


class Instances:
    """An instances_*.json, checked: images, and their annotations by image.

    path:        the file. images: list of COCO's image records.
    annotations: image id -> list of COCO's annotation records.

    Raises ValueError that names the file and the record for broken JSON, unknown categories and the like.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        cure = f"unpack {ANNOTATIONS.name} again"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            self.images, known = content["images"], {image["id"] for image in content["images"]}
            categories = {category["id"]: category["name"] for category in content["categories"]}
            annotations = [(item, item["id"], item["image_id"], item["category_id"]) for item in content["annotations"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not an instances file of COCO ({error!r}); {cure}") from error
        for number, name in categories.items():
            expected = COCO_CLASSES[_INDEX[number]] if number in _INDEX else "no such category"
            if name != expected:
                raise ValueError(f"{path}: category {number} is called {name!r}, expected {expected!r}; {cure}")
        self.annotations = defaultdict(list)
        for item, number, image, category in annotations:
            if category not in _INDEX:
                raise ValueError(f"{path}: annotation {number}: category id {category} is not one of COCO's 80; {cure}")
            if image not in known:
                raise ValueError(f"{path}: annotation {number}: image id {image} is not in the file; {cure}")
            self.annotations[image].append(item)


def prepare(config: DataConfig, download: bool) -> None:
    """Verify COCO 2014 below `config.root`, get what is missing, write label files and masks of both splits.

    Masks that are there already are kept. Images without any annotation stay in val, as background, and are
    left out of train, where they could teach nothing. Raises FileNotFoundError that lists what is missing.
    """
    root, splits = Path(config.root), (config.train_split, config.val_split)
    for split in splits:
        if split not in IMAGES:
            raise ValueError(f"data.train_split, data.val_split: found {split!r}, expected one of {', '.join(IMAGES)}")
    files = {split: root / "annotations" / f"instances_{split}.json" for split in splits}

    def find_missing_annotations() -> list[Gap]:
        return [(str(path.relative_to(root)), ANNOTATIONS) for path in files.values() if not path.exists()]

    def find_missing_images() -> list[Gap]:
        return [gap for split in splits for gap in _missing_images(root, split, instances[split])]

    unpack = {archive: _unpack(split, root) for split, archive in IMAGES.items()}
    complete(root, find_missing_annotations, {ANNOTATIONS: _unpack("annotations", root)}, download)
    instances = {split: Instances(path) for split, path in files.items()}
    complete(root, find_missing_images, unpack, download)
    for split in splits:
        keep_empty = split == config.val_split
        bad = bad_names([root / split / image["file_name"] for image in instances[split].images], config.on_bad_image)
        print("image-level labels:", prepare_labels(instances[split], config.labels or root, split, keep_empty, bad))
        prepare_masks(instances[split], root, config.labels or root, split, bad)


def prepare_labels(
    instances: Instances, folder: str | Path, split: str, keep_empty: bool, skipped: Mapping[str, str] | None = None
) -> Path:
    """Write {folder}/labels_{split}.json, images in the order of their ids; returns its path.

    A class is in the label if anything of it is annotated. That includes a class which is there only as a
    crowd: its pixels are void in evaluation, but a label without it would teach that they are background.
    keep_empty: whether images without any annotation are listed. skipped: image name -> why it is left out.
    """
    labels, empty, crowds, skipped = {}, 0, 0, {**(skipped or {})}
    for image in sorted(instances.images, key=lambda image: image["id"]):
        annotations = instances.annotations[image["id"]]
        found = {_INDEX[item["category_id"]] for item in annotations}
        crowds += found != {_INDEX[item["category_id"]] for item in annotations if not item.get("iscrowd")}
        empty += not found
        if (found or keep_empty) and Path(image["file_name"]).stem not in skipped:
            labels[Path(image["file_name"]).stem] = [COCO_CLASSES[index] for index in sorted(found)]
    facts = {"images_without_annotation": empty, "images_with_a_class_only_as_crowd": crowds, "skipped": skipped}
    return write_labels(folder, split, labels, **facts)


def prepare_masks(
    instances: Instances, root: Path, folder: str | Path, split: str, skipped: Container[str] = (), jobs: int = -1
) -> None:
    """Write the masks of a split that are not there yet to {folder}/masks/{split}/*.png, by `jobs` processes (-1: all cores).

    skipped: names of images to leave out.
    Raises ValueError naming the file and the record that is wrong.
    """
    todo = []
    for image in instances.images:
        path = mask_file(folder, split, Path(image["file_name"]).stem)
        if path.stem not in skipped and not path.exists():
            todo.append((instances.path, root / split / image["file_name"], path, image, instances.annotations[image["id"]]))
    outcomes = Parallel(jobs, return_as="generator")(delayed(_attempt)(*item) for item in todo)
    bar = tqdm(outcomes, total=len(todo), desc=f"masks of {split}", unit="image", disable=not todo)
    errors = [error for error in bar if error]
    if errors:
        raise errors[0]


def label_mask(annotations: list[dict], height: int, width: int) -> np.ndarray:
    """uint8 (height, width): 0 background, class index + 1 of the smallest segment at a pixel, 255 where only a crowd is.

    Crowds are drawn first, then objects from the largest segment to the smallest. Raises ValueError naming
    the annotation whose segmentation is broken.
    """
    segments = []
    for item in annotations:
        try:
            pixels = _rasterised(item["segmentation"], height, width)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ValueError(f"annotation {item['id']}: broken segmentation ({error!r})") from error
        crowd = bool(item.get("iscrowd"))
        segments.append((not crowd, -int(pixels.sum()), VOID if crowd else _INDEX[item["category_id"]] + 1, pixels))
    mask = np.zeros((height, width), np.uint8)
    for *_, value, pixels in sorted(segments, key=lambda segment: segment[:2]):
        mask[pixels] = value
    return mask


def _rasterised(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    """bool (height, width) of polygons, or of run lengths, plain or compressed."""
    if isinstance(segmentation, list):
        polygons = [polygon for polygon in segmentation if len(polygon) >= 6]  # less than a triangle has no area
        if not polygons:
            return np.zeros((height, width), bool)
        return rle.decode(rle.merge(rle.frPyObjects(polygons, height, width))).astype(bool)
    if segmentation["size"] != [height, width]:
        raise ValueError(f"run lengths of size {segmentation['size']}, expected {[height, width]}")
    if isinstance(segmentation["counts"], list):
        if sum(segmentation["counts"]) != height * width:
            raise ValueError(f"run lengths of {sum(segmentation['counts'])} pixels, expected {height * width}")
        segmentation = rle.frPyObjects(segmentation, height, width)
    return rle.decode(segmentation).astype(bool)


def _attempt(*item) -> Exception | None:
    """The error of `_write_mask`: raised in a worker, it would have joblib kill the others while they write."""
    try:
        _write_mask(*item)
    except (OSError, ValueError) as error:
        return error
    return None


def _write_mask(source: Path, image_path: Path, path: Path, image: dict, annotations: list[dict]) -> None:
    with Image.open(image_path) as file:
        size = file.size
    if size != (image["width"], image["height"]):
        raise ValueError(
            f"{image_path}: size {size}, but {source} says {(image['width'], image['height'])} (width, height); get it again"
        )
    try:
        mask = label_mask(annotations, image["height"], image["width"])
    except ValueError as error:
        raise ValueError(f"{source}: image {image['id']}: {error}; unpack {ANNOTATIONS.name} again") from error
    save_mask(path, mask)


def _unpack(inner: str, root: Path):
    return lambda archive: unpack_into(archive, inner, root / inner)


def _missing_images(root: Path, split: str, instances: Instances) -> list[Gap]:
    there = {file.name for file in (root / split).glob("*.jpg")}
    lost = [image["file_name"] for image in instances.images if image["file_name"] not in there]
    if not lost:
        return []
    return [(f"{len(lost):,} of {len(instances.images):,} images of {split}, the first is {split}/{lost[0]}", IMAGES[split])]
