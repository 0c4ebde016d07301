"""Average precision of a detector, as COCO counts it, with room for truth that should not be judged.

A detector is scored on its ranking: detections of all frames are sorted by score, each is right or wrong, and the area
under the precision-recall curve is the average precision (Lin et al., "Microsoft COCO", 2014; the all-point area of
Pascal VOC 2010 in place of COCO's 101 samples of the same curve). Truth marked `ignore` (too small, too hidden, not
labelled carefully) absorbs the detections on it: they are neither right nor wrong, and missing it costs nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.vision.detection import Detections, iou_matrix

ANY_CLASS = -1
"""The one key of `APResult.ap` when classes do not count."""

_WRONG, _RIGHT, _ABSORBED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class TruthBoxes:
    """The labelled boxes of one frame.

    Attributes:
        boxes: float32 [N, 4], x1 y1 x2 y2 in pixels of the frame.
        class_ids: int64 [N].
        ignore: bool [N], True where a detection shall be neither right nor wrong.
    """

    boxes: np.ndarray
    class_ids: np.ndarray
    ignore: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.boxes)
        if self.boxes.shape != (count, 4) or self.class_ids.shape != (count,) or self.ignore.shape != (count,):
            raise ConfigError(
                "TruthBoxes want boxes [N, 4], class_ids [N], ignore [N], got "
                f"{self.boxes.shape}, {self.class_ids.shape}, {self.ignore.shape}"
            )

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True)
class APResult:
    """Average precision per class and its mean.

    Attributes:
        ap: 0..1 for each class that has truth to find; `ANY_CLASS` is the only key when classes do not count.
        mean: the plain mean over those classes; nan when no frame holds truth that counts.
        truths: how many truth boxes each of those classes has, the ignored ones left out.
    """

    ap: dict[int, float]
    mean: float
    truths: dict[int, int]


def average_precision(
    frames: Sequence[tuple[Detections, TruthBoxes]], *, iou_threshold: float = 0.5, class_aware: bool = True
) -> APResult:
    """AP per class and mean over `frames`, each a pair of what was detected and what is true (AP50 by default).

    In each frame detections choose in order of score: the free truth box they overlap most, at `iou_threshold` or more;
    failing that, an ignored one, which any number of detections may share. Equal scores keep their input order. With
    `class_aware` False a box of any class may match any truth, and everything counts as one class.

    Raises:
        ConfigError: `iou_threshold` is not in (0, 1].

    >>> truth = TruthBoxes(np.array([[0, 0, 9, 9]]), np.array([0]), np.array([False]))
    >>> seen = Detections(np.array([[0, 0, 9, 9], [50, 50, 60, 60]]), np.array([0.6, 0.9]), np.array([0, 0]))
    >>> average_precision([(seen, truth)]).mean
    0.5
    """
    if not 0 < iou_threshold <= 1:
        raise ConfigError(f"iou_threshold must lie in (0, 1], got {iou_threshold}")
    scores: dict[int, list[float]] = defaultdict(list)
    verdicts: dict[int, list[int]] = defaultdict(list)
    truths: dict[int, int] = defaultdict(int)
    for detections, truth in frames:
        for class_id in truth.class_ids[~truth.ignore].tolist():
            truths[class_id if class_aware else ANY_CLASS] += 1
        order = np.argsort(-detections.scores, kind="stable")
        judged = _judge(detections[order], truth, iou_threshold, class_aware)
        for row, verdict in zip(order, judged, strict=True):
            class_id = int(detections.class_ids[row]) if class_aware else ANY_CLASS
            scores[class_id].append(float(detections.scores[row]))
            verdicts[class_id].append(verdict)
    ap = {
        class_id: _area(np.array(scores[class_id]), np.array(verdicts[class_id], np.int64), truths[class_id])
        for class_id in sorted(truths)
    }
    return APResult(ap, float(np.mean(list(ap.values()))) if ap else float("nan"), {key: truths[key] for key in ap})


def _judge(ordered: Detections, truth: TruthBoxes, iou_threshold: float, class_aware: bool) -> list[int]:
    """The verdict on each detection of one frame, best score first."""
    overlaps = iou_matrix(ordered.boxes.astype(np.float64), truth.boxes.astype(np.float64))
    allowed = overlaps >= iou_threshold
    if class_aware:
        allowed &= ordered.class_ids[:, None] == truth.class_ids[None, :]
    to_find = np.where(allowed & ~truth.ignore, overlaps, 0.0)
    absorbed = (allowed & truth.ignore).any(axis=1)
    verdicts = []
    for row in range(len(ordered)):
        best = int(to_find[row].argmax()) if len(truth) else 0
        if len(truth) and to_find[row, best] > 0:
            to_find[:, best] = 0.0
            verdicts.append(_RIGHT)
        else:
            verdicts.append(_ABSORBED if absorbed[row] else _WRONG)
    return verdicts


def _area(scores: np.ndarray, verdicts: np.ndarray, truths: int) -> float:
    """Area under the precision-recall curve, precision taken as the best at this recall or beyond."""
    counted = verdicts != _ABSORBED
    right = verdicts[counted][np.argsort(-scores[counted], kind="stable")] == _RIGHT
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[right].sum() / truths)
