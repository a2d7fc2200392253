"""Masks in the layout of VOC's evaluation server."""

import os
import re

import numpy as np
import pytest
from PIL import Image
from small_runs import ONE_OF_EACH, run

from vdalib.commands import submit as submission
from vdalib.commands.cli import main
from vdalib.commands.submit import submit
from vdalib.data.images import save_mask, voc_palette
from vdalib.data.voc import prepare_labels
from vdalib.inference import Predictor

SIZES = {"a": (40, 50), "b": (64, 30), "c": (33, 47)}  # (width, height)
pytestmark = pytest.mark.usefixtures("random_clip")


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """Three images; a trains, b and c are the test split, of which there are no masks and no labels."""
    folder = tmp_path_factory.mktemp("data") / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for seed, (name, (width, height)) in enumerate(SIZES.items()):
        picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / "JPEGImages" / f"{name}.jpg")
    save_mask(folder / "SegmentationClass" / "a.png", np.full((50, 40), 12))
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    (folder / "ImageSets" / "Segmentation" / "test.txt").write_text("b\nc\n")
    prepare_labels(folder, "train")
    return folder


@pytest.fixture
def trained(voc, tmp_path):
    changes = {"data.name": "voc12", "data.root": str(voc), "data.train_size": None, "data.val_size": None}
    changes |= {"inference.scales": [1.0, 1.5], "inference.crf_iterations": 2, "schedule.batch_size": 2}
    return run(tmp_path / "run", {**changes, **ONE_OF_EACH}).run_dir


def test_palette_pngs_of_the_images_own_size_lie_where_the_server_looks(voc, trained, capsys):
    main(["submit", "--run", str(trained), "--root", str(voc)])
    folder = trained / "results" / "VOC2012" / "Segmentation" / "comp6_test_cls"
    assert f"tar -czf results.tgz -C {trained} results" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == ["b.png", "c.png"]
    predictor = Predictor.from_run(trained)
    for name in "bc":
        with Image.open(folder / f"{name}.png") as file:
            assert file.mode == "P" and file.size == SIZES[name]
            assert file.getpalette()[:63] == voc_palette()[:21].ravel().tolist()
            mask = np.array(file)
        with Image.open(voc / "JPEGImages" / f"{name}.jpg") as image:
            np.testing.assert_array_equal(mask, predictor.predict(image.convert("RGB")))
        assert mask.max() <= 20


def test_a_stopped_submission_goes_on_and_masks_of_older_weights_are_made_again(trained, monkeypatch):
    written = []

    def save(path, mask):
        if len(written) == 1:
            raise OSError(28, "No space left on device", str(path))
        save_mask(path, mask)
        written.append(path.name)

    with monkeypatch.context() as patch:
        patch.setattr(submission, "save_mask", save)
        with pytest.raises(OSError, match="No space left.*c.png"):
            submit(trained)
    folder = trained / "results" / "VOC2012" / "Segmentation" / "comp6_test_cls"
    assert [path.name for path in folder.iterdir()] == ["b.png"] == written
    monkeypatch.setattr(submission, "save_mask", lambda path, mask: (written.append(path.name), save_mask(path, mask)))
    assert submit(trained) == folder and written == ["b.png", "c.png"]
    submit(trained)
    assert written == ["b.png", "c.png"]
    weights = trained / "segmenter.safetensors"
    newer = max(path.stat().st_mtime_ns for path in folder.iterdir()) + 10**9
    os.utime(weights, ns=(newer, newer))
    submit(trained)
    assert written == ["b.png", "c.png", "b.png", "c.png"]


def test_what_cannot_be_submitted_is_named(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match="config.yaml: missing; .* is not the directory of a trained run"):
        submit(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"trainval.txt: no such split \(there are: test, train\)"):
        submit(trained, "trainval")
    other = run(tmp_path / "other", ONE_OF_EACH).run_dir
    with pytest.raises(ValueError, match=f"{re.escape(str(other))}: a run on 'partworld', but the server takes VOC's classes"):
        submit(other)
    assert not (other / "results").exists()
