"""The synthetic street as a source: `scenes:SEED` or `scenes:SEED@WIDTHxHEIGHT`, with the truth on every frame."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from solutions.core.errors import VideoError
from solutions.core.vision.video_pull import Picture
from solutions.core.vision.video_source import Lost

if TYPE_CHECKING:
    from solutions.core.vision.scenes import SceneTruth

DEFAULT_SIZE_HW = (360, 640)
SCENE_FPS = 30.0
_SPEC = re.compile(r"scenes:(?P<seed>\d+)(?:@(?P<width>\d+)x(?P<height>\d+))?")


def parse_scenes(spec: str) -> tuple[int, tuple[int, int]]:
    """The seed and the size (height, width) that `spec` names.

    Raises:
        VideoError: it is not of this form.

    >>> parse_scenes("scenes:7@640x480")
    (7, (480, 640))
    """
    found = _SPEC.fullmatch(spec)
    if found is None or "0" in (found["width"], found["height"]):
        raise VideoError(
            f"{spec!r} is not a scene: write scenes:SEED or scenes:SEED@WIDTHxHEIGHT, as scenes:7@640x360."
        )
    size_hw = (int(found["height"]), int(found["width"])) if found["width"] else DEFAULT_SIZE_HW
    return int(found["seed"]), size_hw


class SceneFeed:
    """An endless feed of drawn frames: frame n is due n / SCENE_FPS seconds after the start."""

    def __init__(self, seed: int, size_hw: tuple[int, int]) -> None:
        from solutions.core.vision.scenes import StreetScene  # drawing is needed for this kind of source only

        street = StreetScene(seed, size_hw=size_hw, fps=SCENE_FPS)
        street.render()  # paints the street, which the first frame would otherwise have to wait for
        self._frames: Iterator[tuple[np.ndarray, SceneTruth]] = iter(street.frames())
        self._taken = 0

    def due_s(self) -> float | None:
        """When the next frame is due; never None, the street has no end."""
        return self._taken / SCENE_FPS

    def take(self) -> list[Picture | Lost]:
        """The next frame, drawn; `decode_s` is what drawing took."""
        started = time.perf_counter()
        pixels, truth = next(self._frames)
        picture = Picture(pixels, self._taken / SCENE_FPS, time.perf_counter() - started, truth)
        self._taken += 1
        return [picture]

    def close(self) -> None:
        """Nothing to give back."""
