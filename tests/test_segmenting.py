"""From a folder of tagged pictures to masks, overlays and a report; new pictures; what can go wrong on the way."""

import csv
import errno
import itertools
import json
import os
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from own_folder import SMOKE, export
from PIL import Image
from safetensors.torch import load_file, save_file

from vdalib.clip import FrozenCLIP, loading
from vdalib.clip.loading import SMALL_CLIP
from vdalib.commands import cli
from vdalib.commands import segment as segmenting
from vdalib.commands.report import segment_and_report
from vdalib.commands.segment import find_images, output_names, overlay_picture, segment
from vdalib.config import Config
from vdalib.data.folder import prepare_folder
from vdalib.data.images import read_image, read_mask
from vdalib.evaluation.run import Run
from vdalib.inference import Predictor
from vdalib.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("random_clip")


def train(root, run_dir, **changes):
    """Prepared and trained as `vdalib run` does; the decoder shuns background at first, so that there are prototypes."""
    settings = SMOKE | {"data.root": str(root), "data.labels": str(run_dir)} | changes
    config = Config.from_preset("folder", settings)
    prepare_folder(root, run_dir, config.data.on_bad_image)
    trainer = Trainer(config, run_dir)
    trainer.method.segmenter.decoder.classify.bias.data[0] -= 10
    trainer.fit()
    return run_dir


UNTAGGED = "untagged.png"


@pytest.fixture(scope="module")
def folder_run(tmp_path_factory, random_clip):
    """(run directory with report, export's tags); its data folder is gone."""
    place = tmp_path_factory.mktemp("folder")
    tags = export(place / "pics", 6, classes=("dog", "cat", "bus"))
    shutil.copy(place / "pics" / "images" / next(iter(tags)), place / "pics" / "images" / UNTAGGED)
    (place / "pics" / "images" / "notes <b>&.txt").write_text("")
    (place / "pics" / "classes.yaml").write_text('colours: {cat: "#ff00aa"}\nsynonyms: {bus: [car]}\n')
    train(place / "pics", place / "run")
    segment_and_report(place / "run")
    (place / "pics").rename(place / "gone")
    return place / "run", tags


def picture(path, size=(50, 40), seed=0, **options):
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize(size).save(path, **options)
    return path


def test_masks_are_those_of_the_predictor_under_the_names_of_the_pictures(folder_run):
    run_dir, tags = folder_run
    predictor = Predictor.from_run(run_dir)
    assert predictor.class_names == ("bus", "cat", "dog")
    assert sorted(path.stem for path in (run_dir / "masks").iterdir()) == sorted(name[:-4] for name in [*tags, UNTAGGED])
    for name in tags:
        image = read_image(run_dir.parent / "gone" / "images" / name)
        mask = read_mask(run_dir / "masks" / name, 3)
        np.testing.assert_array_equal(mask, predictor.predict(image, multi_scale=True, crf=True))
        assert Image.open(run_dir / "overlays" / name.replace("png", "jpg")).size == mask.shape[::-1]
    with Image.open(run_dir / "masks" / name) as file:
        assert file.mode == "P" and file.getpalette()[:9][3:] == [0xFF, 0xE1, 0x00, 0xFF, 0x00, 0xAA]


def test_a_run_prompts_with_the_synonyms_it_was_trained_with(folder_run):
    run = Run.load(folder_run[0])
    clip = FrozenCLIP.from_config(run.config.clip)
    text = clip.text_prototypes([("bus", "car"), "cat", "dog"])
    assert torch.equal(run.labeller.class_text, text)
    assert not torch.equal(text[0], clip.text_prototypes(["bus"])[0])


class Links(HTMLParser):
    """The addresses on a page, and how many elements there are of each class."""

    def __init__(self, page):
        super().__init__()
        self.found, self.classes, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.found += [attributes[key] for key in ("src", "href") if key in attributes]
        self.classes += attributes.get("class", "").split()
        if tag not in ("meta", "img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_shows_every_picture_class_and_attribute_and_needs_nothing_else(folder_run):
    run_dir, tags = folder_run
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    links = Links(page)
    assert not links.open
    embedded = [link for link in links.found if link.startswith("data:image/jpeg;base64,")]
    alike = page.count("Its attributes all point to the same places")  # then they are not shown
    assert len(embedded) == 3 * (1 + 2) + 5 * (3 - alike)  # of each class: picture, text, query; five attributes that differ
    files = {unquote(link) for link in links.found} - set(embedded)
    pictures = [*tags, UNTAGGED]
    layers = {"report/picture": "jpg", "report/mask": "png", "report/outline": "png"}
    kinds = {"masks": "png", "overlays": "jpg"} | layers
    assert files == {f"{kind}/{name[:-4]}.{suffix}" for name in pictures for kind, suffix in kinds.items()}
    assert all((run_dir / file).exists() for file in files)
    assert links.classes.count("card") == len(pictures)
    for k, name in enumerate(("bus", "cat", "dog")):
        mine = sum(name in own for own in tags.values())
        seen = [(k + 1 == read_mask(run_dir / "masks" / file, 3)).mean() >= 0.002 for file in pictures]
        both = sum(found and name in tags.get(file, ()) for found, file in zip(seen, pictures))
        words = "bus, car" if name == "bus" else name
        cells = (name, words, mine, f"{both} ({100 * both / mine:.0f} %)", sum(seen) - both)
        assert "</td><td>".join(map(str, cells)) + "</td>" in re.sub(r'<td data-name="[^"]*">', "<td>", page)
    assert "notes &lt;b&gt;&amp;.txt</td><td>not an image by its name" in page and "<b>" not in page
    assert "prefers-color-scheme: dark" in page


def test_new_pictures_of_any_size_are_segmented_upright_without_the_training_folder(folder_run, tmp_path):
    run_dir, _ = folder_run
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "new" / "a" / "x.jpg", (50, 40), 1, exif=exif)
    picture(tmp_path / "new" / "b" / "x.jpg", (3, 2), 2)
    picture(tmp_path / "new" / "b" / "x.png", (4000, 1), 3)
    images, _ = find_images([tmp_path / "new"])
    assert list(images) == ["a/x", "b/x.jpg", "b/x.png"]
    outcome = segment(run_dir, images, tmp_path / "out", progress=False)
    assert outcome.made == list(images) and not outcome.found and not outcome.failed
    predictor = Predictor.from_run(run_dir)
    for name, shape in zip(images, ((50, 40), (2, 3), (1, 4000))):
        mask = read_mask(tmp_path / "out" / "masks" / f"{name}.png", 3)
        assert mask.shape == shape
        if name != "b/x.png":
            image = read_image(images[name], upright=True)
            np.testing.assert_array_equal(mask, predictor.predict(image, multi_scale=False, crf=False))
    assert sorted(file.name for file in (tmp_path / "out" / "overlays").rglob("*.jpg")) == ["x.jpg", "x.jpg.jpg", "x.png.jpg"]


def test_large_pictures_are_predicted_smaller_and_their_masks_enlarged(folder_run, tmp_path, monkeypatch):
    images, _ = find_images([picture(tmp_path / "a.png", (80, 40))])
    monkeypatch.setattr(segmenting, "MAX_GRID", 5)  # 5 x 8 px = 40 px: an area of 1600 for 3200
    segment(folder_run[0], images, tmp_path, progress=False)
    small = Image.open(tmp_path / "a.png").resize((57, 28))
    expected = Predictor.from_run(folder_run[0]).predict(small, multi_scale=False, crf=False)
    expected = Image.fromarray(expected).resize((80, 40), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(read_mask(tmp_path / "masks" / "a.png", 3), expected)


def test_segmenting_goes_on_where_it_was_and_notices_other_flags_runs_and_pictures(folder_run, tmp_path, monkeypatch):
    run_dir, out = folder_run[0], tmp_path / "out"
    for name in "abc":
        picture(tmp_path / "new" / f"{name}.png", seed=ord(name))
    images, _ = find_images([tmp_path / "new"])

    def again(run_dir=run_dir, **flags):
        outcome = segment(run_dir, images, out, progress=False, **flags)
        assert sorted(outcome.made + outcome.found) == list(images)
        return outcome.made

    save, calls = segmenting.save_mask, []

    def stops(path, *arguments):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        save(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(segmenting, "save_mask", stops)
        with pytest.raises(KeyboardInterrupt):
            again()
    assert again() == ["b", "c"] and again() == []
    assert again(multi_scale=True) == again(multi_scale=True, crf=True) == list(images)
    assert again() == list(images)
    picture(tmp_path / "new" / "b.png", seed=7)
    (out / "overlays" / "c.jpg").unlink()
    assert again() == ["b", "c"]
    other = shutil.copytree(run_dir, tmp_path / "other")
    config = Config.from_preset(other / "config.yaml", {"seed": 5})
    config.save(other / "config.yaml")
    assert again(other) == list(images)


def test_masks_of_someone_else_are_not_overwritten(folder_run, tmp_path):
    images, _ = find_images([picture(tmp_path / "a.png")])
    (tmp_path / "masks").mkdir()
    drawn = picture(tmp_path / "masks" / "a.png").read_bytes()
    with pytest.raises(FileExistsError, match="masks/a.png: was not written by `segment` .*choose another --out"):
        segment(folder_run[0], images, tmp_path, progress=False)
    assert (tmp_path / "masks" / "a.png").read_bytes() == drawn


def test_a_picture_that_cannot_be_read_does_not_stop_the_others_and_ends_the_command_with_1(folder_run, tmp_path, capsys):
    picture(tmp_path / "new" / "b.png")
    (tmp_path / "new" / "a.jpg").write_text("text")
    command = ["segment", str(tmp_path / "new"), "--run", str(folder_run[0]), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="1 could not be segmented:\n.*a.jpg: cannot be decoded as an image"):
        cli.main(command)
    assert "1 segmented, 0 were there already" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["b.png"]


def test_a_full_disk_stops_with_finished_files_whole_and_no_half_ones(folder_run, tmp_path, monkeypatch):
    for name in "ab":
        picture(tmp_path / "new" / f"{name}.png", seed=ord(name))
    save, calls = Image.Image.save, []

    def full(self, path, *arguments, **options):
        calls.append(path)
        save(self, path, *arguments, **options)
        if len(calls) == 3:  # the second overlay
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        with pytest.raises(OSError, match="No space left on device .*make room.*overlays/b.jpg"):
            segment(folder_run[0], find_images([tmp_path / "new"])[0], tmp_path / "out", progress=False)
    left = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert left == ["classes.txt", "labelmap.txt", "masks/a.png", "overlays/a.jpg"]
    assert segment(folder_run[0], find_images([tmp_path / "new"])[0], tmp_path / "out", progress=False).made == ["b"]


def test_no_picture_is_lost_without_a_word_whatever_its_name(folder_run, tmp_path, capsys):
    new, out, run_dir = tmp_path / "new", tmp_path / "out", folder_run[0]
    good = ["a.png", "a.jpg", "a.png.png", "x" * 247 + ".png", "語" * 80 + ".jpg", "sub/b c;<i>.jpg"]
    for name in good:
        picture(new / name)
    long = "y" * 248  # both masks keep the suffix: 248 + 4 + 4 letters
    for name in (".hidden.png", "._a.jpg", ".cache/a.png", f"{long}.png", f"{long}.jpg", "d.png/e.png", "d.jpg"):
        picture(new / name)
    (new / "clip.heic").write_text("")
    os.mkfifo(new / "pipe.png")  # would block a reader for ever
    (new / "album").symlink_to(folder_run[0])
    (new / "gone.jpg").symlink_to(new / "nowhere.jpg")
    with pytest.raises(SystemExit) as raised:
        cli.main(["segment", str(new), "--run", str(run_dir), "--out", str(out)])
    told, printed = str(raised.value), capsys.readouterr().out
    lost = [f"{long}.jpg: its name is too long", f"{long}.png: its name is too long", "d.png/e.png: "]
    assert told.startswith("3 could not be segmented:\n") and all(words in told for words in lost)
    assert f"{len(good) + 1} segmented, 0 were there already" in printed and "6 other files were passed over" in printed
    assert len([path for path in (out / "masks").rglob("*") if path.is_file()]) == len(good) + 1
    assert not list(out.rglob("*partial*"))


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="names of files are text there")
def test_a_name_that_is_no_text_is_written_with_escapes(folder_run, tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xe4")
    picture(Path(folder) / "a.png")
    os.rename(f"{folder}/a.png", os.fsencode(folder) + b"/caf\xe9.png")
    images, passed_over = find_images([folder])
    assert list(images) == [r"caf\udce9"] and not passed_over
    assert segment(folder_run[0], images, tmp_path / "out", progress=False).made == list(images)
    assert (tmp_path / "out" / "confidence.csv").read_text(encoding="utf-8").splitlines()[1].startswith(r"masks/caf\udce9.png,")


def test_a_postscript_file_with_the_name_of_a_jpeg_starts_no_program(folder_run, tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments, **options: pytest.fail("Ghostscript was started"))
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    outcome = segment(folder_run[0], find_images([tmp_path])[0], tmp_path / "out", progress=False)
    assert "a.jpg: cannot be decoded as an image" in outcome.failed["a"]


@pytest.mark.parametrize("error", [RuntimeError("odd shape"), MemoryError()])
def test_a_picture_that_cannot_be_predicted_does_not_stop_the_others(folder_run, tmp_path, monkeypatch, error):
    for name in "ab":
        picture(tmp_path / f"{name}.png", seed=ord(name))
    predict, calls = segmenting.predict, []

    def fails_once(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise error
        return predict(*arguments)

    monkeypatch.setattr(segmenting, "predict", fails_once)
    outcome = segment(folder_run[0], find_images([tmp_path])[0], tmp_path / "out", progress=False)
    assert outcome.made == ["b"] and list(outcome.failed) == ["a"]
    assert outcome.failed["a"] == f"{tmp_path / 'a.png'}: {str(error) or 'MemoryError'}"


def test_a_folder_of_which_no_picture_could_be_segmented_gets_the_reason_and_no_report(folder_run, tmp_path, monkeypatch):
    run_dir = shutil.copytree(folder_run[0], tmp_path / "run", ignore=shutil.ignore_patterns("masks", "report*"))
    Config.of_run(run_dir, {"data.root": str(folder_run[0].with_name("gone"))}).save(run_dir / "config.yaml")
    monkeypatch.setattr(segmenting, "predict", lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(ValueError, match="no picture could be segmented, the first because: .*MemoryError"):
        segment_and_report(run_dir)
    assert not (run_dir / "report.html").exists()


def test_overlays_confidence_maps_and_class_lists_of_someone_else_are_not_overwritten(folder_run, tmp_path):
    images, _ = find_images([picture(tmp_path / "a.png")])
    for place in ("overlays/a.jpg", "confidence/a.png", "classes.txt"):
        out = tmp_path / place.replace("/", "_")
        (out / place).parent.mkdir(parents=True)
        (out / place).write_text("mine")
        with pytest.raises(FileExistsError, match=f"{place}: .*choose another --out"):
            segment(folder_run[0], images, out, probabilities=True, progress=False)
        assert (out / place).read_text() == "mine" and not list(out.glob("masks/*.png"))


def test_what_is_written_has_the_mode_that_the_umask_says(folder_run, tmp_path):
    images, _ = find_images([picture(tmp_path / "a.png")])
    old = os.umask(0o027)
    try:
        segment(folder_run[0], images, tmp_path / "out", probabilities=True, progress=False)
    finally:
        os.umask(old)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 6 and {path.stat().st_mode & 0o777 for path in files} == {0o640}


def test_confidence_is_the_probability_of_the_label_drawn_and_the_most_doubtful_pictures_come_first(folder_run, tmp_path):
    run_dir, out = folder_run[0], tmp_path / "out"
    for name in "abc":
        picture(tmp_path / "new" / f"{name}.png", seed=ord(name))
    images, _ = find_images([tmp_path / "new"])
    assert segment(run_dir, images, out, multi_scale=True, progress=False).made == list(images)
    assert not (out / "confidence").exists()
    assert segment(run_dir, images, out, multi_scale=True, probabilities=True, progress=False).made == list(images)
    assert segment(run_dir, images, out, multi_scale=True, probabilities=True, progress=False).found == list(images)
    predictor, means = Predictor.from_run(run_dir), {}
    for name, path in images.items():
        probabilities = predictor.probabilities(read_image(path), multi_scale=True).numpy()
        label = read_mask(out / "masks" / f"{name}.png", 3)
        drawn = np.take_along_axis(probabilities, label[None].astype(np.int64), 0)[0]
        with Image.open(out / "confidence" / f"{name}.png") as file:
            assert file.mode == "I;16"
            np.testing.assert_allclose(np.asarray(file) / 65535, drawn, atol=1e-5)
        means[f"masks/{name}.png"] = drawn.mean()
    with open(out / "confidence.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["mask"] for row in rows] == sorted(means, key=means.get)
    np.testing.assert_allclose([float(row["confidence"]) for row in rows], sorted(means.values()), atol=1e-4)
    picture(tmp_path / "new" / "a.png", seed=0)
    assert segment(run_dir, images, out, multi_scale=True, progress=False).made == ["a"]
    assert sorted(path.name for path in (out / "confidence").iterdir()) == ["b.png", "c.png"]  # none of the picture before


def test_masks_lie_beside_the_names_and_colours_of_their_labels(folder_run):
    run_dir = folder_run[0]
    assert (run_dir / "classes.txt").read_text().split("\n") == ["bus", "cat", "dog", ""]
    with Image.open(next((run_dir / "masks").iterdir())) as file:
        palette = np.reshape(file.getpalette(), (-1, 3))[:4].tolist()
    lines = (run_dir / "labelmap.txt").read_text().split("\n")
    assert lines[0].startswith("#") and lines[-1] == ""
    named = [line.split(":") for line in lines[1:-1]]
    assert [name for name, *_ in named] == ["background", "bus", "cat", "dog"]
    assert [[*map(int, colour.split(","))] for _, colour, *_ in named] == palette


def test_weights_that_are_not_finite_are_refused(folder_run, tmp_path):
    run_dir = shutil.copytree(folder_run[0], tmp_path / "run")
    weights = load_file(run_dir / "segmenter.safetensors")
    weights["decoder.classify.bias"][0] = float("nan")
    save_file(weights, run_dir / "segmenter.safetensors")
    image = str(picture(tmp_path / "a.png"))
    with pytest.raises(SystemExit, match="error: .*segmenter.safetensors: decoder.classify.bias is not finite; "):
        cli.main(["segment", image, "--run", str(run_dir), "--out", str(tmp_path / "out")])


def test_commands_say_in_a_line_what_is_wrong(folder_run, tmp_path):
    image, run_dir = str(picture(tmp_path / "a.png")), str(folder_run[0])
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for words, message in (
        ([image, "--run", str(tmp_path)], "error: .*config.yaml: missing; .* is not the directory of a trained run"),
        ([image, "--run", run_dir, "--out", str(tmp_path / "file")], "error: .*choose another folder by --out.*file/masks"),
        ([str(tmp_path / "none"), "--run", run_dir], "error: .*none: no such file or folder"),
        ([str(tmp_path / "empty"), "--run", run_dir], "error: .*empty: no image found .*convert others to JPEG"),
    ):
        with pytest.raises(SystemExit, match=message):
            cli.main(["segment", *words])
    with pytest.raises(SystemExit, match="error: data.root: data set 'folder' needs its folder; give it by --data DIR"):
        cli.main(["run", "--preset", "folder", "--run-dir", str(tmp_path / "run")])
    with pytest.raises(SystemExit, match="error: .*no such folder; give a folder in one of two layouts"):
        cli.main(["run", "--preset", "folder", "--run-dir", str(tmp_path / "run"), "--data", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="error: .*run: lies among the pictures"):
        cli.main(["run", "--preset", "folder", "--run-dir", str(tmp_path / "empty" / "run"), "--data", str(tmp_path / "empty")])
    assert not (tmp_path / "run").exists() and not list((tmp_path / "empty").iterdir())


def test_output_names_lose_their_suffix_where_nothing_else_has_the_same_name():
    names = ["a.jpg", "a.png", "b/a.jpg", "c.d.jpg", "E.jpg", "e.png"]
    assert output_names(names) == ["a.jpg", "a.png", "b/a", "c.d", "E.jpg", "e.png"]
    stems = [stem + suffix for stem in ("a", "a.png", "A", "a.b") for suffix in (".png", ".jpg", ".PNG.jpg")]
    for some in itertools.combinations(stems, 4):
        if len({name.lower() for name in some}) == 4:
            assert len({name.lower() for name in output_names(some)}) == 4, some


def test_found_images_are_named_from_what_the_arguments_have_in_common(tmp_path):
    files = [picture(tmp_path / place) for place in ("a/x.jpg", "a/sub/y.JPG", "b/x.jpg", "a/masks/x.png", "a/overlays/x.jpg")]
    (tmp_path / "a" / "notes.txt").write_text("")
    assert list(find_images([tmp_path / "a"], out=tmp_path / "a")[0]) == ["sub/y", "x"]
    assert list(find_images([files[0]])[0]) == ["x"]
    assert find_images([files[2], files[0]])[0] == {"a/x": files[0], "b/x": files[2]}


def test_an_overlay_leaves_background_alone_and_draws_borders(monkeypatch):
    image, palette = torch.full((3, 4, 6), 100, dtype=torch.uint8), np.zeros((256, 3), np.uint8)
    palette[1] = 200, 0, 100
    mask = np.zeros((4, 6), np.uint8)
    mask[:, 3:] = 1
    shown = np.asarray(overlay_picture(image, mask, palette))
    assert (shown[:, :2] == 100).all() and (shown[:, 3] == palette[1]).all() and (shown[:, 4] == (145, 55, 100)).all()
    monkeypatch.setattr(segmenting, "OVERLAY_SIDE", 3)
    assert overlay_picture(image, mask, palette).size == (3, 2)


@pytest.mark.parametrize("classes", [("dog",), None])
def test_a_folder_of_one_class_and_one_in_sub_folders_train_and_report(tmp_path, classes):
    export(tmp_path / "pics", 4, layout="sub-folders", classes=classes)
    (tmp_path / "pics" / "dog").mkdir(exist_ok=True)
    (tmp_path / "pics" / "dog" / "bad.jpg").write_bytes(b"")
    picture(tmp_path / "pics" / "dog" / "line.png", (4000, 1))
    with pytest.raises(ValueError, match="bad.jpg: cannot be decoded as an image"):
        train(tmp_path / "pics", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run_dir = train(tmp_path / "pics", tmp_path / "run", **{"data.on_bad_image": "skip"})
    page = segment_and_report(run_dir).read_text(encoding="utf-8")
    assert "<td>dog/bad.jpg</td><td>cannot be decoded as an image" in page
    assert (run_dir / "masks" / "dog" / "line.png").exists() and not (run_dir / "masks" / "dog" / "bad.png").exists()


def test_a_run_whose_classes_have_changed_is_not_continued(folder_run, tmp_path):
    run_dir = shutil.copytree(folder_run[0], tmp_path / "run")
    pictures = shutil.copytree(folder_run[0].parent / "gone", tmp_path / "pics")
    (pictures / "classes.yaml").write_text("synonyms: {cat: [sofa]}\n")
    message = r"clip.synonyms is \{'bus': \['car'\]\} there, \{'cat': \['sofa'\]\} here.*use another run directory"
    with pytest.raises(ValueError, match=message):
        train(pictures, run_dir)


@pytest.mark.slow
def test_one_command_makes_masks_and_report_of_a_folder(tmp_path, monkeypatch, capsys):
    export(tmp_path / "pics", 4, classes=("dog", "cat"))
    monkeypatch.setattr(loading, "SMALL_CLIP", SMALL_CLIP)  # the repository's, as in the notebook's kernel
    monkeypatch.chdir(tmp_path)
    words = [f"{name}={json.dumps(value)}" for name, value in SMOKE.items()]
    cli.main(["run", "--preset", "folder", "--data", "pics", "--run-dir", "run", *words])
    printed = capsys.readouterr().out
    assert "4 images (cat " in printed and "  report.html " in printed and "05_evaluation" not in printed
    assert len(list((tmp_path / "run" / "masks").iterdir())) == len(list((tmp_path / "run" / "overlays").iterdir())) == 4
    assert (tmp_path / "run" / "report.html").exists() and not (tmp_path / "run" / "05_evaluation.ipynb").exists()
    assert {path.name for path in (tmp_path / "pics").iterdir()} == {"images", "tags.csv"}
