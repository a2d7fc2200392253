"""Masks in the formats of annotation tools: each read back, by the tool's own reader where one is at hand."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from matplotlib.path import Path as Outline
from PIL import Image
from pycocotools.coco import COCO

from vdalib.commands import cli
from vdalib.commands.export import KINDS, export
from vdalib.commands.export.segments import segments_of
from vdalib.commands.segment import class_palette, write_class_files
from vdalib.config import Config
from vdalib.data.images import read_mask, save_mask

NAMES = ("cat", "dog & <cow>", "bus")
SIZES = {"a": (90, 70), "sub/b": (64, 100), "empty": (40, 30)}
ANNOTATED = ("coco", "yolo", "cvat", "labelstudio", "voc", "fiftyone")


def blobs(width, height, seed):
    """A label map of smooth regions with holes, that touch the picture's border and one another."""
    noise = np.random.default_rng(seed).normal(size=(8, 8)).astype(np.float32)
    planes = [
        np.asarray(Image.fromarray(np.roll(noise, k, 1)).resize((width, height), Image.Resampling.BICUBIC)) for k in (0, 3, 5)
    ]
    mask = np.argmax([np.zeros((height, width)), *planes], axis=0).astype(np.uint8)
    y, x = np.mgrid[:height, :width]
    ring = np.hypot(y - height / 2, x - width / 2)
    mask[(ring > 8) & (ring < 16)] = 3
    mask[ring < 3] = 1
    return mask


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run directory with masks, as `segment` leaves it, confidence maps and the pictures beside it."""
    place = tmp_path_factory.mktemp("export")
    config = Config.from_preset("folder", {"data.classes": list(NAMES), "data.colours": {"cat": "#ff00aa"}})
    config.save(place / "run" / "config.yaml")
    palette = class_palette(NAMES, config)
    for seed, (name, (width, height)) in enumerate(SIZES.items()):
        mask = np.zeros((height, width), np.uint8) if name == "empty" else blobs(width, height, seed)
        note = {"image": f"{name.split('/')[-1]}.jpg", "multi_scale": False, "confidence": 0.5 + seed / 10}
        save_mask(place / "run" / "masks" / f"{name}.png", mask, palette, json.dumps(note))
        confidence = np.linspace(0, 65535, mask.size).reshape(mask.shape).astype(np.uint16)
        for path, picture in (("run/confidence", Image.fromarray(confidence)), ("pictures", Image.new("RGB", (width, height)))):
            path = place / path / f"{name}{'.jpg' if path == 'pictures' else '.png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    write_class_files(place / "run", NAMES, config)
    return place / "run"


def truth(run_dir, min_area=20):
    """{picture: label map without small regions}, by flood fill from pixel to pixel."""
    maps = {}
    for name in SIZES:
        mask = read_mask(run_dir / "masks" / f"{name}.png", len(NAMES))
        kept, seen = np.zeros_like(mask), mask == 0
        for y, x in np.argwhere(mask):
            region, waiting = [], [(y, x)]
            while waiting:
                y, x = waiting.pop()
                if not seen[y, x]:
                    seen[y, x] = True
                    region.append((y, x))
                    around = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
                    waiting += [
                        (v, u)
                        for v, u in around
                        if 0 <= v < mask.shape[0] and 0 <= u < mask.shape[1] and mask[v, u] == mask[y, x]
                    ]
            if len(region) >= min_area:
                kept[tuple(np.transpose(region))] = mask[region[0]]
        maps[f"{name}.jpg"] = kept
    return maps


def drawn(polygons, width, height):
    """A label map of (label, ring) pairs: the pixels whose centres lie inside."""
    mask, centres = np.zeros((height, width), np.uint8), np.mgrid[:height, :width].reshape(2, -1).T[:, ::-1] + 0.5
    for label, ring in polygons:
        mask[Outline([*ring, ring[0]]).contains_points(centres).reshape(height, width)] = label
    return mask


def overlap(mask, other):
    """Least intersection over union of the labels."""
    return min(((mask == k) & (other == k)).sum() / ((mask == k) | (other == k)).sum() for k in np.union1d(mask, other))


def pairs(numbers):
    return np.reshape(numbers, (-1, 2)).astype(float)


def test_coco_opens_in_pycocotools_and_gives_the_masks_back_exactly(run_dir, tmp_path):
    done = export(run_dir, "coco", tmp_path / "out")
    coco, maps, count = COCO(tmp_path / "out" / "annotations.json"), truth(run_dir), 0
    assert [coco.cats[k]["name"] for k in sorted(coco.cats)] == list(NAMES) and sorted(coco.cats) == [1, 2, 3]
    assert {image["file_name"] for image in coco.imgs.values()} == set(maps)
    for number, image in coco.imgs.items():
        mask = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(number)):
            pixels = coco.annToMask(annotation)
            (x, y, width, height), (rows, columns) = annotation["bbox"], np.nonzero(pixels)
            assert (rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1) == (y, x, height, width)
            assert annotation["area"] == pixels.sum() >= 20 and not mask[pixels > 0].any()
            expected = np.linspace(0, 1, pixels.size).reshape(pixels.shape)[pixels > 0].mean()
            assert annotation["score"] == pytest.approx(expected, abs=1e-4)
            mask[pixels > 0] = annotation["category_id"]
            count += 1
        np.testing.assert_array_equal(mask, maps[image["file_name"]])
    assert (done.pictures, done.segments) == (3, count)
    assert done.small == sum(
        1 for name in SIZES for s in segments_of(read_mask(run_dir / "masks" / f"{name}.png", 3), 3) if s.area < 20
    )


def test_yolo_polygons_draw_the_masks_again(run_dir, tmp_path):
    export(run_dir, "yolo", tmp_path / "out", images=run_dir.parent / "pictures")
    data = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert data["names"] == dict(enumerate(NAMES))
    for file, mask in truth(run_dir).items():
        with Image.open(tmp_path / "out" / data["train"] / file) as image:
            width, height = image.size
        lines = (tmp_path / "out" / "labels" / file).with_suffix(".txt").read_text().splitlines()
        rows = [np.array(line.split(), float) for line in lines]
        assert all(0 <= row[1:].min() and row[1:].max() <= 1 for row in rows)
        found = drawn([(int(row[0]) + 1, pairs(row[1:]) * (width, height)) for row in rows], width, height)
        assert overlap(found, mask) > 0.97


def test_cvat_xml_has_every_picture_with_polygons_of_known_labels(run_dir, tmp_path):
    export(run_dir, "cvat", tmp_path / "out")
    root = ElementTree.parse(tmp_path / "out" / "annotations.xml").getroot()
    assert root.tag == "annotations" and root.findtext("version") == "1.1"
    assert [label.findtext("name") for label in root.iterfind("meta/task/labels/label")] == list(NAMES)
    assert root.find("meta/task/labels/label/color").text == "#ff00aa"
    assert json.loads((tmp_path / "out" / "labels.json").read_text())[1] == {
        "name": NAMES[1],
        "color": root.findall("meta//color")[1].text,
        "attributes": [],
    }
    maps = truth(run_dir)
    assert [int(image.get("id")) for image in root.iterfind("image")] == [0, 1, 2]
    for image in root.iterfind("image"):
        width, height = int(image.get("width")), int(image.get("height"))
        polygons = []
        for polygon in image.iterfind("polygon"):
            assert polygon.get("occluded") == polygon.get("z_order") == "0" and polygon.get("source")
            points = [point.split(",") for point in polygon.get("points").split(";")]
            polygons.append((NAMES.index(polygon.get("label")) + 1, pairs(points)))
        assert overlap(drawn(polygons, width, height), maps.pop(image.get("name"))) > 0.97
    assert not maps


def test_label_studio_tasks_fit_their_labelling_interface(run_dir, tmp_path):
    export(run_dir, "labelstudio", tmp_path / "out")
    view = ElementTree.parse(tmp_path / "out" / "config.xml").getroot()
    labels, image = view.find("PolygonLabels"), view.find("Image")
    assert [label.get("value") for label in labels] == list(NAMES) and labels.get("toName") == image.get("name")
    maps = truth(run_dir)
    for task in json.loads((tmp_path / "out" / "tasks.json").read_text()):
        (prediction,) = task["predictions"]
        assert image.get("value") == "$image" and 0 < prediction["score"] < 1
        mask, polygons = maps.pop(task["data"]["image"].removeprefix("/data/local-files/?d=images/")), []
        for region in prediction["result"]:
            assert (region["type"], region["from_name"], region["to_name"]) == (
                "polygonlabels",
                labels.get("name"),
                labels.get("toName"),
            )
            assert (region["original_height"], region["original_width"]) == mask.shape and 0 < region["score"] < 1
            (label,) = region["value"]["polygonlabels"]
            polygons.append((NAMES.index(label) + 1, pairs(region["value"]["points"]) / 100 * mask.shape[::-1]))
        assert len({region["id"] for region in prediction["result"]}) == len(polygons)
        assert overlap(drawn(polygons, *mask.shape[::-1]), mask) > 0.97
    assert not maps


def test_voc_folders_hold_classes_objects_and_boxes(run_dir, tmp_path):
    from torchvision.datasets import VOCDetection

    export(run_dir, "voc", tmp_path / "out", images=run_dir.parent / "pictures")
    listed = (tmp_path / "out" / "ImageSets" / "Segmentation" / "default.txt").read_text().split("\n")
    assert listed == [*sorted(SIZES), ""]
    for file, mask in truth(run_dir).items():
        name = file.removesuffix(".jpg")
        assert (tmp_path / "out" / "JPEGImages" / file).exists()
        np.testing.assert_array_equal(read_mask(tmp_path / "out" / "SegmentationClass" / f"{name}.png", 3), mask)
        objects = np.asarray(Image.open(tmp_path / "out" / "SegmentationObject" / f"{name}.png"))
        root = ElementTree.parse(tmp_path / "out" / "Annotations" / f"{name}.xml").getroot()
        annotation = VOCDetection.parse_voc_xml(root)["annotation"]
        assert annotation["filename"] == file and int(annotation["size"]["width"]) == mask.shape[1]
        items = annotation.get("object", [])
        assert len(items) == objects.max()
        for number, item in enumerate(items, 1):
            rows, columns = np.nonzero(objects == number)
            box = [int(item["bndbox"][key]) for key in ("xmin", "ymin", "xmax", "ymax")]
            assert box == [columns.min() + 1, rows.min() + 1, columns.max() + 1, rows.max() + 1]
            assert set(mask[rows, columns]) == {NAMES.index(item["name"]) + 1}
    lines = (tmp_path / "out" / "labelmap.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == ["background", *NAMES] and lines[2] == "cat:255,0,170::"


def test_fiftyone_samples_have_polylines_in_relative_coordinates(run_dir, tmp_path):
    export(run_dir, "fiftyone", tmp_path / "out", images=run_dir.parent / "pictures")
    metadata = json.loads((tmp_path / "out" / "metadata.json").read_text())
    assert metadata["info"]["classes"] == list(NAMES) and "version" not in metadata  # with one it must be a database's own dump
    maps = truth(run_dir)
    for sample in json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]:
        with Image.open(tmp_path / "out" / sample["filepath"]) as image:
            assert image.size == (sample["metadata"]["width"], sample["metadata"]["height"])
        mask, polygons = maps.pop(sample["filepath"].removeprefix("data/")), []
        for line in sample["prediction"]["polylines"]:
            assert line["closed"] and line["filled"] and 0 < line["confidence"] < 1
            (ring,) = line["points"]
            polygons.append((NAMES.index(line["label"]) + 1, pairs(ring) * mask.shape[::-1]))
        assert overlap(drawn(polygons, *mask.shape[::-1]), mask) > 0.97
    assert not maps


def test_polygons_of_any_region_enclose_its_pixels_and_no_hole():
    dice, worst = np.random.default_rng(0), []
    for _ in range(60):
        noise = Image.fromarray(dice.random((9, 9), np.float32)).resize((40, 30), Image.Resampling.BICUBIC)
        mask = (np.asarray(noise) > dice.uniform(0.2, 0.8)).astype(np.uint8)
        for segment in segments_of(mask, 1):
            alone = np.zeros_like(mask)
            alone[segment.window] = segment.inside
            ring = segment.polygon()
            assert ring.min() >= 0 and (ring <= (40, 30)).all()
            if segment.area >= 20:
                worst.append(overlap(drawn([(1, ring)], 40, 30), alone))
    assert min(worst) > 0.9 and np.mean(worst) > 0.99 and len(worst) > 60


def test_a_single_pixel_and_regions_that_touch_by_a_corner_have_polygons():
    mask = np.array([[1, 0, 0], [0, 1, 1], [0, 1, 0]], np.uint8)
    first, second = segments_of(mask, 1)
    assert (first.area, first.box, second.area, second.box) == (1, (0, 0, 1, 1), 3, (1, 1, 2, 2))
    np.testing.assert_array_equal(drawn([(1, first.polygon())], 3, 3) + drawn([(1, second.polygon())], 3, 3), mask)


def test_small_and_doubtful_segments_are_left_out_and_counted(run_dir, tmp_path):
    every = export(run_dir, "coco", tmp_path / "all", min_area=1)
    assert every.small == every.doubtful == 0
    some = export(run_dir, "coco", tmp_path / "some", min_area=60, confidence=0.5)
    assert some.segments + some.small + some.doubtful == every.segments and some.small and some.doubtful
    annotations = json.loads((tmp_path / "some" / "annotations.json").read_text())["annotations"]
    assert all(item["area"] >= 60 and item["score"] >= 0.5 for item in annotations)


@pytest.mark.parametrize("kind", ANNOTATED)
def test_an_export_is_whole_or_not_there_and_never_over_something_else(run_dir, tmp_path, kind):
    with pytest.raises(FileNotFoundError, match="pictures/a.jpg: no such picture; --images names the folder"):
        export(run_dir, kind, tmp_path / "out", images=tmp_path / "pictures")
    assert not list(tmp_path.iterdir())
    (tmp_path / "out").mkdir()
    (tmp_path / ".out.partial").mkdir()  # of an export that was killed
    export(run_dir, kind, tmp_path / "out")
    assert {"classes.txt", "labelmap.txt"} < {path.name for path in (tmp_path / "out").iterdir()}
    with pytest.raises(FileExistsError, match="out: something lies there; .* choose another --out"):
        export(run_dir, kind, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_exported_is_said_in_a_line(run_dir, tmp_path):
    assert set(ANNOTATED) | {"onnx"} == set(KINDS)
    with pytest.raises(ValueError, match="--format: found 'ccoo', expected one of coco, yolo"):
        export(run_dir, "ccoo")
    with pytest.raises(FileNotFoundError, match="config.yaml: missing; .* is not the directory of a trained run"):
        export(tmp_path, "coco")
    with pytest.raises(FileNotFoundError, match="none/masks: no mask there; run `vdalib segment` first"):
        export(run_dir, "coco", tmp_path / "out", masks=tmp_path / "none")
    mask = np.ones((4, 4))
    for name, file in (("x.jpg", "x.jpg"), ("x.png", "x.png")):
        note = json.dumps({"image": file, "multi_scale": False})
        save_mask(tmp_path / "own" / "masks" / f"{name}.png", mask, note=note)
    with pytest.raises(FileNotFoundError, match="confidence/x.jpg.png: --confidence needs it; .*--probabilities"):
        export(run_dir, "coco", tmp_path / "out", masks=tmp_path / "own", confidence=0.5)
    with pytest.raises(ValueError, match="x.jpg and x.png: YOLO has one label file for both; rename one"):
        export(run_dir, "yolo", tmp_path / "out", masks=tmp_path / "own")
    chess = np.indices((24, 24)).sum(0) % 2
    save_mask(tmp_path / "many" / "masks" / "x.png", chess)
    with pytest.raises(ValueError, match="x.png: 288 segments, VOC has at most 254; raise --min-area"):
        export(run_dir, "voc", tmp_path / "out", masks=tmp_path / "many", min_area=1)
    save_mask(tmp_path / "other" / "masks" / "x.png", np.full((3, 3), 9))
    with pytest.raises(ValueError, match="x.png: label 9 in a mask .* expected 0..3"):
        export(run_dir, "coco", tmp_path / "out", masks=tmp_path / "other")
    assert not (tmp_path / "out").exists()


def test_the_command_exports_and_says_what_and_where(run_dir, tmp_path, capsys):
    words = [
        "export",
        str(run_dir),
        "--format",
        "yolo",
        "--out",
        str(tmp_path / "out"),
        "--min-area",
        "30",
        "--confidence",
        "0.2",
    ]
    cli.main(words)
    printed = capsys.readouterr().out
    assert f"segments of 3 pictures: {tmp_path / 'out'}" in printed and "smaller than --min-area" in printed
    assert f"the pictures themselves belong in {tmp_path / 'out' / 'images'}" in printed
    with pytest.raises(SystemExit, match="error: .*something lies there"):
        cli.main(words)
