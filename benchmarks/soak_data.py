"""What `soak.py` works on: small data sets of every kind, the command that it starts, damage, and comparison bit for bit."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tarfile
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

PICTURES = 6
CLASSES = ("cat", "dog", "bird")  # known to VOC and COCO alike
VOC, SBD = "VOC.tar", "SBD.tgz"
MARK = "VDALIB_SOAK"  # an environment variable that processes of a soak inherit
MEASURE = """
import time
from pathlib import Path
from vdalib.io import write_json
time.sleep(0.2)
write_json(Path(run_dir) / "metrics.json", {"table": {"value": float(size + seed)}})
print(size + seed)
"""


def import_all() -> None:
    """All that the jobs use, so that forks need not import it. None of it starts a thread."""
    import joblib  # noqa: F401
    import open_clip  # noqa: F401
    import papermill  # noqa: F401

    import vdalib.commands.engine
    import vdalib.commands.segment
    import vdalib.commands.sweep
    import vdalib.data.coco_preparation
    import vdalib.data.folder
    import vdalib.data.voc_preparation
    import vdalib.evaluation.validation
    import vdalib.methods.seco
    import vdalib.methods.vda
    import vdalib.training.trainer  # noqa: F401


def command(words: Sequence[str], threads: bool = False) -> None:
    """`vdalib` with these words, and archives of ours for those of VOC and SBD; threads: in place of joblib's processes."""
    os.environ[MARK] = os.getcwd()
    from vdalib.commands.cli import main

    context = nullcontext()
    if "voc12" in words:
        from vdalib.data import voc_preparation as voc
        from vdalib.data.archives import Archive

        voc.VOC, voc.SBD = (Archive(f"soak:/{name}", _md5(Path("voc") / name), "1 kB") for name in (VOC, SBD))
    if threads:
        import joblib

        context = joblib.parallel_config("threading")
    with context:
        main([*words])


def write() -> None:
    """The inputs of all jobs in the current folder."""
    import numpy as np
    from PIL import Image

    dice = np.random.default_rng(0)
    for place in ("folder/images", "voc", "coco", "reference", "kept"):
        Path(place).mkdir(parents=True)
    pictures = [Image.fromarray(dice.integers(0, 256, (48, 56, 3), np.uint8)) for _ in range(PICTURES)]
    for i, picture in enumerate(pictures):
        picture.save(f"folder/images/{i}.png")
    rows = [f"{i}.png,{CLASSES[i % 3]}" for i in range(PICTURES)]
    Path("folder/tags.csv").write_text("\n".join(["file,tags", *rows, ""]))
    _write_voc(pictures)
    _write_coco(pictures)
    _write_sweep()


def begin(job: str) -> None:
    """`out` as the job is given it."""
    shutil.rmtree("out", ignore_errors=True)
    if job in ("voc", "coco"):
        shutil.copytree(job, "out")


def damage(run_dir: Path, dice: random.Random) -> str | None:
    """Cuts, changes or deletes a file of the newest checkpoint, if there is an older one to go on from; says what it did."""
    from vdalib.training import checkpoints

    found = checkpoints.steps(run_dir)
    files = sorted(checkpoints.folder(run_dir, found[-1]).iterdir()) if len(found) > 1 else []
    if not files:
        return None
    file, what = dice.choice(files), dice.choice(["cut", "changed", "deleted"])
    content = bytearray(file.read_bytes())
    if what == "deleted":
        file.unlink()
    elif what == "cut" or not content:
        file.write_bytes(content[: dice.randrange(len(content) + 1)])
    else:
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        file.write_bytes(content)
    return f"{file.parent.name}/{file.name} {what}"


def compared(folder: Path, reference: Path) -> tuple[list[str], list[str]]:
    """What is missing or differs in a folder, and what is there beside; clocks aside."""
    found, expected = contents(folder), contents(reference)
    missing = [f"{name} is missing" for name in expected.keys() - found.keys()]
    differing = [f"{name} differs" for name in expected.keys() & found.keys() if found[name] != expected[name]]
    return sorted(missing + differing), sorted(found.keys() - expected.keys())


def contents(folder: Path) -> dict[str, str]:
    """Path -> digest of every file below a folder, and "" of every folder."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        found[name] = hashlib.sha256(_without_clock(path)).hexdigest() if path.is_file() else ""
    return found


def children(process: int) -> list[int]:
    """The processes that a process has started and that run still."""
    import psutil

    with suppress(psutil.Error):
        return [child.pid for child in psutil.Process(process).children(recursive=True)]
    return []


def outlived(seconds: float) -> list[str]:
    """Processes of a soak that do not end within so many seconds; they are ended."""
    import psutil

    until = time.monotonic() + seconds
    while (alive := _ours()) and time.monotonic() < until:
        time.sleep(0.05)
    told = []
    for process in alive:
        with suppress(psutil.Error):
            told.append(f"process {' '.join(process.cmdline())[:200]}")
            process.kill()
    return told


def _ours() -> list:
    """The processes that inherited MARK from a command in this folder."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(MARK) == os.getcwd():
                found.append(process)
    return found


def _without_clock(path: Path) -> bytes:
    content = path.read_bytes()
    if path.name == "metrics.jsonl":
        rows = [json.loads(line) for line in content.splitlines()]
        content = json.dumps([row | {"time": 0} for row in rows]).encode()
    if path.suffix == ".ipynb":
        cells = json.loads(content)["cells"]
        content = json.dumps([[cell["source"], cell.get("outputs")] for cell in cells]).encode()
    return content


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def _write_voc(pictures: list) -> None:
    """voc/VOC.tar with half of the pictures in train and half in val, and voc/SBD.tgz with masks of two that only it has."""
    import numpy as np
    from scipy.io import savemat

    from vdalib.data.images import save_mask
    from vdalib.data.voc import VOC_CLASSES

    top = Path("made/VOCdevkit/VOC2012")
    for name in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation"):
        (top / name).mkdir(parents=True)
    sbd = Path("made/benchmark_RELEASE/dataset/cls")
    sbd.mkdir(parents=True)
    names = {"train": ["0", "1"], "val": ["2", "3"]}
    for i, picture in enumerate(pictures):
        picture.save(top / "JPEGImages" / f"{i}.jpg")
        label = VOC_CLASSES.index(CLASSES[i % 3]) + 1
        (top / "Annotations" / f"{i}.xml").write_text(f"<annotation><object><name>{CLASSES[i % 3]}</name></object></annotation>")
        mask = np.zeros(picture.size[::-1], np.uint8)
        mask[i : 3 * i + 5, 4:20] = label
        if i < 4:
            save_mask(top / "SegmentationClass" / f"{i}.png", mask)
        else:
            savemat(sbd / f"{i}.mat", {"GTcls": {"Segmentation": mask, "CategoriesPresent": [label]}})
    for split, chosen in names.items():
        (top / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{name}\n" for name in chosen))
    with tarfile.open(f"voc/{VOC}", "w") as archive:
        archive.add("made/VOCdevkit", "VOCdevkit")
    with tarfile.open(f"voc/{SBD}", "w:gz") as archive:
        archive.add("made/benchmark_RELEASE", "benchmark_RELEASE")


def _write_coco(pictures: list) -> None:
    """coco/ with half of the pictures in each split, one polygon each."""
    from vdalib.data.coco import COCO_CLASSES, COCO_IDS

    ids = {name: COCO_IDS[COCO_CLASSES.index(name)] for name in CLASSES}
    Path("coco/annotations").mkdir()
    for offset, split in enumerate(("train2014", "val2014")):
        images, annotations = [], []
        Path("coco", split).mkdir()
        for i in range(offset, len(pictures), 2):
            name, (width, height) = f"COCO_{split}_{i:012d}.jpg", pictures[i].size
            pictures[i].save(Path("coco", split, name))
            images.append({"id": i, "file_name": name, "width": width, "height": height})
            polygon = [3 + i, 3, 30, 4 + i, 25, 30 + i, 5, 25]
            annotations.append(
                {"id": i, "image_id": i, "category_id": ids[CLASSES[i % 3]], "segmentation": [polygon], "iscrowd": 0}
            )
        categories = [{"id": number, "name": name} for name, number in zip(COCO_CLASSES, COCO_IDS)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        Path(f"coco/annotations/instances_{split}.json").write_text(json.dumps(content))


def _write_sweep() -> None:
    """grid.yaml, two runs of a notebook that writes metrics."""
    import nbformat

    parameters = 'run_dir: str = ""\nseed: int = 0\nsize: int = 1'
    cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(MEASURE)]
    book = nbformat.v4.new_notebook(cells=cells)
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, "measure.ipynb")
    Path("grid.yaml").write_text("notebook: measure.ipynb\nout: out\nparameters: {size: [1, 2]}\n")
