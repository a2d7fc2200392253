"""Weak supervision: what a mask says reaches no weight."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from coco_files import HEIGHT, WIDTH, write_coco
from PIL import Image
from small_runs import ONE_OF_EACH, assert_same_run, run

from vdalib.config import Config
from vdalib.data import prepare
from vdalib.data.images import save_mask
from vdalib.data.partworld import PartWorld
from vdalib.data.voc import prepare_labels

pytestmark = pytest.mark.usefixtures("random_clip")


def test_noise_in_place_of_all_masks_changes_no_bit(reference, tmp_path, monkeypatch):
    dice, render = np.random.default_rng(0), PartWorld.render

    def noise(world, i):
        return dice.integers(0, 256, render(world, i).mask.shape, dtype=np.uint8)

    def noisy(world, i):
        layers = {name: noise(world, i) for name in ("mask", "kind_mask", "part_mask", "owner")}
        return replace(render(world, i), **layers)

    monkeypatch.setattr(PartWorld, "render", noisy)
    monkeypatch.setattr(PartWorld, "mask", noise)
    monkeypatch.setattr(PartWorld, "part_mask", noise)
    monkeypatch.setattr(PartWorld, "factors", lambda self, i: render(self, dice.integers(len(self))).factors)
    assert_same_run(run(tmp_path).run_dir, reference)


def test_training_never_asks_for_a_mask(reference, tmp_path, monkeypatch):
    render = PartWorld.render

    def forbidden(self, i):
        raise AssertionError("training looked at a mask")

    def bare(self, i):
        rendered = render(self, i)
        return SimpleNamespace(image=rendered.image, factors=rendered.factors)  # factors: the labels come from there

    monkeypatch.setattr(PartWorld, "render", bare)
    for name in ("mask", "part_mask", "factors"):
        monkeypatch.setattr(PartWorld, name, forbidden)
    assert_same_run(run(tmp_path).run_dir, reference)


def train_on(name, folder, split, run_dir):
    changes = {"data.name": name, "data.root": str(folder), "data.train_split": split, "data.crop": 96}
    return run(run_dir, changes | {"data.train_size": None, "data.val_size": None, **ONE_OF_EACH}).run_dir


def test_voc_masks_play_no_part_once_labels_are_prepared(tmp_path):
    folder, dice = tmp_path / "VOC2012", np.random.default_rng(0)
    for name in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation" / "train_aug.txt").write_text("a\nb\nc\nd\n")
    for name in "abcd":
        picture = dice.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(picture).resize((120, 100), Image.NEAREST).save(folder / "JPEGImages" / f"{name}.jpg")

    def paint(classes):
        for name in "abcd":
            mask = dice.choice(np.array(classes, np.uint8), (100, 120))
            save_mask(folder / "SegmentationClassAug" / f"{name}.png", mask)

    paint([0, 19, 20])
    prepare_labels(folder, "train_aug")
    first = train_on("voc12", folder, "train_aug", tmp_path / "true masks")
    paint(range(21))
    assert_same_run(train_on("voc12", folder, "train_aug", tmp_path / "noise"), first)
    shutil.rmtree(folder / "SegmentationClassAug")
    assert_same_run(train_on("voc12", folder, "train_aug", tmp_path / "no masks"), first)


def test_coco_masks_and_annotations_play_no_part_once_labels_are_prepared(tmp_path):
    folder, dice = write_coco(tmp_path / "coco"), np.random.default_rng(0)
    with joblib.parallel_config(backend="threading"):
        prepare(Config.from_preset("coco14", {"data.root": str(folder)}).data)
    first = train_on("coco14", folder, "train2014", tmp_path / "true masks")
    for path in folder.glob("masks/train2014/*.png"):
        save_mask(path, dice.integers(0, 81, (HEIGHT, WIDTH)))
    assert_same_run(train_on("coco14", folder, "train2014", tmp_path / "noise"), first)
    for place in ("masks", "annotations"):
        shutil.rmtree(folder / place)
    assert_same_run(train_on("coco14", folder, "train2014", tmp_path / "no masks"), first)
