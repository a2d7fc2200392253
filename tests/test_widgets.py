"""The attribute browser as Python objects: what it computes, what its controls do, and how it fails."""

import shutil
from io import BytesIO

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from small_runs import run as trained
from test_voc import REAL, needs_real

from vdalib.data.voc import prepare_labels
from vdalib.evaluation.run import Run
from vdalib.explore.browsing import DESCRIPTION, FUSED, MAPS, PREDICTION, PSEUDO_LABEL, QUERIES, REFINED, SEED, TEXT, Browser
from vdalib.explore.widgets import AttributeBrowser
from vdalib.segmentation.cam import class_activation


@pytest.fixture(scope="module")
def run(reference):
    return Run.load(reference)


@pytest.fixture(scope="module")
def browser(run):
    return Browser(run, gallery=24)


@pytest.fixture
def widget(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return AttributeBrowser(run, gallery=24)


@pytest.fixture(scope="module")
def asked(browser):
    """An (image, class) that has responses."""
    pairs = ((i, k) for i in range(len(browser.dataset)) for k in browser.classes(i))
    return next(pair for pair in pairs if browser.responses(*pair))


def test_fused_query_of_all_components_is_the_one_training_takes(browser, asked):
    index, k = asked
    assert browser.run.fuses and browser.responses(index, k).reliable
    torch.testing.assert_close(browser.query(index, k), browser.evidence(index).queries[0, k])
    every = browser.responses(index, k).order
    torch.testing.assert_close(browser.query(index, k, every), browser.query(index, k))


def test_query_of_one_component_is_that_attribute(browser, asked):
    index, k = asked
    attribute = browser.run.assembler.attributes()[k, 2]
    torch.testing.assert_close(browser.query(index, k, [2], DESCRIPTION), F.normalize(attribute, dim=0))


def test_alpha_leads_from_text_to_description(browser, asked):
    index, k = asked
    ends = [browser.query(index, k, kind=FUSED, alpha=alpha) for alpha in (0.0, 1.0)]
    torch.testing.assert_close(ends, [browser.query(index, k, kind=kind) for kind in (TEXT, DESCRIPTION)])


def test_seed_of_a_view_is_the_cam_of_its_query(browser, asked):
    index, k = asked
    evidence = browser.evidence(index)
    query = browser.query(index, k, [1], DESCRIPTION)
    cam = class_activation(evidence.features.patches, query.expand(1, len(browser.run.class_names), -1), evidence.labels)
    torch.testing.assert_close(browser.view(index, k, [1], DESCRIPTION, map=SEED).shown, cam[0, k])


def test_maps_of_the_run_s_own_query_are_the_run_s(browser, asked):
    index, k = asked
    evidence = browser.evidence(index)
    expected = {
        SEED: evidence.seeds[0, k],
        REFINED: evidence.refined_seeds[0, k],
        PSEUDO_LABEL: evidence.pseudo_label[0],
        PREDICTION: evidence.prediction[0],
    }
    for name, shown in expected.items():
        torch.testing.assert_close(browser.view(index, k, map=name).shown, shown)


def test_an_image_passes_clip_once(browser, asked, monkeypatch):
    index, k = asked
    browser.view(index, k)
    monkeypatch.setattr(browser.run.clip, "encode_image", None)
    for name in MAPS:
        browser.view(index, k, [0], FUSED, 0.3, name)


def test_nearest_training_prototypes_by_brute_force(browser):
    found, latents = browser._gallery
    k = int(found.classes[found.reliable].mode().values)
    centre = browser.run.mixture.gmm.attribute_centres()[k, 2]
    distances = {
        browser._training[int(image)].name: float(((latent - centre) ** 2).sum().sqrt())
        for image, latent, own, reliable in zip(found.images, latents, found.classes, found.reliable)
        if own == k and reliable
    }
    expected = sorted(distances.items(), key=lambda pair: pair[1])[:3]
    assert [(one.name, pytest.approx(one.distance, rel=1e-5)) for one in browser.nearest(k, 2, 3)] == expected


def shown(widget):
    return np.asarray(Image.open(BytesIO(widget.picture.value)))


def test_every_control_changes_the_picture(widget, asked):
    widget.image.value, widget.class_name.value = asked
    changes = [("image", next(i for i in range(40) if i != asked[0]))]
    changes += [("components", (widget.components.options[0][1],)), ("query", TEXT), ("query", DESCRIPTION)]
    changes += [("map", PSEUDO_LABEL), ("map", PREDICTION), ("opacity", 0.9), ("map", SEED), ("query", FUSED)]
    changes += [("adaptive", False), ("alpha", 0.15), ("adaptive", True)]
    before = shown(widget)
    widget.image.value = changes[0][1]
    assert not np.array_equal(before, shown(widget))
    widget.image.value, widget.class_name.value = asked
    for name, value in changes[1:]:
        before = shown(widget)
        getattr(widget, name).value = value
        assert not np.array_equal(before, shown(widget)), name
    assert widget.message.value == ""


def test_components_are_listed_by_response_and_classes_by_label(widget, browser, asked):
    widget.image.value, widget.class_name.value = asked
    weights = browser.responses(*asked).weights
    listed = [value for _, value in widget.components.options]
    assert sorted(listed) == list(range(len(weights)))
    assert (np.diff(weights[listed]) <= 0).all()
    assert [value for _, value in widget.class_name.options] == browser.classes(asked[0])


def test_alpha_slider_works_only_without_the_adaptive_weight(widget):
    assert widget.adaptive.value and widget.alpha.disabled
    widget.adaptive.value = False
    assert not widget.alpha.disabled


def test_saved_view_is_the_shown_one_and_replaces_none(widget, tmp_path):
    widget.save.click()
    first = widget.picture.value
    widget.opacity.value = 0.1
    widget.save.click()
    names = sorted(path.name for path in (tmp_path / "views").iterdir())
    assert len(names) == 2 and all(name.endswith(f"_{n}.png") for n, name in enumerate(names, 1))
    assert [(tmp_path / "views" / name).read_bytes() for name in names] == [first, widget.picture.value]
    assert names[1] in widget.message.value


def test_a_view_of_a_class_called_like_a_path_stays_in_its_folder(widget, browser, tmp_path, monkeypatch):
    names = [f"x/../../{name}" for name in browser.run.class_names]
    monkeypatch.setattr(browser.run, "class_names", names)
    before = {path for path in tmp_path.parent.rglob("*.png")}
    widget.save.click()
    (saved,) = {path for path in tmp_path.parent.rglob("*.png")} - before
    assert saved.parent == widget.folder


def test_errors_are_shown_and_raised(widget, monkeypatch):
    monkeypatch.setattr(widget.browser, "view", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        widget.opacity.value = 0.2
    assert "ZeroDivisionError: division by zero" in widget.message.value
    monkeypatch.undo()
    widget.opacity.value = 0.3
    assert widget.message.value == ""

    widget.folder.write_text("a file where the folder should be")
    widget.save.click()  # ipywidgets logs what a button raises
    assert "FileExistsError" in widget.message.value and "views" in widget.message.value


def test_a_run_without_mixture_offers_text_only(reference, tmp_path):
    shutil.copytree(reference, tmp_path / "run", ignore=shutil.ignore_patterns("memory*", "checkpoints"))
    widget = AttributeBrowser(tmp_path / "run", gallery=4)
    assert widget.query.options == (TEXT,) and widget.adaptive.disabled
    assert widget.components.options == ()
    widget.map.value = PREDICTION


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not the directory of a trained run"):
        AttributeBrowser(tmp_path)


@needs_real
def test_a_run_on_voc_photographs_is_browsed(tmp_path, random_clip):
    prepare_labels(REAL, "train_aug", tmp_path)
    files = {"data.name": "voc12", "data.root": str(REAL), "data.labels": str(tmp_path), "data.train_split": "train_aug"}
    trained(tmp_path / "run", files | {"inference.size": 96, "data.train_size": None, "data.val_size": None})
    widget = AttributeBrowser(tmp_path / "run", gallery=6)
    before = shown(widget)
    widget.image.value = 1
    assert not np.array_equal(before, shown(widget))
    widget.map.value = PSEUDO_LABEL
    assert widget.query.options == QUERIES and widget.message.value == ""
