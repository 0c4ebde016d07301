"""FastestDet: one grid at stride 16, one object per cell (github.com/dog-qiuqiu/FastestDet)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from solutions.core.vision.detection import Detections
from solutions.core.vision.images import PixelFormat
from solutions.core.vision.letterbox import Fit
from solutions.phase4_production.video_analysis.heads.base import Head, check_classes, corners, only_output
from solutions.phase4_production.video_analysis.heads.labels import COCO_80

_UNIT_BGR = PixelFormat(scale=1 / 255)


@dataclass(frozen=True, kw_only=True)
class FastestDetHead(Head):
    """[5 + C, H / 16, W / 16]: objectness, dx, dy, w, h raw, then class probabilities; frames are stretched."""

    name: ClassVar[str] = "fastestdet"

    labels: tuple[str, ...] = COCO_80
    input_hw: tuple[int, int] = (352, 352)
    pixels: PixelFormat = _UNIT_BGR
    fit: Fit = "stretch"
    score_threshold: float = 0.45

    def decode(
        self, outputs: Sequence[np.ndarray], *, canvas_hw: tuple[int, int], score_threshold: float
    ) -> Detections:
        """The score is objectness^0.6 x class^0.4; centres move by tanh, sizes are a sigmoid of the whole canvas."""
        grid = only_output(outputs, self.name, "[5 + C, H / 16, W / 16]", 3)
        check_classes(grid.shape[0] - 5, self)
        # The class factor is at most 1, so objectness alone already rules most cells out.
        rows, columns = np.nonzero(grid[0] ** 0.6 >= score_threshold)
        cells = grid[:, rows, columns]
        class_ids = cells[5:].argmax(axis=0)
        scores = cells[0] ** 0.6 * cells[5:].max(axis=0) ** 0.4
        keep = scores >= score_threshold
        rows, columns, cells = rows[keep], columns[keep], cells[:, keep]
        height, width = canvas_hw
        canvas_wh = np.array([width, height], np.float32)
        cell_wh = canvas_wh / np.array([grid.shape[2], grid.shape[1]], np.float32)
        centres = (np.stack((columns, rows), axis=1) + np.tanh(cells[1:3].T)) * cell_wh
        sizes = canvas_wh / (1 + np.exp(-cells[3:5].T))
        return Detections(corners(centres, sizes), scores[keep], class_ids[keep].astype(np.int64))
