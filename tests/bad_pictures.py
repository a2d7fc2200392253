"""Pictures and masks that are none."""

import zlib

import numpy as np
from bad_files import cut, encoded, png, to
from PIL import Image

from vdalib.data.images import save_mask

NOT_AN_IMAGE = "a.jpg: cannot be decoded as an image .*; replace the file or take it out"
NOT_A_MASK = "a.png: cannot be decoded as a mask .*; replace the file or take it out"
OTHER_FORMAT = "a.jpg: cannot be decoded as an image .its content has none of the formats BMP, GIF, JPEG"
PICTURES = {
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
}
