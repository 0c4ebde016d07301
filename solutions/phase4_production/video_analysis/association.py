"""Which detection belongs to which track: overlaps of all streams in one pass, the optimum where it is contested.

Tracks and detections are cut into streams by `edges`: stream k owns places edges[k] to edges[k + 1]. Only pairs within
a stream are ever formed, so nothing can pass from one stream to another.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from solutions.phase4_production.video_analysis.kalman import AREA

Edges = np.ndarray | list[int]
"""int [streams + 1]: where the tracks or detections of each stream of a call begin, and where the last ones end."""

_FEW = 400  # pairs; up to here a single stream is 5 % faster without looking for those that overlap
_ZERO = np.array(0.0)  # spares NumPy the conversion at every call


class Pairs(NamedTuple):
    """Pairs of a track and a detection: places int [P], places int [P], IoU float64 [P].

    They are ordered by track, then by detection.
    """

    rows: np.ndarray
    cols: np.ndarray
    iou: np.ndarray

    def take(self, places: np.ndarray) -> Pairs:
        """The pairs at `places` (int)."""
        return Pairs(self.rows.take(places), self.cols.take(places), self.iou.take(places))


def overlapping_pairs(
    a: np.ndarray, a_edges: Edges, b: np.ndarray, b_edges: Edges, *, floor: float | np.ndarray = 0.0
) -> Pairs:
    """Every pair of a box of `a` and a box of `b` of the same stream with an IoU above `floor`.

    A single stream with few pairs gets them all, also those that do not overlap: `assign` can then do without a search.
    Boxes are given by their reach (see `kalman`), [5, N], and have an area. The work and the memory grow with the pairs
    within the streams: one crowded stream does not make the others dearer.
    """
    rows, cols = _all_pairs(a_edges, b_edges)
    of_a, of_b = a.take(rows, 1), b.take(cols, 1)
    shared = np.minimum(of_a, of_b)
    sides = shared[:2] + shared[2:AREA]
    np.maximum(sides, _ZERO, out=sides)
    iou = sides[0] * sides[1]
    union = of_a[AREA] + of_b[AREA]
    union -= iou
    iou /= union
    pairs = Pairs(rows, cols, iou)
    if len(a_edges) == 2 and len(iou) <= _FEW:
        return pairs
    return pairs.take((iou > floor).nonzero()[0])


def _all_pairs(a_edges: Edges, b_edges: Edges) -> tuple[np.ndarray, np.ndarray]:
    """Every place of a box of `a` with every place of a box of `b` of the same stream."""
    if len(a_edges) == 2:
        wide = int(b_edges[1])
        rows, cols = _grid(int(a_edges[1]).bit_length(), wide)
        count = int(a_edges[1]) * wide
        return rows[:count], cols[:count]
    a_counts, b_counts = np.diff(a_edges), np.diff(b_edges)
    partners = b_counts.repeat(a_counts)  # of each box of a
    rows = np.arange(len(partners)).repeat(partners)
    first = np.asarray(b_edges)[:-1].repeat(a_counts) - (np.cumsum(partners) - partners)
    return rows, np.arange(len(rows)) + first.repeat(partners)


@lru_cache(maxsize=64)
def _grid(bits: int, wide: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the places of a table of 2**bits rows; a lower table is the beginning of it."""
    return np.arange(1 << bits).repeat(wide), np.tile(np.arange(wide), 1 << bits)


def assign(pairs: Pairs, gain: np.ndarray, row_edges: Edges, col_edges: Edges) -> tuple[np.ndarray, np.ndarray]:
    """Places of the tracks and detections matched, each at most once, with the greatest sum of gains.

    Args:
        pairs: what may be matched.
        gain: float64 [P], what each pair is worth; those of 0 or less are never matched.
        row_edges: int [streams + 1], where the tracks of each stream begin.
        col_edges: int [streams + 1], where its detections begin.

    A pair whose track and whose detection have no other choice belongs to every optimum, so it is matched at once, for
    all streams together; the Hungarian method (in SciPy: Jonker and Volgenant's variant) decides among the contested
    pairs, stream by stream. With a single stream it gets all pairs, or none where nothing is contested; if every track
    is paired with every detection, the gains are its table as they are.
    """
    if len(row_edges) == 2 and len(gain) == row_edges[1] * col_edges[1]:
        return _optimum(np.maximum(gain, _ZERO).reshape(row_edges[1], col_edges[1]))
    kept = (gain > _ZERO).nonzero()[0]
    if len(kept) < len(gain):
        pairs, gain = pairs.take(kept), gain.take(kept)
    rows, cols, _ = pairs
    if len(row_edges) == 2:
        if len(set(rows.tolist())) == len(rows) and len(set(cols.tolist())) == len(cols):
            return rows, cols
        table = np.zeros((row_edges[1], col_edges[1]))
        table[rows, cols] = gain
        return _optimum(table)
    alone = np.bincount(rows).take(rows) + np.bincount(cols).take(cols) == 2
    free, contested = alone.nonzero()[0], (~alone).nonzero()[0]
    matched_rows, matched_cols = [rows.take(free)], [cols.take(free)]
    rows, cols, gain = rows.take(contested), cols.take(contested), gain.take(contested)
    cuts = np.searchsorted(rows, row_edges).tolist()
    for stream, (start, stop) in enumerate(itertools.pairwise(cuts)):
        if start < stop:
            part = slice(start, stop)
            first_row, first_col = rows[start], col_edges[stream]
            table = np.zeros((rows[stop - 1] - first_row + 1, col_edges[stream + 1] - first_col))
            table[rows[part] - first_row, cols[part] - first_col] = gain[part]
            best_rows, best_cols = _optimum(table)
            matched_rows.append(best_rows + first_row)
            matched_cols.append(best_cols + first_col)
    return np.concatenate(matched_rows), np.concatenate(matched_cols)


def _optimum(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the best matching of a table of gains."""
    rows, cols = linear_sum_assignment(table, True)
    real = table[rows, cols].nonzero()[0]
    return rows.take(real), cols.take(real)
