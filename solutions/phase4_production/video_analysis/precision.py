"""Which precision of a detector to run here: measured on this machine, on these pictures, never assumed.

Int8 is a hypothesis. It made YOLOX-nano faster and MobileNetV3 slower on the same CPU, and how much accuracy it costs
depends on the calibration. So candidates are timed against the baseline in interleaved rounds, their detections are
compared, and the verdict is that of Phase 2's gate: faster beyond doubt, and all of the interval close enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.measure.metrics import PairedRatio
from solutions.core.measure.profiling import measure, measure_pair
from solutions.core.vision.detection import Detections
from solutions.core.vision.detection_metrics import TruthBoxes
from solutions.phase2_optimization.quantization.gate import Drop, GateConfig, weigh
from solutions.phase4_production.video_analysis.detector import Detector, load_detector
from solutions.phase4_production.video_analysis.detector_judge import ap_drop, weighted_ap

_RANKING_THRESHOLD = 0.05  # AP judges a ranking, so candidates must show more than they would report
_TIMING_S = 0.01  # calls of fast models are timed in groups of about this length: single ones drown in noise


@dataclass(frozen=True, slots=True)
class CandidateReport:
    """What was measured of one candidate.

    Attributes:
        name: its key, e.g. "int8".
        drop: how much lower its AP50 is than the baseline's (classes weighted by how often they occur), with interval.
        ratio: its inference time over the baseline's, with interval.
        accepted: True when it may replace the baseline.
        reason: why, or why not, as a sentence.
    """

    name: str
    drop: Drop
    ratio: PairedRatio
    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class PrecisionChoice:
    """The candidate to run, and the measurements that decided.

    Attributes:
        name: of the chosen candidate; the baseline's where none is better.
        path: its file.
        reason: one sentence for a log.
        reports: every candidate but the baseline, in the order given.
    """

    name: str
    path: Path
    reason: str
    reports: tuple[CandidateReport, ...]


def choose_precision(
    candidates: Mapping[str, str | Path],
    frames: Sequence[np.ndarray],
    *,
    truth: Sequence[TruthBoxes] | None = None,
    max_drop: float | None = None,
    rounds: int = 30,
    threads: int | None = None,
    **detector_settings: Any,
) -> PrecisionChoice:
    """The fastest candidate that stays accurate; the first one is the baseline.

    Args:
        candidates: files by name, e.g. {"fp32": ..., "int8": ...}, the first being the one to trust.
        frames: pictures like those to come, uint8 BGR; twenty say something, a hundred are better.
        truth: labels of each frame. Without it what the baseline finds is taken for true, which measures agreement.
        max_drop: how much AP50 a candidate may lose, at the upper end of the interval; default 0.02 against truth, 0.05
            against the baseline's detections, where every small shift of a box counts as a loss although it may be
            none.
        rounds: interleaved timings on the first frame.
        threads: threads per operator, as it will run.
        detector_settings: for every Detector, e.g. `head` or `input_hw`.

    Raises:
        ConfigError: no candidate, no frame, truth of another length, or nothing in the frames to compare.
    """
    if not candidates or not frames:
        raise ConfigError("choose_precision needs at least one candidate and one frame")
    if truth is not None and len(truth) != len(frames):
        raise ConfigError(f"truth must have one entry per frame, got {len(truth)} for {len(frames)}")
    bound = max_drop if max_drop is not None else (0.02 if truth is not None else 0.05)
    gate = GateConfig(bound, min_speedup=1.0, rounds=rounds, threads=threads or 1)
    (base_name, base_path), *others = candidates.items()
    settings = {**detector_settings, "score_threshold": _RANKING_THRESHOLD}
    reported_from = detector_settings.get("score_threshold")
    baseline = load_detector(base_path, threads=threads, **settings)
    try:
        threshold = baseline.head.score_threshold if reported_from is None else reported_from
        found = [baseline.detect(frame) for frame in frames]
        judged = truth if truth is not None else [detection_truth(seen, threshold) for seen in found]
        reports = []
        for name, path in others:
            challenger = load_detector(path, threads=threads, **settings)
            try:
                drop = ap_drop(
                    found,
                    [challenger.detect(frame) for frame in frames],
                    judged,
                    confidence=gate.confidence,
                    score=weighted_ap,
                )
                ratio = _ratio(baseline, challenger, frames[0], rounds)
            finally:
                challenger.close()
            verdict = weigh({"": drop}, ratio, gate, base=base_name)
            reports.append(CandidateReport(name, drop, ratio, verdict.accepted, f"{name} {verdict.reason}"))
    finally:
        baseline.close()
    accepted = [report for report in reports if report.accepted]
    if not accepted:
        why = "; ".join(report.reason for report in reports) or "there is no other candidate"
        return PrecisionChoice(base_name, Path(base_path), f"{base_name} stays: {why}", tuple(reports))
    best = min(accepted, key=lambda report: report.ratio.ratio)
    return PrecisionChoice(best.name, Path(candidates[best.name]), best.reason, tuple(reports))


def detection_truth(found: Detections, threshold: float) -> TruthBoxes:
    """Detections taken for true: those scoring at least `threshold`; weaker ones, down to half of it, are ignored."""
    kept = found[found.scores >= threshold / 2]
    return TruthBoxes(kept.boxes, kept.class_ids, kept.scores < threshold)


def _ratio(baseline: Detector, challenger: Detector, frame: np.ndarray, rounds: int) -> PairedRatio:
    blobs = [detector.preprocess(frame).blob for detector in (baseline, challenger)]
    once_s = measure(lambda: baseline.run(blobs[0]), warmup=2, repeats=5).summary.p50 / 1e3
    inner = min(20, max(1, round(_TIMING_S / once_s)))
    return measure_pair(
        lambda: baseline.run(blobs[0]), lambda: challenger.run(blobs[1]), rounds=rounds, warmup=3, inner=inner
    ).ratio
