"""The YOLO family: YOLOX (raw or decoded), YOLOv5 and YOLOv8/11 as their exporters write them.

Sources: YOLOX (Ge et al. 2021) `demo/ONNXRuntime`, ultralytics' YOLOv5 and YOLOv8 ONNX exports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.vision.detection import Detections
from solutions.core.vision.images import PixelFormat
from solutions.core.vision.letterbox import Fit
from solutions.phase4_production.video_analysis.heads.base import Head, check_classes, corners, only_output
from solutions.phase4_production.video_analysis.heads.labels import COCO_80

STRIDES = (8, 16, 32)
_UNIT_RGB = PixelFormat(rgb=True, scale=1 / 255)


@lru_cache(maxsize=8)
def grid_points(canvas_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Cell indices float32 [A, 2] (x, y) and strides float32 [A] of the rows of a YOLOX output."""
    height, width = canvas_hw
    cells, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack((x.ravel(), y.ravel()), axis=1))
        strides.append(np.full(x.size, stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def anchor_points(canvas_hw: tuple[int, int]) -> int:
    """Number of cells over all strides: the rows of YOLOX and YOLOv8; YOLOv5 has three anchors in each."""
    return sum((canvas_hw[0] // stride) * (canvas_hw[1] // stride) for stride in STRIDES)


def confident(table: np.ndarray, score_threshold: float, head: Head) -> tuple[np.ndarray, Detections]:
    """The rows of `table` [A, 5 + C] whose best objectness x class score reaches the threshold, and what they hold.

    In the detections, boxes are columns 0 to 3 as they stand. A class score is at most 1, so rows of low objectness
    leave before their classes are looked at.

    Raises:
        ConfigError: the number of classes is not the head's.
    """
    check_classes(table.shape[1] - 5, head)
    rows = (table[:, 4] >= score_threshold).nonzero()[0]
    chosen = table.take(rows, 0)
    scores = chosen[:, 4] * chosen[:, 5:].max(axis=1, initial=0)
    keep = (scores >= score_threshold).nonzero()[0]
    chosen = chosen.take(keep, 0)
    return rows.take(keep), Detections(chosen[:, :4], scores.take(keep), chosen[:, 5:].argmax(axis=1))


@dataclass(frozen=True, kw_only=True)
class YoloxHead(Head):
    """YOLOX: [A, 5 + C] with raw centres and sizes, objectness and class scores already through the sigmoid."""

    name: ClassVar[str] = "yolox"

    labels: tuple[str, ...] = COCO_80
    input_hw: tuple[int, int] = (416, 416)

    def decode(
        self, outputs: Sequence[np.ndarray], *, canvas_hw: tuple[int, int], score_threshold: float
    ) -> Detections:
        """Centres are (raw + cell) * stride, sizes exp(raw) * stride, the score objectness x class."""
        table = only_output(outputs, self.name, "[A, 5 + C]", 2)
        rows, found = confident(table, score_threshold, self)
        cells, strides = grid_points(canvas_hw)
        if len(cells) != len(table):
            raise ConfigError(f"YOLOX gives {len(cells)} rows for an input of {canvas_hw}, this model {len(table)}")
        step = strides[rows, None]
        centres = (found.boxes[:, :2] + cells[rows]) * step
        boxes = corners(centres, np.exp(found.boxes[:, 2:]) * step)
        return Detections(boxes, found.scores, found.class_ids)


@dataclass(frozen=True, kw_only=True)
class YoloxDecodedHead(Head):
    """YOLOX exported with `--decode_in_inference`: as YOLOv5's table, as YOLOX's pixels."""

    name: ClassVar[str] = "yolox-decoded"

    labels: tuple[str, ...] = COCO_80
    input_hw: tuple[int, int] = (416, 416)

    def decode(
        self, outputs: Sequence[np.ndarray], *, canvas_hw: tuple[int, int], score_threshold: float
    ) -> Detections:
        """Rows are centre, size in pixels, objectness, classes."""
        _, found = confident(only_output(outputs, self.name, "[A, 5 + C]", 2), score_threshold, self)
        return Detections(corners(found.boxes[:, :2], found.boxes[:, 2:]), found.scores, found.class_ids)


@dataclass(frozen=True, kw_only=True)
class Yolov5Head(YoloxDecodedHead):
    """YOLOv5 and v7: [A, 5 + C], three anchors per cell, centre and size decoded to pixels in the graph."""

    name: ClassVar[str] = "yolov5"

    input_hw: tuple[int, int] = (640, 640)
    pixels: PixelFormat = _UNIT_RGB
    fit: Fit = "centre"
    score_threshold: float = 0.25


@dataclass(frozen=True, kw_only=True)
class Yolov8Head(Head):
    """YOLOv8 and 11: [4 + C, A], centre and size decoded to pixels, no objectness."""

    name: ClassVar[str] = "yolov8"

    labels: tuple[str, ...] = COCO_80
    input_hw: tuple[int, int] = (640, 640)
    pixels: PixelFormat = _UNIT_RGB
    fit: Fit = "centre"
    score_threshold: float = 0.25
    iou_threshold: float = 0.7

    def decode(
        self, outputs: Sequence[np.ndarray], *, canvas_hw: tuple[int, int], score_threshold: float
    ) -> Detections:
        """Columns are boxes; the score is the best class score."""
        table = only_output(outputs, self.name, "[4 + C, A]", 2)
        check_classes(table.shape[0] - 4, self)
        best = table[4:].max(axis=0)
        chosen = table[:, np.flatnonzero(best >= score_threshold)]
        class_ids = chosen[4:].argmax(axis=0).astype(np.int64)
        return Detections(corners(chosen[:2].T, chosen[2:4].T), chosen[4:].max(axis=0), class_ids)
