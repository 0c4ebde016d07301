"""The one source of chance of a street: PCG64 read only through `.random` and `.integers`, whose streams are stable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    """Random choices that are the same for a seed on every machine and numpy version."""

    def __init__(self, seed: int, stream: int = 0) -> None:
        self._rng = np.random.Generator(np.random.PCG64([seed, stream]))

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high)."""
        return low + (high - low) * float(self._rng.random())

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return float(self._rng.random()) < probability

    def below(self, n: int) -> int:
        """An integer in [0, n)."""
        return int(self._rng.integers(n))

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order (Fisher-Yates: numpy's own shuffle may change between versions)."""
        out = list(items)
        for i in range(len(out) - 1, 0, -1):
            j = self.below(i + 1)
            out[i], out[j] = out[j], out[i]
        return out

    def noise(self, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
        """int64 noise in [low, high], triangular around the middle."""
        a = self._rng.integers(low, high + 1, size=shape)
        b = self._rng.integers(low, high + 1, size=shape)
        half: np.ndarray = (a + b) // 2
        return half
