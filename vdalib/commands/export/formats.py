"""Annotation files: how COCO, YOLO, CVAT, Label Studio, VOC and FiftyOne write segments down.

Each writer takes pictures, class names (label 1 first), colours uint8 (K+1, 3) from background on, and an empty folder.
Where a format has a score, a segment's confidence stands there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np
import yaml
from pycocotools import mask as rle

from vdalib.commands.export.segments import Picture
from vdalib.data.images import save_mask

Writer = Callable[[Iterable[Picture], Sequence[str], np.ndarray, Path], None]


def coco(pictures: Iterable[Picture], names: Sequence[str], colours: np.ndarray, folder: Path) -> None:
    """annotations.json: instances with exact masks (compressed RLE, holes kept), category id = label."""
    images, annotations = [], []
    for number, picture in enumerate(pictures, 1):
        width, height = picture.size
        images.append({"id": number, "file_name": picture.file, "width": width, "height": height})
        for segment in picture.segments:
            pixels = np.zeros((height, width), np.uint8, order="F")
            pixels[segment.window] = segment.inside
            code = rle.encode(pixels)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": segment.label,
                    "segmentation": {"size": code["size"], "counts": code["counts"].decode()},
                    "area": segment.area,
                    "bbox": list(segment.box),
                    "iscrowd": 0,
                    **_score("score", segment.confidence),
                }
            )
    categories = [{"id": label, "name": name, "supercategory": ""} for label, name in enumerate(names, 1)]
    _write_json(
        folder / "annotations.json",
        {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories},
    )


def yolo(pictures: Iterable[Picture], names: Sequence[str], colours: np.ndarray, folder: Path) -> None:
    """labels/NAME.txt, a polygon a line, and data.yaml, as Ultralytics reads them; class index = label - 1.

    Raises ValueError for two pictures that differ by suffix only: they would share a file.
    """
    owners: dict[PurePosixPath, str] = {}
    for picture in pictures:
        place = PurePosixPath(picture.file).with_suffix(".txt")
        if owners.setdefault(place, picture.file) != picture.file:
            raise ValueError(f"{owners[place]} and {picture.file}: YOLO has one label file for both; rename one and segment it")
        rows = [
            " ".join([str(segment.label - 1), *(f"{value:.6f}" for value in (segment.polygon() / picture.size).ravel())])
            for segment in picture.segments
        ]
        _write_text(folder / "labels" / place, "".join(f"{row}\n" for row in rows))
    data = {"train": "images", "val": "images", "names": dict(enumerate(names))}
    _write_text(folder / "data.yaml", yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def cvat(pictures: Iterable[Picture], names: Sequence[str], colours: np.ndarray, folder: Path) -> None:
    """annotations.xml, "CVAT for images 1.1", and labels.json for the raw editor of a new task's labels."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    labels = ElementTree.SubElement(task, "labels")
    known = [{"name": name, "color": colour, "attributes": []} for name, colour in zip(names, _hex(colours[1:]))]
    for label in known:
        _children(ElementTree.SubElement(labels, "label"), name=label["name"], color=label["color"], attributes="")
    for number, picture in enumerate(pictures):
        width, height = map(str, picture.size)
        image = ElementTree.SubElement(root, "image", id=str(number), name=picture.file, width=width, height=height)
        for segment in picture.segments:
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in segment.polygon())
            facts = {"source": "auto", "occluded": "0", "z_order": "0"}
            ElementTree.SubElement(image, "polygon", label=names[segment.label - 1], points=points, **facts)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(folder / "annotations.xml", encoding="utf-8", xml_declaration=True)
    _write_json(folder / "labels.json", known)


def labelstudio(pictures: Iterable[Picture], names: Sequence[str], colours: np.ndarray, folder: Path) -> None:
    """tasks.json, polygons as predictions to start from, and config.xml, the labelling interface that shows them.

    Pictures are found by local storage: LOCAL_FILES_DOCUMENT_ROOT is the exported folder.
    """
    tasks = []
    for picture in pictures:
        result = [
            {
                "id": f"s{number}",
                "type": "polygonlabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": picture.size[0],
                "original_height": picture.size[1],
                "image_rotation": 0,
                "value": {
                    "points": (100 * segment.polygon() / picture.size).round(4).tolist(),
                    "polygonlabels": [names[segment.label - 1]],
                    "closed": True,
                },
                **_score("score", segment.confidence),
            }
            for number, segment in enumerate(picture.segments)
        ]
        prediction = {"model_version": "vdalib", "result": result, **_score("score", picture.confidence)}
        place = quote(f"{images_folder('labelstudio')}/{picture.file}")
        tasks.append({"data": {"image": f"/data/local-files/?d={place}"}, "predictions": [prediction]})
    _write_json(folder / "tasks.json", tasks)
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image")
    labels = ElementTree.SubElement(view, "PolygonLabels", name="label", toName="image")
    for name, colour in zip(names, _hex(colours[1:])):
        ElementTree.SubElement(labels, "Label", value=name, background=colour)
    ElementTree.indent(view)
    ElementTree.ElementTree(view).write(folder / "config.xml", encoding="utf-8")


def voc(pictures: Iterable[Picture], names: Sequence[str], colours: np.ndarray, folder: Path) -> None:
    """SegmentationClass, SegmentationObject, Annotations (boxes) and lists, as PASCAL VOC has them; labelmap.txt for CVAT.

    Raises ValueError for a picture of more than 254 segments: label files are bytes.
    """
    listed, palette = [], np.full((256, 3), 255, np.uint8)
    palette[: len(colours)] = colours
    for picture in pictures:
        classes, objects = np.zeros((2, *picture.size[::-1]), np.uint8)
        if len(picture.segments) > 254:
            raise ValueError(f"{picture.file}: {len(picture.segments)} segments, VOC has at most 254; raise --min-area")
        for number, segment in enumerate(picture.segments, 1):
            classes[segment.window][segment.inside] = segment.label
            objects[segment.window][segment.inside] = number
        save_mask(_png(folder / "SegmentationClass", picture.name), classes, palette)
        save_mask(_png(folder / "SegmentationObject", picture.name), objects)
        path = folder / "Annotations" / f"{picture.name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        ElementTree.ElementTree(_voc_annotation(picture, names)).write(path, encoding="utf-8")
        listed.append(picture.name)
    _write_text(folder / "ImageSets" / "Segmentation" / "default.txt", "".join(f"{name}\n" for name in listed))


def fiftyone(pictures: Iterable[Picture], names: Sequence[str], colours: np.ndarray, folder: Path) -> None:
    """metadata.json and samples.json of a `fiftyone.types.FiftyOneDataset`: filled polylines in the field `prediction`."""
    samples = []
    for picture in pictures:
        lines = [
            {
                "_cls": "Polyline",
                "label": names[segment.label - 1],
                "points": [(segment.polygon() / picture.size).round(6).tolist()],
                "closed": True,
                "filled": True,
                "tags": [],
                "attributes": {},
                **_score("confidence", segment.confidence),
            }
            for segment in picture.segments
        ]
        width, height = picture.size
        samples.append(
            {
                "filepath": f"{images_folder('fiftyone')}/{picture.file}",
                "tags": [],
                "metadata": {"_cls": "ImageMetadata", "width": width, "height": height},
                "prediction": {"_cls": "Polylines", "polylines": lines},
                **_score("confidence", picture.confidence),
            }
        )
    _write_json(folder / "metadata.json", {"media_type": "image", "info": {"classes": list(names)}})
    _write_json(folder / "samples.json", {"samples": samples})


@dataclass(frozen=True)
class Format:
    """write: what makes the annotation files. images: the folder beside them in which their pictures are looked for."""

    write: Writer
    images: str


FORMATS = {
    "coco": Format(coco, "images"),
    "yolo": Format(yolo, "images"),
    "cvat": Format(cvat, "images"),
    "labelstudio": Format(labelstudio, "images"),
    "voc": Format(voc, "JPEGImages"),
    "fiftyone": Format(fiftyone, "data"),
}


def images_folder(name: str) -> str:
    """Name of the folder in which a format looks for its pictures."""
    return FORMATS[name].images


def _voc_annotation(picture: Picture, names: Sequence[str]) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    _children(root, filename=picture.file, segmented="1")
    _children(ElementTree.SubElement(root, "size"), width=picture.size[0], height=picture.size[1], depth=3)
    for segment in picture.segments:
        x, y, width, height = segment.box
        item = ElementTree.SubElement(root, "object")
        _children(item, name=names[segment.label - 1], pose="Unspecified", truncated="0", difficult="0")
        corners = {"xmin": x + 1, "ymin": y + 1, "xmax": x + width, "ymax": y + height}  # VOC counts from 1
        _children(ElementTree.SubElement(item, "bndbox"), **corners)
    ElementTree.indent(root)
    return root


def _png(folder: Path, name: str) -> Path:
    return folder / f"{name}.png"


def _children(parent: ElementTree.Element, **texts: Any) -> None:
    for tag, text in texts.items():
        ElementTree.SubElement(parent, tag).text = str(text)


def _score(key: str, confidence: float | None) -> dict[str, float]:
    return {} if confidence is None else {key: round(confidence, 4)}


def _hex(colours: np.ndarray) -> list[str]:
    return ["#{:02x}{:02x}{:02x}".format(*colour) for colour in colours.tolist()]


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _write_json(path: Path, value: Any) -> None:
    _write_text(path, json.dumps(value, ensure_ascii=False))
