"""From detections to identities: SORT and ByteTrack, for a hundred streams in nearly as many NumPy calls as for one.

Each frame: predict where every track is now (`kalman`), match detections to tracks by overlap (`matching`), correct the
matched tracks, begin new ones, forget old ones. All tracks of all streams lie in stacked arrays (`track_table`) and
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
from solutions.phase4_production.video_analysis.association import Edges
from solutions.phase4_production.video_analysis.matching import Limits, match
from solutions.phase4_production.video_analysis.track_table import (
    CLASS,
    HITS,
    ID,
    MISSES,
    SCORE,
    SLOT,
    Sightings,
    Stream,
    TrackTable,
    edges_of,
)
from solutions.phase4_production.video_analysis.tracker_config import TrackerConfig

Name = TypeVar("Name", bound=Hashable)

_ZERO, _ONE = np.array(0.0), np.array(1.0)  # spare NumPy the conversion at every call


class Tracker:
    """Tracks the objects of any number of streams. Not safe for use from two threads at once.

    >>> tracker = Tracker(TrackerConfig.byte())
    >>> seen = Detections(np.array([[0, 0, 9, 20]], np.float32), np.array([0.9], np.float32), np.array([0]))
    >>> tracker.update({"door": seen, "yard": None})["door"].ids
    array([1])
    """

    def __init__(self, config: TrackerConfig | None = None) -> None:
        self.config = config or TrackerConfig.byte()
        self._limits = Limits.of(self.config)
        self._tracks = TrackTable.blank(0)
        self._streams: dict[Hashable, Stream] = {}
        self._free_slots: list[int] = []

    @property
    def stream_ids(self) -> tuple[Hashable, ...]:
        """The streams that have state here."""
        return tuple(self._streams)

    def update_one(self, detections: Detections | None, stream_id: Hashable = 0) -> Tracks:
        """`update` for a single stream."""
        return self._step([self._stream(stream_id)], [detections])[0]

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
        tracks = self._step([self._streams[name] for name in by_slot], [frames[name] for name in by_slot])
        by_name = dict(zip(by_slot, tracks, strict=True))
        return {name: by_name[name] for name in frames}

    def remove(self, stream_id: Hashable) -> None:
        """Forget a stream and its tracks; a later frame of that name begins anew with id 1. An unknown name is fine."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._tracks = self._tracks.where(self._tracks.rows[SLOT] != stream.slot)
            self._free_slots.append(stream.slot)

    def _stream(self, name: Hashable) -> Stream:
        stream = self._streams.get(name)
        if stream is None:
            slot = self._free_slots.pop() if self._free_slots else len(self._streams)
            stream = self._streams[name] = Stream(slot)
        return stream

    def _step(self, streams: list[Stream], looked: list[Detections | None]) -> list[Tracks]:
        """One frame of each of `streams`, which are ordered by slot."""
        slots = [stream.slot for stream in streams]
        tracks, idle = self._split(slots)
        edges = edges_of(tracks.rows[SLOT], slots)
        sightings = Sightings.gather(looked, self._limits.low_score, self.config.motion)
        self._predict(tracks)
        rows, cols = match(self.config, self._limits, tracks, sightings, edges)
        self._count_misses(tracks, edges, self._charge(streams, looked))
        if len(rows):
            self._correct(tracks, rows, sightings.findings.take(cols, 1))
        if len(rows) < len(tracks):
            tracks = self._without_dead(tracks)
        if len(cols) < len(sightings.scores):
            tracks = self._with_newborn(tracks, sightings, cols, streams)
        reported = self._report(tracks, slots, streams)  # gives ids, so it comes before the tables are joined
        self._tracks = tracks if idle is None else tracks.with_others(idle)
        return reported

    def _split(self, slots: list[int]) -> tuple[TrackTable, TrackTable | None]:
        """The tracks of the streams at `slots`, and all others (None when every stream is called)."""
        if len(slots) == len(self._streams):
            return self._tracks, None
        mine = np.isin(self._tracks.rows[SLOT], slots)
        return self._tracks.where(mine), self._tracks.where(~mine)

    def _predict(self, tracks: TrackTable) -> None:
        lost = tracks.rows[MISSES].nonzero()[0]
        self.config.motion.predict(tracks.filters, lost if len(lost) else None)

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

    def _count_misses(self, tracks: TrackTable, edges: Edges, charge: np.ndarray | None) -> None:
        """One more for every track of a charged stream; those that are found lose it again."""
        misses = tracks.rows[MISSES]
        misses += _ONE if charge is None else charge.repeat(np.diff(edges))

    def _correct(self, tracks: TrackTable, rows: np.ndarray, findings: np.ndarray) -> None:
        """Tell the tracks at `rows` what was found of them, in place."""
        everyone = len(rows) == len(tracks)
        if everyone:  # put the findings in the order of the tracks rather than the tracks in theirs
            matched, findings = tracks, findings.take(rows.argsort(), 1)
        else:
            matched = tracks.take(rows)
        self.config.motion.update(matched.filters, findings[:4])
        matched.rows[SCORE:SLOT] = findings[4:]
        hits = matched.rows[HITS]
        hits += _ONE
        matched.rows[MISSES] = 0.0
        if not everyone:
            tracks.rows[:, rows] = matched.rows

    def _without_dead(self, tracks: TrackTable) -> TrackTable:
        """The tracks that are not given up; those not confirmed begin to count their hits anew."""
        hits, misses = tracks.rows[HITS], tracks.rows[MISSES]
        alive, missed = misses <= self._limits.max_misses, misses > _ZERO
        if self.config.confirm:
            alive &= (hits >= self._limits.min_hits) >= missed  # who is missed must be settled
        else:
            hits[missed] = 0.0
        places = alive.nonzero()[0]
        return tracks.take(places) if len(places) < len(tracks) else tracks

    def _with_newborn(
        self, tracks: TrackTable, sightings: Sightings, matched: np.ndarray, streams: list[Stream]
    ) -> TrackTable:
        """`tracks` and those that begin with this frame."""
        config = self.config
        fresh = sightings.scores >= self._limits.new_score
        fresh[matched] = False
        born = fresh.nonzero()[0]
        if not len(born):
            return tracks
        parents = [streams[k] for k in np.searchsorted(sightings.edges, born, side="right") - 1]
        findings, newborn = sightings.findings.take(born, 1), TrackTable.blank(len(born))
        config.motion.start(newborn.filters, findings[:4])
        newborn.rows[SCORE:SLOT] = findings[4:]
        newborn.rows[SLOT] = [stream.slot for stream in parents]
        if config.confirm:
            newborn.rows[HITS] = [config.min_hits if stream.runs <= config.min_hits else 0 for stream in parents]
        return tracks.with_others(newborn)

    def _report(self, tracks: TrackTable, slots: list[int], streams: list[Stream]) -> list[Tracks]:
        """What each stream shows now; tracks shown for the first time get their id."""
        config, rows = self.config, tracks.rows
        shown = rows[HITS] >= self._limits.min_hits
        if not config.confirm:
            young = [stream.runs <= config.min_hits for stream in streams]
            if any(young):
                shown |= np.array(young).take(np.searchsorted(slots, rows[SLOT]))
        shown &= rows[MISSES] == _ZERO
        places = shown.nonzero()[0]
        current = tracks.take(places)
        ids = current.rows[ID]
        if np.count_nonzero(ids) < len(ids):
            by_slot = {stream.slot: stream for stream in streams}
            for place in (ids == 0).nonzero()[0].tolist():
                stream = by_slot[int(current.rows[SLOT, place])]
                stream.ids += 1
                ids[place] = stream.ids
            rows[ID, places] = ids
        boxes = config.motion.boxes(current.coordinates)
        everything = Tracks(
            ids.astype(np.int64),
            boxes.T.astype(np.float32, order="C"),
            current.rows[SCORE].astype(np.float32),
            current.rows[CLASS].astype(np.int64),
        )
        if len(slots) == 1:
            return [everything]
        edges = edges_of(current.rows[SLOT], slots)
        return [everything[slice(start, stop)] for start, stop in itertools.pairwise(edges)]
