"""VOC verified, downloaded from a server on this machine, SBD converted; every way in which that can fail."""

import io
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from serving import serving

from vdalib import data
from vdalib.commands.cli import main
from vdalib.config import Config
from vdalib.data import archives, voc_preparation
from vdalib.data.images import read_mask, save_mask
from vdalib.data.voc import VOCSegmentation

INSIDE = "VOCdevkit/VOC2012"
TRAIN, VAL, ONLY_SBD = ("a", "b"), ("c", "d"), ("e", "f")
XML = "<annotation>\n<object>\n<name>{}</name>\n</object>\n</annotation>"


def picture(seed, shape=(6, 8)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8))


def mask_of(seed):
    return np.random.default_rng(seed).choice(np.array([0, 12, 15], np.uint8), (6, 8))


def write_voc(folder):
    """VOC as published: six images, masks of train and val, annotations of all."""
    for name in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for split, names in {"train": TRAIN, "val": VAL}.items():
        (folder / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    for seed, name in enumerate(TRAIN + VAL + ONLY_SBD):
        picture(seed).save(folder / "JPEGImages" / f"{name}.jpg")
        (folder / "Annotations" / f"{name}.xml").write_text(XML.format("dog" if seed % 2 else "person"))
    for seed, name in enumerate(TRAIN + VAL):
        save_mask(folder / "SegmentationClass" / f"{name}.png", mask_of(seed))


def mat(mask):
    """A class mask as SBD has it: a MATLAB struct GTcls."""
    content = io.BytesIO()
    savemat(content, {"GTcls": {"Boundaries": np.zeros((20, 1)), "Segmentation": mask, "CategoriesPresent": [12]}})
    return content.getvalue()


def write_sbd(path, masks):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in masks.items():
            for place in ("cls", "inst"):  # inst has instances under the same names
                member = tarfile.TarInfo(f"benchmark_RELEASE/dataset/{place}/{name}.mat")
                data = content if place == "cls" else mat(np.full((6, 8), 3, np.uint8))
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Small archives in the place of VOC's and SBD's; SBD has masks of one train, one val and two further images."""
    (tmp_path / "server").mkdir()
    write_voc(tmp_path / "original" / INSIDE)
    with tarfile.open(tmp_path / "server" / "voc.tar", "w") as archive:
        archive.add(tmp_path / "original" / "VOCdevkit", "VOCdevkit")
    masks = {name: mat(mask_of(10 + seed)) for seed, name in enumerate(("b", "c", *ONLY_SBD))}
    write_sbd(tmp_path / "server" / "sbd.tgz", masks)
    with serving(tmp_path / "server", monkeypatch) as server:
        monkeypatch.setattr(voc_preparation, "VOC", server.archive("voc.tar"))
        monkeypatch.setattr(voc_preparation, "SBD", server.archive("sbd.tgz"))
        yield server


def prepare(root, download=True, labels=None):
    settings = Config.from_preset("voc12", {"data.root": str(root), "data.labels": labels}).data
    data.prepare(settings, download)


def leftovers(root):
    return [path for path in root.rglob("*") if "partial" in path.name or "unpacked" in path.name]


def test_one_command_downloads_unpacks_and_converts_all(served, tmp_path, capsys):
    root = tmp_path / "data"
    prepare(root)
    folder = root / INSIDE
    assert (folder / "ImageSets" / "Segmentation" / "train_aug.txt").read_text().split() == ["a", "b", "e", "f"]
    said = capsys.readouterr().out
    assert "missing: " in said and served.address in said
    assert "train_aug.txt: 4 images; with all masks of VOC and SBD there are 10,582" in said
    train = VOCSegmentation(root, "train_aug")
    assert [train[i].labels.nonzero().flatten().tolist() for i in range(4)] == [[14], [11], [14], [11]]  # from the XML
    for seed, (i, name) in enumerate(((2, "e"), (3, "f")), start=12):
        np.testing.assert_array_equal(train.mask(i), mask_of(seed))
        assert Image.open(folder / "SegmentationClassAug" / f"{name}.png").mode == "P"
    np.testing.assert_array_equal(train.mask(1), mask_of(1))  # VOC's own mask, not SBD's
    assert len(VOCSegmentation(root, "val")) == 2 and not leftovers(root)
    assert served.downloads() == ["voc.tar", "sbd.tgz"]
    prepare(root)
    assert served.downloads() == ["voc.tar", "sbd.tgz"] and len(served.asked) == 4  # nothing was asked for again


def test_what_a_killed_process_had_unpacked_goes_although_nothing_is_missing(served, tmp_path):
    prepare(tmp_path / "data")
    (tmp_path / "data" / "voc.tar.unpacked" / "VOCdevkit").mkdir(parents=True)
    prepare(tmp_path / "data")
    assert not leftovers(tmp_path / "data")


def test_a_whole_archive_is_not_downloaded_again_and_a_broken_one_is(served, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    (root / "voc.tar").write_bytes((served.folder / "voc.tar").read_bytes())
    (root / "sbd.tgz").write_bytes((served.folder / "sbd.tgz").read_bytes()[:100])
    (root / "sbd.tgz.partial").write_bytes(b"the rest of an attempt")
    prepare(root)
    assert served.downloads() == ["sbd.tgz"] and not leftovers(root)


def test_only_what_is_missing_is_filled_in(served, tmp_path):
    folder = tmp_path / "VOC2012"
    write_voc(folder)
    own = picture(99)
    own.save(folder / "JPEGImages" / "a.jpg")
    kept = (folder / "JPEGImages" / "a.jpg").read_bytes()
    (folder / "JPEGImages" / "c.jpg").unlink()
    prepare(folder)
    assert (folder / "JPEGImages" / "a.jpg").read_bytes() == kept
    original = tmp_path / "original" / INSIDE / "JPEGImages" / "c.jpg"
    assert (folder / "JPEGImages" / "c.jpg").read_bytes() == original.read_bytes()


def test_masks_that_are_there_make_the_train_aug_list_without_a_download(served, tmp_path):
    write_voc(tmp_path / "VOC2012")
    for seed, name in enumerate("abcde"):
        save_mask(tmp_path / "VOC2012" / "SegmentationClassAug" / f"{name}.png", mask_of(seed))
    prepare(tmp_path / "VOC2012", download=False)
    assert VOCSegmentation(tmp_path / "VOC2012", "train_aug").names == ["a", "b", "e"]
    assert not served.asked


def test_verifying_lists_all_that_is_missing_and_where_it_comes_from(served, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        prepare(tmp_path / "nowhere", download=False)
    said = str(error.value)
    assert "ImageSets/Segmentation/val.txt: from voc.tar (1 kB, http://" in said
    assert "train_aug.txt (written from the masks in SegmentationClassAug): from sbd.tgz" in said
    assert "have it downloaded by `vdalib prepare` (without --no-download)" in said

    folder = tmp_path / "VOC2012"
    write_voc(folder)
    (folder / "ImageSets" / "Segmentation" / "train_aug.txt").write_text("a\nb\ne\n")
    for path in ("JPEGImages/b.jpg", "SegmentationClass/c.png", "SegmentationClass/d.png"):
        (folder / path).unlink()
    with pytest.raises(FileNotFoundError) as error:
        prepare(folder, download=False)
    lines = str(error.value).splitlines()[1:]
    assert [line.split(" (1 kB")[0].strip() for line in lines] == [
        "1 of 3 images of train_aug, the first is JPEGImages/b.jpg: from voc.tar",
        "1 of 3 masks of train_aug, the first is SegmentationClassAug/e.png: from sbd.tgz",
        "2 of 2 masks of val, the first is SegmentationClassAug/c.png: from voc.tar",
    ]
    assert not served.asked and not list(folder.glob("labels*"))


def test_what_no_archive_has_is_still_named_after_the_download(served, tmp_path):
    prepare(tmp_path)
    with (tmp_path / INSIDE / "ImageSets" / "Segmentation" / "val.txt").open("a") as file:
        file.write("x\n")
    with pytest.raises(FileNotFoundError, match=r"do not have it; missing: \s*1 of 3 images of val, .*JPEGImages/x.jpg"):
        prepare(tmp_path)


def test_a_failed_download_names_the_source_and_the_cure_and_leaves_no_archive(served, tmp_path, monkeypatch):
    wrong = served.archive("voc.tar", md5="0" * 32)
    monkeypatch.setattr(voc_preparation, "VOC", wrong)
    with pytest.raises(OSError, match=r"voc.tar: cannot be downloaded from http.*corrupted.*curl -C - -O .*MD5 0000"):
        prepare(tmp_path / "data")
    assert not (tmp_path / "data" / "voc.tar").exists()
    gone = archives.Archive(f"{served.address}/gone.tar", "0" * 32, "1 kB")
    with pytest.raises(OSError, match="gone.tar: cannot be downloaded .*404.*try again"):
        archives.fetch(gone, tmp_path)
    assert not (tmp_path / "gone.tar").exists()


def test_a_full_disk_while_unpacking_leaves_no_half_file(served, tmp_path, monkeypatch):
    def full(archive, folder):
        (folder / "half.jpg").parent.mkdir(parents=True)
        (folder / "half.jpg").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "extract_archive", full)
    with pytest.raises(OSError, match="voc.tar: cannot be unpacked into .*No space left.*make room and try again"):
        prepare(tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").rglob("*")] == ["voc.tar"]


def test_conversion_goes_on_where_it_was_stopped(served, tmp_path, monkeypatch):
    root, written = tmp_path / "data", []

    def stop_at_second(path, mask):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(path.stem)
        save_mask(path, mask)

    with monkeypatch.context() as patch:
        patch.setattr(voc_preparation, "save_mask", stop_at_second)
        with pytest.raises(KeyboardInterrupt):
            prepare(root)
    folder = root / INSIDE
    assert not (folder / "SegmentationClassAug").exists()
    assert not (folder / "ImageSets" / "Segmentation" / "train_aug.txt").exists()
    written.clear()
    monkeypatch.setattr(voc_preparation, "save_mask", lambda path, mask: (written.append(path.stem), save_mask(path, mask)))
    prepare(root)
    assert written == ["f"]
    np.testing.assert_array_equal(read_mask(folder / "SegmentationClassAug" / "e.png", 20), mask_of(12))


@pytest.mark.parametrize("content", [b"", b"plain text", mat(np.zeros((2, 2)))[:150]], ids=["empty", "text", "cut short"])
def test_a_broken_mask_of_sbd_is_named(tmp_path, content):
    write_sbd(tmp_path / "sbd.tgz", {"e": content})
    with pytest.raises(ValueError, match="sbd.tgz: benchmark_RELEASE/dataset/cls/e.mat: no class mask of SBD .*again"):
        voc_preparation.convert_sbd(tmp_path / "sbd.tgz", tmp_path / "VOC2012")
    assert not (tmp_path / "VOC2012" / "SegmentationClassAug").exists()


def test_unwritable_label_files_are_named_and_nothing_is_half_written(served, tmp_path):
    prepare(tmp_path / "data")
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(OSError, match=str(tmp_path / "file")):
        prepare(tmp_path / "data", labels=str(tmp_path / "file"))
    assert (tmp_path / "file").is_file() and not leftovers(tmp_path)


def test_both_spellings_of_the_root_mean_the_same(tmp_path, monkeypatch):
    given = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vdalib.data.prepare", lambda config, download: given.append((config.root, download)))
    main(["prepare", "voc12", "--data", "x"])
    main(["prepare", "voc12", "--root", "x", "--no-download"])
    assert given == [(str(tmp_path / "x"), True), (str(tmp_path / "x"), False)]


def test_partworld_needs_no_preparation(monkeypatch):
    monkeypatch.setattr("vdalib.data.voc_preparation.prepare", SimpleNamespace())  # calling it would fail
    main(["prepare", "partworld", "--root", "x"])


def test_a_broken_image_stops_preparation_or_is_left_out_and_listed(tmp_path, capsys):
    write_voc(tmp_path)
    (tmp_path / "JPEGImages" / "b.jpg").write_bytes(b"not a picture")
    settings = {"data.root": str(tmp_path), "data.train_split": "train"}
    with pytest.raises(ValueError, match=r"(?s)1 of 2 images cannot be used.*on_bad_image=skip.*b.jpg"):
        data.prepare(Config.from_preset("voc12", settings).data)
    assert not list(tmp_path.glob("labels_*"))
    config = Config.from_preset("voc12", settings | {"data.on_bad_image": "skip"}).data
    data.prepare(config)
    assert "left out: " in capsys.readouterr().out
    assert data.build_dataset(config, "train").names == ["a"]
    assert data.build_dataset(config, "val").names == ["c", "d"]
