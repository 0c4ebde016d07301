"""Average precision of a detector, as COCO counts it, with room for truth that should not be judged.

A detector is scored on its ranking: detections of all frames are sorted by score, each is right or wrong, and the area
under the precision-recall curve is the average precision (Lin et al., "Microsoft COCO", 2014; the all-point area of
Pascal VOC 2010 in place of COCO's 101 samples of the same curve). Truth marked `ignore` (too small, too hidden, not
labelled carefully) absorbs the detections on it: they are neither right nor wrong, and missing it costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    return judge_frames(frames, iou_threshold=iou_threshold, class_aware=class_aware).average_precision()


@dataclass(frozen=True, slots=True)
class JudgedFrames:
    """Detections found right or wrong: the average precision of any draw of the frames follows.

    They are ordered by class, and within a class the best score comes first.

    Attributes:
        keys: int64 [D], the class of each, or `ANY_CLASS`; absorbed detections are left out.
        frames: int64 [D], the place of each one's frame.
        right: bool [D].
        truths: how many truth boxes of each class count, int64 [frames].
    """

    keys: np.ndarray
    frames: np.ndarray
    right: np.ndarray
    truths: Mapping[int, np.ndarray]

    def average_precision(self, times: np.ndarray | None = None) -> APResult:
        """AP as if frame k had been there `times[k]` times, e.g. as often as a bootstrap drew it; once by default."""
        ap: dict[int, float] = {}
        counts: dict[int, int] = {}
        for key in sorted(self.truths):
            counts[key] = int((self.truths[key] if times is None else self.truths[key] * times).sum())
            if counts[key]:
                mine = slice(*np.searchsorted(self.keys, (key, key + 1)))
                frames = self.frames[mine]
                weights = np.ones(len(frames), np.int64) if times is None else times[frames]
                ap[key] = _area(self.right[mine], weights, counts[key])
        return APResult(ap, float(np.mean(list(ap.values()))) if ap else float("nan"), {key: counts[key] for key in ap})


def judge_frames(
    frames: Sequence[tuple[Detections, TruthBoxes]], *, iou_threshold: float = 0.5, class_aware: bool = True
) -> JudgedFrames:
    """Each detection beside the truth of its frame, by the rules and with the errors of `average_precision`."""
    if not 0 < iou_threshold <= 1:
        raise ConfigError(f"iou_threshold must lie in (0, 1], got {iou_threshold}")
    truths: dict[int, np.ndarray] = {}
    scores, keys, places, right = [np.zeros(0)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, bool)]
    for place, (detections, truth) in enumerate(frames):
        for class_id in truth.class_ids[~truth.ignore].tolist():
            key = class_id if class_aware else ANY_CLASS
            truths.setdefault(key, np.zeros(len(frames), np.int64))[place] += 1
        order = np.argsort(-detections.scores, kind="stable")
        verdicts = np.array(_judge(detections[order], truth, iou_threshold, class_aware), np.int64)
        counted = order[verdicts != _ABSORBED]
        scores.append(detections.scores[counted])
        keys.append(detections.class_ids[counted] if class_aware else np.full(len(counted), ANY_CLASS))
        places.append(np.full(len(counted), place))
        right.append(verdicts[verdicts != _ABSORBED] == _RIGHT)
    order = np.lexsort((-np.concatenate(scores), np.concatenate(keys)))  # a stable sort, as equal scores want
    return JudgedFrames(
        np.concatenate(keys)[order], np.concatenate(places)[order], np.concatenate(right)[order], truths
    )


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


def _area(right: np.ndarray, weights: np.ndarray, truths: int) -> float:
    """Area under the precision-recall curve, precision taken as the best at this recall or beyond."""
    found = right * weights
    precision = np.cumsum(found) / np.maximum(np.cumsum(weights), 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * found).sum() / truths)
