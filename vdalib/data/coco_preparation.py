"""COCO 2014 made ready before training: verified or downloaded, its annotations turned into labels and masks."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from vdalib.config import DataConfig
from vdalib.config.reading import one_line, shown
from vdalib.data.archives import Archive, Gap, complete, unpack_into
from vdalib.data.checking import bad_names
from vdalib.data.coco import COCO_CLASSES, mask_file
from vdalib.data.coco_masks import INDEX, label_mask
from vdalib.data.images import image_size, save_mask
from vdalib.data.labels import write_labels
from vdalib.progress import progress_bar

# The checksums are not COCO's own word: they are the ETags of its server, as many projects have them.
ANNOTATIONS = Archive(
    "http://images.cocodataset.org/annotations/annotations_trainval2014.zip", "0a379cfc70b0e71301e0f377548639bd", "0.25 GB"
)
IMAGES = {
    "train2014": Archive("http://images.cocodataset.org/zips/train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88", "13.5 GB"),
    "val2014": Archive("http://images.cocodataset.org/zips/val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3", "6.6 GB"),
}
_FIELDS = {
    "images": {"id": int, "file_name": str, "width": int, "height": int},
    "categories": {"id": int, "name": str},
    "annotations": {"id": int, "image_id": int, "category_id": int},
}


class Instances:
    """An instances_*.json, checked: images, and their annotations by image.

    path:        the file. images: list of COCO's image records.
    annotations: image id -> list of COCO's annotation records.

    Raises ValueError that names the file and the record for broken JSON, unknown categories and the like.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            self.images, categories, annotations = (_records(content, kind) for kind in _FIELDS)
            self.annotations = _by_image(self.images, categories, annotations)
        except (ValueError, RecursionError) as error:
            reason = f"{path}: not an instances file of COCO: {one_line(error)}"
            raise ValueError(f"{reason}; unpack {ANNOTATIONS.name} again") from error


def _records(content: Any, kind: str) -> list[dict]:
    """The records of a kind; ValueError where a field that is read here is missing or of another type."""
    records = content.get(kind) if isinstance(content, dict) else None
    if not isinstance(records, list):
        raise ValueError(f"no list {kind!r}")
    for place, record in enumerate(records):
        for name, expected in _FIELDS[kind].items():
            value = record.get(name) if isinstance(record, dict) else None
            if type(value) is not expected:
                raise ValueError(f"{kind}[{place}]: {name}: found {shown(value)}, expected {expected.__name__}")
    return records


def _by_image(images: list[dict], categories: list[dict], annotations: list[dict]) -> dict[int, list[dict]]:
    """Image id -> annotations; ValueError for what is there twice or belongs to nothing."""
    for name in ("id", "file_name"):
        seen = set()
        for image in images:
            if image[name] in seen:
                raise ValueError(f"images: {name} {shown(image[name])} is there twice")
            seen.add(image[name])
    for image in images:
        if not re.fullmatch(r"[\w-][\w.-]*\.jpg", image["file_name"]):
            raise ValueError(f"image {image['id']}: file_name {shown(image['file_name'])}, expected a name such as 000001.jpg")
    for category in categories:
        number, name = category["id"], category["name"]
        expected = COCO_CLASSES[INDEX[number]] if number in INDEX else "no such category"
        if name != expected:
            raise ValueError(f"category {number} is called {shown(name)}, expected {expected!r}")
    found: dict[int, list[dict]] = {image["id"]: [] for image in images}
    for item in annotations:
        if item["category_id"] not in INDEX:
            raise ValueError(f"annotation {item['id']}: category id {item['category_id']} is not one of COCO's 80")
        if item["image_id"] not in found:
            raise ValueError(f"annotation {item['id']}: image id {item['image_id']} is not in the file")
        if item.get("iscrowd", 0) not in (0, 1):
            raise ValueError(f"annotation {item['id']}: iscrowd: found {shown(item['iscrowd'])}, expected 0 or 1")
        found[item["image_id"]].append(item)
    return found


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
    bad = {}
    for split in splits:
        images = [root / split / image["file_name"] for image in instances[split].images]
        bad[split] = bad_names(images, config.on_bad_image)
        prepare_masks(instances[split], root, config.labels or root, split, bad[split])
    for split in splits:  # last of all: with them a data set counts as prepared
        keep_empty = split == config.val_split
        path = prepare_labels(instances[split], config.labels or root, split, keep_empty, bad[split])
        print("image-level labels:", path)


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
        found = {INDEX[item["category_id"]] for item in annotations}
        crowds += found != {INDEX[item["category_id"]] for item in annotations if not item.get("iscrowd")}
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
    bar = progress_bar(outcomes, total=len(todo), desc=f"masks of {split}", unit="image", disable=not todo)
    errors = [error for error in bar if error]
    if errors:
        raise errors[0]


def _attempt(*item) -> Exception | None:
    """The error of `_write_mask`: raised in a worker, it would have joblib kill the others while they write."""
    try:
        _write_mask(*item)
    except (OSError, ValueError) as error:
        return error
    return None


def _write_mask(source: Path, image_path: Path, path: Path, image: dict, annotations: list[dict]) -> None:
    size, expected = image_size(image_path)[::-1], (image["width"], image["height"])
    if size != expected:
        raise ValueError(f"{image_path}: size {size}, but {source} says {expected} (width, height); get it again")
    try:
        mask = label_mask(annotations, image["height"], image["width"])
    except ValueError as error:
        raise ValueError(f"{source}: image {image['id']}: {error}; unpack {ANNOTATIONS.name} again") from error
    save_mask(path, mask)


def _unpack(inner: str, root: Path):
    return lambda archive: unpack_into(archive, inner, root / inner)


def _missing_images(root: Path, split: str, instances: Instances) -> list[Gap]:
    there = {file.name for file in (root / split).glob("[!.]*.jpg")}
    lost = [image["file_name"] for image in instances.images if image["file_name"] not in there]
    if not lost:
        return []
    return [(f"{len(lost):,} of {len(instances.images):,} images of {split}, the first is {split}/{lost[0]}", IMAGES[split])]
