import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vdalib.config import Config, DataConfig
from vdalib.data import build_dataset, class_names, is_prepared
from vdalib.data.images import read_image, read_mask, save_mask, voc_palette
from vdalib.data.voc import VOC_CLASSES, VOCSegmentation, prepare_labels

REAL = Path(__file__).parents[2] / "shared" / "voc_mini" / "VOCdevkit" / "VOC2012"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the forty VOC photographs (voc_mini) are not on this machine")


@pytest.fixture
def root(tmp_path):
    """Three images: b has no annotation, c no mask."""
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("a\nb\nc\n")
    for name in "abc":
        Image.new("RGB", (7, 5), (10, 200, 30)).save(folder / "JPEGImages" / f"{name}.jpg")
    mask = np.zeros((5, 7), np.uint8)
    mask[1, 2], mask[3, 3], mask[4, 4] = 12, 15, 255
    for name in "ab":
        save_mask(folder / "SegmentationClass" / f"{name}.png", mask)
    for name in "ac":
        parts = "<object><name>person</name><part><name>head</name></part></object>"
        xml = f"<annotation>{parts}<object><name>diningtable</name></object></annotation>"
        (folder / "Annotations" / f"{name}.xml").write_text(xml)
    return folder


def names_of(labels):
    return {VOC_CLASSES[k] for k in labels.nonzero()[:, 0].tolist()}


def test_labels_come_from_annotations_and_where_absent_from_masks(root, tmp_path):
    path = prepare_labels(root, "train", tmp_path / "labels")
    assert path == tmp_path / "labels" / "labels_train.json"
    data = VOCSegmentation(tmp_path, "train", tmp_path / "labels")  # finds VOCdevkit/VOC2012 below
    assert len(data) == 3 and data.class_names == VOC_CLASSES
    assert [names_of(data[i].labels) for i in range(3)] == [
        {"person", "dining table"},
        {"dog", "person"},
        {"person", "dining table"},
    ]
    assert json.loads(path.read_text())["labels_from_masks"] == 1
    assert not list(root.glob("labels_*"))


def test_a_data_set_is_prepared_when_both_label_files_are_where_they_are_written(root, tmp_path):
    config = Config.from_preset(
        "voc12", {"data.root": str(tmp_path), "data.train_split": "train", "data.val_split": "train"}
    ).data
    assert not is_prepared(config)
    prepare_labels(tmp_path, "train")
    assert is_prepared(config) and is_prepared(replace(config, root=str(root)))
    assert not is_prepared(replace(config, labels=str(tmp_path))) and not is_prepared(replace(config, val_split="val"))


def test_a_sample_is_an_rgb_image_its_labels_and_its_name(root):
    prepare_labels(root, "train")
    sample = VOCSegmentation(root, "train")[1]
    assert sample.name == "b" and sample.image.shape == (3, 5, 7) and sample.image.dtype == torch.uint8
    assert sample.labels.dtype == torch.bool and sample.labels.shape == (20,)
    assert abs(sample.image.float().mean((1, 2)) - torch.tensor([10.0, 200.0, 30.0])).max() < 4


def test_training_labels_do_not_look_at_masks(root):
    prepare_labels(root, "train")
    for mask in root.glob("SegmentationClass/*.png"):
        mask.unlink()
    data = VOCSegmentation(root, "train")
    assert names_of(data[1].labels) == {"dog", "person"}
    with pytest.raises(
        FileNotFoundError, match="no mask b.png in .*SegmentationClass or SegmentationClassAug; see `python -m vdalib prepare"
    ):
        data.mask(1)


def test_the_test_split_has_images_but_neither_labels_nor_masks(root):
    with pytest.raises(FileNotFoundError, match=r"test.txt: no such split .*VOC2012test.tar .*evaluation server"):
        VOCSegmentation(root, "test")
    (root / "ImageSets" / "Segmentation" / "test.txt").write_text("c\n")
    data = VOCSegmentation(root, "test")
    assert data.names == ["c"] and data[0].image.shape == (3, 5, 7) and not data[0].labels.any()
    with pytest.raises(FileNotFoundError, match="no mask c.png in .*VOC publishes none of test"):
        data.mask(0)


def test_vocs_own_mask_goes_before_the_augmented_one(root):
    prepare_labels(root, "train")
    save_mask(root / "SegmentationClassAug" / "a.png", np.full((5, 7), 3))
    save_mask(root / "SegmentationClassAug" / "c.png", np.full((5, 7), 3))
    data = VOCSegmentation(root, "train")
    assert set(np.unique(data.mask(0)).tolist()) == {0, 12, 15, 255} and (data.mask(2) == 3).all()


def test_a_missing_image_is_named(root):
    prepare_labels(root, "train")
    (root / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="a.jpg"):
        VOCSegmentation(root, "train")[0]


def test_palette_is_that_of_voc():
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    for index, colour in known.items():
        assert tuple(voc_palette()[index]) == colour
    assert len(np.unique(voc_palette(), axis=0)) == 256


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_palette_grey_and_rgb_masks_are_read_alike(tmp_path, mode):
    mask = np.random.default_rng(0).choice([*range(21), 255], (13, 11)).astype(np.uint8)
    path = tmp_path / "mask.png"
    if mode == "P":
        save_mask(path, mask)
        assert Image.open(path).mode == "P"
    else:
        Image.fromarray(mask if mode == "L" else voc_palette()[mask]).save(path)
    np.testing.assert_array_equal(read_mask(path, 20), mask)


def test_bad_masks_are_refused_by_name(tmp_path):
    path = tmp_path / "mask.png"
    mask = np.zeros((3, 4), np.uint8)
    mask[1, 2] = 37
    save_mask(path, mask)
    with pytest.raises(ValueError, match=r"mask.png: label 37 in a mask \(row 1, column 2\), expected 0..20 or 255.*Correct"):
        read_mask(path, 20)
    pixels = np.zeros((3, 4, 3), np.uint8)
    pixels[1, 2] = 1, 2, 3
    Image.fromarray(pixels).save(path)
    with pytest.raises(ValueError, match=r"colour \(1, 2, 3\) at row 1, column 2 is no class's; use the palette's own"):
        read_mask(path, 20)
    Image.new("RGBA", (2, 2)).save(path)
    with pytest.raises(ValueError, match="a mask of mode 'RGBA', expected a palette"):
        read_mask(path, 20)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="mask.png: cannot be decoded as a mask"):
        read_mask(path, 20)
    with pytest.raises(FileNotFoundError):
        read_mask(tmp_path / "none.png", 20)


def test_bad_images_are_refused_by_name(root, tmp_path):
    path = root / "JPEGImages" / "a.jpg"
    for content in (b"", b"plain text", path.read_bytes()[:300]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="a.jpg: cannot be decoded as an image"):
            read_image(path)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "none.jpg")


def test_a_mask_of_another_size_is_refused(root):
    prepare_labels(root, "train")
    save_mask(root / "SegmentationClass" / "a.png", np.zeros((5, 8)))
    with pytest.raises(ValueError, match=r"a.png: size \(8, 5\), but its image .*a.jpg has \(7, 5\) \(width, height\); replace"):
        VOCSegmentation(root, "train").mask(0)


def test_missing_things_are_named_with_their_cure(root, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"labels_train.json: no prepared .*make it with `python -m vdalib prepare voc12 --root "
    ):
        VOCSegmentation(root, "train")
    with pytest.raises(FileNotFoundError, match=r"val.txt: no such split \(there are: train\)"):
        prepare_labels(root, "val")
    with pytest.raises(FileNotFoundError, match="data.root: no folder JPEGImages in .*vdalib prepare voc12 --root"):
        prepare_labels(tmp_path / "nowhere", "train")
    (root / "SegmentationClass" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match="b: neither annotation nor mask, looked in .*take the image out of train.txt"):
        prepare_labels(root, "train")
    (root / "ImageSets" / "Segmentation" / "none.txt").write_text("\n")
    with pytest.raises(ValueError, match="none.txt: empty"):
        prepare_labels(root, "none")


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (
            "<annotation>\n<filename>cta.jpg</filename><object>\n<name> cta </name></object></annotation>",
            "a.xml line 3: unknown class 'cta' .known: aeroplane.* correct it",
        ),
        ("<annotation><object><name/></object></annotation>", "a.xml object 1: unknown class '' "),
        ("<html/>", "a.xml: not a VOC annotation .it is <html>.; get the file again"),
        ("<annotation><object>", "a.xml: not a VOC annotation"),
    ],
)
def test_broken_annotations_are_named_and_nothing_is_written(root, xml, message):
    (root / "Annotations" / "a.xml").write_text(xml)
    with pytest.raises(ValueError, match=message):
        prepare_labels(root, "train")
    assert not list(root.glob("*labels*"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a label file"),
        ('{"classes": []}', "not a label file"),
        ('{"labels": {"a": ["dog"]}}', "image b of split train is not in it; make it with `python"),
        ('{"labels":\n{"a": ["dog"], "b": [\n"dog",\n"cta"]}}', "image b: unknown class 'cta' .known: aeroplane.*; make it"),
    ],
)
def test_broken_label_files_are_refused(root, content, message):
    (root / "labels_train.json").write_text(content)
    line = " line 4" if "cta" in content else ""
    with pytest.raises(ValueError, match=f"{re.escape(str(root))}/labels_train.json{line}: {message}"):
        VOCSegmentation(root, "train")


def test_build_dataset_reads_the_config(root, tmp_path):
    prepare_labels(root, "train", tmp_path)
    config = DataConfig(name="voc12", root=str(root), labels=str(tmp_path))
    assert len(build_dataset(config, "train")) == 3
    assert class_names(config) == VOC_CLASSES
    with pytest.raises(ValueError, match="data.root: data set 'voc12' needs its folder"):
        build_dataset(DataConfig(name="voc12"), "train")


def test_build_dataset_gives_the_embedded_world():
    config = DataConfig(train_size=5, val_size=3)
    train, val = build_dataset(config, "train", seed=1), build_dataset(config, "val", seed=1)
    assert (len(train), len(val)) == (5, 3)
    assert train.class_names == val.class_names == class_names(config)


@needs_real
def test_real_photographs_are_read_with_labels_that_agree_with_their_masks(tmp_path):
    for split in ("train_aug", "val"):
        prepare_labels(REAL, split, tmp_path)
        data = VOCSegmentation(REAL, split, tmp_path)
        for i in range(min(len(data), 6)):
            sample, mask = data[i], data.mask(i)
            assert sample.image.shape[1:] == mask.shape
            present = set(np.unique(mask).tolist()) - {0, 255}
            assert {k + 1 for k in sample.labels.nonzero()[:, 0].tolist()} == present != set()
