"""The counts behind MOTA, IDF1 and HOTA, and the score they add up to.

Counts and not ratios are kept, so that the score of several sequences together is the score of their sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from solutions.core.errors import ConfigError

MATCH_IOU = 0.5
"""Overlap from which CLEAR and IDF1 call a result right."""

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""The 19 overlaps over which HOTA is averaged."""

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class FramePair:
    """Truth and results of one frame: ids int64 [G] and [R], and their IoU float64 [G, R]."""

    truth_ids: np.ndarray
    result_ids: np.ndarray
    iou: np.ndarray


@dataclass(frozen=True, slots=True)
class TrackingScore:
    """What was counted, and the ratios made of it, as fractions of 1.

    Attributes:
        truths: boxes to find.
        tp: boxes found at IoU 0.5 (CLEAR's matching, which prefers the match of the frame before).
        fp: results on nothing.
        fn: truth without a result.
        ids: identity switches: a truth is followed by another result than when it was last followed.
        frag: fragmentations: a truth is found again after it was not.
        iou_sum: sum of the IoU over `tp`.
        idtp: boxes found under the one result that is best for their truth over the whole sequence.
        results: boxes reported.
        hota_tp: boxes found at each alpha of HOTA, float64 [19].
        hota_ass: association accuracy summed over those boxes, float64 [19].
    """

    truths: int
    results: int
    tp: int
    fp: int
    fn: int
    ids: int
    frag: int
    iou_sum: float
    idtp: int
    hota_tp: np.ndarray
    hota_ass: np.ndarray

    @property
    def mota(self) -> float:
        """1 - (fp + fn + ids) / truths; negative when there are more errors than objects."""
        return (self.tp - self.fp - self.ids) / max(1, self.truths)

    @property
    def motp(self) -> float:
        """Mean IoU of the boxes found."""
        return self.iou_sum / max(1, self.tp)

    @property
    def idf1(self) -> float:
        """Boxes found under the right identity, as the harmonic mean of recall and precision."""
        return 2 * self.idtp / max(1, self.truths + self.results)

    @property
    def deta(self) -> float:
        """Detection accuracy: found / (truth or reported), mean over the alphas."""
        return float(self._deta().mean())

    @property
    def assa(self) -> float:
        """Association accuracy: how much of its truth and of its result each found box agrees with, mean of alphas."""
        return float(self._assa().mean())

    @property
    def hota(self) -> float:
        """Mean over the alphas of sqrt(DetA * AssA)."""
        return float(np.sqrt(self._deta() * self._assa()).mean())

    def _deta(self) -> np.ndarray:
        ratio: np.ndarray = self.hota_tp / np.maximum(1, self.truths + self.results - self.hota_tp)
        return ratio

    def _assa(self) -> np.ndarray:
        ratio: np.ndarray = self.hota_ass / np.maximum(1, self.hota_tp)
        return ratio

    def as_dict(self) -> dict[str, float | int]:
        """The usual columns: ratios in percent, counts as they are."""
        ratios = {name: 100 * float(getattr(self, name)) for name in ("mota", "motp", "idf1", "hota", "deta", "assa")}
        counts = {name: int(getattr(self, name)) for name in ("fp", "fn", "ids", "frag", "truths", "results")}
        return {**ratios, **counts}


def combine(scores: Sequence[TrackingScore]) -> TrackingScore:
    """The score of all sequences together: the overall row of a table, in which long sequences weigh more.

    Raises:
        ConfigError: there is nothing to combine.
    """
    if not scores:
        raise ConfigError("combine wants at least one score, got none")
    return TrackingScore(**{name: sum(getattr(one, name) for one in scores) for name in TrackingScore.__slots__})


def count_clear(pairs: Sequence[FramePair]) -> tuple[int, int, int, float]:
    """Boxes found, identity switches, fragmentations, and the sum of IoU over the boxes found.

    A match of the frame before is kept whenever it still overlaps enough. Frames without truth or without results leave
    the memory of who was followed untouched.
    """
    found = switches = fragments = 0
    iou_sum = 0.0
    last_result: dict[int, int] = {}  # truth -> the result that last followed it
    followed: dict[int, int] = {}  # the same, for the frame before only
    for pair in pairs:
        if not pair.iou.size:
            continue
        kept = np.array([followed.get(truth, -1) for truth in pair.truth_ids.tolist()])
        worth = pair.iou + 1000.0 * (kept[:, None] == pair.result_ids[None, :])
        worth[pair.iou < MATCH_IOU - _EPS] = 0
        rows, cols = linear_sum_assignment(worth, maximize=True)
        real = worth[rows, cols] > _EPS
        rows, cols = rows[real], cols[real]
        now = dict(zip(pair.truth_ids[rows].tolist(), pair.result_ids[cols].tolist(), strict=True))
        for truth, result in now.items():
            switches += last_result.get(truth, result) != result
            fragments += truth in last_result and truth not in followed
        last_result.update(now)
        followed = now
        found += len(rows)
        iou_sum += float(pair.iou[rows, cols].sum())
    return found, switches, fragments, iou_sum


def count_identity(pairs: Sequence[FramePair], truth_count: int, result_count: int) -> int:
    """Boxes found when every truth is paired, for the whole sequence, with at most one result and to the best total.

    Args:
        pairs: the frames, ids renumbered from 0.
        truth_count: number of truth ids.
        result_count: number of result ids.
    """
    together = np.zeros((truth_count, result_count))
    for pair in pairs:
        rows, cols = np.nonzero(pair.iou >= MATCH_IOU)
        together[pair.truth_ids[rows], pair.result_ids[cols]] += 1
    best = linear_sum_assignment(together, maximize=True)
    return int(together[best].sum())


def count_hota(pairs: Sequence[FramePair], truth_count: int, result_count: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes found and the sum of their association accuracy, each float64 [19], one for each alpha.

    Arguments as in `count_identity`. Matching maximises IoU times the overlap in time of the two identities (a soft
    Jaccard index over the whole sequence), once for all alphas.
    """
    truth_boxes = np.bincount(_all([pair.truth_ids for pair in pairs]), minlength=truth_count)[:, None]
    result_boxes = np.bincount(_all([pair.result_ids for pair in pairs]), minlength=result_count)[None, :]
    soft = np.zeros((truth_count, result_count))
    for pair in pairs:
        if pair.iou.size:
            union = pair.iou.sum(0)[None, :] + pair.iou.sum(1)[:, None] - pair.iou
            share = np.divide(pair.iou, union, out=np.zeros_like(union), where=union > _EPS)
            soft[pair.truth_ids[:, None], pair.result_ids[None, :]] += share
    alignment = soft / np.maximum(truth_boxes + result_boxes - soft, _EPS)
    flat, ious = [], []
    for pair in pairs:
        if pair.iou.size:
            worth = alignment[pair.truth_ids[:, None], pair.result_ids[None, :]] * pair.iou
            rows, cols = linear_sum_assignment(worth, maximize=True)
            flat.append(pair.truth_ids[rows] * result_count + pair.result_ids[cols])
            ious.append(pair.iou[rows, cols])
    identity, iou = _all(flat), np.concatenate([*ious, np.zeros(0)])
    found, association = np.zeros(len(ALPHAS)), np.zeros(len(ALPHAS))
    for place, alpha in enumerate(ALPHAS):
        shared = np.bincount(identity[iou >= alpha - _EPS], minlength=truth_count * result_count)
        shared = shared.reshape(truth_count, result_count)
        found[place] = shared.sum()
        association[place] = (shared * shared / np.maximum(1, truth_boxes + result_boxes - shared)).sum()
    return found, association


def _all(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([*parts, np.zeros(0, np.int64)])
