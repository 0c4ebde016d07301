"""Which detection belongs to which track: overlaps of all streams in one pass, the optimum where it is contested.

Tracks and detections are cut into streams by `edges`: stream k owns places edges[k] to edges[k + 1]. Only pairs within
a stream are ever formed, so nothing can pass from one stream to another.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment


class Pairs(NamedTuple):
    """Pairs of a track and a detection that overlap: places int [P], places int [P], IoU float64 [P].

    They are ordered by track, then by detection.
    """

    rows: np.ndarray
    cols: np.ndarray
    iou: np.ndarray

    def where(self, mask: np.ndarray) -> Pairs:
        """The pairs for which `mask` (bool [P]) holds."""
        kept = mask.nonzero()[0]
        return Pairs(self.rows.take(kept), self.cols.take(kept), self.iou.take(kept))


def overlapping_pairs(
    a: np.ndarray, a_edges: np.ndarray, b: np.ndarray, b_edges: np.ndarray, *, floor: float = 0.0
) -> Pairs:
    """Every pair of a box of `a` and a box of `b` of the same stream with an IoU above `floor`.

    Boxes are [4, N], rows x1 y1 x2 y2, with an area. The work and the memory grow with the pairs within the streams:
    one crowded stream does not make the others dearer.
    """
    if len(a_edges) == 2:  # one stream: the pairs are a plain table, nothing needs to be gathered
        iou = _iou(a[:, :, None], b[:, None, :])
        rows, cols = (iou > floor).nonzero()
        return Pairs(rows, cols, iou[rows, cols])
    a_counts, b_counts = np.diff(a_edges), np.diff(b_edges)
    partners = b_counts.repeat(a_counts)  # of each box of a
    rows = np.arange(len(partners)).repeat(partners)
    first = b_edges[:-1].repeat(a_counts) - (np.cumsum(partners) - partners)
    cols = np.arange(len(rows)) + first.repeat(partners)
    iou = _iou(a.take(rows, axis=1), b.take(cols, axis=1))
    return Pairs(rows, cols, iou).where(iou > floor)


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of boxes in rows x1 y1 x2 y2 whose further axes broadcast."""
    sides = np.minimum(a[2:], b[2:])
    sides -= np.maximum(a[:2], b[:2])
    np.maximum(sides, 0.0, out=sides)
    overlap: np.ndarray = sides[0] * sides[1]
    a_sides, b_sides = a[2:] - a[:2], b[2:] - b[:2]
    union = a_sides[0] * a_sides[1] + b_sides[0] * b_sides[1]
    union -= overlap
    overlap /= union
    return overlap


def assign(rows: np.ndarray, cols: np.ndarray, gain: np.ndarray, row_edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the tracks and detections matched, each at most once, with the greatest sum of gains.

    Args:
        rows: track of each allowed pair, ascending.
        cols: detection of each allowed pair.
        gain: what each pair is worth, > 0; a pair not listed can never be matched.
        row_edges: int [streams + 1], where the tracks of each stream begin.

    A pair whose track and whose detection have no other choice belongs to every optimum, so it is matched at once; the
    Hungarian method (Jonker and Volgenant's variant in SciPy) decides only among the contested pairs of each stream.
    """
    if not len(rows):
        return rows, cols
    alone = np.bincount(rows).take(rows) + np.bincount(cols).take(cols) == 2
    free = alone.nonzero()[0]
    if len(free) == len(rows):
        return rows, cols
    contested = (~alone).nonzero()[0]
    matched_rows, matched_cols = [rows.take(free)], [cols.take(free)]
    rows, cols, gain = rows.take(contested), cols.take(contested), gain.take(contested)
    cuts = [0, len(rows)]
    if len(row_edges) > 2:
        cuts = np.unique(np.searchsorted(rows, row_edges)).tolist()
    for start, stop in itertools.pairwise(cuts):
        part = slice(start, stop)
        best_rows, best_cols = _optimum(rows[part], cols[part], gain[part])
        matched_rows.append(best_rows)
        matched_cols.append(best_cols)
    return np.concatenate(matched_rows), np.concatenate(matched_cols)


def _optimum(rows: np.ndarray, cols: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best matching among the pairs of one stream, whose rows ascend."""
    last_row, last_col = int(rows[-1]), max(cols.tolist())
    first_row, first_col = int(rows[0]), min(cols.tolist())
    if first_row == last_row or first_col == last_col:  # one track or one detection: it takes the best it can get
        best = gain.argmax()
        return rows[best : best + 1], cols[best : best + 1]
    table = np.zeros((last_row - first_row + 1, last_col - first_col + 1))
    table[rows - first_row, cols - first_col] = gain
    best_rows, best_cols = linear_sum_assignment(table, maximize=True)
    real = table[best_rows, best_cols].nonzero()[0]
    return best_rows.take(real) + first_row, best_cols.take(real) + first_col
