"""Which objects a segmentation finds, by what PartWorld knows of them. Evaluation only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vdalib.data.partworld import COLOURS, KIND_NAMES, SCENES, PartWorld
from vdalib.evaluation.bootstrap import interval, resampled_sums

SIZE_EDGES = (0.4, 0.7, 1.0)  # longer side with all that is cut off, over the picture's shorter side
HIDDEN_EDGES = (0.02, 0.2)  # share of an object behind something else, of what is inside the picture
FACTORS: dict[str, tuple[str, ...]] = {  # factor -> its levels in their order
    "objects": ("all objects",),
    "main colour": COLOURS,
    "size": ("under 0.4 of the side", "0.4 to 0.7", "0.7 to 1", "over 1"),
    "scene": SCENES,
    "occlusion": ("nothing hidden", "up to a fifth hidden", "more hidden"),
    "truncation": ("whole", "at the border"),
    "kind": KIND_NAMES,
}


class ObjectTable:
    """Every object of PartWorld images, with its factors and what each way of segmentation makes of it.

    ways:       names of the label maps that are compared.
    images:     int64 (n,), the image of each object. levels: factor in FACTORS -> int64 (n,), index of its level.
    recall:     way -> (n,), share of the object's visible pixels that are labelled rightly.
    background: way -> (n,), share that is labelled background; what is left is another class's.
    iou:        way -> (n,), with the pixels of its class in that image; those of other objects of the class are left out.
    """

    def __init__(self, world: PartWorld, ways: Sequence[str]) -> None:
        self.ways, self._world = tuple(ways), world
        self._images: list[int] = []
        self._levels: list[list[int]] = []
        self._shares: list[np.ndarray] = []  # (objects, ways, 3) of each image

    def update(self, index: int, maps: Mapping[str, np.ndarray]) -> None:
        """Add the objects of an image, given its label maps (H, W) by way."""
        rendered, truth = self._world.render(index), self._world.mask(index)
        objects = rendered.factors.objects
        shares = [object_shares(rendered.owner, truth, maps[way], len(objects)) for way in self.ways]
        self._shares.append(np.stack(shares, 1))
        height, width = truth.shape
        for thing, alone in zip(objects, self._world.areas_alone(index)):
            left, top, right, bottom = thing.bbox
            self._images.append(index)
            self._levels.append(
                [
                    0,
                    COLOURS.index(thing.main_colour),
                    int(np.digitize(thing.size / min(height, width), SIZE_EDGES)),
                    SCENES.index(rendered.factors.scene),
                    int(np.digitize(1 - thing.visible_area / alone, HIDDEN_EDGES)),
                    int(left == 0 or top == 0 or right == width or bottom == height),
                    KIND_NAMES.index(thing.kind),
                ]
            )

    def __len__(self) -> int:
        return len(self._images)

    @property
    def images(self) -> np.ndarray:
        return np.array(self._images, np.int64)

    @property
    def levels(self) -> dict[str, np.ndarray]:
        return dict(zip(FACTORS, np.array(self._levels, np.int64).reshape(-1, len(FACTORS)).T))

    @property
    def recall(self) -> dict[str, np.ndarray]:
        return self._by_way(0)

    @property
    def background(self) -> dict[str, np.ndarray]:
        return self._by_way(1)

    @property
    def iou(self) -> dict[str, np.ndarray]:
        return self._by_way(2)

    def counts(self, factor: str) -> dict[str, int]:
        """Level -> number of objects, of levels that occur."""
        number = np.bincount(self.levels[factor], minlength=len(FACTORS[factor]))
        return {name: int(n) for name, n in zip(FACTORS[factor], number) if n}

    def by_level(self, factor: str, values: np.ndarray) -> dict[str, tuple[float, float, float]]:
        """Level -> mean of values (n,) with a 95 % interval by bootstrap over images, of levels that occur.

        The interval is nan where the level is in one image only.
        """
        names = FACTORS[factor]
        _, image = np.unique(self.images, return_inverse=True)
        sums = np.zeros((image.max(initial=-1) + 1, len(names), 2))
        np.add.at(sums, (image, self.levels[factor]), np.stack([values, np.ones(len(values))], 1))
        images_with = (sums[..., 1] > 0).sum(0)
        with np.errstate(invalid="ignore"):
            total, drawn = sums.sum(0), resampled_sums(sums)
            mean, samples = total[:, 0] / total[:, 1], drawn[..., 0] / drawn[..., 1]
        low, high = np.where(images_with > 1, interval(samples), np.nan)
        return {name: (float(mean[n]), float(low[n]), float(high[n])) for n, name in enumerate(names) if images_with[n]}

    def _by_way(self, number: int) -> dict[str, np.ndarray]:
        shares = np.concatenate(self._shares) if self._shares else np.empty((0, len(self.ways), 3))
        return {way: shares[:, n, number] for n, way in enumerate(self.ways)}


def object_shares(owner: np.ndarray, truth: np.ndarray, prediction: np.ndarray, objects: int) -> np.ndarray:
    """(objects, 3): recall, share lost to the background, and IoU, of maps (H, W); owner is 0 or the object's index + 1.

    All pixels of an object have one label in `truth`; its IoU is with the pixels predicted so outside of the class.
    """
    value = np.zeros(objects + 1, np.int64)
    value[owner.ravel()] = truth.ravel()

    def pixels(where: np.ndarray) -> np.ndarray:
        return np.bincount(owner[where], minlength=objects + 1)[1:]

    area, right, lost = pixels(owner > 0), pixels(prediction == value[owner]), pixels(prediction == 0)
    spurious = np.bincount(prediction[prediction != truth], minlength=256)[value[1:]]
    return np.stack([right / area, lost / area, right / (area + spurious)], 1)
