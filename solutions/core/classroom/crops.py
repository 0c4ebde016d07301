"""Crops of the synthetic street with their classes: small data for scripts that need a fresh picture or two hundred."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from solutions.core.vision.images import crop_batch
from solutions.core.vision.scenes import StreetScene, counts
from solutions.core.zoo.training.dataset import CROP_HW, HELD_OUT_SEED

Array = npt.NDArray[Any]
_SIZE_HW = (360, 640)
_TRAINING_SEED = 0


@dataclass(frozen=True, slots=True)
class Crops:
    """`pictures` float32 [Q, 3, 48, 48] BGR 0..255, `classes` int64 [Q]."""

    pictures: Array
    classes: Array


def street_crops(count: int, *, held_out: bool) -> Crops:
    """The first `count` well visible actors of streets that the embedded models were trained on, or never saw."""
    pictures: list[Array] = []
    classes: list[Array] = []
    found, seed = 0, HELD_OUT_SEED if held_out else _TRAINING_SEED
    while found < count:
        scene = StreetScene(seed, size_hw=_SIZE_HW, traffic=1.5)
        for _ in range(4):
            scene.advance(6.0)
            picture, truth = scene.render()
            rows = np.flatnonzero((truth.visible >= 0.5) & counts(truth, _SIZE_HW))
            if len(rows):
                pictures.append(crop_batch(picture, truth.boxes[rows], CROP_HW))
                classes.append(truth.class_ids[rows])
                found += len(rows)
        seed += 1
    return Crops(np.concatenate(pictures)[:count].astype(np.float32), np.concatenate(classes)[:count])
