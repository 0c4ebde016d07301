"""Where the tracks and detections of all streams lie: stacked arrays, ordered by stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from solutions.core.vision.detection import Detections

_FARTHEST = 1e6  # pixels; a corner beyond it is a detector gone astray, and its square would swamp the covariance

SLOT, ID, CLASS, HITS, MISSES = range(5)
"""Rows of `TrackTable.life`: stream, id (0 until first reported), class, matches that count towards `min_hits`, and
detection runs since the last match."""


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


def edges_of(owner: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """int [streams + 1]: where the run of each slot begins in the ascending `owner`, and where the last one ends."""
    if len(slots) == 1:
        return np.array([0, len(owner)])
    return np.append(np.searchsorted(owner, slots), len(owner))


@dataclass(slots=True)
class TrackTable:
    """All tracks: column t of each array is one track, and columns are ordered by stream, within a stream by age.

    Attributes:
        filters: float64 [5, 4, T], see `kalman`.
        life: int64 [5, T], rows named above.
        scores: float32 [T], of the detection matched last.
    """

    filters: np.ndarray
    life: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    @staticmethod
    def empty() -> TrackTable:
        """No track in any stream."""
        return TrackTable(np.zeros((5, 4, 0)), np.zeros((5, 0), np.int64), np.zeros(0, np.float32))

    def take(self, columns: np.ndarray) -> TrackTable:
        """The tracks at the places `columns` (int), copied."""
        return TrackTable(self.filters.take(columns, 2), self.life.take(columns, 1), self.scores.take(columns))

    def where(self, mask: np.ndarray) -> TrackTable:
        """The tracks for which `mask` (bool) holds, copied."""
        return self.take(mask.nonzero()[0])

    def with_others(self, others: TrackTable) -> TrackTable:
        """Both tables as one, ordered by stream; within a stream those of `others` come last."""
        life = np.concatenate([self.life, others.life], axis=1)
        filters = np.concatenate([self.filters, others.filters], axis=2)
        joined = TrackTable(filters, life, np.concatenate([self.scores, others.scores]))
        if not len(self) or not len(others) or self.life[SLOT, -1] <= others.life[SLOT, 0]:
            return joined
        return joined.take(np.argsort(life[SLOT], kind="stable"))


class Sightings(NamedTuple):
    """The usable detections of several streams, stacked: boxes float64 [4, D], scores [D], class_ids [D].

    Stream k of the call owns columns edges[k] to edges[k + 1].
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    edges: np.ndarray

    @staticmethod
    def gather(streams: Sequence[Detections | None], min_score: float) -> Sightings:
        """What can be tracked of `streams`; None stands for nobody looked.

        Dropped are scores below `min_score` or NaN, and boxes that are NaN, infinite, farther out than 1e6 pixels, or
        without a positive width and height.
        """
        if len(streams) == 1:
            one = streams[0] or _NOTHING
            corners, scores, class_ids = one.boxes, one.scores, one.class_ids
            edges = np.array([0, len(one)])
        else:
            seen = [_NOTHING if one is None else one for one in streams]
            corners = np.concatenate([one.boxes for one in seen])
            scores = np.concatenate([one.scores for one in seen])
            class_ids = np.concatenate([one.class_ids for one in seen])
            edges = np.cumsum([0, *map(len, seen)])
        boxes = np.array(corners.T, np.float64, order="C")
        usable = np.empty((7, len(scores)), bool)  # comparisons, since they are False for NaN and never warn
        np.greater_equal(scores, min_score, out=usable[0])
        np.greater(boxes[2:], boxes[:2], out=usable[1:3])
        np.greater(boxes[:2], -_FARTHEST, out=usable[3:5])
        np.less(boxes[2:], _FARTHEST, out=usable[5:])
        if np.count_nonzero(usable) < usable.size:
            kept = usable.all(axis=0).nonzero()[0]
            boxes, scores, class_ids = boxes.take(kept, 1), scores.take(kept), class_ids.take(kept)
            edges = np.searchsorted(kept, edges)
        return Sightings(boxes, scores, class_ids, edges)


_NOTHING = Detections.empty()
