"""The output grid of the embedded detectors, turned into boxes."""

from __future__ import annotations

import numpy as np

from solutions.core.vision.detection import Detections


def decode_grid(grid: np.ndarray, *, classes: int, score_threshold: float, stride: int = 8) -> Detections:
    """The cells of one image that score at least `score_threshold`, in network-input pixels, before NMS.

    Args:
        grid: float32 [classes + 4, rows, columns], see `networks.StreetNet`.
        classes: number of class channels.
        score_threshold: 0..1, exclusive of both ends.
        stride: pixels per cell.
    """
    # Comparing logits first leaves exp() to the few cells that matter.
    wanted = np.log(score_threshold / (1 - score_threshold))
    best = grid[:classes].max(axis=0)
    rows, columns = np.nonzero(best >= wanted)
    cells = grid[:, rows, columns]
    class_ids = cells[:classes].argmax(axis=0)
    scores = 1 / (1 + np.exp(-best[rows, columns]))
    # 88 is where float32 exp overflows; a sane network stays below 6 (400 cells).
    left, top, right, bottom = np.exp(np.minimum(cells[classes:], 10.0)) * stride
    x, y = (columns + 0.5) * stride, (rows + 0.5) * stride
    boxes = np.stack((x - left, y - top, x + right, y + bottom), axis=1).astype(np.float32)
    return Detections(boxes, scores.astype(np.float32), class_ids.astype(np.int64))
