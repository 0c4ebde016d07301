"""From detections to identities: SORT and ByteTrack for one stream or a hundred, at nearly the same number of NumPy calls.

Each frame: predict where every track is now (`kalman`), match detections to tracks by overlap (`association`), correct
the matched tracks, begin new ones, forget old ones. All tracks of all streams lie in stacked arrays (`track_table`) and
take each of these steps together; only a contested matching is solved stream by stream. Ids and counters belong to a
stream, so a stream is tracked in company exactly as it is alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np

from solutions.core.vision.detection import Detections
from solutions.core.vision.tracks import Tracks
from solutions.phase4_production.video_analysis.association import Pairs, assign, overlapping_pairs
from solutions.phase4_production.video_analysis.track_table import (
    CLASS,
    HITS,
    ID,
    MISSES,
    SLOT,
    Sightings,
    TrackTable,
)
from solutions.phase4_production.video_analysis.tracker_config import TrackerConfig


class Tracker:
    """Tracks the objects of any number of streams. Not safe for use from two threads at once.

    >>> tracker = Tracker(TrackerConfig.byte())
    >>> seen = Detections(np.array([[0, 0, 9, 20]], np.float32), np.array([0.9], np.float32), np.array([0]))
    >>> tracker.update({"door": seen, "yard": None})["door"].ids
    array([1])
    """

    def __init__(self, config: TrackerConfig | None = None) -> None:
        self.config = config or TrackerConfig.byte()
        self._tracks = TrackTable.empty()
        self._slots: dict[Hashable, int] = {}
        self._free: list[int] = []
        # by slot: detection runs so far, ids given so far, frames since the last detection run
        self._runs, self._ids, self._coast = (np.zeros(1, np.int64) for _ in range(3))

    @property
    def stream_ids(self) -> tuple[Hashable, ...]:
        """The streams that have state here."""
        return tuple(self._slots)

    def update_one(self, detections: Detections | None, stream_id: Hashable = 0) -> Tracks:
        """`update` for a single stream."""
        return self.update({stream_id: detections})[stream_id]

    def update(self, frames: Mapping[Hashable, Detections | None]) -> dict[Hashable, Tracks]:
        """The tracks present in the next frame of each stream named, in the order of `frames`.

        Detections that no tracker could use (NaN, infinite, without area) are dropped. None means that no detector
        looked at this frame: tracks move on by prediction, those seen in the last detection run are reported where they
        should be, and nobody is counted as missed for `max_coast` such frames in a row. Streams not named stay as they
        are; a new name begins a new stream. Boxes may reach beyond the frame: clipping is the caller's business.
        """
        if not frames:
            return {}
        named = sorted((self._slot(name), name) for name in frames)  # slots differ, so names are never compared
        slots = np.array([slot for slot, _ in named])
        looked = [frames[name] for _, name in named]
        tracks, idle = self._split(slots)
        edges = _edges(tracks.life[SLOT], slots)
        sightings = Sightings.gather(looked, self.config.low_score)
        motion = self.config.motion
        motion.predict(tracks.filters, tracks.life[MISSES] > 0)
        rows, cols = self._match(tracks, sightings, self._candidates(tracks, edges, sightings), edges)
        measured = motion.measure(sightings.boxes)
        if len(rows):
            motion.update(tracks.filters, rows, measured.take(cols, 1))
            tracks.scores[rows] = sightings.scores.take(cols)
            tracks.life[CLASS, rows] = sightings.class_ids.take(cols)
        dead = self._age(tracks, edges, rows, self._charge(slots, looked))
        if np.count_nonzero(dead):
            tracks = tracks.where(~dead)
        tracks = self._with_newborn(tracks, sightings, measured, cols, slots)
        self._tracks = tracks if idle is None else tracks.with_others(idle)
        reported = self._report(tracks, slots)
        if len(named) == 1:
            return {named[0][1]: reported[0]}
        by_name = {name: one for (_, name), one in zip(named, reported, strict=True)}
        return {name: by_name[name] for name in frames}

    def remove(self, stream_id: Hashable) -> None:
        """Forget a stream and its tracks; a later frame of that name begins anew with id 1. Unknown names do nothing."""
        slot = self._slots.pop(stream_id, None)
        if slot is not None:
            self._tracks = self._tracks.where(self._tracks.life[SLOT] != slot)
            self._free.append(slot)

    def _slot(self, stream_id: Hashable) -> int:
        slot = self._slots.get(stream_id)
        if slot is None:
            slot = self._free.pop() if self._free else len(self._slots)
            self._slots[stream_id] = slot
            if slot >= len(self._runs):
                self._runs, self._ids, self._coast = (
                    np.concatenate([counter, np.zeros_like(counter)]) for counter in (self._runs, self._ids, self._coast)
                )
            self._runs[slot] = self._ids[slot] = self._coast[slot] = 0
        return slot

    def _split(self, slots: np.ndarray) -> tuple[TrackTable, TrackTable | None]:
        """The tracks of the streams at `slots`, and all others (None when every stream is called)."""
        if len(slots) == len(self._slots):
            return self._tracks, None
        called = np.zeros(len(self._runs), bool)
        called[slots] = True
        mine = called.take(self._tracks.life[SLOT])
        return self._tracks.where(mine), self._tracks.where(~mine)

    def _candidates(self, tracks: TrackTable, edges: np.ndarray, sightings: Sightings) -> Pairs:
        """Pairs of a track and a sighting that any of the matchings could use."""
        config = self.config
        floor = min(config.match_iou, config.low_match_iou, config.new_match_iou)
        boxes = config.motion.boxes(tracks.filters[0])
        pairs = overlapping_pairs(boxes, edges, sightings.boxes, sightings.edges, floor=floor)
        if config.class_aware:
            pairs = pairs.where(tracks.life[CLASS].take(pairs.rows) == sightings.class_ids.take(pairs.cols))
        return pairs

    def _match(
        self, tracks: TrackTable, sightings: Sightings, pairs: Pairs, edges: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places of the tracks and of the sightings that belong together: sure ones first, then the leftovers."""
        config, everyone, everything = self.config, len(tracks), len(sightings.scores)
        worth = pairs.iou * sightings.scores.take(pairs.cols) if config.fuse_score else pairs.iou
        gain = worth - config.match_iou
        sure, settled = sightings.scores >= config.high_score, tracks.life[HITS] >= config.min_hits
        doubtful = np.count_nonzero(sure) < everything
        tentative = config.confirm and np.count_nonzero(settled) < everyone
        if doubtful:
            gain[~sure.take(pairs.cols)] = 0.0
        if tentative:
            gain[~settled.take(pairs.rows)] = 0.0
        rows, cols = _best(pairs, gain, edges)
        if not (doubtful or tentative) or len(cols) == everything:
            return rows, cols
        row_free, col_free = np.ones(everyone, bool), np.ones(everything, bool)
        row_free[rows] = col_free[cols] = False
        if doubtful:  # a detection of low score may continue a track, but not wake a lost one or settle a new one
            awake = row_free & (tracks.life[MISSES] == 0)
            if config.confirm:
                awake &= settled
            free = awake.take(pairs.rows) & (col_free & ~sure).take(pairs.cols)
            more_rows, more_cols = _best(pairs, np.where(free, pairs.iou - config.low_match_iou, 0.0), edges)
            rows, cols = np.concatenate([rows, more_rows]), np.concatenate([cols, more_cols])
        if tentative:
            free = (row_free & ~settled).take(pairs.rows) & (col_free & sure).take(pairs.cols)
            more_rows, more_cols = _best(pairs, np.where(free, worth - config.new_match_iou, 0.0), edges)
            rows, cols = np.concatenate([rows, more_rows]), np.concatenate([cols, more_cols])
        return rows, cols

    def _charge(self, slots: np.ndarray, looked: list[Detections | None]) -> np.ndarray | None:
        """bool [streams], True where a track that was not seen has missed something; None stands for all True."""
        if not any(one is None for one in looked):
            self._runs[slots] += 1
            self._coast[slots] = 0
            return None
        seen = np.array([one is not None for one in looked])
        self._runs[slots] += seen
        self._coast[slots] = coast = np.where(seen, 0, self._coast[slots] + 1)
        return seen | (coast > self.config.max_coast)

    def _age(self, tracks: TrackTable, edges: np.ndarray, rows: np.ndarray, charge: np.ndarray | None) -> np.ndarray:
        """Count hits and misses, in place; bool [T], True for tracks that are given up."""
        hits, misses = tracks.life[HITS], tracks.life[MISSES]
        misses += 1 if charge is None else charge.repeat(np.diff(edges))
        misses[rows] = 0
        hits[rows] += 1
        dead: np.ndarray = misses > self.config.max_misses
        if self.config.confirm:
            dead |= (misses > 0) & (hits < self.config.min_hits)
        else:
            hits[misses > 0] = 0
        return dead

    def _with_newborn(
        self, tracks: TrackTable, sightings: Sightings, measured: np.ndarray, matched: np.ndarray, slots: np.ndarray
    ) -> TrackTable:
        """`tracks` and those that begin with this frame."""
        config = self.config
        fresh = sightings.scores >= config.new_score
        fresh[matched] = False
        if not np.count_nonzero(fresh):
            return tracks
        born = fresh.nonzero()[0]
        life = np.zeros((5, len(born)), np.int64)
        life[SLOT] = slots.repeat(np.diff(sightings.edges)).take(born)
        life[CLASS] = sightings.class_ids.take(born)
        if config.confirm:
            life[HITS] = np.where(self._runs.take(life[SLOT]) <= config.min_hits, config.min_hits, 0)
        filters = config.motion.start(measured.take(born, 1))
        return tracks.with_others(TrackTable(filters, life, sightings.scores.take(born)))

    def _report(self, tracks: TrackTable, slots: np.ndarray) -> list[Tracks]:
        """What each stream shows now; tracks shown for the first time get their id."""
        config, life = self.config, tracks.life
        shown = life[HITS] >= config.min_hits
        if not config.confirm:
            shown |= self._runs.take(life[SLOT]) <= config.min_hits
        shown &= life[MISSES] == 0
        places = shown.nonzero()[0]
        slot, ids = life[SLOT].take(places), life[ID].take(places)
        nameless = (ids == 0).nonzero()[0]
        if len(nameless):
            owner = slot.take(nameless)  # ascending: the rank within a stream is the distance to its first
            ids[nameless] = self._ids.take(owner) + np.arange(1, len(owner) + 1) - np.searchsorted(owner, owner)
            np.add.at(self._ids, owner, 1)
            life[ID, places] = ids
        boxes = np.array(config.motion.boxes(tracks.filters[0].take(places, 1)).T, np.float32, order="C")
        everything = Tracks(ids, boxes, tracks.scores.take(places), life[CLASS].take(places))
        if len(slots) == 1:
            return [everything]
        edges = _edges(slot, slots).tolist()
        return [everything[slice(start, stop)] for start, stop in zip(edges[:-1], edges[1:], strict=True)]


def _best(pairs: Pairs, gain: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best matching among the pairs that gain something."""
    kept = (gain > 0).nonzero()[0]
    if len(kept) == len(gain):
        return assign(pairs.rows, pairs.cols, gain, edges)
    return assign(pairs.rows.take(kept), pairs.cols.take(kept), gain.take(kept), edges)


def _edges(owner: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """int [streams + 1]: where the run of each slot begins in the ascending `owner`, and its end."""
    if len(slots) == 1:
        return np.array([0, len(owner)])
    return np.append(np.searchsorted(owner, slots), len(owner))
