"""How good a tracker is: CLEAR (MOTA, identity switches), Identity (IDF1) and HOTA, from truth and results.

Three questions that no single number answers. CLEAR (Bernardin and Stiefelhagen, 2008) counts errors frame by frame and
is dominated by detection; IDF1 (Ristani et al., 2016) asks how long one result follows one truth; HOTA (Luiten et al.,
2020) is the geometric mean of detection and association quality, averaged over how exactly boxes must lie. The numbers
equal those of the reference implementation, TrackEval, under the rules of MOTChallenge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from solutions.core.errors import ConfigError
from solutions.core.vision.detection import iou_matrix
from solutions.core.vision.tracking_counts import (
    MATCH_IOU,
    FramePair,
    TrackingScore,
    combine,
    count_clear,
    count_hota,
    count_identity,
)
from solutions.core.vision.tracks import Tracks

__all__ = ["Ignored", "TrackingScore", "combine", "score"]

Ignored = Literal["drop", "absorb"]


def score(
    truth: Sequence[Tracks],
    results: Sequence[Tracks],
    *,
    frames: range | None = None,
    ignored: Ignored = "drop",
    class_aware: bool = False,
) -> TrackingScore:
    """How well `results` follow `truth`, both by frame.

    Args:
        truth: true boxes of each frame; those with score 0 are not to be judged.
        results: what the tracker reported; place k belongs to truth's place k.
        frames: places to judge, all by default; where either list is too short, its frame counts as empty.
        ignored: "drop" acts as if truth that is not judged were not there, so a result on it is a false positive (the
            rule of MOT15); "absorb" first takes out the results matched to it, which are neither right nor wrong (the
            rule for distractors in MOT16 and later).
        class_aware: True lets a result match truth of its own class only.

    Raises:
        ConfigError: an id appears twice in a frame, or `ignored` is unknown.

    >>> walk = [Tracks(np.array([7]), np.array([[k, 0, k + 9, 20]]), np.ones(1), np.zeros(1)) for k in range(3)]
    >>> score(walk, walk[:2]).as_dict()["fn"]
    1
    """
    if ignored not in ("drop", "absorb"):
        raise ConfigError(f"ignored must be 'drop' or 'absorb', got {ignored!r}")
    places = range(max(len(truth), len(results))) if frames is None else frames
    pairs = [_compare(_at(truth, k), _at(results, k), k, ignored, class_aware) for k in places]
    truth_ids, result_ids = _names([p.truth_ids for p in pairs]), _names([p.result_ids for p in pairs])
    pairs = [
        FramePair(np.searchsorted(truth_ids, p.truth_ids), np.searchsorted(result_ids, p.result_ids), p.iou)
        for p in pairs
    ]
    truths, reported = sum(len(p.truth_ids) for p in pairs), sum(len(p.result_ids) for p in pairs)
    found, switches, fragments, iou_sum = count_clear(pairs)
    hota_tp, hota_ass = count_hota(pairs, len(truth_ids), len(result_ids))
    return TrackingScore(
        truths=truths,
        results=reported,
        tp=found,
        fp=reported - found,
        fn=truths - found,
        ids=switches,
        frag=fragments,
        iou_sum=iou_sum,
        idtp=count_identity(pairs, len(truth_ids), len(result_ids)),
        hota_tp=hota_tp,
        hota_ass=hota_ass,
    )


def _at(frames: Sequence[Tracks], place: int) -> Tracks:
    return frames[place] if 0 <= place < len(frames) else Tracks.empty()


def _names(ids: list[np.ndarray]) -> np.ndarray:
    """Every id once, ascending."""
    return np.unique(np.concatenate([*ids, np.zeros(0, np.int64)]))


def _compare(truth: Tracks, results: Tracks, place: int, ignored: Ignored, class_aware: bool) -> FramePair:
    """Overlaps of one frame, cleared of what is not judged."""
    for what, ids in (("truth", truth.ids), ("results", results.ids)):
        if len(np.unique(ids)) < len(ids):
            raise ConfigError(f"an id appears twice in the {what} of frame {place + 1}: {sorted(ids.tolist())}")
    iou = np.asarray(iou_matrix(truth.boxes.astype(np.float64), results.boxes.astype(np.float64)))
    if class_aware:
        iou *= truth.class_ids[:, None] == results.class_ids[None, :]
    judged, kept = truth.scores != 0, np.ones(len(results), bool)
    if ignored == "absorb" and iou.size:
        worth = np.where(iou >= MATCH_IOU, iou, 0.0)
        rows, cols = linear_sum_assignment(worth, maximize=True)
        kept[cols[(worth[rows, cols] > 0) & ~judged[rows]]] = False
    return FramePair(truth.ids[judged], results.ids[kept], iou[judged][:, kept])
