"""COCO 2014: its ids, masks against an independent rasterisation, labels, preparation and every way in which that can fail."""

import json
import zipfile

import joblib
import numpy as np
import pytest
from coco_files import (
    BIRD,
    CAT,
    CROWD_AT,
    DOG,
    DOG_AT,
    FLYING,
    HEIGHT,
    PERSON,
    PERSON_AT,
    TRIANGLE,
    WIDTH,
    annotation,
    compressed,
    instances_of,
    name_of,
    pixels,
    rectangle,
    run_lengths,
    write_coco,
)
from matplotlib.path import Path as Polygon
from PIL import Image
from serving import serving
from torchvision.models._meta import _COCO_CATEGORIES

from vdalib import data
from vdalib.config import Config
from vdalib.data import coco_preparation
from vdalib.data.coco import COCO_CLASSES, COCO_IDS, COCOSegmentation
from vdalib.data.coco_masks import label_mask
from vdalib.data.images import save_mask


def value_of(number):
    """What a category is in a label map."""
    return 1 + COCO_IDS.index(number)


@pytest.fixture(autouse=True)
def in_this_process():
    with joblib.parallel_config(backend="threading"):
        yield


@pytest.fixture
def root(tmp_path):
    return write_coco(tmp_path / "coco")


def prepare(root, download=False, labels=None):
    settings = Config.from_preset("coco14", {"data.root": str(root), "data.labels": labels}).data
    data.prepare(settings, download)


def names_of(labels):
    return {COCO_CLASSES[k] for k in labels.nonzero()[:, 0].tolist()}


def rewrite(root, change, split="train2014"):
    """Alter an instances file."""
    content = instances_of(split)
    change(content)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def test_the_table_of_ids_is_cocos():
    assert len(COCO_CLASSES) == len(set(COCO_CLASSES)) == len(COCO_IDS) == 80
    assert (COCO_IDS[0], COCO_IDS[11], COCO_IDS[-1]) == (1, 13, 90) and list(COCO_IDS) == sorted(COCO_IDS)
    theirs = {i: name for i, name in enumerate(_COCO_CATEGORIES) if name not in ("__background__", "N/A")}
    assert dict(zip(COCO_IDS, COCO_CLASSES)) == theirs


def test_masks_agree_with_an_independent_rasterisation(root):
    prepare(root)
    train = COCOSegmentation(root, "train2014")
    masks = {name: train.mask(i) for i, name in enumerate(train.names)}

    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[pixels(*CROWD_AT)] = 255
    expected[pixels(*DOG_AT)] = value_of(DOG)
    expected[pixels(*PERSON_AT)] = value_of(PERSON)
    np.testing.assert_array_equal(masks[name_of("train2014", 7)], expected)
    np.testing.assert_array_equal(masks[name_of("train2014", 9)], np.where(FLYING, value_of(BIRD), 0))

    corners = np.array(TRIANGLE).reshape(3, 2)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    points = np.stack([x.ravel(), y.ravel()], 1)
    inside = Polygon(corners).contains_points(points).reshape(HEIGHT, WIDTH)
    edge = np.min([distance(points, corners[i], corners[i - 1]) for i in range(3)], 0).reshape(HEIGHT, WIDTH) < 1
    cat = masks[name_of("train2014", 5)]
    cat_expected = np.where(inside | pixels((0, 2), (0, 2)), value_of(CAT), np.where(pixels(*CROWD_AT), 255, 0))
    assert (~edge).mean() > 0.8 and inside[~edge].sum() > 80
    np.testing.assert_array_equal(cat[~edge], cat_expected[~edge])


def distance(points, start, end):
    """Of points (n, 2) from the segment."""
    along = np.clip((points - start) @ (end - start) / np.sum((end - start) ** 2), 0, 1)
    return np.linalg.norm(points - start - along[:, None] * (end - start), axis=1)


def test_plain_and_compressed_run_lengths_and_polygons_mean_the_same():
    mask = pixels((3, 11), (0, 7))
    forms = [rectangle((3, 11), (0, 7))], run_lengths(mask), compressed(mask)
    drawn = [label_mask([annotation(1, 1, 90, form)], HEIGHT, WIDTH) for form in forms]
    for result in drawn:
        np.testing.assert_array_equal(result, np.where(mask, 80, 0))


def test_labels_are_the_annotated_classes_and_empty_images_stay_only_in_val(root):
    prepare(root)
    train, val = COCOSegmentation(root, "train2014"), COCOSegmentation(root, "val2014")
    assert train.names == [name_of("train2014", n) for n in (5, 7, 9)]  # 11 has nothing to teach
    assert [names_of(train[i].labels) for i in range(3)] == [{"cat", "person"}, {"dog", "person"}, {"bird"}]
    assert val.names == [name_of("val2014", n) for n in (3, 4)]
    assert [names_of(val[i].labels) for i in range(2)] == [{"dog"}, set()]
    assert not val.mask(1).any() and val.mask(1).shape == (HEIGHT, WIDTH) == val[1].image.shape[1:]
    facts = json.loads((root / "labels_train2014.json").read_text())
    assert (facts["images_without_annotation"], facts["images_with_a_class_only_as_crowd"]) == (1, 1)


def test_prepared_files_go_to_another_folder_if_asked_for(root, tmp_path):
    before = sorted(root.rglob("*"))
    prepare(root, labels=str(tmp_path / "prepared"))
    assert sorted(root.rglob("*")) == before
    config = Config.from_preset("coco14", {"data.root": str(root), "data.labels": str(tmp_path / "prepared")}).data
    dataset = data.build_dataset(config, "val2014")
    assert len(dataset) == 2 and (dataset.mask(0) == value_of(DOG)).sum() == pixels(*DOG_AT).sum()
    assert data.class_names(config) == dataset.class_names == COCO_CLASSES


def test_masks_go_on_where_a_full_disk_stopped_them(root, monkeypatch):
    written = []

    def full(path, mask):
        if len(written) == 2:
            raise OSError(28, "No space left on device", str(path))
        save_mask(path, mask)
        written.append(path)

    with monkeypatch.context() as patch, joblib.parallel_config(backend="sequential"):
        patch.setattr(coco_preparation, "save_mask", full)
        with pytest.raises(OSError, match="No space left.*masks/train2014/COCO_"):
            prepare(root)
    assert sorted(root.rglob("*.png")) == sorted(written) and not list(root.rglob("*partial*"))
    before = {path: path.stat().st_mtime_ns for path in written}
    prepare(root)
    assert {path: path.stat().st_mtime_ns for path in written} == before
    assert len(list(root.rglob("*.png"))) == 6


def test_one_command_downloads_what_is_missing(tmp_path, monkeypatch, capsys):
    (tmp_path / "server").mkdir()
    original = write_coco(tmp_path / "original")
    for name, inner in {"annotations_trainval2014": "annotations", "train2014": "train2014", "val2014": "val2014"}.items():
        with zipfile.ZipFile(tmp_path / "server" / f"{name}.zip", "w") as archive:
            for path in (original / inner).iterdir():
                archive.write(path, f"{inner}/{path.name}")
    with serving(tmp_path / "server", monkeypatch) as server:
        monkeypatch.setattr(coco_preparation, "ANNOTATIONS", server.archive("annotations_trainval2014.zip"))
        splits = {split: server.archive(f"{split}.zip") for split in ("train2014", "val2014")}
        monkeypatch.setattr(coco_preparation, "IMAGES", splits)
        prepare(tmp_path / "coco", download=True)
        assert server.downloads() == ["annotations_trainval2014.zip", "train2014.zip", "val2014.zip"]
        assert "4 of 4 images of train2014" in capsys.readouterr().out
        (tmp_path / "coco" / "val2014" / f"{name_of('val2014', 4)}.jpg").unlink()
        prepare(tmp_path / "coco", download=True)
        assert len(server.asked) == 6  # the archive was still there
    assert len(COCOSegmentation(tmp_path / "coco", "train2014")) == 3
    assert len(list((tmp_path / "coco" / "val2014").iterdir())) == 2


def test_verifying_lists_what_is_missing_and_where_it_comes_from(root, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        prepare(tmp_path)
    assert "annotations/instances_train2014.json: from annotations_trainval2014.zip (0.25 GB, http" in str(error.value)
    (root / "val2014" / f"{name_of('val2014', 3)}.jpg").unlink()
    for path in (root / "train2014").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError) as error:
        prepare(root)
    assert "4 of 4 images of train2014, the first is train2014/COCO_train2014_000000000007.jpg" in str(error.value)
    assert "1 of 2 images of val2014, the first is" in str(error.value) and "val2014.zip (6.6 GB" in str(error.value)
    assert not list(root.glob("labels*")) and not list(root.rglob("*.png"))


def put(key, place, **values):
    return lambda content: content[key][place].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("annotations", 1, category_id=91), "annotation 2: category id 91 is not one of COCO's 80"),
        (put("annotations", 1, image_id=4), "annotation 2: image id 4 is not in the file"),
        (put("categories", 0, name="cta"), "category 1 is called 'cta', expected 'person'"),
        (put("categories", 0, id=12), "category 12 is called 'person', expected 'no such category'"),
        (lambda content: content["annotations"][0].pop("image_id"), r"annotations\[0\]: image_id: found None, expected int"),
        (lambda content: content.pop("images"), "not an instances file of COCO"),
        (put("annotations", 3, segmentation={"counts": "?!", "size": [20, 30]}), "image 9: annotation 4: broken segmentation"),
        (put("annotations", 3, segmentation={"counts": [3, 4], "size": [20, 30]}), "run lengths of 7 pixels, expected 600"),
        (put("annotations", 3, segmentation={"counts": [600], "size": [30, 20]}), r"run lengths of size \[30, 20\], expected"),
        (put("annotations", 0, segmentation=[["a"] * 6]), "image 7: annotation 1: broken segmentation"),
        (put("annotations", 0, segmentation=None), "image 7: annotation 1: broken segmentation"),
    ],
)
def test_broken_annotations_are_named_with_their_cure(root, change, message):
    rewrite(root, change)
    with pytest.raises(ValueError, match=f"instances_train2014.json: .*{message}.*; unpack annotations_trainval2014.zip again"):
        prepare(root)
    assert not list(root.rglob("*partial*"))


@pytest.mark.parametrize("text", ["", '{"images": [\n{"id": 1,\n', "[]", "\x00"])
def test_broken_json_is_named(root, text):
    (root / "annotations" / "instances_val2014.json").write_text(text)
    with pytest.raises(ValueError, match="instances_val2014.json: not an instances file of COCO: .*unpack"):
        prepare(root)
    assert not list(root.glob("labels*"))


def test_an_image_of_another_size_than_its_annotations_is_named(root):
    Image.new("RGB", (WIDTH, HEIGHT + 1)).save(root / "train2014" / f"{name_of('train2014', 9)}.jpg")
    with pytest.raises(ValueError, match=r"000009.jpg: size \(30, 21\), but .*instances_train2014.json says \(30, 20\)"):
        prepare(root)


def test_a_truncated_image_is_found_before_training(root):
    path = root / "train2014" / f"{name_of('train2014', 9)}.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="000009.jpg: cannot be decoded as an image .*truncated.*; replace the file"):
        prepare(root)


def test_files_that_are_missing_or_wrong_after_preparation_are_named_with_their_cure(root):
    with pytest.raises(FileNotFoundError, match="labels_val2014.json: no prepared .*vdalib prepare coco14 --root"):
        COCOSegmentation(root, "val2014")
    prepare(root)
    val = COCOSegmentation(root, "val2014")
    path = root / "masks" / "val2014" / f"{val.names[0]}.png"
    save_mask(path, np.full((HEIGHT, WIDTH), 81))
    with pytest.raises(ValueError, match=r"000003.png: label 81 in a mask .row 0, column 0., expected 0..80 or 255"):
        val.mask(0)
    save_mask(path, np.zeros((HEIGHT, WIDTH + 2)))
    with pytest.raises(ValueError, match=r"000003.png: size \(32, 20\), but its image .*000003.jpg has \(30, 20\)"):
        val.mask(0)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="000003.png: no such mask; make it with `python -m vdalib prepare coco14"):
        val.mask(0)
    val.image_path(val.names[0]).unlink()
    with pytest.raises(FileNotFoundError, match="000003.jpg"):
        val[0]
    labels = root / "labels_val2014.json"
    labels.write_text(labels.read_text().replace('"dog"', '"dgo"'))
    with pytest.raises(ValueError, match=r"labels_val2014.json line 8: image COCO_val2014_0+3: unknown class 'dgo' "):
        COCOSegmentation(root, "val2014")


def test_a_split_that_coco_does_not_have_is_refused(root):
    config = Config.from_preset("coco14", {"data.root": str(root), "data.val_split": "test2014"}).data
    with pytest.raises(ValueError, match="data.val_split: found 'test2014', expected one of train2014, val2014"):
        data.prepare(config)


def test_an_unwritable_place_for_masks_is_named(root, tmp_path):
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(OSError, match=str(tmp_path / "file")):
        prepare(root, labels=str(tmp_path / "file"))
    assert not list(tmp_path.rglob("*partial*"))
