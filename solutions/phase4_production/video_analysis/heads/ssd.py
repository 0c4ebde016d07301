"""torchvision's SSD family, exported as backbone + heads: anchors, box decoding and softmax in NumPy.

Source: torchvision `models/detection/{ssd,anchor_utils,_utils}.py`, after Liu et al., "SSD", 2016.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.vision.detection import Detections
from solutions.core.vision.images import PixelFormat
from solutions.core.vision.letterbox import Fit
from solutions.phase4_production.video_analysis.heads.base import Head, check_classes, corners
from solutions.phase4_production.video_analysis.heads.labels import COCO_91

_CODE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # what the regression was multiplied by in training
_MINUS_ONE_TO_ONE = PixelFormat(rgb=True, scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
_MAX_LOG_GROWTH = math.log(1000 / 16)  # keeps exp() of a wild prediction finite


@dataclass(frozen=True, slots=True)
class AnchorPlan:
    """The default boxes of an SSD, as torchvision's `DefaultBoxGenerator` is configured.

    Attributes:
        scales: size of the anchors of each feature map as a fraction of the image, and one more at the end.
        aspect_ratios: for each feature map, the ratios besides 1; each is used upright and lying.
        feature_hw: rows and columns of each feature map.
    """

    scales: tuple[float, ...]
    aspect_ratios: tuple[tuple[float, ...], ...]
    feature_hw: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        maps = len(self.feature_hw)
        if len(self.aspect_ratios) != maps or len(self.scales) != maps + 1:
            raise ConfigError(
                f"an anchor plan of {maps} feature maps wants {maps} lists of aspect ratios and {maps + 1} scales, "
                f"got {len(self.aspect_ratios)} and {len(self.scales)}"
            )


SSDLITE320 = AnchorPlan(
    scales=(0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0),
    aspect_ratios=((2.0, 3.0),) * 6,
    feature_hw=((20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)),
)


@lru_cache(maxsize=8)
def ssd_anchors(plan: AnchorPlan) -> np.ndarray:
    """Anchors float32 [A, 4]: centre x, centre y, width, height as fractions of the image, in the outputs' order."""
    blocks = []
    for level, (rows, columns) in enumerate(plan.feature_hw):
        scale, between = plan.scales[level], math.sqrt(plan.scales[level] * plan.scales[level + 1])
        shapes = [(scale, scale), (between, between)]
        for ratio in plan.aspect_ratios[level]:
            wide, high = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
            shapes += [(wide, high), (high, wide)]
        y, x = np.mgrid[:rows, :columns]
        centres = np.stack(((x.ravel() + 0.5) / columns, (y.ravel() + 0.5) / rows), axis=1)
        sizes = np.clip(np.tile(shapes, (rows * columns, 1)), 0, 1)
        blocks.append(np.concatenate((centres.repeat(len(shapes), axis=0), sizes), axis=1))
    return np.concatenate(blocks).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class SsdHead(Head):
    """Two outputs, regression [A, 4] and class logits [A, C] with the background as class 0."""

    name: ClassVar[str] = "ssd"

    labels: tuple[str, ...] = COCO_91
    input_hw: tuple[int, int] = (320, 320)
    pixels: PixelFormat = _MINUS_ONE_TO_ONE
    fit: Fit = "stretch"
    score_threshold: float = 0.4
    iou_threshold: float = 0.55
    plan: AnchorPlan = SSDLITE320

    def decode(
        self, outputs: Sequence[np.ndarray], *, canvas_hw: tuple[int, int], score_threshold: float
    ) -> Detections:
        """As torchvision: softmax, a candidate for every class above the threshold, boxes clipped to the canvas."""
        if len(outputs) != 2 or any(output.ndim != 2 for output in outputs):
            raise ConfigError("the ssd head reads regression [A, 4] and class logits [A, C]. Choose --head.")
        codes, logits = sorted(outputs, key=lambda output: output.shape[1] != 4)
        check_classes(logits.shape[1], self)
        anchors = ssd_anchors(self.plan)
        if len(anchors) != len(codes):
            raise ConfigError(
                f"the anchor plan has {len(anchors)} anchors and the model {len(codes)}: give its own plan"
            )
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
        rows, class_ids = np.nonzero(scores[:, 1:] >= score_threshold)
        class_ids += 1
        centres, sizes = np.split(anchors[rows], 2, axis=1)
        shifts, growths = np.split(codes[rows] / np.array(_CODE_WEIGHTS, np.float32), 2, axis=1)
        boxes = corners(centres + shifts * sizes, sizes * np.exp(np.minimum(growths, _MAX_LOG_GROWTH)))
        height, width = canvas_hw
        boxes = np.clip(boxes, 0, 1) * np.array([width, height, width, height], np.float32)
        return Detections(boxes, scores[rows, class_ids].astype(np.float32), class_ids.astype(np.int64))
