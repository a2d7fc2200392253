"""Maps of the attribute browser as layers over a picture, each with its legend; and all of them on one sheet."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor

from vdalib.data.classes import distinct_colours
from vdalib.explore import plots
from vdalib.explore.browsing import PARTS, View

_SMOOTH = 192  # px, the least longer side of a CAM as a layer
_CONTEXT = 2  # widths of a patch that are shown around it
_SHEET, _LINE, _GAP = 360, 18, 12  # px of a saved view: height of a picture, of a line of text, between pictures
_AHEAD, _BEHIND = "#d55e00", "#0072b2"  # of a difference: where the first, where the second map is stronger


@dataclass
class Layer:
    """What is laid over the picture.

    image: RGBA. title, note: what it is, and what else is to be said. crisp: pixels have borders, as in label maps.
    entries: (name, colour, share of the pixels) of a label map; scale: (colours, their low end, high end) of a CAM.
    """

    image: Image.Image
    title: str
    note: str = ""
    crisp: bool = False
    entries: list[tuple[str, str, float]] = field(default_factory=list)
    scale: tuple[list[str], str, str] | None = None

    def as_dict(self) -> dict:
        """For the page."""
        kept = {name: value for name, value in vars(self).items() if name != "image"}
        return kept | {"src": data_url(self.image)}


class Palette:
    """Names and colours of the labels of a run's maps: its folder's own colours, else those of every figure."""

    def __init__(self, class_names: Sequence[str], chosen: Mapping[str, str]):
        self.classes = {"background": plots.BACKGROUND_COLOUR}
        self.classes |= {name: chosen.get(name, plots.class_colour(name)) for name in class_names}

    def layer(self, labels: Tensor, title: str, note: str = "", parts: bool = False, where: Tensor | None = None) -> Layer:
        """A label map (H, W) as a layer; background is transparent. where: bool (H, W), else transparent, too, background not."""
        labels = labels.cpu().numpy()
        shown = labels if where is None else labels[where.cpu().numpy()]
        counts = np.bincount(shown.ravel(), minlength=256)
        present = [int(value) for value in np.argsort(-counts, kind="stable") if counts[value]]
        colours = _parts_colours(present) if parts else list(self.classes.items())
        table, entries = np.zeros((256, 4), np.uint8), []
        for value in present:
            name, colour = colours[value] if value < len(colours) else ("undecided", plots.VOID_COLOUR)
            table[value] = (*ImageColor.getrgb(colour), 255 if value or where is not None else 0)
            entries.append((name, colour, float(counts[value] / labels.size)))
        pixels = table[labels]
        if where is not None:
            pixels[~where.cpu().numpy()] = 0
        return Layer(Image.fromarray(pixels), title, note, True, entries)

    def of_view(self, view: View, note: str = "") -> Layer:
        """The map of a view."""
        if view.is_label_map:
            return self.layer(view.shown, view.map, note, view.map == PARTS)
        heat = _coloured(_enlarged(view.shown, view.image.shape[-2:]), "magma")
        return Layer(heat, f"{view.map} of {view.class_name}", note, scale=(_stops("magma"), "0", "1"))

    def difference(self, first: View, second: View, k: int) -> Layer:
        """The first map less the second, of class k; of two label maps of one kind where they differ, in the second's colours."""
        size = first.image.shape[-2:]
        if first.is_label_map and second.is_label_map and (first.map == PARTS) == (second.map == PARTS):
            maps = [F.interpolate(view.shown[None, None].float(), size, mode="nearest")[0, 0].long() for view in (first, second)]
            differ = maps[0] != maps[1]
            note = f"{100 * differ.float().mean().item():.1f} % of the pixels, in B's colours"
            return self.layer(maps[1], "where A and B differ", note, first.map == PARTS, differ)
        maps = [_enlarged(_of_class(view, k), size) for view in (first, second)]
        gap = maps[0] - maps[1]
        most = max(np.abs(gap).max().item(), 1e-6)
        pixels = np.where(gap[..., None] > 0, ImageColor.getrgb(_AHEAD), ImageColor.getrgb(_BEHIND))
        pixels = np.concatenate([pixels, 255 * np.abs(gap)[..., None] / most], axis=2).round().astype(np.uint8)
        note = f"mean {gap.mean():+.3f}, mean size {np.abs(gap).mean():.3f}"
        scale = ([_BEHIND, "transparent", _AHEAD], f"B by {most:.2f}", f"A by {most:.2f}")
        return Layer(Image.fromarray(pixels, "RGBA"), "A less B", note, scale=scale)


def photo(image: Tensor) -> Image.Image:
    """An image (3, H, W), uint8 or float in 0..1."""
    return Image.fromarray((255 * plots.as_picture(image)).round().astype(np.uint8))


def thumbnail(image: Tensor, height: int) -> str:
    """A small picture of that height, as the address of its own content."""
    picture = photo(image)
    width = max(round(picture.width * height / picture.height), 1)
    return data_url(picture.resize((width, height), Image.Resampling.BILINEAR))


def around(image: Tensor, place: tuple[float, float, float, float]) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """A patch with its surroundings cut out of its image (3, H, W), and where the patch is in that, in 0..1."""
    picture = photo(image)
    left, right = place[0] * picture.width, place[2] * picture.width
    top, bottom = place[1] * picture.height, place[3] * picture.height
    wide, high = _CONTEXT * (right - left), _CONTEXT * (bottom - top)
    box = [round(value) for value in (left - wide, top - high, right + wide, bottom + high)]
    size = box[2] - box[0], box[3] - box[1]
    inside = [(left - box[0]) / size[0], (top - box[1]) / size[1], (right - box[0]) / size[0], (bottom - box[1]) / size[1]]
    return picture.crop(box), tuple(inside)


def data_url(image: Image.Image) -> str:
    """A picture as the address of its own content: JPEG where it is a large photograph, else PNG."""
    buffer = BytesIO()
    if image.mode == "RGB" and max(image.size) > 2 * _SMOOTH:
        image.save(buffer, "jpeg", quality=92)
        kind = "jpeg"
    else:
        image.save(buffer, "png", compress_level=1)
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def sheet(picture: Image.Image, title: str, layers: Sequence[Layer], opacity: float) -> bytes:
    """PNG: the picture, and beside it every layer over it, with titles, notes and legends."""
    size = max(round(_SHEET * picture.width / picture.height), 1), _SHEET
    kind = Image.Resampling.NEAREST if max(picture.size) < _SHEET else Image.Resampling.LANCZOS
    plain = picture.convert("RGB").resize(size, kind)
    lines = 2 + max((len(layer.entries) or 1 for layer in layers), default=0)
    canvas = Image.new("RGB", ((size[0] + _GAP) * (1 + len(layers)) + _GAP, _SHEET + (lines + 1) * _LINE + 2 * _GAP), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for column, layer in enumerate([None, *layers]):
        left, line = _GAP + column * (size[0] + _GAP), 2 * _GAP + _SHEET
        shown = plain
        if layer is not None:
            over = layer.image.resize(size, Image.Resampling.NEAREST if layer.crisp else Image.Resampling.BILINEAR)
            over.putalpha(over.getchannel("A").point(lambda value: round(opacity * value)))
            shown = Image.alpha_composite(plain.convert("RGBA"), over).convert("RGB")
        canvas.paste(shown, (left, _GAP))
        texts = [(title, [])] if layer is None else [(layer.title, []), (layer.note, []), *_legend_lines(layer)]
        for place, (text, colours) in enumerate(texts):
            top, right = line + place * _LINE, left
            for colour in colours:
                draw.rectangle((right, top + 2, right + 11, top + 13), fill=colour)
                right += 12
            if colours:
                draw.rectangle((left, top + 2, right - 1, top + 13), outline="grey")
                right += 4
            draw.text((right, top), _fitted(text, font, left + size[0] - right), "black", font)
    buffer = BytesIO()
    canvas.save(buffer, "png")
    return buffer.getvalue()


def _parts_colours(present: Sequence[int]) -> list[tuple[str, str]]:
    """(name, colour) by label; the parts that are present have colours of their own."""
    from vdalib.data.partworld import PARTS as pairs  # the one data set with parts

    names = ["background", *(" ".join(pair) for pair in pairs)]
    colours = distinct_colours(tuple(names[value] for value in sorted(present) if value), {})
    return [(name, colours.get(name, plots.BACKGROUND_COLOUR)) for name in names]


def _legend_lines(layer: Layer) -> list[tuple[str, list[str]]]:
    """Each line with the colours that stand before it."""
    if layer.scale:
        colours, low, high = layer.scale
        return [(f"{low} to {high}", ["white" if colour == "transparent" else colour for colour in colours])]
    return [(f"{name} {100 * share:.1f} %", [colour]) for name, colour, share in layer.entries]


def _fitted(text: str, font, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _of_class(view: View, k: int) -> Tensor:
    """A CAM as it is; of a label map 1 where class k is."""
    if view.map == PARTS:
        raise ValueError("no difference: parts can be compared with parts only")
    return (view.shown == k + 1).float() if view.is_label_map else view.shown


def _enlarged(cam: Tensor, size: Sequence[int]) -> np.ndarray:
    """A CAM (h, w) in 0..1 as large as the picture, or _SMOOTH px."""
    factor = max(1.0, _SMOOTH / max(size))
    size = [round(factor * side) for side in size]
    cam = torch.as_tensor(cam).detach().float().cpu()[None, None]
    return F.interpolate(cam, size, mode="bilinear", align_corners=False)[0, 0].clamp(0, 1).numpy()


def _coloured(values: np.ndarray, name: str) -> Image.Image:
    table = (255 * matplotlib.colormaps[name](np.arange(256) / 255)).round().astype(np.uint8)  # (256, 4)
    return Image.fromarray(table[(255 * values).round().astype(np.uint8)])


def _stops(name: str) -> list[str]:
    return [matplotlib.colors.to_hex(matplotlib.colormaps[name](place)) for place in np.linspace(0, 1, 6)]
