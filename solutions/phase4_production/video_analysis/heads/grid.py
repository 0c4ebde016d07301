"""The embedded detectors: one grid at stride 8 with class logits and log distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from solutions.core.vision.detection import Detections
from solutions.core.zoo.grid import decode_grid
from solutions.phase4_production.video_analysis.heads.base import Head, check_classes, only_output
from solutions.phase4_production.video_analysis.heads.labels import STREET


@dataclass(frozen=True, kw_only=True)
class GridHead(Head):
    """[C + 4, H / 8, W / 8]: C class logits, then log distances (in cells) from the cell's centre to the four edges."""

    name: ClassVar[str] = "grid"

    labels: tuple[str, ...] = STREET
    input_hw: tuple[int, int] = (192, 320)
    score_threshold: float = 0.35
    iou_threshold: float = 0.5

    def decode(
        self, outputs: Sequence[np.ndarray], *, canvas_hw: tuple[int, int], score_threshold: float
    ) -> Detections:
        """See `decode_grid`; the thresholds at the very ends of 0..1 are moved inside, where a logit exists."""
        grid = only_output(outputs, self.name, "[C + 4, H / 8, W / 8]", 3)
        check_classes(grid.shape[0] - 4, self)
        inside = min(max(score_threshold, 1e-6), 1 - 1e-6)
        return decode_grid(grid, classes=len(self.labels), score_threshold=inside)
