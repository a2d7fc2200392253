"""PartWorld: images that are a pure function of (split, seed, index), with exact masks of classes, kinds and parts.

By `benchmarks/partworld.py` on 500 images: 4.8 ms of processor time an image (95th percentile 7.4), objects cover 0.27 of a
picture, the border touches 0.50 of them, and 0.52 of those that a 96 px training view at a scale of 0.5 to 2.0 shows lack a part
that they were drawn with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from ..sample import Sample
from .casting import LEAD_SIZE, MIN_AREA, OTHER_SIZE, Actor, enter, role_of
from .clutter import occluder
from .dice import Dice
from .factors import Factors, Layout, ObjectFactors
from .ground import Ground
from .objects import CLASSES, KIND_NAMES, PART_ID, PARTS
from .scenes import CO_OCCURRENCE, SCENES, backdrop, background
from .shapes import Canvas, ellipse

SPLITS: dict[str, int] = {"train": 0, "val": 1_000_000, "clip": 2_000_000}  # first global index of each split
DEFAULT_SIZE: dict[str, int] = {"train": 1_000, "val": 250, "clip": 100_000}
MAX_SIZE = 1_000_000
KEPT = 1000  # samples of a data set that are kept, the first ones asked for: some 50 kB each
SHAPES: tuple[tuple[int, int], ...] = ((128, 128), (112, 144), (144, 112), (104, 160), (160, 104))  # height, width in px
GRANULARITIES: dict[str, tuple[str, ...]] = {"class": CLASSES, "kind": KIND_NAMES}
OBJECTS: dict[int, float] = {1: 0.50, 2: 0.33, 3: 0.17}  # how many are cast, and how often
OCCLUDERS: dict[int, float] = {0: 0.66, 1: 0.24, 2: 0.10}  # as many are tried
MIN_VISIBLE, MIN_PART_AREA = 0.3, 8  # share of an object, px of a part
_LAYOUT, _BACKGROUND, _FRONT, _OBJECT = 0, 1, 3, 4  # random streams of an index; object n has _OBJECT + n
_COVERED = 255  # owner and part of what lies before the objects, while it is painted
_CLASS_OF_PART = np.array([0, *[CLASSES.index(name) + 1 for name, _ in PARTS]], np.uint8)


@dataclass(frozen=True)
class Rendered:
    """image uint8 (3, H, W) RGB; mask, kind_mask, part_mask and owner uint8 (H, W), 0 for background.

    mask holds class index + 1, kind_mask index in KIND_NAMES + 1, part_mask index in PARTS + 1, owner object index in
    factors + 1.
    """

    image: np.ndarray
    mask: np.ndarray
    kind_mask: np.ndarray
    part_mask: np.ndarray
    owner: np.ndarray
    factors: Factors


class PartWorld(Dataset):
    """A procedural world of ten classes in 36 kinds, made of parts, in pictures of some 128 px of differing shape.

    split: "train" (1000 images by default), "val" (250) or "clip" (100 000, for training CLIP only).
    seed:  another world of the same kind, >= 0.
    size:  number of images, 1..1 000 000; the first ones are the same whatever the size.
    granularity: whether labels and `mask` tell "class" or "kind"; the images are the same.

    `[i]` gives a Sample; `mask`, `part_mask` and `factors` are for evaluation.
    Raises ValueError for an unknown split or granularity or a bad seed or size, IndexError for an index out of range.
    """

    class_names: tuple[str, ...] = CLASSES

    def __init__(self, split: str = "train", seed: int = 0, size: int | None = None, granularity: str = "class") -> None:
        if split not in SPLITS:
            raise ValueError(f"split: unknown {split!r} (known: {', '.join(SPLITS)})")
        if seed < 0:
            raise ValueError(f"seed: found {seed}, expected an integer >= 0")
        if size is not None and not 1 <= size <= MAX_SIZE:
            raise ValueError(f"size: found {size} (data.{split}_size), expected 1..{MAX_SIZE} so that splits share no index")
        if granularity not in GRANULARITIES:
            raise ValueError(f"granularity: unknown {granularity!r} (known: {', '.join(GRANULARITIES)})")
        self.split, self.seed, self.granularity = split, int(seed), granularity
        self.class_names = GRANULARITIES[granularity]
        self._size = DEFAULT_SIZE[split] if size is None else int(size)
        self._last: tuple[int, Rendered] | None = None
        self._kept: dict[int, Sample] = {}

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, i: int) -> Sample:
        i = self._local(i)
        if (sample := self._kept.get(i)) is None:
            rendered = self.render(i)
            names = {name for thing in rendered.factors.objects for name in (thing.class_name, thing.kind)}
            sample = Sample(
                image=tv_tensors.Image(torch.from_numpy(rendered.image)),
                labels=torch.tensor([name in names for name in self.class_names]),
                name=f"{self.split}_{self.seed}_{i:06d}",
            )
            if len(self._kept) < KEPT:
                self._kept[i] = sample
        return replace(sample, image=sample.image.clone(), labels=sample.labels.clone())

    def mask(self, i: int) -> np.ndarray:
        """uint8 (H, W): 0 background, index in `class_names` + 1 elsewhere. Evaluation only."""
        rendered = self.render(i)
        return (rendered.mask if self.granularity == "class" else rendered.kind_mask).copy()

    def part_mask(self, i: int) -> np.ndarray:
        """uint8 (H, W): 0 background, index in PARTS + 1 elsewhere. Evaluation only."""
        return self.render(i).part_mask.copy()

    def factors(self, i: int) -> Factors:
        """What the image was made of. Evaluation only."""
        return self.render(i).factors

    def layout(self, i: int) -> Layout:
        """The shape, scene and cast, without drawing. A later role may be dropped in `render` where there is no room."""
        dice = self._dice(i, _LAYOUT)
        height, width = dice.choice(SHAPES)
        count = dice.choice(tuple(OBJECTS), tuple(OBJECTS.values()))
        names = [dice.choice(CLASSES)]
        scene = dice.choice(SCENES, [CO_OCCURRENCE[names[0]][s] for s in SCENES])
        for _ in range(count - 1):
            rates = [CO_OCCURRENCE[c][scene] * (0.1 if c in names else 1.0) for c in CLASSES]
            names.append(dice.choice(CLASSES, rates))
        sizes = (LEAD_SIZE, *[OTHER_SIZE] * (count - 1))
        roles = tuple([role_of(name, size, min(height, width), dice) for name, size in zip(names, sizes)])
        return Layout(height, width, scene, roles)

    def render(self, i: int) -> Rendered:
        """Draw image i with all that is known of it; the last one is remembered."""
        i = self._local(i)
        if self._last is None or self._last[0] != i:
            self._last = (i, self._draw(i))
        return self._last[1]

    def areas_alone(self, i: int) -> list[int]:
        """Pixels that each object of image i would show if nothing stood in front of it. Evaluation only."""
        layout, cast, ground, *_ = self._compose(i)
        return [int((_paint(ground, [actor], layout.scene).owner > 0).sum()) for actor in cast]

    def steps(self, i: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Image i as it is made: (what came last, uint8 image (3, H, W), uint8 part mask (H, W)) after each step.

        The steps are scene, distractors, texture, every part of every object, what stands in front, grain. For looking at.
        """
        layout, cast, ground, canvas, dice = self._compose(i)
        for name, so_far in backdrop(layout.scene, layout.height, layout.width, self._dice(i, _BACKGROUND)):
            yield name, _as_image(so_far.canvas.rgb), so_far.canvas.part
        order = _order(cast)
        for place, n in enumerate(order):
            parts = [stroke.part for stroke in cast[n].strokes]
            for end, part in enumerate(parts, start=1):
                if parts[end : end + 1] != [part]:
                    partly = replace(cast[n], strokes=cast[n].strokes[:end])
                    grown = _paint(ground, [*[cast[m] for m in order[:place]], partly], layout.scene)
                    yield f"{cast[n].role.kind}: {part}", _as_image(grown.rgb), grown.part
        yield "in front", _as_image(canvas.rgb), canvas.part
        yield "grain", _as_image(canvas.rgb + _grain(canvas, dice)), canvas.part

    def _local(self, i: int) -> int:
        if not -self._size <= i < self._size:
            raise IndexError(f"index: found {i}, expected 0..{self._size - 1} for split {self.split!r}")
        return int(i) % self._size

    def _dice(self, i: int, stream: int) -> Dice:
        return Dice(self.seed, SPLITS[self.split] + self._local(i), stream)

    def _draw(self, i: int) -> Rendered:
        layout, cast, _, canvas, dice = self._compose(i)
        canvas.rgb += _grain(canvas, dice)
        kinds = np.array([0, *[KIND_NAMES.index(actor.role.kind) + 1 for actor in cast]], np.uint8)
        factors = Factors(layout.scene, tuple([_observe(canvas, n, actor) for n, actor in enumerate(cast)]))
        mask, kind_mask = _CLASS_OF_PART[canvas.part], kinds[canvas.owner]
        return Rendered(_as_image(canvas.rgb), mask, kind_mask, canvas.part, canvas.owner, factors)

    def _compose(self, i: int) -> tuple[Layout, list[Actor], Ground, Canvas, Dice]:
        """Layout, cast, the scene without and with the cast and what stands in front, and the dice that throws the grain next."""
        layout = self.layout(i)
        dice = self._dice(i, _BACKGROUND)
        ground = background(layout.scene, layout.height, layout.width, dice)
        horizon = ground.horizon * ground.px
        cast: list[Actor] = []
        for n, role in enumerate(layout.roles):
            actor = enter(role, self._dice(i, _OBJECT + n), layout.height, layout.width, horizon, cast)
            if actor is not None:
                cast.append(actor)
        canvas = _paint(ground, cast, layout.scene)
        while len(cast) > 1 and not _all_visible(canvas, cast):
            cast.pop()
            canvas = _paint(ground, cast, layout.scene)
        return layout, cast, ground, _occluded(canvas, cast, self._dice(i, _FRONT)), dice


def _grain(canvas: Canvas, dice: Dice) -> np.ndarray:
    """Pixel noise of sigma 4, the sum of two uniforms, float32 (3, H, W)."""
    grain = dice.field(2, *canvas.rgb.shape)
    return (grain[0] + grain[1] - np.float32(1)) * np.float32(9.8)


def _as_image(rgb: np.ndarray) -> np.ndarray:
    return np.floor(np.minimum(np.maximum(rgb, 0), 255) + np.float32(0.5)).astype(np.uint8)


def _copy(canvas: Canvas) -> Canvas:
    copy = Canvas(canvas.rgb.copy())
    copy.part, copy.owner = canvas.part.copy(), canvas.owner.copy()
    return copy


def _order(cast: list[Actor]) -> list[int]:
    """The cast from back to front: the smaller an object the nearer, so that none is lost behind a larger one."""
    return sorted(range(len(cast)), key=lambda n: -cast[n].role.size)


def _paint(ground: Ground, cast: list[Actor], scene: str) -> Canvas:
    """The cast on a copy of the scene."""
    canvas = Canvas(ground.canvas.rgb.copy())
    for n in _order(cast):
        actor = cast[n]
        left, _, right, bottom = actor.box
        if scene != "sky" and not actor.flies:
            thick = 1.5 + 0.02 * actor.role.size
            canvas.paint(
                [ellipse((left + right) / 2, bottom - 1, (right - left) * 0.46, thick)], (40, 44, 60), alpha=0.32, soft=3
            )
        for stroke in actor.strokes:
            canvas.paint(
                list(stroke.shapes),
                stroke.rgb,
                part=PART_ID[actor.role.class_name, stroke.part],
                owner=n + 1,
                blend=stroke.blend,
                outline=0.42 if stroke.outlined else 0.0,
                shade=0.3 if stroke.outlined else 0.0,
                pattern=stroke.pattern,
            )
    return canvas


def _occluded(canvas: Canvas, cast: list[Actor], dice: Dice) -> Canvas:
    """The canvas with things of no class in front of objects, as far as enough of each object stays visible."""
    for _ in range(dice.choice(tuple(OCCLUDERS), tuple(OCCLUDERS.values()))):
        rows, columns = np.nonzero(canvas.owner == dice.integer(1, len(cast)))
        at = dice.integer(0, len(rows) - 1)
        before = _copy(canvas)
        ground = Ground(before, 1.0)
        r = (0.2 + 0.3 * dice.uniform()) * len(rows) ** 0.5 / ground.px
        occluder(ground, columns[at] / ground.px, rows[at] / ground.px, r, dice, _COVERED)
        hidden = before.owner == _COVERED
        before.owner[hidden] = before.part[hidden] = 0
        if _all_visible(before, cast):
            canvas = before
    return canvas


def _all_visible(canvas: Canvas, cast: list[Actor]) -> bool:
    """Whether each object shows enough of itself."""
    area = np.bincount(canvas.owner.ravel(), minlength=len(cast) + 1)
    return all(area[n + 1] >= max(MIN_VISIBLE * actor.area, MIN_AREA) for n, actor in enumerate(cast))


def _observe(canvas: Canvas, n: int, actor: Actor) -> ObjectFactors:
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
