"""VOC, COCO and prepared labels with something wrong in them."""

import numpy as np
from bad_files import cut, in_json, png, to
from coco_files import name_of

from vdalib.data.images import save_mask


def xml(inside, name="b"):
    return to(f"Annotations/{name}.xml", inside)


def split(text):
    return to("ImageSets/Segmentation/val.txt", text)


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


def labels(**values):
    return in_json("labels_val2014.json", lambda content: {k: v for k, v in (content | values).items() if v is not ...})


NOT_VOC = "b.xml: not a VOC annotation .*; get the file again"
NOT_COCO = "instances_train2014.json: not an instances file of COCO: .*unpack annotations_trainval2014.zip again"
BROKEN = "image 7: annotation 1: broken segmentation "
NOT_LABELS = "labels_val2014.json: not a label file .*make it with"
DATASETS = {
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
}
