"""From detections to identities: SORT and ByteTrack, for a hundred streams in nearly as many NumPy calls as for one.

Each frame: predict where every track is now (`kalman`), match detections to tracks by overlap (`association`), correct
the matched tracks, begin new ones, forget old ones. All tracks of all streams lie in stacked arrays (`track_table`) and
take each of these steps together; only a contested matching is solved stream by stream. Ids and counters belong to a
stream, so a stream is tracked in company exactly as it is alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping
from typing import TypeVar

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
    Stream,
    TrackTable,
    edges_of,
)
from solutions.phase4_production.video_analysis.tracker_config import TrackerConfig

Name = TypeVar("Name", bound=Hashable)


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
        self._streams: dict[Hashable, Stream] = {}
        self._free_slots: list[int] = []

    @property
    def stream_ids(self) -> tuple[Hashable, ...]:
        """The streams that have state here."""
        return tuple(self._streams)

    def update_one(self, detections: Detections | None, stream_id: Hashable = 0) -> Tracks:
        """`update` for a single stream."""
        return self.update({stream_id: detections})[stream_id]

    def update(self, frames: Mapping[Name, Detections | None]) -> dict[Name, Tracks]:
        """The tracks present in the next frame of each stream named, in the order of `frames`.

        Detections that no tracker could use (NaN, infinite, without area) are dropped. None means that no detector
        looked at this frame: tracks move on by prediction, those seen in the last detection run are reported where they
        should be, and nobody is counted as missed for `max_coast` such frames in a row. Streams not named stay as they
        are; a new name begins a new stream. Boxes may reach beyond the frame: clipping is the caller's business.
        """
        if not frames:
            return {}
        by_slot = sorted(frames, key=lambda name: self._stream(name).slot)
        streams, looked = [self._streams[name] for name in by_slot], [frames[name] for name in by_slot]
        slots = np.array([stream.slot for stream in streams])
        tracks, idle = self._split(slots)
        edges = edges_of(tracks.life[SLOT], slots)
        sightings = Sightings.gather(looked, self.config.low_score)
        motion = self.config.motion
        motion.predict(tracks.filters, tracks.life[MISSES] > 0)
        rows, cols = self._match(tracks, sightings, self._candidates(tracks, edges, sightings), edges)
        measured = motion.measure(sightings.boxes)
        if len(rows):
            motion.update(tracks.filters, rows, measured.take(cols, 1))
            tracks.scores.put(rows, sightings.scores.take(cols))
            tracks.life[CLASS].put(rows, sightings.class_ids.take(cols))
        dead = self._age(tracks, edges, rows, self._charge(streams, looked))
        if np.count_nonzero(dead):
            tracks = tracks.where(~dead)
        tracks = self._with_newborn(tracks, sightings, measured, cols, streams)
        reported = self._report(
            tracks, slots, streams
        )  # gives ids, so it comes before the tables are joined into a new one
        self._tracks = tracks if idle is None else tracks.with_others(idle)
        by_name = dict(zip(by_slot, reported, strict=True))
        return {name: by_name[name] for name in frames}

    def remove(self, stream_id: Hashable) -> None:
        """Forget a stream and its tracks; a later frame of that name begins anew with id 1. An unknown name is fine."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._tracks = self._tracks.where(self._tracks.life[SLOT] != stream.slot)
            self._free_slots.append(stream.slot)

    def _stream(self, name: Hashable) -> Stream:
        stream = self._streams.get(name)
        if stream is None:
            slot = self._free_slots.pop() if self._free_slots else len(self._streams)
            stream = self._streams[name] = Stream(slot)
        return stream

    def _split(self, slots: np.ndarray) -> tuple[TrackTable, TrackTable | None]:
        """The tracks of the streams at `slots`, and all others (None when every stream is called)."""
        if len(slots) == len(self._streams):
            return self._tracks, None
        mine = np.isin(self._tracks.life[SLOT], slots)
        return self._tracks.where(mine), self._tracks.where(~mine)

    def _candidates(self, tracks: TrackTable, edges: np.ndarray, sightings: Sightings) -> Pairs:
        """Pairs of a track and a sighting that any of the matchings could use."""
        config = self.config
        floor = min(config.match_iou, config.low_match_iou, config.new_match_iou)
        boxes = config.motion.boxes(tracks.filters[0])
        pairs = overlapping_pairs(boxes, edges, sightings.boxes, sightings.edges, floor=floor)
        if config.class_aware:
            same = tracks.life[CLASS].take(pairs.rows) == sightings.class_ids.take(pairs.cols)
            pairs = pairs.take(same.nonzero()[0])
        return pairs

    def _match(
        self, tracks: TrackTable, sightings: Sightings, pairs: Pairs, edges: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places of the tracks and of the sightings that belong together: sure ones first, then the leftovers."""
        config, everyone, everything = self.config, len(tracks), len(sightings.scores)
        worth = pairs.iou * sightings.scores.take(pairs.cols) if config.fuse_score else pairs.iou
        gain = worth - config.match_iou
        if config.one_matching:
            return assign(pairs, gain, edges, sightings.edges)
        sure = sightings.scores >= config.high_score
        settled = tracks.life[HITS] >= (config.min_hits if config.confirm else 0)
        doubtful, tentative = np.count_nonzero(sure) < everything, np.count_nonzero(settled) < everyone
        if doubtful:
            gain[~sure.take(pairs.cols)] = 0.0
        if tentative:
            gain[~settled.take(pairs.rows)] = 0.0
        rows, cols = assign(pairs, gain, edges, sightings.edges)
        if not (doubtful or tentative) or len(cols) == everything:
            return rows, cols
        row_free, col_free = np.ones(everyone, bool), np.ones(everything, bool)
        row_free[rows] = col_free[cols] = False
        left = (row_free.take(pairs.rows) & col_free.take(pairs.cols)).nonzero()[0]
        if not len(left):
            return rows, cols
        # Of what is left, a doubtful detection may continue a settled track seen just before, and a sure one may settle
        # a new track. The two kinds share neither track nor detection, so one matching solves both.
        pairs, worth = pairs.take(left), worth.take(left)
        settled, sure = settled.take(pairs.rows), sure.take(pairs.cols)
        gain = np.where(sure, worth - config.new_match_iou, pairs.iou - config.low_match_iou)
        gain[sure == settled] = 0.0
        gain[settled & (tracks.life[MISSES].take(pairs.rows) > 0)] = 0.0
        more_rows, more_cols = assign(pairs, gain, edges, sightings.edges)
        return np.concatenate([rows, more_rows]), np.concatenate([cols, more_cols])

    def _charge(self, streams: list[Stream], looked: list[Detections | None]) -> np.ndarray | None:
        """bool [streams], True where a track that was not seen has missed something; None stands for all True."""
        for stream, one in zip(streams, looked, strict=True):
            if one is None:
                stream.coast += 1
            else:
                stream.coast = 0
                stream.runs += 1
        charged = [not 0 < stream.coast <= self.config.max_coast for stream in streams]
        return None if all(charged) else np.array(charged)

    def _age(self, tracks: TrackTable, edges: np.ndarray, rows: np.ndarray, charge: np.ndarray | None) -> np.ndarray:
        """Count hits and misses, in place; bool [T], True for tracks that are given up."""
        hits, misses = tracks.life[HITS], tracks.life[MISSES]
        misses += 1 if charge is None else charge.repeat(edges[1:] - edges[:-1])
        misses.put(rows, 0)
        matched = np.zeros(len(tracks), bool)
        matched.put(rows, True)
        hits += matched
        dead: np.ndarray = misses > self.config.max_misses
        if self.config.confirm:
            dead |= (misses > 0) & (hits < self.config.min_hits)
        else:
            np.putmask(hits, misses > 0, 0)
        return dead

    def _with_newborn(
        self,
        tracks: TrackTable,
        sightings: Sightings,
        measured: np.ndarray,
        matched: np.ndarray,
        streams: list[Stream],
    ) -> TrackTable:
        """`tracks` and those that begin with this frame."""
        config = self.config
        fresh = sightings.scores >= config.new_score
        fresh[matched] = False
        if not np.count_nonzero(fresh):
            return tracks
        born = fresh.nonzero()[0]
        life = np.zeros((5, len(born)), np.int64)
        parents = [streams[k] for k in np.searchsorted(sightings.edges, born, side="right") - 1]
        life[SLOT] = [stream.slot for stream in parents]
        life[CLASS] = sightings.class_ids.take(born)
        if config.confirm:
            life[HITS] = [config.min_hits if stream.runs <= config.min_hits else 0 for stream in parents]
        filters = config.motion.start(measured.take(born, 1))
        return tracks.with_others(TrackTable(filters, life, sightings.scores.take(born)))

    def _report(self, tracks: TrackTable, slots: np.ndarray, streams: list[Stream]) -> list[Tracks]:
        """What each stream shows now; tracks shown for the first time get their id."""
        config, life = self.config, tracks.life
        shown = life[HITS] >= config.min_hits
        if not config.confirm:
            young = [stream.runs <= config.min_hits for stream in streams]
            if any(young):
                shown |= np.array(young).take(np.searchsorted(slots, life[SLOT]))
        shown &= life[MISSES] == 0
        places = shown.nonzero()[0]
        current = life.take(places, 1)
        slot, ids = current[SLOT], current[ID]
        if np.count_nonzero(ids) < len(ids):
            by_slot = {stream.slot: stream for stream in streams}
            for place in (ids == 0).nonzero()[0].tolist():
                stream = by_slot[int(slot[place])]
                stream.ids += 1
                ids[place] = stream.ids
            life[ID, places] = ids
        boxes = np.array(config.motion.boxes(tracks.filters[0].take(places, 1)).T, np.float32, order="C")
        everything = Tracks(ids, boxes, tracks.scores.take(places), current[CLASS])
        if len(slots) == 1:
            return [everything]
        edges = edges_of(slot, slots).tolist()
        return [everything[slice(start, stop)] for start, stop in itertools.pairwise(edges)]
