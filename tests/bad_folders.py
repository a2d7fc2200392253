"""Tables of tags, classes.yaml, sub-folders and prepared folders with something wrong in them."""

import shutil

import numpy as np
from bad_files import cut, encoded, in_json, to
from bad_pictures import NOT_A_MASK

from vdalib.data.images import save_mask


def tags(*lines):
    return to("tags.csv", "\n".join(["file,tags", *lines]) + "\n")


def classes(text):
    return to("classes.yaml", text)


def prepared(**values):
    return in_json("labels_folder.json", lambda content: {k: v for k, v in (content | values).items() if v is not ...})


NOT_PREPARED = "labels_folder.json: not a label file .*run `python -m vdalib prepare folder"
EDITED = "labels_folder.json: not as it was written; run `python -m vdalib prepare folder"
LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghijkl", "bcdefghijklm")
)
FOLDERS = {
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
        ("brackets without end", classes("classes: " + "[" * 1500), "classes.yaml: not valid YAML: brackets in brackets"),
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
        ("an older edition", prepared(digest=...), NOT_PREPARED),
        ("a field less", prepared(untagged=...), EDITED),
        ("labels that are a list", prepared(labels=[]), EDITED),
        ("no labels", prepared(labels={}), EDITED),
        ("a class as a word", prepared(labels={"a.png": "cat"}), EDITED),
        ("an unknown class", prepared(labels={"a.png": ["cta"]}), EDITED),
        ("a colour that is none", prepared(colours={"cat": "#zz0000", "dog": None, "bus": []}), EDITED),
        ("pictures that are numbers", prepared(untagged=[1, None]), EDITED),
        ("a folder elsewhere", prepared(base="/etc"), EDITED),
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
}
