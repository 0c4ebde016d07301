"""What the camera adds: slow changes of light, a little softness at no cost, and noise."""

from __future__ import annotations

import math

import cv2
import numpy as np

from solutions.core.vision.street.dice import Dice

TILES = 8  # offsets into one noise tile are drawn from a short list, so a frame's noise is a function of its time
NOISE_PAD = 64


class Sensor:
    """Turns a clean frame into a camera's."""

    def __init__(self, seed: int, size_hw: tuple[int, int]) -> None:
        dice = Dice(seed, 13)
        h, w = size_hw
        amount = dice.pick((4, 5, 6, 8))
        small = dice.noise((128, 160, 3), -amount, amount)
        reps = ((h + NOISE_PAD) // 128 + 1, (w + NOISE_PAD) // 160 + 1, 1)
        tile = np.tile(small, reps)[: h + NOISE_PAD, : w + NOISE_PAD]
        self._plus = np.maximum(tile, 0).astype(np.uint8)
        self._minus = np.maximum(-tile, 0).astype(np.uint8)
        self._offsets = [(dice.below(NOISE_PAD), dice.below(NOISE_PAD)) for _ in range(61)]
        self._phase, self._period = dice.uniform(0, 2 * math.pi), dice.uniform(14.0, 30.0)
        self._luts: dict[int, np.ndarray] = {}

    def expose(self, frame: np.ndarray, time_s: float) -> np.ndarray:
        """The frame under the light of that moment, with noise."""
        # a cloud passes now and then: the sine is cut so that most of the time the light is full
        wave = max(0.0, math.sin(self._phase + 2 * math.pi * time_s / self._period) - 0.3) / 0.7
        level = round(48 * wave)
        lut = self._luts.get(level)
        if lut is None:
            steps = np.arange(256) * (256 - level) // 256
            lut = self._luts[level] = steps.astype(np.uint8)
        out = cv2.LUT(frame, lut) if level else frame
        h, w = frame.shape[:2]
        y, x = self._offsets[round(time_s * 240) % len(self._offsets)]
        cv2.add(out, self._plus[y : y + h, x : x + w], dst=out)
        return cv2.subtract(out, self._minus[y : y + h, x : x + w], dst=out)
