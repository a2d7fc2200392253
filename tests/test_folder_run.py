"""A run on one's own folder: moved, it resumes; corrected masks measure and do not teach; its words are known beforehand."""

import shutil

import numpy as np
import pytest
from own_folder import SMOKE, export, write_tags
from PIL import Image
from small_runs import assert_same_run

from vdalib.clip.loading import require_words
from vdalib.commands import cli
from vdalib.config import Config
from vdalib.data import completed
from vdalib.data.folder import prepare_folder
from vdalib.data.images import save_mask
from vdalib.evaluation import ConfusionMatrix
from vdalib.evaluation.measuring import evaluate_run
from vdalib.inference import Predictor
from vdalib.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("random_clip")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("folder") / "pics"
    export(root, 5, classes=("dog", "cat", "bus"))
    return root


def train(root, run_dir, until=None, **changes):
    settings = SMOKE | {"data.root": str(root), "data.labels": str(run_dir)} | changes
    prepare_folder(root, run_dir)
    trainer = Trainer(Config.from_preset("folder", settings), run_dir)
    trainer.fit(until)
    return run_dir


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory, random_clip):
    return train(pictures, tmp_path_factory.mktemp("run"))


def masks_of(pictures, folder, dice):
    names = sorted(path.name for path in (pictures / "images").iterdir())[:2]
    for name in names:
        width, height = Image.open(pictures / "images" / name).size
        save_mask(folder / name, dice.choice(np.array([0, 1, 2, 255], np.uint8), (height, width)))
    return names


def test_a_run_that_was_moved_goes_on(pictures, finished, tmp_path):
    first = train(pictures, tmp_path / "here", until=4)
    moved = shutil.move(first, tmp_path / "there")
    assert Config.of_run(moved).data.labels == str(moved)
    train(pictures, moved)
    assert_same_run(moved, finished)


def test_corrected_tags_are_another_run(tmp_path):
    root, run_dir = tmp_path / "pics", tmp_path / "run"
    tags = export(root, 5, classes=("dog", "cat", "bus"))
    train(root, run_dir, until=4)
    first, other = next((a, b) for a in tags for b in tags if tags[a] != tags[b])
    write_tags(root, tags | {first: tags[other], other: tags[first]})
    with pytest.raises(ValueError, match=r"step_0000004: trained with other images or image-level labels than"):
        train(root, run_dir)


def test_corrected_masks_teach_nothing(pictures, finished, tmp_path):
    for kind in ("noise", "other noise", "no masks"):
        masks = tmp_path / kind
        masks_of(pictures, masks, np.random.default_rng(len(kind)))
        if kind == "no masks":
            shutil.rmtree(masks)
        trained = train(pictures, tmp_path / f"run of {kind}", **{"data.masks": str(masks)})
        assert_same_run(trained, finished)


def test_corrected_masks_measure_the_run_on_their_pictures(pictures, finished, tmp_path):
    names = masks_of(pictures, tmp_path, np.random.default_rng(0))
    values = evaluate_run(finished, multi_scale_crf=False, overrides={"data.masks": str(tmp_path)})
    assert values.keys() == {"text_seed_miou", "seed_miou", "refined_seed_miou", "miou"}
    predictor = Predictor.from_run(finished)
    matrix = ConfusionMatrix(len(predictor.class_names) + 1)
    for name in names:
        found = predictor.predict(Image.open(pictures / "images" / name), multi_scale=False, crf=False)
        matrix.update(found, np.array(Image.open(tmp_path / name)))
    assert values["miou"] == pytest.approx(100 * matrix.mean_iou(), abs=1e-6)


def test_without_corrected_masks_the_evaluation_says_what_it_needs(finished):
    with pytest.raises(SystemExit, match="data.masks: split 'masks' of a folder needs the folder of the masks"):
        cli.main(["evaluate", "--run", str(finished), "--plain"])


def test_a_word_that_clip_does_not_know_is_named_before_anything_is_trained(pictures, tmp_path):
    root = shutil.copytree(pictures, tmp_path / "pics")
    settings = {"clip.model": "partworld", "clip.pretrained": "partworld", "data.root": str(root)}

    def require(text):
        (root / "classes.yaml").write_text(text)
        prepare_folder(root)
        require_words(completed(Config.from_preset("folder", settings)))

    require("background: [sky, water]\nsynonyms: {dog: [potted plant]}")
    with pytest.raises(ValueError, match=r"pics: class 'dog': prompt .*: the word 'quokka' is outside the small CLIP's vocab"):
        require("background: [sky]\nsynonyms: {dog: [sofa, quokka]}")
    with pytest.raises(ValueError, match="pics: clip.background_prompts: prompt .* the word 'lava' .*; use PartWorld's"):
        require("background: [sky, lava]")
    require_words(Config.from_preset("voc12"))  # a full CLIP spells every word, and is not loaded for that
