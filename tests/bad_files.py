"""Good folders of every kind, what reads each of them, and ways to change their files."""

import io
import json
import shutil
import struct
import zlib

import joblib
import numpy as np
from coco_files import write_coco
from PIL import Image

from vdalib.commands import cli
from vdalib.config import Config
from vdalib.data.coco import COCO_CLASSES
from vdalib.data.folder import TaggedFolder, prepare_folder
from vdalib.data.images import read_image, read_mask, save_mask
from vdalib.data.labels import read_labels
from vdalib.data.voc import VOCSegmentation


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


def prepare(preset, *settings):
    def act(root):
        with joblib.parallel_config("threading", n_jobs=1):
            cli.main(["prepare", preset, *settings, "--root", str(root), "--no-download"])

    return act


def write_labels(root):
    content = {"split": "val2014", "skipped": {}, "labels": {"a": ["cat"], "b": []}}
    (root / "labels_val2014.json").write_text(json.dumps(content, indent=1))


def write_voc_prepared(root):
    write_voc(root)
    prepare("voc12", "data.train_split=train")(root)


AREAS = {
    "image": (write_image, lambda root: read_image(root / "a.jpg")),
    "mask": (write_mask, lambda root: read_mask(root / "a.png", 3, root / "a.jpg")),
    "tags": (write_folder, prepare("folder")),
    "classes": (write_folder, prepare("folder")),
    "sub-folders": (write_sub_folders, prepare("folder")),
    "prepared": (write_prepared, use_prepared),
    "voc": (write_voc, prepare("voc12", "data.train_split=train")),
    "voc prepared": (write_voc_prepared, lambda root: VOCSegmentation(root, "val").mask(0)),
    "coco": (write_coco, prepare("coco14")),
    "labels": (write_labels, lambda root: read_labels(root, "val2014", COCO_CLASSES, "make it with `prepare`")),
    "settings": (lambda root: (root / "my.yaml").write_text("base: voc12\n"), lambda root: Config.from_preset(root / "my.yaml")),
}
COMMANDS = ("tags", "classes", "sub-folders", "voc", "coco")  # go through the command line


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


def in_json(name, edit):
    """A JSON file edited in place; `edit` may return another content."""

    def change(root):
        content = json.loads((root / name).read_text())
        other = edit(content)
        (root / name).write_text(json.dumps(content if other is None else other))

    return change
