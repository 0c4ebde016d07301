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

    def take(self, places: np.ndarray) -> Pairs:
        """The pairs at `places` (int)."""
        return Pairs(self.rows.take(places), self.cols.take(places), self.iou.take(places))


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
    return Pairs(rows, cols, iou).take((iou > floor).nonzero()[0])


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


def assign(
    pairs: Pairs, gain: np.ndarray, row_edges: np.ndarray, col_edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the tracks and detections matched, each at most once, with the greatest sum of gains.

    Args:
        pairs: what may be matched.
        gain: float64 [P], what each pair is worth; those of 0 or less are never matched.
        row_edges: int [streams + 1], where the tracks of each stream begin.
        col_edges: int [streams + 1], where its detections begin.

    A pair whose track and whose detection have no other choice belongs to every optimum, so it is matched at once, for
    all streams together; the Hungarian method (in SciPy: Jonker and Volgenant's variant) decides among the contested
    pairs, stream by stream. With a single stream the solver is done sooner than the search for uncontested pairs.
    """
    kept = (gain > 0).nonzero()[0]
    if len(kept) < len(gain):
        pairs, gain = pairs.take(kept), gain.take(kept)
    rows, cols = pairs.rows, pairs.cols
    if not len(rows):
        return rows, cols
    if len(row_edges) == 2:
        return _optimum(rows, cols, gain, (int(row_edges[1]), int(col_edges[1])))
    alone = np.bincount(rows).take(rows) + np.bincount(cols).take(cols) == 2
    free, contested = alone.nonzero()[0], (~alone).nonzero()[0]
    matched_rows, matched_cols = [rows.take(free)], [cols.take(free)]
    rows, cols, gain = rows.take(contested), cols.take(contested), gain.take(contested)
    cuts = np.searchsorted(rows, row_edges).tolist()
    for stream, (start, stop) in enumerate(itertools.pairwise(cuts)):
        if start < stop:
            part = slice(start, stop)
            first_row, first_col = rows[start], col_edges[stream]
            shape = int(rows[stop - 1] - first_row) + 1, int(col_edges[stream + 1] - first_col)
            best_rows, best_cols = _optimum(rows[part] - first_row, cols[part] - first_col, gain[part], shape)
            matched_rows.append(best_rows + first_row)
            matched_cols.append(best_cols + first_col)
    return np.concatenate(matched_rows), np.concatenate(matched_cols)


def _optimum(
    rows: np.ndarray, cols: np.ndarray, gain: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The best matching among pairs that are places of a table of `shape`."""
    table = np.zeros(shape)
    table.put(rows * shape[1] + cols, gain)
    best_rows, best_cols = linear_sum_assignment(table, maximize=True)
    real = table.take(best_rows * shape[1] + best_cols).nonzero()[0]
    return best_rows.take(real), best_cols.take(real)
