"""The pictures that int8 is calibrated with: what the activations of the model range over is learnt from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.vision.scenes import StreetScene
from solutions.core.vision.video import SourceInfo, open_source

CALIBRATION_SEEDS = range(2_000_000, 2_000_008)  # neither trained on nor scored on


@dataclass(frozen=True, slots=True)
class CalibrationPictures:
    """What to learn ranges from, and what to compare precisions on: other pictures, where there are others."""

    learnt: list[np.ndarray]
    judged: list[np.ndarray]


def calibration_pictures(
    place: str | None, source: SourceInfo, *, street: bool, count: int = 40
) -> CalibrationPictures:
    """About `count` pictures to learn from, by `calibration_frames`, and half as many like those to come to judge on.

    Raises:
        ConfigError, VideoError: as `calibration_frames`; or there was no picture.
    """
    if place is None:
        every = list(calibration_frames(None, source, street=street, count=count + count // 2))
        judged = every[2::3] or every
        learnt = [picture for number, picture in enumerate(every) if number % 3 != 2]
    else:
        learnt = list(calibration_frames(place, source, street=street, count=count))
        judged = learnt if source.live else list(calibration_frames(None, source, street=street, count=count // 2))
    if not learnt or not judged:
        raise ConfigError(f"{place if not learnt and place else source.spec} gave no picture to calibrate with.")
    return CalibrationPictures(learnt, judged)


def calibration_frames(place: str | None, source: SourceInfo, *, street: bool, count: int = 40) -> Iterator[np.ndarray]:
    """About `count` pictures, uint8 [H, W, 3] BGR, from `place` (a folder or video), or else like those to come.

    Those are drawn for a detector of the synthetic `street`, and taken from the video itself for any other.

    Raises:
        ConfigError: a live source has no pictures to spare.
        VideoError: the video cannot be read.
    """
    if place is not None:
        yield from _pictures(place, count)
    elif street:
        for seed in CALIBRATION_SEEDS:
            scene = StreetScene(seed)
            for _ in range(count // len(CALIBRATION_SEEDS)):
                scene.advance(4.0)
                yield scene.render()[0]
    elif source.live:
        raise ConfigError("int8 on a live source needs pictures to calibrate with: --calibration FOLDER or VIDEO.")
    else:
        yield from _spread(source.spec, count)


def _pictures(place: str, count: int) -> Iterator[np.ndarray]:
    folder = Path(place)
    if not folder.is_dir():
        yield from _spread(place, count)
        return
    for path in sorted(folder.iterdir())[:count]:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is not None:
            yield picture


def _spread(video: str, count: int) -> Iterator[np.ndarray]:
    """About `count` frames spread over a video file."""
    with open_source(video) as source:
        step = max(1, (source.info.frames or 10 * count) // count)
        taken = 0
        for frame in source:
            if frame.index % step == 0:
                yield frame.pixels.copy()
                taken += 1
                if taken == count:
                    return
