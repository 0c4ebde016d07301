"""Which sighting continues which track: the rules of SORT and ByteTrack on top of `association`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from solutions.phase4_production.video_analysis.association import Edges, Pairs, assign, overlapping_pairs
from solutions.phase4_production.video_analysis.track_table import CLASS, HITS, MISSES, Sightings, TrackTable
from solutions.phase4_production.video_analysis.tracker_config import TrackerConfig

_ZERO = np.array(0.0)


class Limits(NamedTuple):
    """The thresholds of a configuration as arrays without axes, which NumPy need not convert at every comparison.

    Attributes:
        floor: overlap below which no matching would look at a pair.
        settled: hits from which a track takes part in the first matching.
    """

    low_score: np.ndarray
    high_score: np.ndarray
    new_score: np.ndarray
    match_iou: np.ndarray
    low_match_iou: np.ndarray
    new_match_iou: np.ndarray
    floor: np.ndarray
    settled: np.ndarray
    min_hits: np.ndarray
    max_misses: np.ndarray

    @staticmethod
    def of(config: TrackerConfig) -> Limits:
        """Scores are rounded to float32 as those of detections are: a score at the limit is on its good side."""
        scores = (config.low_score, config.high_score, config.new_score)
        overlaps = (config.match_iou, config.low_match_iou, config.new_match_iou)
        counts = (config.min_hits if config.confirm else 0, config.min_hits, config.max_misses)
        rest = (*overlaps, min(overlaps), *counts)
        return Limits(*(np.array(float(np.float32(score))) for score in scores), *(np.array(float(x)) for x in rest))


def match(
    config: TrackerConfig, limits: Limits, tracks: TrackTable, sightings: Sightings, edges: Edges
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the tracks and of the sightings that belong together: sure ones first, then the leftovers."""
    pairs = _candidates(config, limits, tracks, sightings, edges)
    worth = pairs.iou * sightings.scores.take(pairs.cols) if config.fuse_score else pairs.iou
    gain = worth - limits.match_iou
    doubtful, tentative = sightings.scores < limits.high_score, tracks.rows[HITS] < limits.settled
    if config.one_matching or not (np.count_nonzero(doubtful) or np.count_nonzero(tentative)):
        return assign(pairs, gain, edges, sightings.edges)
    doubtful, tentative = doubtful.take(pairs.cols), tentative.take(pairs.rows)
    gain[doubtful | tentative] = 0.0
    rows, cols = assign(pairs, gain, edges, sightings.edges)
    if len(rows) == len(tracks) or len(cols) == len(sightings.scores):
        return rows, cols
    # Of what is left, a doubtful detection may continue a settled track seen just before, and a sure one may settle
    # a new track. The two kinds share neither track nor detection, so one matching solves both.
    taken_rows, taken_cols = np.zeros(len(tracks), bool), np.zeros(len(sightings.scores), bool)
    taken_rows[rows] = taken_cols[cols] = True
    taken = taken_rows.take(pairs.rows) | taken_cols.take(pairs.cols)
    left = (((doubtful ^ tentative) > taken) & (pairs.iou > limits.floor)).nonzero()[0]
    if not len(left):
        return rows, cols
    pairs, doubtful = pairs.take(left), doubtful.take(left)
    gain = np.where(doubtful, pairs.iou - limits.low_match_iou, worth.take(left) - limits.new_match_iou)
    gain[doubtful & (tracks.rows[MISSES].take(pairs.rows) > _ZERO)] = 0.0
    more_rows, more_cols = assign(pairs, gain, edges, sightings.edges)
    if not len(more_rows):
        return rows, cols
    return np.concatenate([rows, more_rows]), np.concatenate([cols, more_cols])


def _candidates(config: TrackerConfig, limits: Limits, tracks: TrackTable, sightings: Sightings, edges: Edges) -> Pairs:
    """Pairs of a track and a sighting, among them all that any of the matchings could use.

    Where classes count, boxes of two classes share nothing: their IoU is given as 0.
    """
    reach = config.motion.reach(tracks.coordinates)
    pairs = overlapping_pairs(reach, edges, sightings.reach, sightings.edges, floor=limits.floor)
    if config.class_aware:
        same = tracks.rows[CLASS].take(pairs.rows) == sightings.class_ids.take(pairs.cols)
        if np.count_nonzero(same) < len(same):
            pairs.iou[~same] = 0.0
    return pairs
