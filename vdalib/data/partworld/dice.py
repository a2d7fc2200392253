"""Random draws that are the same on every machine: built on uniform doubles alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    """A PCG64 stream named by integers, e.g. Dice(seed, index, stream).

    Only `Generator.random` is used, whose stream NumPy keeps stable; its other distributions may change.
    """

    def __init__(self, *key: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A float in [low, high)."""
        return low + (high - low) * self._generator.random()

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return self._generator.random() < p

    def integer(self, low: int, high: int) -> int:
        """An integer in low..high, both included."""
        return low + int(self._generator.random() * (high - low + 1))

    def choice(self, items: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of the items, with probability proportional to its weight (equal if None)."""
        if weights is None:
            return items[int(self._generator.random() * len(items))]
        left = self._generator.random() * math.fsum(weights)
        for item, weight in zip(items, weights):
            left -= weight
            if left < 0:
                return item
        return items[-1]

    def field(self, *shape: int) -> np.ndarray:
        """float32 array of uniforms in [0, 1)."""
        return self._generator.random(shape, dtype=np.float32)


def cos_sin(degrees: float) -> tuple[float, float]:
    """(cos, sin) rounded to six digits, so that the last bit of the C library cannot matter."""
    angle = math.radians(degrees)
    return round(math.cos(angle), 6), round(math.sin(angle), 6)
