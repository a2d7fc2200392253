"""The attribute browser as a Python object: what its settings do, what is saved, and how it fails."""

import json
import shutil
from base64 import b64decode
from io import BytesIO

import pytest
from PIL import Image
from small_runs import run as trained
from test_voc import REAL, needs_real

from vdalib.data.voc import prepare_labels
from vdalib.evaluation.run import Run
from vdalib.explore.album import WORST_FIRST
from vdalib.explore.browsing import DESCRIPTION, FREE, FUSED, OWN, PARTS, PREDICTION, PSEUDO_LABEL, SEED, TEXT, TRUTH
from vdalib.explore.widgets import AttributeBrowser


@pytest.fixture(scope="module")
def run(reference):
    return Run.load(reference)


@pytest.fixture
def widget(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return AttributeBrowser(run, gallery=12)


@pytest.fixture
def asked(widget):
    """An (image, class name) that has responses, chosen."""
    browser = widget.browser
    pairs = ((i, k) for i in range(len(browser.dataset)) for k in browser.classes(i))
    index, k = next(pair for pair in pairs if browser.responses(*pair))
    widget.choose(image=index, class_name=browser.run.class_names[k])
    return index, k


def sources(widget):
    return [layer["src"] for layer in widget.shown["layers"]]


def pixels(source):
    return Image.open(BytesIO(b64decode(source.partition(",")[2])))


def test_every_setting_of_a_view_changes_its_map(widget, asked):
    number = widget.shown["views"][0]["weights"][0][0]
    changes = [{"components": [number]}, {"query": TEXT}, {"query": DESCRIPTION}, {"map": PSEUDO_LABEL}, {"map": PREDICTION}]
    changes += [{"map": TRUTH}, {"map": PARTS}, {"map": SEED, "query": FUSED}, {"alpha": 0.15}, {"alpha": None}]
    other = next(name for name in widget.browser.run.class_names if name not in widget.shown["classes"])
    changes += [{"query": FREE, "text": other}]
    for change in changes:
        before = sources(widget)
        widget.choose(**change)
        assert sources(widget) != before, change
    assert not widget.message


def test_the_alpha_shown_is_the_alpha_used(widget, asked):
    adaptive = widget.browser.responses(*asked).alpha
    for change, used in (({}, adaptive), ({"alpha": 0.25}, 0.25), ({"query": TEXT}, 0), ({"query": DESCRIPTION}, 1)):
        widget.choose(**change)
        assert widget.shown["views"][0]["alpha"] == pytest.approx(used)
    widget.choose(query=FUSED)
    assert "alpha 0.25" in widget.shown["layers"][0]["note"]


def test_why_a_class_has_no_responses_is_said(widget, monkeypatch):
    monkeypatch.setattr(widget.browser.run, "describes", lambda k: False)
    widget.choose(query=FUSED, alpha=0.3, components=[1])
    assert "component" not in widget.shown["layers"][0]["note"], "the map is by the text"
    for said in (widget.shown["views"][0], widget.shown["layers"][0]):
        assert "was in no prototype that the mixture was fitted to" in said["note"]


def test_components_are_those_of_one_class(widget, asked):
    widget.choose(components=[1], second={"components": [2]})
    widget.choose(opacity=0.2)
    assert (widget.settings["components"], widget.settings["second"]["components"]) == ((1,), (2,))
    assert "component 1" in widget.shown["layers"][0]["note"]
    widget.choose(components=[1, 0])
    assert "components 1, 0" in widget.shown["layers"][0]["note"]
    assert widget.shown["neighbours"]["component"] == 0, "the one pressed last"
    widget.choose(image=next(i for i in range(12) if asked[1] not in widget.browser.classes(i)))
    assert not widget.settings["components"] and not widget.settings["second"]["components"]


def test_two_views_are_asked_apart_and_their_difference_is_shown(widget, asked):
    widget.choose(query=TEXT, second={"query": DESCRIPTION})
    first, second, difference = widget.shown["layers"]
    assert first["src"] != second["src"] and difference["title"] == "A less B"
    widget.choose(second={"map": PREDICTION})
    assert widget.settings["second"]["query"] == DESCRIPTION, "what is left out stays"
    assert sources(widget)[0] == first["src"]
    widget.choose(second=None)
    assert sources(widget) == [first["src"]]


def test_checkpoints_and_other_runs_can_be_the_second_view(reference, tmp_path, random_clip):
    trained(tmp_path / "other", {"refine.background_cut": 0.2})
    widget = AttributeBrowser(reference, tmp_path / "other", gallery=4)
    name = reference.name
    assert widget.shown["runs"][0] == name and "other" in widget.shown["runs"]
    widget.choose(map=PSEUDO_LABEL, second={"run": "other"})
    assert sources(widget)[0] != sources(widget)[1]
    early = next(run for run in widget.shown["runs"] if run.startswith(f"{name}, step"))
    widget.choose(second={"run": early})
    assert widget.shown["views"][1]["queries"] == (TEXT, OWN, FREE), "stage 1 has no mixture yet"
    assert widget.settings["second"]["query"] == TEXT
    with pytest.raises(ValueError, match="run: no 'lost' .there are: "):
        widget.choose(second={"run": "lost"})


def test_images_of_a_class_and_the_worst_ones_fill_the_strip(widget):
    last = widget.browser.run.class_names[widget.browser.classes(len(widget.browser.dataset) - 1)[0]]
    widget.choose(only=last)
    k = widget.browser.run.class_names.index(last)
    assert widget.settings["class_name"] == last
    assert [item["index"] for item in widget.strip["items"]] == widget.browser.album.images(k)[:12]
    widget.choose(only="", order=WORST_FIRST)
    scores = widget.browser.album.scores
    assert widget.settings["image"] == min(scores, key=scores.get) and "IoU" in widget.strip["items"][0]["note"]
    images = widget.browser.album.images(order=WORST_FIRST)
    widget.move(2)
    assert widget.settings["image"] == images[2]
    widget.move(-5)
    assert widget.settings["image"] == images[0]


def test_a_pixel_is_probed_until_it_is_let_go(widget, asked):
    widget.choose(pixel=(0.3, 0.6))
    probe = widget.shown["probe"]
    assert len(probe["distances"]) == widget.browser.run.config.mixture.attributes and len(probe["patches"]) == 6
    assert [name for name, _ in probe["cosines"]] == [TEXT, DESCRIPTION, FUSED]
    widget.choose(pixel=None)
    assert widget.shown["probe"] is None


def test_a_saved_view_is_the_shown_one_with_its_settings_and_can_be_opened_again(widget, asked, tmp_path):
    widget.choose(query=DESCRIPTION, second={"map": PREDICTION}, opacity=0.3, pixel=(0.5, 0.5))
    path, shown, settings = widget.save(), widget.shown["layers"], widget.settings
    assert path.parent == tmp_path / "views" and path.read_bytes() == widget.png()
    assert widget.shown["saved"] == [path.with_suffix(".json").name] and path.name in widget.message
    widget.choose(image=(asked[0] + 1) % 12, query=TEXT, second=None, pixel=None)
    assert widget.save() != path, "none is replaced"
    AttributeBrowser.reopen(widget, path.with_suffix(".json").name)
    assert json.dumps(widget.settings) == json.dumps(settings) and widget.shown["layers"] == shown
    saved = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(saved | {"name": "another"}))
    with pytest.raises(ValueError, match="is not another here; open the run and split it was saved from"):
        widget.reopen(path.with_suffix(".json"))
    for content in ("[", json.dumps(saved | {"image": None})):
        path.with_suffix(".json").write_text(content)
        with pytest.raises(ValueError, match=r"json: not a saved view \(.*\); save it again"):
            widget.reopen(path.with_suffix(".json"))


def test_a_view_of_a_class_called_like_a_path_stays_in_its_folder(widget, tmp_path, monkeypatch):
    names = tuple(f"x/../../{name}" for name in widget.browser.run.class_names)
    monkeypatch.setattr(widget.browser.run, "class_names", names)
    widget.choose(class_name="")
    assert widget.save().parent == widget.folder


def test_what_is_wrong_is_said_and_nothing_changes(widget, monkeypatch):
    before = widget.settings, widget.shown
    for change, said in (
        ({"imgae": 1}, "imgae: no such setting .*did you mean 'image'"),
        ({"image": 9999}, "image: found 9999, expected 0"),
        ({"class_name": "unicorn"}, "class_name: 'unicorn' is not in the image"),
        ({"query": OWN}, 'query: run has no "the method\'s own"'),
        ({"map": "heat"}, "map: run has no 'heat'"),
        ({"components": [77]}, "components: found 77, expected numbers below"),
        ({"query": FREE, "text": "xylophone"}, "outside the small CLIP's vocabulary"),
        ({"only": "unicorn"}, "only: no class 'unicorn'"),
        ({"second": {"maps": 1}}, "maps: no such setting"),
    ):
        with pytest.raises(ValueError, match=said):
            widget.choose(**change)
        assert widget.message.startswith("ValueError: ")
        assert (widget.settings, widget.shown) == before
    widget.choose(opacity=0.2)
    assert not widget.message


def test_the_page_is_answered_and_told_what_failed(widget, monkeypatch):
    answers = []
    monkeypatch.setattr(widget, "send", answers.append)
    widget._answer(widget, {"choose": {"map": PREDICTION}}, [])
    widget._answer(widget, {"move": 1}, [])
    assert widget.settings["map"] == PREDICTION and widget.settings["image"] == 1 and not widget.message
    monkeypatch.setattr(widget.browser, "view", lambda *given: 1 / 0)
    widget._answer(widget, {"choose": {"opacity": 0.1}}, [])
    assert widget.message == "ZeroDivisionError: division by zero" and widget.settings["opacity"] == 0.6
    monkeypatch.undo()
    widget.folder.write_text("a file where the folder should be")
    widget._answer(widget, {"save": True}, [])
    assert "FileExistsError" in widget.message and "views" in widget.message


def test_a_run_without_its_memory_asks_by_text(reference, tmp_path):
    shutil.copytree(reference, tmp_path / "run", ignore=shutil.ignore_patterns("memory*", "checkpoints"))
    widget = AttributeBrowser(tmp_path / "run", gallery=4)
    (view,) = widget.shown["views"]
    assert view["queries"] == (TEXT, OWN, FREE) and not view["weights"] and view["adaptive"] is None
    assert widget.shown["neighbours"] is None


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not the directory of a trained run"):
        AttributeBrowser(tmp_path)


@needs_real
def test_a_run_on_voc_photographs_is_browsed(tmp_path, random_clip):
    prepare_labels(REAL, "train_aug", tmp_path)
    files = {"data.name": "voc12", "data.root": str(REAL), "data.labels": str(tmp_path), "data.train_split": "train_aug"}
    trained(tmp_path / "run", files | {"inference.size": 96, "data.train_size": None, "data.val_size": None})
    widget = AttributeBrowser(tmp_path / "run", gallery=6)
    before = sources(widget)
    widget.choose(image=1)
    assert before != sources(widget)
    assert pixels(widget.picture["src"]).size == (widget.picture["width"], widget.picture["height"])
    widget.choose(map=PSEUDO_LABEL)
    assert TRUTH in widget.shown["views"][0]["maps"] and PARTS not in widget.shown["views"][0]["maps"]
