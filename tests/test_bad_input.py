"""Bad input of every kind that people have: each is named in one line with file, place and cure, and nothing is half-written.

A row of the table says what is wrong, how a good folder is changed to be so, and a pattern that the error must have.
"""

import hashlib
import io
import json
import re
import shutil
import struct
import zlib

import joblib
import numpy as np
import pytest
from coco_files import name_of, write_coco
from PIL import Image

from vdalib import data
from vdalib.config import Config, parse_overrides
from vdalib.data.coco import COCO_CLASSES
from vdalib.data.folder import TaggedFolder, prepare_folder
from vdalib.data.images import read_image, read_mask, save_mask
from vdalib.data.labels import read_labels
from vdalib.data.voc import VOCSegmentation

CURE = "; |expected|known:|missing"  # what to do, or what would be right


# Good folders, and what is done with each.


def encoded(kind, mode="RGB", size=(6, 4), **options):
    content = io.BytesIO()
    Image.new(mode, size).save(content, kind, **options)
    return content.getvalue()


def png(width, height, *chunks):
    """A PNG file of any chunks, with right checksums."""
    head = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    parts = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in (head, *chunks)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def write_image(root):
    (root / "a.jpg").write_bytes(encoded("JPEG", size=(64, 48)))


def write_mask(root):
    write_image(root)
    save_mask(root / "a.png", np.ones((48, 64)))


def write_folder(root):
    for name in ("a.png", "b.png", "trip/c.png"):
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / name).write_bytes(encoded("PNG"))
    (root / "tags.csv").write_text("file,tags\na.png,cat\nb.png,cat;dog\ntrip/c.png,bus\n")


def write_sub_folders(root):
    for name in ("cat/a.png", "dog/b.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded("PNG"))


def write_prepared(root):
    write_folder(root)
    prepare_folder(root)
    save_mask(root / "corrected" / "a.png", np.zeros((4, 6)))


def use_prepared(root):
    return TaggedFolder(root, masks=root / "corrected").mask(0)


def write_voc(root):
    for name in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    for split, names in {"train": "ab", "val": "cd"}.items():
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            (root / "JPEGImages" / f"{name}.jpg").write_bytes(encoded("JPEG"))
            save_mask(root / "SegmentationClass" / f"{name}.png", np.full((4, 6), 12))
            xml = "<annotation>\n<object>\n<name>dog</name>\n</object>\n</annotation>"
            (root / "Annotations" / f"{name}.xml").write_text(xml)


def prepare(preset, **splits):
    def act(root):
        settings = {"data.root": str(root)} | {f"data.{name}": split for name, split in splits.items()}
        with joblib.parallel_config("threading", n_jobs=1):
            data.prepare(Config.from_preset(preset, settings).data)

    return act


def write_labels(root):
    content = {"split": "val2014", "skipped": {}, "labels": {"a": ["cat"], "b": []}}
    (root / "labels_val2014.json").write_text(json.dumps(content, indent=1))


def write_voc_prepared(root):
    write_voc(root)
    prepare("voc12", train_split="train")(root)


AREAS = {
    "image": (write_image, lambda root: read_image(root / "a.jpg")),
    "mask": (write_mask, lambda root: read_mask(root / "a.png", 3, root / "a.jpg")),
    "tags": (write_folder, prepare_folder),
    "classes": (write_folder, prepare_folder),
    "sub-folders": (write_sub_folders, prepare_folder),
    "prepared": (write_prepared, use_prepared),
    "voc": (write_voc, prepare("voc12", train_split="train")),
    "voc prepared": (write_voc_prepared, lambda root: VOCSegmentation(root, "val").mask(0)),
    "coco": (write_coco, prepare("coco14")),
    "labels": (write_labels, lambda root: read_labels(root, "val2014", COCO_CLASSES, "make it with `prepare`")),
    "settings": (lambda root: (root / "my.yaml").write_text("base: voc12\n"), lambda root: Config.from_preset(root / "my.yaml")),
}


# Ways to change a folder.


def to(name, content):
    """A file's content: text, bytes, None = no such file, () = a folder in its place."""

    def change(root):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, (str, bytes)):
            path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
            if content == ():
                path.mkdir()
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def cut(name, share=0.5):
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[: int(share * (root / name).stat().st_size)])


def tags(*lines):
    return to("tags.csv", "\n".join(["file,tags", *lines]) + "\n")


def classes(text):
    return to("classes.yaml", text)


def xml(inside, name="b"):
    return to(f"Annotations/{name}.xml", inside)


def split(text):
    return to("ImageSets/Segmentation/val.txt", text)


def settings(text):
    return to("my.yaml", text)


def in_json(name, edit):
    """A JSON file edited in place; `edit` may return another content."""

    def change(root):
        content = json.loads((root / name).read_text())
        other = edit(content)
        (root / name).write_text(json.dumps(content if other is None else other))

    return change


def coco(edit):
    return in_json("annotations/instances_train2014.json", edit)


def record(kind, place, **values):
    """A record of COCO with other values; `...` takes one out."""

    def edit(content):
        content[kind][place].update(values)
        for name in [name for name, value in values.items() if value is ...]:
            del content[kind][place][name]

    return coco(edit)


def shape(segmentation):
    return record("annotations", 0, segmentation=segmentation)


def runs(counts, size=(20, 30)):
    return shape({"counts": counts, "size": list(size)})


def prepared(**values):
    return in_json("labels_folder.json", lambda content: {k: v for k, v in (content | values).items() if v is not ...})


def labels(**values):
    return in_json("labels_val2014.json", lambda content: {k: v for k, v in (content | values).items() if v is not ...})


NOT_AN_IMAGE = "a.jpg: cannot be decoded as an image .*; replace the file or take it out"
NOT_A_MASK = "a.png: cannot be decoded as a mask .*; replace the file or take it out"
OTHER_FORMAT = "a.jpg: cannot be decoded as an image .its content has none of the formats BMP, GIF, JPEG"
NOT_VOC = "b.xml: not a VOC annotation .*; get the file again"
NOT_COCO = "instances_train2014.json: not an instances file of COCO: .*unpack annotations_trainval2014.zip again"
BROKEN = "image 7: annotation 1: broken segmentation "
NOT_LABELS = "labels_val2014.json: not a label file .*make it with"
NOT_PREPARED = "labels_folder.json: not a label file .*run `python -m vdalib prepare folder"
NOT_YAML = "my.yaml.*: not valid YAML: "
LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghijkl", "bcdefghijklm")
)

TABLE = {
    "image": [
        ("an empty file", to("a.jpg", b""), OTHER_FORMAT),
        ("text", to("a.jpg", "dear diary"), OTHER_FORMAT),
        ("zeros", to("a.jpg", bytes(1000)), OTHER_FORMAT),
        ("HTML of a failed download", to("a.jpg", "<!doctype html><title>404</title>"), OTHER_FORMAT),
        ("PostScript", to("a.jpg", "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"), OTHER_FORMAT),
        ("PDF", to("a.jpg", "%PDF-1.4\n%%EOF"), OTHER_FORMAT),
        ("SVG", to("a.jpg", '<svg xmlns="http://www.w3.org/2000/svg"/>'), OTHER_FORMAT),
        ("a ZIP", to("a.jpg", b"PK\x03\x04" + bytes(40)), OTHER_FORMAT),
        ("HEIC", to("a.jpg", b"\x00\x00\x00\x18ftypheic" + bytes(40)), OTHER_FORMAT),
        ("an icon", to("a.jpg", encoded("ICO", size=(16, 16))), OTHER_FORMAT),
        ("JPEG 2000", to("a.jpg", b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(40)), OTHER_FORMAT),
        ("PPM", to("a.jpg", b"P6 2 2 255\n" + bytes(12)), OTHER_FORMAT),
        ("Photoshop", to("a.jpg", b"8BPS\x00\x01" + bytes(40)), OTHER_FORMAT),
        (
            "a bitmap of X, which is code",
            to("a.jpg", "#define x_width 9\n#define x_height 9\nstatic char x_bits[] = {0};"),
            OTHER_FORMAT,
        ),
        ("half a JPEG", cut("a.jpg"), NOT_AN_IMAGE),
        ("the head of a JPEG", cut("a.jpg", 0.02), NOT_AN_IMAGE),
        ("half a PNG", to("a.jpg", encoded("PNG", size=(99, 99))[:60]), NOT_AN_IMAGE),
        ("a PNG without pixels", to("a.jpg", png(9, 9, (b"IEND", b""))), NOT_AN_IMAGE),
        ("a PNG of broken pixels", to("a.jpg", png(9, 9, (b"IDAT", b"noise"), (b"IEND", b""))), NOT_AN_IMAGE),
        ("a PNG of width 0", to("a.jpg", png(0, 9, (b"IDAT", zlib.compress(b"")), (b"IEND", b""))), NOT_AN_IMAGE),
        ("a wrong checksum", to("a.jpg", encoded("PNG").replace(b"IHDR\x00", b"IHDR\x01")), NOT_AN_IMAGE),
        ("half a GIF", to("a.jpg", encoded("GIF", "P", (99, 99))[:30]), NOT_AN_IMAGE),
        ("half a TIFF", to("a.jpg", encoded("TIFF", size=(99, 99))[:500]), NOT_AN_IMAGE),
        ("half a WebP", to("a.jpg", encoded("WEBP", size=(99, 99))[:30]), NOT_AN_IMAGE),
        ("half a BMP", to("a.jpg", encoded("BMP", size=(99, 99))[:200]), NOT_AN_IMAGE),
        ("floating-point pixels", to("a.jpg", encoded("TIFF", "F")), "floating-point pixels have no known range; save it with 8"),
        ("32-bit pixels", lambda root: Image.fromarray(np.full((2, 2), 70_000, np.int32)).save(root / "a.jpg", "TIFF"), "32-bit"),
        ("a bomb", to("a.jpg", png(60_000, 60_000, (b"IEND", b""))), "a.jpg: too large to be safe .*; scale it down or take it"),
        ("a small bomb", to("a.jpg", png(10_000, 9_500, (b"IEND", b""))), "a.jpg: too large to be safe .*; scale it down or"),
        ("a text of a gigabyte", to("a.jpg", png(9, 9, (b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26))))), NOT_AN_IMAGE),
        ("a folder", to("a.jpg", ()), NOT_AN_IMAGE),
        ("nothing", to("a.jpg", None), "a.jpg: no such image; put it there or take it out of the list"),
    ],
    "mask": [
        ("an empty file", to("a.png", b""), NOT_A_MASK),
        ("text", to("a.png", "dear diary"), NOT_A_MASK),
        ("half a file", cut("a.png"), NOT_A_MASK),
        ("a JPEG, whose labels are blurred", to("a.png", encoded("JPEG", "L", (64, 48))), NOT_A_MASK),
        ("a GIF", to("a.png", encoded("GIF", "P", (64, 48))), NOT_A_MASK),
        ("PostScript", to("a.png", "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), NOT_A_MASK),
        ("transparency", to("a.png", encoded("PNG", "RGBA", (64, 48))), "a.png: a mask of mode 'RGBA', expected a palette"),
        ("grey and transparency", to("a.png", encoded("PNG", "LA", (64, 48))), "a.png: a mask of mode 'LA', expected a palette"),
        (
            "16 bits",
            to("a.png", encoded("PNG", "I;16", (64, 48))),
            "a.png: a mask of mode 'I;16', expected a palette .*; save it",
        ),
        ("one bit", to("a.png", encoded("PNG", "1", (64, 48))), "a.png: a mask of mode '1', expected a palette"),
        (
            "a label too many",
            lambda root: save_mask(root / "a.png", np.full((48, 64), 4)),
            "a.png: label 4 in a mask .row 0, col",
        ),
        (
            "another size",
            lambda root: save_mask(root / "a.png", np.ones((64, 48))),
            r"a.png: size \(48, 64\), but its image .*a.jpg",
        ),
        (
            "a colour of no class",
            lambda root: Image.new("RGB", (64, 48), "pink").save(root / "a.png"),
            "a.png: colour .*; use the palette's",
        ),
        ("a bomb", to("a.png", png(60_000, 60_000, (b"IEND", b""))), "a.png: too large to be safe .*; scale it down or take it"),
        ("a folder", to("a.png", ()), NOT_A_MASK),
        ("nothing", to("a.png", None), "a.png: no such mask; put it there or take it out of the list"),
        ("an image that is none", to("a.jpg", "text"), OTHER_FORMAT),
        ("no image", to("a.jpg", None), "a.jpg: no such image; put it there"),
    ],
    "tags": [
        ("no table", to("tags.csv", None), "tags.csv: no such file; give a folder in one of two layouts"),
        ("a folder for a table", to("tags.csv", ()), "tags.csv: no such file; give a folder in one of two layouts"),
        ("no pictures", lambda root: shutil.rmtree(root / "images"), "images: no such folder; give a folder in one of two"),
        ("an empty table", to("tags.csv", ""), "tags.csv line 1: found '', expected the header file,tags, each once"),
        ("a header alone", tags(), "found no tagged image; give a folder in one of two layouts"),
        (
            "semicolons for commas",
            to("tags.csv", "file;tags\na.png;cat\n"),
            "tags.csv line 1: found 'file;tags', expected the header",
        ),
        ("no header", to("tags.csv", "a.png,cat\n"), "tags.csv line 1: found 'a.png,cat', expected the header file,tags"),
        (
            "a doubled column",
            to("tags.csv", "file,tags,tags\na.png,cat,dog\n"),
            "tags.csv line 1: found 'file,tags,tags', expected",
        ),
        ("two columns of files", to("tags.csv", "file,file,tags\na.png,b.png,cat\n"), "tags.csv line 1: .*each once"),
        ("a header of other names", to("tags.csv", "image,label\na.png,cat\n"), "tags.csv line 1: found 'image,label', expected"),
        ("a NUL byte", to("tags.csv", b"file,tags\na.png,ca\0t\n"), "tags.csv line 2: NUL byte; save it as `CSV UTF-8`"),
        (
            "UTF-16",
            to("tags.csv", "file,tags\na.png,cat\n".encode("utf-16")),
            "tags.csv: not UTF-8 text .*; save it as `CSV UTF-8`",
        ),
        ("UTF-16 without its mark", to("tags.csv", "file,tags\n".encode("utf-16-le")), "tags.csv line 1: NUL byte; save it"),
        ("Latin-1", to("tags.csv", b"file,tags\na.png,K\xe4tzchen\n"), "tags.csv: not UTF-8 text .*; save it as `CSV UTF-8`"),
        ("a spreadsheet itself", to("tags.csv", b"PK\x03\x04\xff\xfe" + bytes(9)), "tags.csv: not UTF-8 text .*; save it as"),
        ("an open quotation mark", tags('"a.png,cat'), "tags.csv after line 1: not CSV .*; look for a quotation mark left open"),
        ("text after a quotation mark", tags('"a.png"x,cat'), "tags.csv after line 1: not CSV .*; look for a quotation mark"),
        ("a field without end", tags("a.png," + "x" * 200_000), "tags.csv after line 1: not CSV .*; look for a quotation mark"),
        ("a line twice", tags("a.png,cat", "a.png,dog"), "tags.csv line 3: a.png is in line 2 already; put all of its tags"),
        ("a line twice in other words", tags("./a.png,cat", "a.png,cat"), "tags.csv line 3: a.png is in line 2 already; put"),
        ("no such picture", tags("a.png,cat", "x.png,dog"), "tags.csv line 3: no image x.png in .*; put it there, or take"),
        ("a picture outside", tags("../tags.csv,cat"), "tags.csv line 2: no image ../tags.csv in .*; put it there"),
        ("an absolute path", tags("/etc/passwd,cat"), "tags.csv line 2: no image /etc/passwd in .*; put it there"),
        ("a folder for a picture", tags("trip,cat"), "tags.csv line 2: no image trip in .*; put it there"),
        ("no name", tags(",cat"), "tags.csv line 2: no image . in .*; put it there"),
        ("a name without end", tags("a" * 5000 + ",cat"), "tags.csv line 2: no image 'aaa.*; put it there"),
        ("a name of two lines", tags('"a\nb.png",cat'), r"tags.csv line 3: file: 'a\\nb.png' has a control character; rename it"),
        ("no tag", tags("a.png, ; "), "tags.csv line 2: a.png has no tag; give it one, or take the line out"),
        ("a column too many", tags("a.png,cat,dog"), "tags.csv line 2: expected 2 columns as in the header; separate tags by"),
        ("a column too few", tags("a.png"), "tags.csv line 2: expected 2 columns as in the header; separate tags by semicolons"),
        (
            "tags parted by a comma",
            tags('a.png,"cat,dog"'),
            "tags.csv line 2: tag 'cat,dog': expected tags with semicolons between",
        ),
        ("tags parted by a bar", tags("a.png,cat|dog"), "tags.csv line 2: tag 'cat.dog': expected tags with semicolons between"),
        (
            "upper and lower case",
            tags("a.png,cat", "b.png,Cat"),
            "tags.csv: b.png is tagged 'Cat', a.png 'cat'; write both alike",
        ),
        (
            "singular and plural",
            tags("a.png,cat", "b.png,cats"),
            "tags.csv: a.png is tagged 'cat', b.png 'cats'; write both alike",
        ),
        ("another plural", tags("a.png,buses", "b.png,bus"), "tags.csv: b.png is tagged 'bus', a.png 'buses'; write both alike"),
        (
            "one word and two",
            tags("a.png,sea lion", "b.png,sealion"),
            "tags.csv: b.png is tagged 'sealion', a.png 'sea lion'; write",
        ),
        (
            "underscores and spaces",
            tags("a.png,sea_lion", "b.png,sea lion"),
            "tags.csv: b.png is tagged 'sea lion', .*; write both",
        ),
        ("a class like a path", tags("a.png,x/../../y"), "tags.csv line 2: class 'x/../../y': expected a name without /"),
        ("a class like another path", tags("a.png,..\\y"), "tags.csv line 2: class .*: expected a name without /"),
        (
            "a hidden class",
            tags("a.png,.cat"),
            "tags.csv line 2: class '.cat': expected a name .* without a dot in front; rename",
        ),
        ("a class of two lines", tags('a.png,"ca\nt"'), r"tags.csv line 3: class 'ca\\nt': expected a name"),
        ("a class without end", tags("a.png," + "x" * 500), "tags.csv line 2: class .* has 500 letters, expected at most 100"),
        ("background", tags("a.png,Background"), "tags.csv line 2: class 'Background': background is what no class covers; take"),
        (
            "more classes than a byte names",
            tags("a.png," + ";".join(f"k{i}x" for i in range(255))),
            "255 classes, expected at most",
        ),
        ("a class that is not listed", classes("classes: [cat, bus]"), "line 3: unknown class 'dog' .known"),
        (
            "a broken picture",
            to("images/a.png", b""),
            "1 of 3 images cannot be used; mend them, or leave them out .*a.png: cannot",
        ),
    ],
    "classes": [
        ("false", classes("false"), "classes.yaml: found False; expected some of classes, synonyms, background, colours"),
        ("a zero", classes("0"), "classes.yaml: found 0; expected some of classes"),
        ("a word", classes("cat"), "classes.yaml: found 'cat'; expected some of classes"),
        ("a list", classes("- cat\n- dog\n"), r"classes.yaml: found \['cat', 'dog'\]; expected some of classes"),
        ("an unknown section", classes("colors: {cat: red}"), "classes.yaml: found 'colors'; expected some of classes"),
        ("a number for a section", classes("1: cat"), "classes.yaml: found 1; expected some of classes"),
        ("an open bracket", classes("classes: [cat\ncolours: {}\n"), "classes.yaml line 2: not valid YAML: .*; put text with"),
        ("a tabulator", classes("classes:\n\t- cat\n"), "classes.yaml line 2: not valid YAML: .*; put text with any of"),
        (
            "a section twice",
            classes("classes: [cat]\nclasses: [dog]\n"),
            "classes.yaml line 2: not valid YAML: 'classes' is there twice",
        ),
        ("a colour twice", classes("colours:\n  cat: red\n  cat: blue\n"), "classes.yaml line 3: .*'cat' is there twice"),
        ("Python", classes("!!python/object/apply:os.system [ls]"), "classes.yaml: not valid YAML: could not determine a constr"),
        (
            "two documents",
            classes("classes: [cat]\n---\nclasses: [dog]\n"),
            "classes.yaml line 2: not valid YAML: but found another",
        ),
        ("a NUL byte", classes("classes: [c\0t]"), "classes.yaml: not valid YAML: .*; save it as plain UTF-8 text"),
        ("Latin-1", to("classes.yaml", b"classes: [K\xe4tzchen]"), "classes.yaml: not UTF-8 text .*; save it as UTF-8"),
        ("an impossible date", classes("classes: [cat]\ncolours: {cat: 2024-13-45}\n"), "line 2: not valid YAML: '2024-13-45' "),
        ("a list in itself", classes("classes: &a [*a]"), "classes.yaml: classes: found .*, expected a word; put it in quotes"),
        ("brackets without end", classes("classes: " + "[" * 5000), "classes.yaml: not valid YAML: brackets in brackets"),
        ("a billion laughs", classes(LAUGHS + "classes: *m\n"), "classes.yaml: found 'a', .*; expected some of"),
        ("a folder", to("classes.yaml", ()), "classes.yaml: a folder, expected a file of YAML"),
        (
            "classes as a word",
            classes("classes: cat"),
            r"classes.yaml: classes: found 'cat', expected a list such as \[cat, dog\]",
        ),
        ("classes as a mapping", classes("classes: {cat: 1}"), "classes.yaml: classes: found .*, expected a list such as"),
        (
            "no, which YAML reads as false",
            classes("classes: [cat, no]"),
            "classes.yaml: classes: found False, expected a word; put",
        ),
        ("a number", classes("classes: [cat, 7]"), "classes.yaml: classes: found 7, expected a word; put it in quotes"),
        ("an empty name", classes("classes: [cat, '']"), "classes.yaml: classes: found '', expected a word; put it in quotes"),
        ("a name twice", classes("classes: [cat, cat]"), "classes.yaml: classes: 'cat' occurs twice; take one out"),
        (
            "a class like a path",
            classes("classes: [x/../../y]"),
            "classes.yaml: classes: class 'x/../../y': expected a name without",
        ),
        ("background as a class", classes("classes: [background]"), "classes.yaml: classes: class 'background': .*; take it out"),
        (
            "a class without picture",
            classes("classes: [cat, dog, bus, horse]"),
            "class without image: 'horse'; tag an image with it",
        ),
        ("synonyms as a list", classes("synonyms: [cat]"), "classes.yaml: synonyms: found .*, expected class names with their"),
        (
            "a synonym that is no list",
            classes("synonyms: {cat: kitten}"),
            "synonyms: cat: found 'kitten', expected a list such as",
        ),
        (
            "synonyms of no class",
            classes("synonyms: {cta: [kitten]}"),
            "classes.yaml: synonyms: unknown class 'cta' .known: bus, cat",
        ),
        (
            "a synonym of two classes",
            classes("synonyms: {cat: [pet], dog: [pet]}"),
            "'pet' is a word of 'dog' and of 'cat'; take it",
        ),
        (
            "a class as a synonym",
            classes("synonyms: {cat: [dog]}"),
            "classes.yaml: 'dog' is a word of 'cat' and of 'dog'; take it",
        ),
        (
            "a class in the background",
            classes("background: [sky, cat]"),
            "'cat' is a word of 'cat' and of 'the background'; take",
        ),
        ("a number for a class", classes("synonyms: {1: [kitten]}"), "classes.yaml: synonyms: found .*; put names in quotes"),
        ("a background of one word", classes("background: sky"), "classes.yaml: background: found 'sky', expected a list"),
        (
            "a colour that is a comment",
            classes("colours: {cat: #ff0000\n}"),
            "colours: cat: found None, expected a colour such as",
        ),
        (
            "an unknown colour",
            classes("colours: {cat: reddish}"),
            "classes.yaml: colours: cat: found 'reddish', expected a colour",
        ),
        (
            "a colour beyond 255",
            classes('colours: {cat: "rgb(300,0,0)"}'),
            "colours: cat: found 'rgb.300,0,0.', expected a colour",
        ),
        ("a colour beyond all", classes('colours: {cat: "hsl(0,500%,50%)"}'), "colours: cat: found 'hsl.*', expected a colour"),
        ("a colour that is a number", classes("colours: {cat: 0xff0000}"), "colours: cat: found 16711680, expected a colour"),
        ("a colour that is a list", classes("colours: {cat: [255, 0, 0]}"), "colours: cat: found .255, 0, 0., expected a colour"),
        (
            "the background's colour",
            classes("colours: {cat: black}"),
            "colours: cat: #000000 is that of background; choose another",
        ),
        ("the colour of void", classes("colours: {cat: white}"), "colours: cat: #ffffff is that of void; choose another"),
        (
            "two classes of one colour",
            classes('colours: {cat: red, dog: "#f00"}'),
            "colours: dog: #ff0000 is that of cat; choose",
        ),
        (
            "a colour of no class",
            classes("colours: {cta: red}"),
            "classes.yaml: colours: unknown class 'cta' .known: bus, cat, dog",
        ),
    ],
    "sub-folders": [
        ("a class without picture", to("bus/notes.txt", ""), "bus: class without image; put one there, or take the folder away"),
        ("an empty class", to("bus", ()), "bus: class without image; put one there, or take the folder away"),
        ("a class that is not listed", classes("classes: [dog]"), "cat: unknown class 'cat' .known: dog"),
        (
            "singular and plural",
            to("dogs/x.png", encoded("PNG")),
            "dog/b.png is tagged 'dog', dogs/x.png 'dogs'; write both alike",
        ),
        (
            "background",
            to("background/x.png", encoded("PNG")),
            "background: class 'background': background is what no class covers;",
        ),
        ("a broken picture", to("cat/a.png", "text"), "1 of 2 images cannot be used; .*a.png: cannot be decoded as an image"),
        ("no folder", lambda root: shutil.rmtree(root), "no such folder; give a folder in one of two layouts"),
        (
            "nothing in it",
            lambda root: [shutil.rmtree(root / "cat"), shutil.rmtree(root / "dog")],
            "no tagged image; give a folder",
        ),
    ],
    "prepared": [
        ("not prepared", to("labels_folder.json", None), "labels_folder.json: the folder is not prepared yet; run `python -m"),
        ("an empty file", to("labels_folder.json", ""), NOT_PREPARED),
        ("half a file", cut("labels_folder.json"), NOT_PREPARED),
        ("a list", to("labels_folder.json", "[]"), NOT_PREPARED),
        ("brackets without end", to("labels_folder.json", "[" * 100_000), NOT_PREPARED),
        ("other bytes", to("labels_folder.json", b"\xff\xfe"), NOT_PREPARED),
        ("an older edition", prepared(untagged=...), NOT_PREPARED),
        ("labels that are a list", prepared(labels=[]), NOT_PREPARED),
        ("no labels", prepared(labels={}), NOT_PREPARED),
        ("a class as a word", prepared(labels={"a.png": "cat"}), "image a.png: found 'cat', expected some of .*; run `python"),
        ("an unknown class", prepared(labels={"a.png": ["cta"]}), r"image a.png: found \['cta'\], expected some of .*; run"),
        (
            "another picture since",
            to("images/new.png", encoded("PNG")),
            "labels_folder.json: .* has changed since it was prepared; run",
        ),
        ("other tags since", tags("a.png,cat", "b.png,dog", "trip/c.png,bus"), "has changed since it was prepared; run `python"),
        (
            "no corrected masks",
            lambda root: shutil.rmtree(root / "corrected"),
            "data.masks: .*corrected: no such folder; give one",
        ),
        (
            "none in the folder",
            to("corrected/a.png", None),
            "data.masks: .*corrected: no mask in it, expected NAME.png of at least",
        ),
        (
            "a mask of no picture",
            to("corrected/x.png", b""),
            "data.masks: .*x.png is of no tagged image; rename it, or take it out",
        ),
        ("two masks of one", to("corrected/a.png.png", b""), "data.masks: .*a.png.png and .*a.png are both of a.png; take one"),
        (
            "a mask of other classes",
            lambda root: save_mask(root / "corrected/a.png", np.full((4, 6), 9)),
            "a.png: label 9 in a mask",
        ),
        (
            "a mask of another size",
            lambda root: save_mask(root / "corrected/a.png", np.ones((6, 4))),
            r"a.png: size \(4, 6\), but",
        ),
        ("a mask that is none", to("corrected/a.png", "text"), NOT_A_MASK),
    ],
    "voc": [
        (
            "a missing image",
            to("JPEGImages/c.jpg", None),
            "not complete; put it there, .*missing: 1 of 2 images of val, the first",
        ),
        ("a missing mask", to("SegmentationClass/c.png", None), "not complete; .*missing: 1 of 2 masks of val, the first is"),
        ("a broken image", to("JPEGImages/c.jpg", b""), "1 of 2 images cannot be used; .*c.jpg: cannot be decoded as an image"),
        (
            "PostScript for an image",
            to("JPEGImages/c.jpg", "%!PS-Adobe-3.0 EPSF-3.0\n"),
            "images cannot be used; .*c.jpg: cannot be",
        ),
        ("a missing split", split(None), "not complete; put it there, .*missing: ImageSets/Segmentation/val.txt"),
        ("an empty split", split("\n"), "val.txt: empty, expected one image name per line"),
        ("a name twice", split("c\nd\n\nc\n"), "val.txt line 4: c is in line 1 already; take one of them out"),
        ("two words in a line", split("c 1\nd -1\n"), "val.txt line 1: found 'c 1', expected one image name such as"),
        ("a path", split("c\n../d\n"), "val.txt line 2: found '../d', expected one image name such as 2007_000032"),
        ("a NUL byte", split("c\n\0\n"), "val.txt line 2: found .*, expected one image name such as 2007_000032"),
        ("other bytes", split(b"\xff\xfec\0"), "val.txt: not UTF-8 text .*; unpack the file again"),
        (
            "an unknown class",
            xml("<annotation>\n<object><name>cta</name></object></annotation>"),
            "b.xml line 2: unknown class 'cta'",
        ),
        (
            "a class in entities",
            xml("<annotation><object><name>c&amp;t</name></object></annotation>"),
            "object 1: unknown class 'c&t'",
        ),
        (
            "a class by numbers",
            xml("<annotation><object><name>&#99;ta</name></object></annotation>"),
            "object 1: unknown class 'cta'",
        ),
        (
            "a class of two lines",
            xml("<annotation><object><name>d\nog</name></object></annotation>"),
            r"unknown class 'd\\nog' .known",
        ),
        (
            "no class",
            xml("<annotation><object/></annotation>"),
            "b.xml object 1: unknown class '' .known: aeroplane.*; correct it",
        ),
        ("an empty class", xml("<annotation><object><name/></object></annotation>"), "b.xml object 1: unknown class '' .known"),
        ("half an annotation", xml("<annotation><object>"), NOT_VOC),
        ("an empty file", xml(""), NOT_VOC),
        ("a page", xml("<html><body>404</body></html>"), NOT_VOC),
        ("an unknown entity", xml("<annotation>&xxe;</annotation>"), NOT_VOC),
        ("an unknown encoding", xml('<?xml version="1.0" encoding="klingon"?><annotation/>'), NOT_VOC),
        ("other bytes", xml(b"<annotation>\xff\xfe</annotation>"), NOT_VOC),
        (
            "a billion laughs",
            xml(
                "<!DOCTYPE a [<!ENTITY a 'xxxxxxxxxx'>"
                + "".join(f"<!ENTITY {b} '{f'&{a};' * 30}'>" for a, b in zip("abcdefgh", "bcdefghi"))
                + "]><annotation>&i;</annotation>"
            ),
            NOT_VOC,
        ),
        ("a broken annotation of val", xml("<annotation>", "d"), "d.xml: not a VOC annotation .*; get the file again"),
        (
            "neither annotation nor mask",
            lambda root: [xml(None, "a")(root), save_mask(root / "SegmentationClass/a.png", np.full((4, 6), 99))],
            "a.png: label 99 in a mask",
        ),
    ],
    "voc prepared": [
        ("a bomb for a mask", to("SegmentationClass/c.png", png(60_000, 60_000, (b"IEND", b""))), "c.png: too large to be safe"),
        ("a mask that is none", to("SegmentationClass/c.png", "text"), "c.png: cannot be decoded as a mask .*; replace the file"),
        ("no mask", to("SegmentationClass/c.png", None), "no mask c.png in .*; see `python -m vdalib prepare voc12`"),
        ("a name that is not prepared", split("c\nd\ne\n"), "labels_val.json: image e of split val is not in it; make it with"),
        ("no labels", to("labels_val.json", None), "labels_val.json: no prepared image-level labels; make it with `python -m"),
        ("no image", to("JPEGImages/c.jpg", None), "c.jpg: no such image; put it there or take it out of the list"),
    ],
    "coco": [
        ("an empty file", to("annotations/instances_train2014.json", ""), NOT_COCO),
        ("half a file", cut("annotations/instances_train2014.json"), NOT_COCO),
        ("a list", coco(lambda content: [content]), NOT_COCO),
        ("other bytes", to("annotations/instances_train2014.json", b"\xff\xfe"), NOT_COCO),
        ("brackets without end", to("annotations/instances_train2014.json", "[" * 100_000), NOT_COCO),
        ("no images", coco(lambda content: content.pop("images") and None), "no list 'images'; unpack"),
        ("no annotations", coco(lambda content: content.pop("annotations") and None), "no list 'annotations'; unpack"),
        ("no categories", coco(lambda content: content.pop("categories") and None), "no list 'categories'; unpack"),
        ("images as a mapping", coco(lambda content: content.update(images={})), "no list 'images'; unpack"),
        (
            "an image that is a number",
            coco(lambda content: content["images"].append(3)),
            r"images\[4\]: id: found None, expected int",
        ),
        ("an image without id", record("images", 1, id=...), r"images\[1\]: id: found None, expected int; unpack"),
        ("an image without name", record("images", 1, file_name=...), r"images\[1\]: file_name: found None, expected str"),
        ("an image without width", record("images", 1, width=...), r"images\[1\]: width: found None, expected int"),
        ("a width with a point", record("images", 1, width=30.0), r"images\[1\]: width: found 30.0, expected int"),
        ("a height as text", record("images", 1, height="20"), r"images\[1\]: height: found '20', expected int"),
        ("an id that is not a number", record("images", 1, id=float("nan")), r"images\[1\]: id: found nan, expected int"),
        ("an id that is a list", record("images", 1, id=[1]), r"images\[1\]: id: found \[1\], expected int"),
        ("an id twice", record("images", 1, id=7), "images: id 7 is there twice; unpack"),
        (
            "a name twice",
            record("images", 1, file_name=f"{name_of('train2014', 7)}.jpg"),
            "images: file_name .* is there twice; unpack",
        ),
        (
            "a name that is a path",
            record("images", 1, file_name="../val2014/x.jpg"),
            "image 9: file_name '../val2014/x.jpg', expected",
        ),
        (
            "a name that is hidden",
            record("images", 1, file_name=".x.jpg"),
            "image 9: file_name '.x.jpg', expected a name such as",
        ),
        (
            "a size that is another",
            record("images", 1, width=31),
            r"000009.jpg: size \(30, 20\), but .*says \(31, 20\) .*; get it",
        ),
        ("a size of 1e30", record("images", 1, width=10**30), "000009.jpg: size .30, 20., but .*; get it again"),
        ("an annotation without id", record("annotations", 1, id=...), r"annotations\[1\]: id: found None, expected int"),
        (
            "an annotation without image",
            record("annotations", 1, image_id=...),
            r"annotations\[1\]: image_id: found None, expected",
        ),
        (
            "an annotation of no image",
            record("annotations", 1, image_id=4),
            "annotation 2: image id 4 is not in the file; unpack",
        ),
        ("an annotation without class", record("annotations", 1, category_id=...), r"annotations\[1\]: category_id: found None"),
        (
            "a class that COCO leaves out",
            record("annotations", 1, category_id=91),
            "annotation 2: category id 91 is not one of COCO's",
        ),
        ("a crowd of two", record("annotations", 1, iscrowd=2), "annotation 2: iscrowd: found 2, expected 0 or 1; unpack"),
        (
            "a category of another name",
            record("categories", 0, name="cta"),
            "category 1 is called 'cta', expected 'person'; unpack",
        ),
        (
            "a category too many",
            record("categories", 0, id=12),
            "category 12 is called 'person', expected 'no such category'; unpack",
        ),
        ("no segmentation", record("annotations", 0, segmentation=...), BROKEN + ".found None, expected polygons or run lengths"),
        ("text", shape("polygon"), BROKEN + ".found 'polygon', expected polygons"),
        ("a polygon that is a number", shape([3]), BROKEN + ".polygon 3, expected x, y, x, y"),
        ("an odd polygon", shape([[1, 1, 9, 1, 9, 9, 4]]), BROKEN + ".polygon .*, expected x, y, x, y"),
        ("a coordinate of 1e30", shape([[1, 1, 1e30, 1, 9, 9]]), BROKEN + ".coordinate 1e.30, expected one near the image"),
        ("a coordinate of -1e9", shape([[1, 1, -1e9, 1, 9, 9]]), BROKEN + ".coordinate -1000000000.0, expected one near"),
        (
            "a coordinate that is not a number",
            shape([[1, 1, float("nan"), 1, 9, 9]]),
            BROKEN + ".coordinate nan, expected a number",
        ),
        (
            "an infinite coordinate",
            shape([[1, 1, float("inf"), 1, 9, 9]]),
            BROKEN + ".coordinate inf, expected a number of pixels",
        ),
        ("a coordinate as text", shape([["1"] * 6]), BROKEN + ".coordinate '1', expected a number of pixels"),
        ("no coordinate", shape([[None] * 6]), BROKEN + ".coordinate None, expected a number of pixels"),
        ("run lengths of another size", runs([600], (30, 20)), BROKEN + r".run lengths of size \[30, 20\], expected \[20, 30\]"),
        ("run lengths without size", shape({"counts": [600]}), BROKEN + ".run lengths of size None, expected"),
        ("no run lengths", shape({"size": [20, 30]}), BROKEN + ".run lengths None, expected whole numbers"),
        ("too few", runs([3, 4]), BROKEN + ".run lengths of 7 pixels, expected 600"),
        ("too many", runs([10**12, 4]), BROKEN + ".run lengths of 1000000000004 pixels, expected 600"),
        ("negative ones", runs([700, -100]), BROKEN + ".run lengths .*, expected whole numbers from 0 on"),
        ("fractions", runs([300.0, 300.0]), BROKEN + ".run lengths .*, expected whole numbers from 0 on"),
        ("garbage", runs("?!é"), BROKEN + ".compressed run lengths .* have a wrong character '!'"),
        ("much garbage", runs("o" * 500), BROKEN + ".compressed run lengths .* have a wrong character"),
        ("compressed and cut", runs("P"), BROKEN + ".compressed run lengths 'P' are cut short"),
        ("compressed and negative", runs("O"), BROKEN + ".run lengths .-1., expected whole numbers from 0 on"),
        (
            "a missing image",
            to(f"train2014/{name_of('train2014', 9)}.jpg", None),
            "not complete; .*missing: 1 of 4 images of train2014",
        ),
        (
            "a broken image",
            to(f"train2014/{name_of('train2014', 9)}.jpg", b""),
            "1 of 4 images cannot be used; .*000009.jpg: cannot",
        ),
    ],
    "labels": [
        ("nothing", to("labels_val2014.json", None), "labels_val2014.json: no prepared image-level labels; make it with"),
        ("an empty file", to("labels_val2014.json", ""), NOT_LABELS),
        ("half a file", cut("labels_val2014.json"), NOT_LABELS),
        ("a list", to("labels_val2014.json", "[]"), NOT_LABELS),
        ("a number", to("labels_val2014.json", "3"), NOT_LABELS),
        ("other bytes", to("labels_val2014.json", b"\xff\xfe"), NOT_LABELS),
        ("brackets without end", to("labels_val2014.json", "[" * 100_000), NOT_LABELS),
        ("no labels", labels(labels=...), NOT_LABELS),
        ("labels that are a list", labels(labels=["a"]), NOT_LABELS),
        ("what was skipped as a number", labels(skipped=3), NOT_LABELS),
        ("no image", labels(labels={}), "labels_val2014.json: no image in it, expected at least one; make it with"),
        ("a class as a word", labels(labels={"a": "cat"}), "image a: found 'cat', expected a list of classes; make it with"),
        ("a class as a number", labels(labels={"a": [3]}), "image a: unknown class 3 .known: person.*; make it with"),
        ("an unknown class", labels(labels={"a": ["cta"]}), "labels_val2014.json line 1: image a: unknown class 'cta' .known"),
    ],
    "settings": [
        ("a list", settings("- 1"), "my.yaml: expected settings such as .*, found .1."),
        ("false", settings("false"), "my.yaml: expected settings such as .*, found False"),
        ("a word", settings("voc12"), "my.yaml: expected settings such as .*, found 'voc12'"),
        (
            "an open bracket",
            settings("base: voc12\ndata: {root: x\n"),
            "my.yaml line 3: not valid YAML: .*; put text with any of",
        ),
        ("a tabulator", settings("data:\n\troot: x\n"), "my.yaml line 2: not valid YAML: .*; put text with any of"),
        ("a setting twice", settings("seed: 1\nseed: 2\n"), "my.yaml line 2: not valid YAML: 'seed' is there twice"),
        ("a section twice", settings("data: {root: x}\nseed: 1\ndata: {crop: 9}\n"), "my.yaml line 3: .*'data' is there twice"),
        ("a colon in a value", settings("preset: a: b\n"), NOT_YAML),
        ("Python", settings("seed: !!python/object/apply:os.getpid []"), NOT_YAML),
        ("an impossible date", settings("seed: 1\npreset: 2024-13-45\n"), "my.yaml line 2: not valid YAML: '2024-13-45'"),
        ("an impossible time", settings("preset: !!timestamp x"), NOT_YAML),
        ("a number without end", settings("seed: " + "9" * 10_000), NOT_YAML),
        ("a NUL byte", settings("seed: 1\0"), NOT_YAML),
        ("other bytes", settings(b"\xff\xfe\x00"), "my.yaml: not UTF-8 text .*; save it as UTF-8"),
        ("brackets without end", settings("seed: " + "[" * 5000), "my.yaml: not valid YAML: brackets in brackets without end"),
        ("a mapping in itself", settings("data: &a {root: *a}"), "my.yaml: data.root: expected str, got"),
        ("a billion laughs", settings(LAUGHS + "seed: *m\n"), "my.yaml: unknown setting 'a'; the nearest known one is"),
        (
            "laughs in a setting",
            settings("seed: " + "&a [x]\ndata: {workers: *a}\n"),
            "my.yaml: data.workers: expected int, got .'x'.",
        ),
        (
            "an unknown setting",
            settings("schedule: {batchsize: 8}"),
            "my.yaml: unknown setting 'schedule.batchsize'; the nearest",
        ),
        (
            "an unknown section",
            settings("shedule: {}"),
            "my.yaml: unknown setting 'shedule'; the nearest known one is 'schedule'",
        ),
        ("a setting without end", settings("x" * 900 + ": 1"), "my.yaml: unknown setting 'xxx.*; the nearest known one is"),
        ("a number for a setting", settings("1: 2"), "my.yaml: unknown setting '1'; the nearest known one is"),
        ("a section that is a number", settings("schedule: 3"), "my.yaml: schedule: expected a mapping of settings, got 3"),
        ("an empty section", settings("schedule:\n"), "my.yaml: schedule: expected a mapping of settings, got None"),
        ("an unknown base", settings("base: voc21"), "my.yaml: base: unknown preset 'voc21' .known: coco14, folder"),
        ("a base that is a list", settings("base: [voc12]"), r"my.yaml: base: unknown preset \['voc12'\] .known: coco14"),
        ("a word for a number", settings("schedule: {batch_size: four}"), "schedule.batch_size: expected int, got 'four'"),
        ("a fraction", settings("schedule: {batch_size: 2.5}"), "my.yaml: schedule.batch_size: expected int, got 2.5"),
        ("yes for a number", settings("schedule: {batch_size: yes}"), "my.yaml: schedule.batch_size: expected int, got True"),
        ("nothing for a number", settings("schedule: {batch_size: }"), "my.yaml: schedule.batch_size: expected int, got None"),
        (
            "a batch of 1e20",
            settings("schedule: {batch_size: 100000000000000000000}"),
            "batch_size: expected at least 1 and at most 65,536",
        ),
        ("no batch", settings("schedule: {batch_size: 0}"), "schedule.batch_size: expected at least 1 and at most 65,536, got 0"),
        ("100,000 workers", settings("data: {workers: 100000}"), "data.workers: expected at least 0 and at most 256, got 100000"),
        ("a seed over 2^63", settings("seed: 9223372036854775808"), "seed: expected at least 0 and at most 4,294,967,295, got"),
        ("a negative seed", settings("seed: -1"), "my.yaml: seed: expected at least 0 and at most 4,294,967,295, got -1"),
        (
            "a width of 1e12",
            settings("segmenter: {width: 1000000000000}"),
            "segmenter.width: expected at least 1 and at most 65,536",
        ),
        ("a crop of 1e6", settings("data: {crop: 1000000}"), "data.crop: expected at least 1 and at most 65,536, got 1000000"),
        (
            "steps without end",
            settings("schedule: {total_steps: 10000000000}"),
            "schedule.total_steps: expected at least 1 and at most",
        ),
        ("a scale of 1e9", settings("data: {scale: [0.5, 1e9]}"), "data.scale: expected at most 16 and above 0, got '1e9'"),
        ("a rate that is not a number", settings("schedule: {learning_rate: .nan}"), "learning_rate: expected float, got nan"),
        ("an infinite rate", settings("schedule: {learning_rate: 1e400}"), "schedule.learning_rate: expected float, got"),
        (
            "a rate beyond all",
            settings("schedule: {learning_rate: 1" + "0" * 400 + "}"),
            "learning_rate: expected float, got 1000",
        ),
        ("no rate", settings("schedule: {learning_rate: 0}"), "schedule.learning_rate: expected above 0, got 0"),
        (
            "a share over 1",
            settings("refine: {ignore_margin: 2}"),
            "refine.ignore_margin: expected at least 0 and at most 1, got 2",
        ),
        (
            "an unknown choice",
            settings("flow: {mixing: shuffle}"),
            "flow.mixing: expected one of permute, swap, none, got 'shuffle'",
        ),
        ("a choice that is a list", settings("flow: {mixing: [swap]}"), r"flow.mixing: expected one of .*, got \['swap'\]"),
        (
            "an unknown data set",
            settings("data: {name: imagenet}"),
            "data.name: expected one of partworld, voc12, coco14, folder",
        ),
        ("a path that is a list", settings("data: {root: [x]}"), r"my.yaml: data.root: expected str, got \['x'\]"),
        ("a path with a NUL byte", settings('data: {root: "a\\0b"}'), "data.root: expected text without control characters, got"),
        ("a prompt of two lines", settings('clip: {templates: ["a {}.\\nb"]}'), "clip.templates: expected text without control"),
        ("a prompt without place", settings("clip: {templates: [a photo]}"), "clip.templates: 'a photo' needs exactly one {}"),
        ("no prompt", settings("clip: {templates: []}"), "clip.templates and clip.background_prompts: expected at least one"),
        ("a synonym as a word", settings("clip: {synonyms: {cat: kitten}}"), "clip.synonyms.cat: expected a list, got 'kitten'"),
        ("a colour beyond all", settings("data: {colours: {cat: '#12c0000'}}"), "data.colours.cat: expected #rrggbb such as"),
        (
            "a colour by name",
            settings("data: {colours: {cat: red}}"),
            "data.colours.cat: expected #rrggbb such as '#3c00d2', got 'red'",
        ),
        ("masks of VOC", settings("base: voc12\ndata: {masks: x}"), "data.masks: data.name 'voc12' has its own; leave it null"),
        (
            "training on masks",
            settings("base: folder\ndata: {train_split: masks}"),
            "train_split: 'masks' is for evaluation only; take",
        ),
        ("heads that do not divide", settings("segmenter: {heads: 7}"), "segmenter.heads: 7 heads do not divide segmenter.width"),
        ("stages longer than all", settings("schedule: {total_steps: 1}"), "schedule.total_steps: 1 is less than the first two"),
        ("a folder", to("my.yaml", ()), "my.yaml: neither a YAML file nor a preset .known: coco14, folder"),
        ("no file", to("my.yaml", None), "my.yaml: neither a YAML file nor a preset .known: coco14, folder"),
    ],
}
OVERRIDES = [
    ("schedule.batch_size", "expected KEY=VALUE, for example schedule.batch_size=8"),
    ("=8", "expected KEY=VALUE, for example"),
    ("data.scale=[1", "data.scale: not valid YAML: .*; put text with"),
    ("data.root=a: b", "data.root: expected str, got {'a': 'b'}"),
    ("data.root=@x", "data.root: not valid YAML: .*; put text with"),
    ("seed=2024-13-45", "seed: not valid YAML: '2024-13-45'"),
    ("seed=" + "9" * 10_000, "seed: not valid YAML: '999.*; put text with"),
    ("seed=" + "[" * 5000, "seed: not valid YAML: brackets in brackets without end; put text with"),
    ("data..root=x", "unknown setting 'data.'; the nearest known one is"),
    ("schedule.batch_size.x=3", "schedule.batch_size: expected int, got {'x': 3}"),
    ("schedule=fast", "schedule: expected a mapping of settings, got 'fast'"),
]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """area -> a good folder; that each is good is what makes the table say anything."""
    folders = {}
    for area, (write, act) in AREAS.items():
        folders[area] = tmp_path_factory.mktemp("good") / area
        if area != "coco":
            folders[area].mkdir()
        write(folders[area])
        tried = shutil.copytree(folders[area], tmp_path_factory.mktemp("tried") / area)
        if area == "prepared":
            prepare_folder(tried)
        act(tried)
    return folders


def contents(root):
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in root.rglob("*") if path.is_file()}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("area", "change", "said"),
    [pytest.param(area, change, said, id=f"{area}: {what}") for area, rows in TABLE.items() for what, change, said in rows],
)
def test_it_is_named_in_one_line_with_its_cure_and_nothing_is_half_written(good, tmp_path, area, change, said):
    root = shutil.copytree(good[area], tmp_path / "it")
    if area == "prepared":
        prepare_folder(root)
    change(root)
    before = contents(root)
    with pytest.raises((ValueError, OSError)) as raised:
        AREAS[area][1](root)
    message = str(raised.value)
    assert re.search(said, message), message
    assert "\n" not in message and len(message) < 1000, message
    assert str(root) in message and re.search(CURE, message), message
    after = contents(root)
    new = {path for path in after if path not in before}
    assert all(after[path] == content for path, content in before.items())
    assert all(path.match("masks/*/*.png") for path in new)  # COCO's masks of other images, each whole
    for path in new:
        read_mask(path, 80)


@pytest.mark.parametrize(("word", "said"), OVERRIDES, ids=[word[:30] for word, _ in OVERRIDES])
def test_a_wrong_setting_on_the_command_line_is_named_in_one_line(word, said):
    with pytest.raises(ValueError) as raised:
        Config.from_preset("voc12", parse_overrides([word]))
    message = str(raised.value)
    assert re.search(said, message) and "\n" not in message and len(message) < 1000, message


def test_the_table_is_as_large_as_it_says():
    assert sum(len(rows) for rows in TABLE.values()) + len(OVERRIDES) >= 300
