"""One's own folder: what it says is read, and what is wrong in it is named with file, line and cure."""

import json
import os
import sys

import numpy as np
import pytest
import torch
from own_folder import export, write_tags
from PIL import Image

from vdalib.clip import FrozenCLIP
from vdalib.config import ClipConfig, Config
from vdalib.data import build_dataset, class_names, completed, prepare
from vdalib.data.classes import CLASS_COLOURS, distinct_colours
from vdalib.data.coco import COCO_CLASSES
from vdalib.data.folder import PREPARED, TaggedFolder, prepare_folder, summary
from vdalib.data.images import save_mask
from vdalib.data.partworld import PartWorld
from vdalib.data.tags import read_folder
from vdalib.data.voc import VOC_CLASSES
from vdalib.segmentation.labelling import PseudoLabeller


@pytest.fixture
def root(tmp_path):
    """Three pictures: a cat, a cat with a dog, a bus."""
    folder = tmp_path / "my pictures"
    (folder / "images" / "trip").mkdir(parents=True)
    for name in ("a.png", "b.png", "trip/c.png"):
        Image.new("RGB", (6, 4), (10, 20, 30)).save(folder / "images" / name)
    write_tags(folder, {"a.png": ["cat"], "b.png": ["cat", "dog"], "trip/c.png": ["bus"]})
    return folder


def tags(root, *lines):
    (root / "tags.csv").write_text("\n".join(["file,tags", *lines]) + "\n", encoding="utf-8")


def classes(root, text):
    (root / "classes.yaml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("layout", ["tags", "sub-folders"])
def test_both_layouts_give_the_pictures_and_their_classes(tmp_path, layout):
    expected = export(tmp_path / "pics", layout=layout)
    prepare_folder(tmp_path / "pics", tmp_path / "out")
    data, world = TaggedFolder(tmp_path / "pics", tmp_path / "out"), PartWorld("train")
    assert data.class_names == tuple(sorted({name for names in expected.values() for name in names}))
    assert data.names == sorted(expected) if layout == "sub-folders" else list(expected)
    for i, name in enumerate(data.names):
        sample = data[i]
        assert sample.name == name
        assert {k for k, there in zip(data.class_names, sample.labels) if there} == set(expected[name])
        assert torch.equal(sample.image, world[int(name[-7:-4])].image)
    with pytest.raises(ValueError, match="png: a folder of one's own has no masks"):
        data.mask(0)


def test_the_prepared_file_says_all_that_a_run_needs_and_nothing_is_written_among_the_pictures(root, tmp_path):
    classes(root, 'synonyms: {cat: [kitten]}\nbackground: [sky, sand]\ncolours: {bus: "#FF0000", dog: lime}\n')
    before = {path for path in root.rglob("*")}
    path = prepare_folder(root, tmp_path / "out")
    assert {path for path in root.rglob("*")} == before
    assert summary(path) == f"3 images (bus 1, cat 2, dog 1), 0 without a tag, 0 files left out; written to {path}"
    config = Config.from_preset("folder", {"data.root": str(root), "data.labels": str(tmp_path / "out")})
    with pytest.raises(ValueError, match="data.classes: a folder's are known when it is prepared"):
        class_names(config.data)
    config = completed(config)
    assert class_names(config.data) == build_dataset(config.data, "all").class_names == ("bus", "cat", "dog")
    assert config.data.colours == {"bus": "#ff0000", "cat": CLASS_COLOURS["cat"], "dog": "#00ff00"}
    assert config.clip.synonyms == {"cat": ("kitten",)} and config.clip.background_prompts == ("sky", "sand")
    assert completed(Config()) == Config()


def test_a_list_of_classes_fixes_their_order_and_the_tags(root):
    classes(root, "classes: [dog, cat, bus]")
    prepare_folder(root)
    assert TaggedFolder(root).class_names == ("dog", "cat", "bus")
    assert TaggedFolder(root).labels.tolist() == [[False, True, False], [True, True, False], [False, False, True]]
    tags(root, "a.png,cat", "b.png,cat;dgo", "trip/c.png,bus")
    with pytest.raises(ValueError, match=r"tags.csv line 3: unknown class 'dgo' \(known: dog, cat, bus\)"):
        read_folder(root)


def test_spreadsheets_habits_are_read(root):
    text = '\ufefffile , note,tags\r\n"a.png",x, cat ;\r\n\r\ntrip\\c.png,,bus; cat ;bus\r\n'
    (root / "tags.csv").write_text(text, encoding="utf-8", newline="")
    assert read_folder(root).tags == {"a.png": ("cat",), "trip/c.png": ("bus", "cat")}


def test_pictures_without_a_tag_are_not_trained_on_but_known_and_other_files_are_listed(root, tmp_path):
    tags(root, "a.png,cat", "trip/c.png,bus")
    (root / "images" / "notes.txt").write_text("")
    (root / "images" / "broken.png").write_bytes(b"text")  # stops nothing, since nothing is learned from it
    prepare_folder(root, tmp_path)
    data = TaggedFolder(root, tmp_path)
    assert data.names == ["a.png", "trip/c.png"] and data.untagged == {"b.png": root / "images" / "b.png"}
    assert data.skipped["notes.txt"].startswith("not an image by its name")
    assert data.skipped["broken.png"].startswith("cannot be decoded as an image") and len(data.skipped) == 2

    for name in ("cat/a.jpg", "cat/b.HEIC", "cat/.hidden", ".git/x", "later.jpg", ".x.jpg", "classes.yaml"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_bytes(b"")
    found = read_folder(tmp_path / "f")
    assert found.tags == {"cat/a.jpg": ("cat",)} and found.untagged == ["later.jpg"]
    assert list(found.left_out) == ["cat/b.HEIC", ".x.jpg"] and found.left_out["cat/b.HEIC"].endswith("save it as JPEG")
    assert found.left_out[".x.jpg"] == "hidden (a dot in front); rename it if it is a picture of yours"


def test_two_tags_for_one_thing_are_asked_about_unless_both_are_listed(root):
    for slip in ("cats", "Cat", "c_at"):
        tags(root, "a.png,cat", f"b.png,{slip}")
        with pytest.raises(ValueError, match=f"tags.csv: .*{slip}.*; write both alike"):
            read_folder(root)
    tags(root, "a.png,cat", "b.png,cats", "trip/c.png,glass")
    classes(root, "classes: [cat, cats, glass]")
    prepare_folder(root)
    assert TaggedFolder(root).class_names == ("cat", "cats", "glass")


def test_known_names_in_one_word_are_prompted_in_two():
    joined = [name.replace(" ", "") for name in (*VOC_CLASSES, *COCO_CLASSES)]
    assert [words for (words,) in ClipConfig().words(joined)] == [*VOC_CLASSES, *COCO_CLASSES]
    assert ClipConfig().words(["Dining-Table", "sea_lion", "catfish"]) == [("dining table",), ("sea lion",), ("catfish",)]


def test_a_class_is_not_its_own_background(root):
    tags(root, "a.png,Grass", "b.png,cat", "trip/c.png,sea")
    prepare_folder(root)
    background = completed(Config.from_preset("folder", {"data.root": str(root)})).clip.background_prompts
    assert not {"grass", "sea"} & set(background) and len(background) == 23


def test_a_synonym_is_not_background_either_and_settings_are_completed_once(root):
    classes(root, "synonyms: {cat: [tree]}\n")
    prepare_folder(root)
    once = completed(Config.from_preset("folder", {"data.root": str(root)}))
    assert "tree" not in once.clip.background_prompts and completed(once) == once


@pytest.fixture
def corrected(root, tmp_path):
    """The masks of two of the pictures: as `segment` writes them, and as an editor in RGB does."""
    masks = tmp_path / "corrected"
    values = np.zeros((4, 6), np.uint8)
    values[1:3, 2:5], values[0, 0] = 2, 255
    save_mask(masks / "a.png", values)
    colours = _palette_of(("bus", "cat", "dog"))
    (masks / "trip").mkdir()
    Image.fromarray(colours[values]).save(masks / "trip" / "c.png.png")
    return masks


def _palette_of(names):
    colours = np.full((256, 3), 255, np.uint8)
    for place, colour in enumerate(["#000000", *distinct_colours(names, {}).values()]):
        colours[place] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return colours


def folder_data(root, masks, split="masks"):
    config = Config.from_preset("folder", {"data.root": str(root), "data.masks": str(masks) if masks else None})
    return build_dataset(config.data, split)


def test_corrected_masks_are_those_of_the_split_for_evaluation(root, corrected):
    prepare_folder(root)
    data = folder_data(root, corrected)
    assert data.names == ["a.png", "trip/c.png"]
    for i in range(2):
        expected = np.zeros((4, 6), np.uint8)
        expected[1:3, 2:5], expected[0, 0] = 2, 255
        np.testing.assert_array_equal(data.mask(i), expected)
    every = folder_data(root, corrected, "all")
    assert len(every) == 3
    with pytest.raises(ValueError, match="a.png: a folder of one's own has no masks; give a folder of some that you corrected"):
        every.mask(0)
    with pytest.raises(ValueError, match="data.masks: split 'masks' of a folder needs the folder of the masks"):
        folder_data(root, None)
    with pytest.raises(ValueError, match="data.train_split: 'masks' is for evaluation only; take all"):
        Config.from_preset("folder", {"data.train_split": "masks"})


def test_a_corrected_mask_is_turned_and_shrunk_as_its_picture(root, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((100, 400, 3), np.uint8)).save(root / "images" / "a.png", exif=exif)
    prepare_folder(root)
    upright = np.zeros((400, 100), np.uint8)
    upright[:200] = 1
    save_mask(tmp_path / "masks" / "a.png", upright)
    mask = TaggedFolder(root, size=100, masks=tmp_path / "masks").mask(0)
    assert mask.shape == (200, 50) and (mask[:100] == 1).all() and not mask[100:].any()


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("x.png", (6, 4), "data.masks: .*x.png is of no tagged image; rename it, or take it out"),
        ("b.png.png", (6, 4), "data.masks: .*b.png.png and .*b.png are both of b.png; take one out"),
        ("b.png", (7, 4), r"b.png: size \(7, 4\), but its image .*b.png has \(6, 4\) \(width, height\); replace"),
    ],
)
def test_a_corrected_mask_that_does_not_fit_is_named(root, tmp_path, name, size, message):
    prepare_folder(root)
    save_mask(tmp_path / "masks" / "b.png", np.zeros((4, 6)))
    save_mask(tmp_path / "masks" / name, np.zeros(size[::-1]))
    with pytest.raises(ValueError, match=message):
        TaggedFolder(root, masks=tmp_path / "masks").mask(0)


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        (["a.png,cat", "a.png,dog"], ValueError, "tags.csv line 3: a.png is in line 2 already; put all of its tags into one"),
        (["./a.png,cat", "a.png,cat"], ValueError, "tags.csv line 3: a.png is in line 2 already"),
        (["a.png,cat", "x.png,dog"], FileNotFoundError, "tags.csv line 3: no image x.png in .*images; put it there, or take"),
        (["../images/a.png,cat"], FileNotFoundError, "tags.csv line 2: no image ../images/a.png"),
        (["a.png, ; "], ValueError, "tags.csv line 2: a.png has no tag; give it one, or take the line out"),
        (["a.png,cat,dog"], ValueError, "tags.csv line 2: expected 2 columns as in the header; separate tags by semicolons"),
        (["a.png"], ValueError, "tags.csv line 2: expected 2 columns"),
        (['"a.png,cat'], ValueError, "tags.csv after line 1: not CSV .*; look for a quotation mark left open"),
        ([], ValueError, "found no tagged image; give a folder in one of two layouts"),
        (["a.png,cat", "b.png,Cat"], ValueError, "tags.csv: b.png is tagged 'Cat', a.png 'cat'; write both alike"),
    ],
)
def test_a_wrong_line_is_named_with_its_cure(root, lines, error, message):
    tags(root, *lines)
    with pytest.raises(error, match=message):
        prepare_folder(root)
    assert not (root / PREPARED).exists()


def test_a_table_that_is_none_is_refused(root):
    (root / "tags.csv").write_text("file;tags\na.png;cat\n")
    with pytest.raises(
        ValueError, match="tags.csv line 1: found 'file;tags', expected the header file,tags, each once; columns are sep"
    ):
        read_folder(root)
    (root / "tags.csv").write_bytes("file,tags\na.png,K\xe4tzchen\n".encode("latin-1"))
    with pytest.raises(ValueError, match="tags.csv: not UTF-8 text .*save it as `CSV UTF-8`"):
        read_folder(root)
    (root / "tags.csv").unlink()
    with pytest.raises(FileNotFoundError, match="tags.csv: no such file; give a folder in one of two layouts"):
        read_folder(root)
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder; give a folder in one of two layouts"):
        prepare_folder(root / "nowhere")


def test_a_class_without_image_is_refused(root, tmp_path):
    classes(root, "classes: [cat, dog, bus, horse]")
    with pytest.raises(ValueError, match="class without image: 'horse'; tag an image with it, or take it out of classes.yaml"):
        prepare_folder(root)
    for name in ("cat/a.png", "dog/notes.txt"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_bytes(b"")
    with pytest.raises(ValueError, match="f/dog: class without image; put one there, or take the folder away"):
        read_folder(tmp_path / "f")
    classes(tmp_path / "f", "classes: [dog]")
    with pytest.raises(ValueError, match=r"f/cat: unknown class 'cat' \(known: dog\)"):
        read_folder(tmp_path / "f")


def test_bad_pictures_stop_the_preparation_or_are_left_out_with_the_reason(root, tmp_path):
    (root / "images" / "b.png").write_bytes(b"text")
    with pytest.raises(ValueError, match="1 of 3 images cannot be used; (.|\n)*b.png: cannot be decoded"):
        prepare_folder(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="class without image: 'dog'; all of its images are among those that cannot be read"):
        prepare_folder(root, tmp_path / "out", "skip")
    tags(root, "a.png,cat", "b.png,cat", "trip/c.png,bus")
    prepared = json.loads(prepare_folder(root, tmp_path / "out", "skip").read_text())
    assert list(prepared["labels"]) == ["a.png", "trip/c.png"]
    assert prepared["skipped"]["b.png"].startswith("cannot be decoded as an image")


def test_a_folder_that_is_not_prepared_or_has_changed_is_refused(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="is not prepared yet; run `python -m vdalib prepare folder --data '.*pictures'`"):
        TaggedFolder(root)
    prepare_folder(root, tmp_path / "out")
    tags(root, "a.png,dog", "b.png,cat", "trip/c.png,bus")
    with pytest.raises(ValueError, match="has changed since it was prepared; run .*--labels .*out`"):
        TaggedFolder(root, tmp_path / "out")
    for content in ("{", "{}", "[]"):
        (tmp_path / "out" / PREPARED).write_text(content)
        with pytest.raises(ValueError, match="labels_folder.json: not a label file"):
            TaggedFolder(root, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colors: {}", "found 'colors'; expected some of classes, synonyms, background, colours"),
        ("- cat", r"found \['cat'\]; expected some of"),
        ("a: [1", "not valid YAML"),
        ("classes: cat", "classes: found 'cat', expected a list such as"),
        ("classes: [cat, no]", "classes: found False, expected a word; put it in quotes"),
        ("classes: [cat, cat]", "classes: 'cat' occurs twice; take one out"),
        ("synonyms: [cat]", "synonyms: found .*expected class names with their values"),
        ("synonyms: {cta: [kitten]}", r"synonyms: unknown class 'cta' \(known: bus, cat, dog\)"),
        ("colours: {cat: #ff0000\n}", 'colours: cat: found None, expected a colour such as "#3c00d2", in quotes'),
        ("colours: {cat: reddish}", "colours: cat: found 'reddish', expected a colour"),
        ("colours: {cta: red}", "colours: unknown class 'cta'"),
    ],
)
def test_a_wrong_classes_file_is_refused_by_its_section(root, text, message):
    classes(root, text)
    with pytest.raises(ValueError, match=f"classes.yaml: {message}"):
        prepare_folder(root)


def test_a_name_with_the_narrow_space_of_a_screenshot_is_taken(root):
    name = "Screenshot at 1.00.00\u202fPM.png"
    os.rename(root / "images" / "b.png", root / "images" / name)
    tags(root, "a.png,cat", f"{name},dog", "trip/c.png,bus")
    prepare_folder(root)
    assert name in TaggedFolder(root).names


def test_more_classes_than_a_byte_can_name_are_refused(root):
    tags(root, "a.png," + ";".join(f"k{i}" for i in range(255)))
    with pytest.raises(ValueError, match="255 classes, expected at most 254"):
        prepare_folder(root)


def test_every_class_gets_a_colour_of_its_own():
    names = ("zebra", "cat", *(f"k{i}" for i in range(18)))
    colours = distinct_colours(names, {"zebra": CLASS_COLOURS["dog"]})
    assert colours["zebra"] == CLASS_COLOURS["dog"] and colours["cat"] == CLASS_COLOURS["cat"]
    assert len(set(colours.values())) == len(names)
    most = distinct_colours(tuple(f"k{i}" for i in range(254)), {})
    assert len(set(most.values()) - {"#000000", "#ffffff"}) == 254 and list(most.values())[:20] == list(CLASS_COLOURS.values())


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="names of files are text there")
@pytest.mark.parametrize("layout", ["tags", "sub-folders"])
def test_a_name_that_is_no_text_is_left_out_and_told(tmp_path, layout):
    export(tmp_path / "pics", layout=layout)
    folder = tmp_path / "pics" / "images" if layout == "tags" else next(p for p in (tmp_path / "pics").iterdir() if p.is_dir())
    Image.new("RGB", (6, 4)).save(tmp_path / "x.jpg")
    os.rename(tmp_path / "x.jpg", os.fsencode(folder) + b"/caf\xe9.jpg")
    prepare_folder(tmp_path / "pics", tmp_path / "out")
    ((name, reason),) = TaggedFolder(tmp_path / "pics", tmp_path / "out").skipped.items()
    assert name.endswith(r"caf\udce9.jpg") and reason == "its name is not UTF-8; rename it"
    name.encode()


def test_masks_in_a_folder_whose_sub_folders_are_classes_are_refused(tmp_path):
    export(tmp_path / "pics", layout="sub-folders")
    prepare_folder(tmp_path / "pics")
    for folder in ("pics/masks", "pics/.masks", "elsewhere"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pics" / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("pics", "pics/masks", "pics/link"):
        with pytest.raises(ValueError, match="data.masks: .* lies in .*pics, whose sub-folders are its classes; move it out"):
            prepare(Config.from_preset("folder", {"data.root": str(tmp_path / "pics"), "data.masks": str(tmp_path / name)}).data)
    (tmp_path / "pics" / "masks").rmdir()
    (tmp_path / "pics" / "link").unlink()
    assert len(folder_data(tmp_path / "pics", tmp_path / "pics" / ".masks", "all"))


def test_a_class_whose_pictures_have_names_that_are_no_text_is_not_lost_without_a_word(tmp_path):
    export(tmp_path / "pics", layout="sub-folders")
    (tmp_path / "pics" / "zebra").mkdir()
    try:
        (tmp_path / "pics" / "zebra" / os.fsdecode(b"\xe9.png")).touch()
    except OSError:
        pytest.skip("names of files are text here")
    with pytest.raises(ValueError, match="zebra: class without image"):
        prepare_folder(tmp_path / "pics")


def test_a_class_with_synonyms_has_the_mean_of_their_prompts(random_clip):
    clip = FrozenCLIP.from_config(ClipConfig())
    config = Config.from_preset("partworld", {"clip.synonyms": {"cat": ["dog", "potted plant"]}})
    text = PseudoLabeller(clip, ("bus", "cat"), config).class_text
    one = [clip.encode_text([f"a clean origami {word}."])[0] for word in ("bus", "cat", "dog", "potted plant")]
    expected = torch.stack([one[0], sum(one[1:]) / 3])
    torch.testing.assert_close(text, expected / expected.norm(dim=1, keepdim=True))


def test_large_pictures_are_shrunk_and_turned_upright(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((100, 400, 3), np.uint8)).save(root / "images" / "a.png", exif=exif)
    prepare_folder(root)
    assert TaggedFolder(root, size=100)[0].image.shape == (3, 200, 50)
