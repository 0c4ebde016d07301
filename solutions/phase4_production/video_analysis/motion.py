"""The motion gate: is there anything new in this frame that a detector should look at?"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from solutions.core.errors import ConfigError

_THUMB_WH = (80, 45)


@dataclass(frozen=True, slots=True)
class MotionConfig:
    """When a frame counts as still.

    Raising `pixel_step` (grey levels) ignores more noise and slow light; raising `min_share` (of the picture) ignores
    smaller movers: 0.0008 is three pixels of the 80x45 thumbnail, a pedestrian at a tenth of the picture's height.
    After `max_still` frames without a look the detector looks all the same.
    """

    pixel_step: int = 12
    min_share: float = 0.0008
    max_still: int = 30

    def __post_init__(self) -> None:
        if not 1 <= self.pixel_step <= 255:
            raise ConfigError(f"pixel_step must lie in 1..255, got {self.pixel_step}")
        if not 0 <= self.min_share <= 1:
            raise ConfigError(f"min_share must lie in [0, 1], got {self.min_share}")
        if self.max_still < 1:
            raise ConfigError(f"max_still must be >= 1, got {self.max_still}")


class MotionGate:
    """Compares each frame of one stream with the last one that the detector looked at.

    Comparing with that frame, and not with the one just before, lets slow motion add up until it is seen.
    """

    def __init__(self, config: MotionConfig = MotionConfig()) -> None:
        self._config = config
        self._seen: np.ndarray | None = None
        self._still = 0

    def moved(self, pixels: np.ndarray) -> bool:
        """True when the detector should look at this frame; the frame is then the new reference."""
        thumb = cv2.resize(pixels, _THUMB_WH, interpolation=cv2.INTER_AREA)[..., 1]  # green is most of the luma
        if self._seen is not None and self._still < self._config.max_still:
            changed = np.count_nonzero(cv2.absdiff(thumb, self._seen) > self._config.pixel_step)
            if changed < self._config.min_share * thumb.size:
                self._still += 1
                return False
        self._seen, self._still = thumb, 0
        return True
