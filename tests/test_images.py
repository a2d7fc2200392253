"""Every kind of picture that people have is read rightly, or refused by name."""

import errno
import re

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from vdalib.data.checking import check_images
from vdalib.data.images import image_size, read_image, read_mask, save_mask
from vdalib.data.loader import TrainingView
from vdalib.data.sample import Sample
from vdalib.io import atomic_path

GREY = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)  # every 8-bit value, times 257


def photo(path, size=(40, 30), **options):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize(size)
    picture.save(path, **options)
    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)


def broken(folder):
    """{file: why} of pictures that no one can read."""
    photo(folder / "whole.jpg", (200, 200))
    content = (folder / "whole.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("dear diary")
    return {
        "truncated.jpg": "cannot be decoded as an image .*truncated",
        "empty.jpg": "cannot be decoded as an image .*none of the formats BMP, GIF, JPEG, PNG, TIFF, WEBP",
        "text.jpg": "cannot be decoded as an image .*none of the formats .*replace the file or take it out",
        "none.jpg": "no such image",
    }


def test_files_that_are_no_pictures_are_refused_by_name(tmp_path):
    for name, reason in broken(tmp_path).items():
        with pytest.raises((ValueError, FileNotFoundError), match=f"{re.escape(str(tmp_path))}/{name}: {reason}"):
            read_image(tmp_path / name)


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path):
    for name in ("a.png", "a.tif"):
        Image.fromarray(GREY).save(tmp_path / name)
        image = read_image(tmp_path / name)
        assert image.shape == (3, 16, 16)
        for channel in image:
            np.testing.assert_array_equal(channel, np.arange(256).reshape(16, 16))
    for scaled, stored in ((0, 128), (1, 129), (254, 65406), (255, 65407)):  # rounded to the nearest
        Image.fromarray(np.full((2, 2), stored, np.uint16)).save(tmp_path / "b.png")
        assert (read_image(tmp_path / "b.png") == scaled).all(), stored


def test_pixels_of_unknown_range_are_refused(tmp_path):
    Image.fromarray(np.full((2, 2), 0.5, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="a.tif: .*floating-point pixels have no known range; save it with 8 or 16"):
        read_image(tmp_path / "a.tif")
    Image.fromarray(np.full((2, 2), 70_000, np.int32)).save(tmp_path / "b.tif")
    with pytest.raises(ValueError, match="b.tif: .*32-bit pixels have no known range"):
        read_image(tmp_path / "b.tif")


def test_cmyk_grey_and_palette_pictures_become_rgb(tmp_path):
    Image.new("CMYK", (4, 3), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red = read_image(tmp_path / "a.jpg").float().mean((1, 2))
    assert (red - torch.tensor([255.0, 0.0, 0.0])).abs().max() < 6
    Image.new("L", (4, 3), 77).save(tmp_path / "b.png")
    assert (read_image(tmp_path / "b.png") == 77).all()
    for colour in ((10, 200, 30), (1, 2, 3)):
        Image.new("RGB", (4, 3), colour).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "c.png")
        assert Image.open(tmp_path / "c.png").mode == "P"
        assert read_image(tmp_path / "c.png")[:, 1, 1].tolist() == list(colour)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_shows_white_ground(tmp_path, mode):
    picture = Image.new("RGBA", (4, 2), (60, 60, 60, 0))
    picture.paste((60, 60, 60, 255), (0, 0, 2, 2))
    path = tmp_path / "a.png"
    if mode == "P":
        palette = Image.fromarray(np.array([[1, 1, 0, 0]] * 2, np.uint8))
        palette.putpalette([0, 0, 0, 60, 60, 60])
        palette.save(path, transparency=0)
    else:
        picture.convert(mode).save(path)
    assert Image.open(path).mode == mode
    assert read_image(path)[0].tolist() == [[60, 60, 255, 255]] * 2


def test_half_transparent_pixels_are_mixed_with_white(tmp_path):
    Image.new("RGBA", (1, 1), (55, 155, 255, 51)).save(tmp_path / "a.png")  # a fifth opaque
    assert read_image(tmp_path / "a.png").flatten().tolist() == [215, 235, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured_where_asked_for(tmp_path, orientation):
    undo = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2), 8: lambda a: np.rot90(a),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = photo(tmp_path / "a.jpg", exif=exif).transpose(1, 2, 0)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").permute(1, 2, 0), stored)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg", upright=True).permute(1, 2, 0), undo(stored))
    small = read_image(tmp_path / "a.jpg", upright=True, size=10)
    assert tuple(small.shape[1:]) == ((12, 9) if orientation > 4 else (9, 12))
    for name in ("a.jpg", "a.png", "a.webp", "a.tif"):
        photo(tmp_path / name, exif=exif)
        assert image_size(tmp_path / name, upright=True) == tuple(read_image(tmp_path / name, upright=True).shape[1:])


def test_size_shrinks_large_pictures_to_its_area_and_leaves_small_ones(tmp_path):
    stored = photo(tmp_path / "a.jpg", (1600, 400))
    image = read_image(tmp_path / "a.jpg", size=200)
    assert image.shape == (3, 100, 400)
    reference = stored.reshape(3, 100, 4, 400, 4).mean((2, 4))  # the mean of what a pixel covers
    assert np.abs(image.numpy() - reference).mean() < 3
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg", size=801), stored)


def test_a_line_of_pixels_can_be_read_shrunk_and_trained_on(tmp_path):
    Image.new("RGB", (4000, 1), (9, 8, 7)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (3, 1, 4000)
    assert read_image(tmp_path / "a.png", size=20).shape == (3, 1, 1265)

    class One:
        def __len__(self):
            return 1

        def __getitem__(self, i):
            return Sample(read_image(tmp_path / "a.png"), torch.tensor([True]), "a")

    sample = TrainingView(One(), crop=32, scale=(0.5, 2.0), seed=0)[0]
    assert sample["images"].shape == (3, 32, 32) and sample["valid"].any() and not sample["valid"].all()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("factor", [1.5, 3])  # where Pillow would only warn, and where it raises
def test_a_decompression_bomb_is_refused_by_name(tmp_path, monkeypatch, factor):
    photo(tmp_path / "a.png", (40, 30))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(1200 / factor))
    with pytest.raises(ValueError, match="a.png: too large to be safe .*; scale it down or take it out"):
        read_image(tmp_path / "a.png")


def test_the_check_names_all_bad_pictures_with_the_cure(tmp_path):
    reasons = broken(tmp_path)
    paths = [tmp_path / "whole.jpg", *(tmp_path / name for name in reasons)]
    with pytest.raises(ValueError, match="4 of 5 images cannot be used; .*data.on_bad_image=skip") as raised:
        check_images(paths, progress=False)
    for name, reason in reasons.items():
        assert re.search(f"{name}: {reason}", str(raised.value))
    good, bad = check_images(paths, "skip", progress=False)
    assert good == [tmp_path / "whole.jpg"] and list(bad) == paths[1:]
    assert all(re.search(f"{path.name}: {reasons[path.name]}", bad[path]) for path in bad)
    assert check_images(good) == (good, {})


def test_the_check_shows_ten_of_many_bad_pictures(tmp_path):
    paths = [tmp_path / f"{i:02}.jpg" for i in range(12)]
    with pytest.raises(ValueError, match=r"12 of 12 images(.|\n)*09.jpg(.|\n)*\n  \.\.\.$"):
        check_images(paths, progress=False)


def test_a_full_disk_leaves_the_old_mask_and_no_half_of_the_new_one(tmp_path, monkeypatch):
    save_mask(tmp_path / "a.png", np.zeros((2, 2)), note="old")
    write = ImageFile._save

    def full(*arguments, **options):
        write(*arguments, **options)  # some bytes are on the disk already
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ImageFile, "_save", full)
    monkeypatch.setattr("PIL.PngImagePlugin.ImageFile._save", full)
    with pytest.raises(OSError, match="No space left on device .nothing was written there; make room.*a.png"):
        save_mask(tmp_path / "a.png", np.ones((2, 2)))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert Image.open(tmp_path / "a.png").info["Comment"] == "old"
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 1), np.zeros((2, 2)))


def test_an_unwritable_place_is_named_with_the_cure(tmp_path):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "a.txt"
    with pytest.raises(OSError, match="choose a folder that can be written.*file/a.txt"), atomic_path(place):
        raise AssertionError("never reached")
    with pytest.raises(FileNotFoundError, match="other") as raised, atomic_path(tmp_path / "a.txt"):
        (tmp_path / "other").read_text()  # an error about another file stays its own
    assert "nothing was written" not in str(raised.value)
