"""PartWorld: images that are a pure function of (split, seed, index), with exact masks and part masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from ..sample import Sample
from .captions import captions as write_captions
from .dice import Dice, cos_sin
from .factors import Factors, Layout, ObjectFactors, Role
from .objects import CLASSES, KINDS, PART_ID, PARTS
from .palette import COLOURS
from .scenes import CO_OCCURRENCE, SCENES, backdrop, background
from .shapes import SIZE, Affine, Canvas, ellipse
from .sketch import Sketch, Stroke, placed, strokes_extent

SPLITS: dict[str, int] = {"train": 0, "val": 1_000_000, "clip": 2_000_000}  # first global index of each split
DEFAULT_SIZE: dict[str, int] = {"train": 1_000, "val": 250, "clip": 100_000}
MAX_SIZE = 1_000_000
MIN_VISIBLE, MIN_AREA, MIN_PART_AREA = 0.45, 60, 8  # share of an object, px of an object, px of a part
_TRIES, _MAX_OVERLAP = 24, 0.3
_LAYOUT, _BACKGROUND, _CAPTIONS, _OBJECT = 0, 1, 2, 3  # random streams of an index; object n has _OBJECT + n
_CLASS_OF_PART = np.array([0, *[CLASSES.index(name) + 1 for name, _ in PARTS]], np.uint8)


@dataclass(frozen=True)
class Rendered:
    """image uint8 (3, 96, 96) RGB; mask, part_mask and owner uint8 (96, 96), 0 for background.

    mask holds class index + 1, part_mask index in PARTS + 1, owner object index in factors + 1.
    """

    image: np.ndarray
    mask: np.ndarray
    part_mask: np.ndarray
    owner: np.ndarray
    factors: Factors


class PartWorld(Dataset):
    """A procedural world of ten classes made of parts.

    split: "train" (1000 images by default), "val" (250) or "clip" (100 000, for training CLIP only).
    seed:  another world of the same kind, >= 0.
    size:  number of images, 1..1 000 000; the first ones are the same whatever the size.

    `[i]` gives a Sample; `mask`, `part_mask` and `factors` are for evaluation, `captions` for training CLIP.
    Raises ValueError for an unknown split or a bad seed or size, IndexError for an index out of range.
    """

    class_names: tuple[str, ...] = CLASSES

    def __init__(self, split: str = "train", seed: int = 0, size: int | None = None) -> None:
        if split not in SPLITS:
            raise ValueError(f"split: unknown {split!r} (known: {', '.join(SPLITS)})")
        if seed < 0:
            raise ValueError(f"seed: found {seed}, expected an integer >= 0")
        if size is not None and not 1 <= size <= MAX_SIZE:
            raise ValueError(f"size: found {size}, expected 1..{MAX_SIZE} so that splits share no index")
        self.split, self.seed = split, int(seed)
        self._size = DEFAULT_SIZE[split] if size is None else int(size)
        self._last: tuple[int, Rendered] | None = None

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, i: int) -> Sample:
        rendered = self.render(i)
        names = {thing.class_name for thing in rendered.factors.objects}
        return Sample(
            image=tv_tensors.Image(torch.from_numpy(rendered.image.copy())),
            labels=torch.tensor([name in names for name in CLASSES]),
            name=f"{self.split}_{self.seed}_{self._local(i):06d}",
        )

    def mask(self, i: int) -> np.ndarray:
        """uint8 (96, 96): 0 background, class index + 1 elsewhere. Evaluation only."""
        return self.render(i).mask.copy()

    def part_mask(self, i: int) -> np.ndarray:
        """uint8 (96, 96): 0 background, index in PARTS + 1 elsewhere. Evaluation only."""
        return self.render(i).part_mask.copy()

    def factors(self, i: int) -> Factors:
        """What the image was made of. Evaluation only."""
        return self.render(i).factors

    def captions(self, i: int) -> list[str]:
        """Five sentences about the image. CLIP training only."""
        return write_captions(self.factors(i), self._dice(i, _CAPTIONS))

    def layout(self, i: int) -> Layout:
        """The scene and cast, without drawing. A later role may be dropped in `render` where there is no room."""
        dice = self._dice(i, _LAYOUT)
        count = dice.choice((1, 2, 3), (0.50, 0.35, 0.15))
        names = [dice.choice(CLASSES)]
        scene = dice.choice(SCENES, [CO_OCCURRENCE[names[0]][s] for s in SCENES])
        for _ in range(count - 1):
            rates = [CO_OCCURRENCE[c][scene] * (0.1 if c in names else 1.0) for c in CLASSES]
            names.append(dice.choice(CLASSES, rates))
        return Layout(scene, tuple([_role(name, count, dice) for name in names]))

    def render(self, i: int) -> Rendered:
        """Draw image i with all that is known of it; the last one is remembered."""
        i = self._local(i)
        if self._last is None or self._last[0] != i:
            self._last = (i, self._draw(i))
        return self._last[1]

    def steps(self, i: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Image i as it is made: (what came last, uint8 image (3, 96, 96), uint8 part mask (96, 96)) after each step.

        The steps are scene, distractors, texture, every part of every object, grain. For looking at.
        """
        scene, cast, empty, canvas, dice = self._compose(i)
        for name, backdrop_so_far, _ in backdrop(scene, self._dice(i, _BACKGROUND)):
            yield name, _as_image(backdrop_so_far.rgb), backdrop_so_far.part
        cast = sorted(cast, key=lambda actor: actor.bbox[3])  # as `_paint` does
        for n, actor in enumerate(cast):
            parts = [stroke.part for stroke in actor.strokes]
            for end, part in enumerate(parts, start=1):
                if parts[end : end + 1] != [part]:
                    grown = _paint(empty, [*cast[:n], replace(actor, strokes=actor.strokes[:end])], scene)
                    yield f"{actor.role.class_name}: {part}", _as_image(grown.rgb), grown.part
        yield "grain", _as_image(canvas.rgb + _grain(dice)), canvas.part

    def _local(self, i: int) -> int:
        if not -self._size <= i < self._size:
            raise IndexError(f"index: found {i}, expected 0..{self._size - 1} for split {self.split!r}")
        return int(i) % self._size

    def _dice(self, i: int, stream: int) -> Dice:
        return Dice(self.seed, SPLITS[self.split] + self._local(i), stream)

    def _draw(self, i: int) -> Rendered:
        scene, cast, _, canvas, dice = self._compose(i)
        canvas.rgb += _grain(dice)
        factors = Factors(scene, tuple([_observe(canvas, n, actor) for n, actor in enumerate(cast)]))
        return Rendered(_as_image(canvas.rgb), _CLASS_OF_PART[canvas.part], canvas.part, canvas.owner, factors)

    def _compose(self, i: int) -> tuple[str, list[_Actor], Canvas, Canvas, Dice]:
        """Scene, cast, the scene without and with the cast, and the dice that throws the grain next."""
        layout = self.layout(i)
        dice = self._dice(i, _BACKGROUND)
        empty, horizon = background(layout.scene, dice)
        cast: list[_Actor] = []
        for n, role in enumerate(layout.roles):
            actor = _enter(role, self._dice(i, _OBJECT + n), horizon, [a.bbox for a in cast])
            if actor is not None:
                cast.append(actor)
        while True:
            canvas = _paint(empty, cast, layout.scene)
            if _all_visible(canvas, cast) or len(cast) == 1:
                return layout.scene, cast, empty, canvas, dice
            cast.pop()


def _grain(dice: Dice) -> np.ndarray:
    """Pixel noise of sigma 4, the sum of two uniforms, float32 (3, 96, 96)."""
    grain = dice.field(2, 3, SIZE, SIZE)
    return (grain[0] + grain[1] - np.float32(1)) * np.float32(9.8)


def _as_image(rgb: np.ndarray) -> np.ndarray:
    return np.floor(np.minimum(np.maximum(rgb, 0), 255) + np.float32(0.5)).astype(np.uint8)


@dataclass(frozen=True)
class _Actor:
    role: Role
    strokes: list[Stroke]
    part_colours: dict[str, str]
    bbox: tuple[float, float, float, float]


def _role(name: str, count: int, dice: Dice) -> Role:
    main = dice.choice(COLOURS)
    second = dice.choice([c for c in COLOURS if c != main])
    size = dice.uniform(32, 72) if count == 1 else dice.uniform(26, 52)
    return Role(name, main, second, size, dice.choice(tuple(KINDS[name].poses)), dice.chance(0.5))


def _enter(role: Role, dice: Dice, horizon: float, taken: list[tuple[float, ...]]) -> _Actor | None:
    """Draw an object to size and find it a place, or None if all places tried overlap others too much."""
    kind = KINDS[role.class_name]
    sketch = Sketch(dice, kind.parts, kind.optional, role.main_colour, role.second_colour, role.pose)
    kind.draw(sketch)
    tilt = dice.uniform(*kind.poses[role.pose])
    cos, sin = cos_sin(tilt if role.mirrored else -tilt)
    strokes = placed(sketch.strokes, Affine(cos=cos, sin=sin, mirrored=role.mirrored))
    left, top, right, bottom = strokes_extent(strokes)
    scale = role.size / max(right - left, bottom - top)
    w, h = (right - left) * scale, (bottom - top) * scale
    flies = role.class_name == "aeroplane" or role.pose == "flying"
    lowest = h + 1 if flies or horizon >= SIZE else max(h + 1, min(horizon + 6, 93))
    for _ in range(_TRIES):
        x, y = dice.uniform(1, SIZE - 1 - w), dice.uniform(lowest, SIZE - 1) - h
        bbox = (x, y, x + w, y + h)
        if all(_overlap(bbox, other) <= _MAX_OVERLAP for other in taken):
            strokes = placed(strokes, Affine(scale, x - left * scale, y - top * scale))
            drawn = {stroke.part for stroke in strokes}
            colours = {part: name for part, name in sketch.part_colours.items() if part in drawn}
            return _Actor(role, strokes, colours, bbox)
    return None


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Area common to two boxes over that of the smaller one."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(w, 0.0) * max(h, 0.0) / smaller


def _paint(empty: Canvas, cast: list[_Actor], scene: str) -> Canvas:
    """The cast on a copy of the scene, the nearest (lowest) last."""
    canvas = Canvas(empty.rgb.copy())
    for n in sorted(range(len(cast)), key=lambda n: cast[n].bbox[3]):
        actor = cast[n]
        left, _, right, bottom = actor.bbox
        if scene != "sky" and actor.role.class_name != "aeroplane" and actor.role.pose != "flying":
            shadow = ellipse((left + right) / 2, bottom - 1, (right - left) * 0.46, 2.6)
            canvas.paint([shadow], (40, 44, 60), alpha=0.32, soft=3)
        for stroke in actor.strokes:
            canvas.paint(
                list(stroke.shapes),
                stroke.rgb,
                part=PART_ID[actor.role.class_name, stroke.part],
                owner=n + 1,
                blend=stroke.blend,
                outline=0.42 if stroke.outlined else 0.0,
                shade=0.3 if stroke.outlined else 0.0,
            )
    return canvas


def _all_visible(canvas: Canvas, cast: list[_Actor]) -> bool:
    """Whether each object shows enough of itself."""
    for n, actor in enumerate(cast):
        visible = int(np.count_nonzero(canvas.owner == n + 1))
        if visible < MIN_AREA:
            return False
        if any(other is not actor and _overlap(actor.bbox, other.bbox) > 0 for other in cast):
            alone = _paint(Canvas(np.zeros((3, SIZE, SIZE), np.float32)), [actor], "sky")
            if visible < MIN_VISIBLE * np.count_nonzero(alone.owner):
                return False
    return True


def _observe(canvas: Canvas, n: int, actor: _Actor) -> ObjectFactors:
    mine = canvas.owner == n + 1
    rows, columns = np.flatnonzero(mine.any(1)), np.flatnonzero(mine.any(0))
    area = np.bincount(canvas.part[mine], minlength=len(PARTS) + 1)
    name = actor.role.class_name
    return ObjectFactors(
        **vars(actor.role),
        part_colours=actor.part_colours,
        parts=frozenset(p for p in actor.part_colours if area[PART_ID[name, p]] >= MIN_PART_AREA),
        bbox=(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1),
        visible_area=int(mine.sum()),
    )
