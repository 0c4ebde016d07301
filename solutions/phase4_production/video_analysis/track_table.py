"""Where the tracks and detections of all streams lie: one array of each, ordered by stream.

Ids, classes and counters stand in it as float64, which is exact for whole numbers up to 2**53: so a track that comes,
goes or is corrected moves in one NumPy call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from solutions.core.vision.detection import Detections
from solutions.phase4_production.video_analysis.association import Edges
from solutions.phase4_production.video_analysis.kalman import MotionModel, X, centre_and_size

_FARTHEST = 1e6  # pixels; a corner beyond it is a detector gone astray, and its square would swamp the covariance
_ZERO = np.array(0.0)  # spares NumPy the conversion at every call

SCORE, CLASS, SLOT, ID, HITS, MISSES = range(20, 26)
"""Rows of `TrackTable.rows` below the filter: score and class of the detection matched last, stream, id (0 until first
reported), matches that count towards `min_hits`, and detection runs since the last match."""
_ROWS = 26


@dataclass(slots=True)
class Stream:
    """What is counted for one stream; its tracks bear `slot`.

    Attributes:
        slot: its number, given again after the stream is removed.
        runs: frames so far on which a detector looked.
        ids: ids given so far.
        coast: frames since a detector last looked.
    """

    slot: int
    runs: int = 0
    ids: int = 0
    coast: int = 0


def edges_of(owner: np.ndarray, slots: Sequence[int]) -> Edges:
    """Where the run of each slot begins in the ascending `owner`, and where the last one ends."""
    if len(slots) == 1:
        return [0, len(owner)]
    return np.append(np.searchsorted(owner, slots), len(owner))


class TrackTable:
    """All tracks: column t of `rows` (float64 [26, T]) is one; they are ordered by stream, within a stream by age.

    The first 20 rows are its filter (see `kalman`), the others are named above.
    """

    __slots__ = ("rows",)

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows[0])

    @staticmethod
    def blank(count: int) -> TrackTable:
        """Tracks of which everything is 0."""
        return TrackTable(np.zeros((_ROWS, count)))

    @property
    def filters(self) -> np.ndarray:
        """The filter bank [5, 4, T], a view."""
        return self.rows[:SCORE].reshape(5, 4, -1)

    @property
    def coordinates(self) -> np.ndarray:
        """The four coordinates of each [4, T], a view: `filters[X]`, sooner had."""
        return self.rows[4 * X : 4 * X + 4]

    def take(self, columns: np.ndarray) -> TrackTable:
        """The tracks at the places `columns` (int), copied."""
        return TrackTable(self.rows.take(columns, 1))

    def where(self, mask: np.ndarray) -> TrackTable:
        """The tracks for which `mask` (bool) holds, copied."""
        return self.take(mask.nonzero()[0])

    def with_others(self, others: TrackTable) -> TrackTable:
        """Both tables as one, ordered by stream; within a stream those of `others` come last."""
        joined = np.concatenate([self.rows, others.rows], axis=1)
        if len(self) and len(others) and self.rows[SLOT, -1] > others.rows[SLOT, 0]:
            joined = joined.take(joined[SLOT].argsort(kind="stable"), 1)
        return TrackTable(joined)


class Sightings(NamedTuple):
    """The usable detections of several streams, stacked; stream k of the call owns columns edges[k] to edges[k + 1].

    Attributes:
        reach: float64 [5, D], see `kalman`.
        findings: float64 [6, D], what a track learns: four coordinates, score and class.
        scores: float64 [D].
        class_ids: float64 [D].
        edges: int [streams + 1].
    """

    reach: np.ndarray
    findings: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    edges: Edges

    @staticmethod
    def gather(streams: Sequence[Detections | None], min_score: np.ndarray, motion: MotionModel) -> Sightings:
        """What can be tracked of `streams`; None stands for nobody looked.

        Dropped are scores below `min_score` or NaN, and boxes that are NaN, infinite, farther out than 1e6 pixels, or
        without a positive width and height.
        """
        rows, edges = _stacked([_NOTHING if one is None else one for one in streams])
        everything = rows[:4].ravel()
        if not everything.dot(everything) < _FARTHEST**2:  # else not one is beyond, infinite or NaN
            rows, edges = _kept(rows, edges, np.logical_and.reduce(np.abs(rows[:4]) < _FARTHEST))
        centre_and_size(rows, rows[_FINDINGS:_SCORE])
        extended, loud = rows[_SIZES:_SCORE] > _ZERO, rows[_SCORE] >= min_score
        if np.count_nonzero(extended) + np.count_nonzero(loud) < 3 * len(loud):
            extended &= loud
            rows, edges = _kept(rows, edges, np.logical_and.reduce(extended))
        reach, findings = rows[:_FINDINGS], rows[_FINDINGS:]
        motion.measure(reach, findings)
        return Sightings(reach, findings, rows[_SCORE], rows[_CLASS], edges)


# Rows of what `_stacked` makes: reach; findings, of which width and height are the third and fourth; score and class.
_FINDINGS, _SIZES, _SCORE, _CLASS = 5, 7, 9, 10


def _stacked(seen: list[Detections]) -> tuple[np.ndarray, Edges]:
    """Detections of all streams, float64 [11, D], with reach, score and class filled in but for the area."""
    edges: Edges
    if len(seen) == 1:
        one = seen[0]
        rows, edges = np.empty((11, len(one))), [0, len(one)]
        rows[:4], rows[_SCORE], rows[_CLASS] = one.boxes.T, one.scores, one.class_ids
    else:
        edges = np.cumsum([0, *map(len, seen)])
        rows = np.empty((11, edges[-1]))
        rows[:4] = np.concatenate([one.boxes for one in seen]).T
        np.concatenate([one.scores for one in seen], out=rows[_SCORE])
        np.concatenate([one.class_ids for one in seen], out=rows[_CLASS])
    left_and_up = rows[:2]
    np.negative(left_and_up, out=left_and_up)
    return rows, edges


def _kept(rows: np.ndarray, edges: Edges, mask: np.ndarray) -> tuple[np.ndarray, Edges]:
    kept = mask.nonzero()[0]
    return rows.take(kept, 1), [0, len(kept)] if len(edges) == 2 else np.searchsorted(kept, edges)


_NOTHING = Detections.empty()
