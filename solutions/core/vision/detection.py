"""Boxes with scores and classes, and the arithmetic on them: IoU and non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from solutions.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Detections:
    """What a detector saw in one frame, in any order.

    Attributes:
        boxes: float32 [N, 4], x1 y1 x2 y2 in pixels of the frame.
        scores: float32 [N], 0..1.
        class_ids: int64 [N].
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.boxes)
        if self.boxes.shape != (count, 4) or self.scores.shape != (count,) or self.class_ids.shape != (count,):
            raise ConfigError(
                "Detections want boxes [N, 4], scores [N], class_ids [N], got "
                f"{self.boxes.shape}, {self.scores.shape}, {self.class_ids.shape}"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: np.ndarray | slice) -> Detections:
        """The rows chosen by a mask, an index array or a slice."""
        return Detections(self.boxes[rows], self.scores[rows], self.class_ids[rows])

    @staticmethod
    def empty() -> Detections:
        """No detection at all.

        >>> len(Detections.empty())
        0
        """
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair: [..., N, 4] and [..., M, 4] give [..., N, M]; 0 for boxes without area.

    Leading axes broadcast, so one call serves many streams. The dtype follows the inputs.

    >>> iou_matrix(np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[1.0, 0.0, 3.0, 2.0]])).round(3)
    array([[0.333]])
    """
    a_, b_ = a[..., :, None, :], b[..., None, :, :]
    wide = np.minimum(a_[..., 2], b_[..., 2]) - np.maximum(a_[..., 0], b_[..., 0])
    high = np.minimum(a_[..., 3], b_[..., 3]) - np.maximum(a_[..., 1], b_[..., 1])
    overlap = np.maximum(wide, 0) * np.maximum(high, 0)
    area_a = (a_[..., 2] - a_[..., 0]) * (a_[..., 3] - a_[..., 1])
    area_b = (b_[..., 2] - b_[..., 0]) * (b_[..., 3] - b_[..., 1])
    union = area_a + area_b - overlap
    ratio: np.ndarray = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return ratio


def nms(detections: Detections, *, iou_threshold: float = 0.45, class_wise: bool = True) -> Detections:
    """The detections that survive greedy suppression, best score first.

    A box goes when it overlaps a better one of its class (of any class if `class_wise` is False) by more than
    `iou_threshold`. Raising the threshold keeps neighbours in a crowd and lets more doubles through. Equal scores keep
    their input order, as `torchvision.ops.batched_nms` does.
    """
    if not 0 <= iou_threshold <= 1:
        raise ConfigError(f"iou_threshold must lie in [0, 1], got {iou_threshold}")
    order = np.argsort(-detections.scores, kind="stable")
    boxes = np.ascontiguousarray(detections.boxes[order].T)
    classes = detections.class_ids[order].astype(np.float32) if class_wise else None  # compares 5 times faster
    return detections[order[_survivors(boxes, classes, iou_threshold)]]


_TILE = 64  # best boxes handled at a time: a row of their comparison is then one machine word


def _survivors(boxes: np.ndarray, classes: np.ndarray | None, iou_threshold: float) -> list[int]:
    """Columns of `boxes` [4, N], best first, that no better survivor of their class suppresses.

    The best `_TILE` boxes are compared with all that are left, their victims leave, and so on: most boxes of a crowd
    die in the first rounds, so the N x N matrix of the textbook version is never built.
    """
    x1, y1, x2, y2 = boxes
    areas = (x2 - x1) * (y2 - y1)
    left = np.arange(boxes.shape[1])
    kept: list[int] = []
    while left.size:
        tile = left[:_TILE]
        high = np.minimum(y2[tile, None], y2[left])
        high -= np.maximum(y1[tile, None], y1[left])
        overlap = np.minimum(x2[tile, None], x2[left])
        overlap -= np.maximum(x1[tile, None], x1[left])
        np.maximum(overlap, 0, out=overlap)
        overlap *= high  # negative where they pass each other in y: never above the limit
        limit = np.add(areas[tile, None], areas[left], out=high)
        limit -= overlap
        limit *= np.asarray(iou_threshold, limit.dtype)
        suppresses = overlap > limit  # IoU > threshold, without the division
        if classes is not None:
            suppresses &= classes[tile, None] == classes[left]
        rows = _greedy(suppresses[:, : tile.size])
        kept += tile[rows].tolist()
        left = left[tile.size :][~suppresses[rows, tile.size :].any(axis=0)]
    return kept


def _greedy(suppresses: np.ndarray) -> list[int]:
    """Rows of a square table [n, n], n <= 64, best first, that no kept row above them suppresses."""
    words = np.zeros((len(suppresses), _TILE // 8), np.uint8)
    words[:, : (len(suppresses) + 7) // 8] = np.packbits(suppresses, axis=1, bitorder="little")
    gone, kept = 0, []
    for row, victims in enumerate(words.view("<u8").ravel().tolist()):
        if not gone >> row & 1:
            kept.append(row)
            gone |= victims
    return kept
