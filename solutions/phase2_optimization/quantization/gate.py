"""Accuracy control: a quantized model is accepted only if it is faster and good enough, both beyond doubt.

Where it is not good enough, the layers that hurt most go back to float, as few as will do. How good it is comes from
scores per sample, float and quantized model on the same samples: the interval of the mean difference is the paired
bootstrap's, and its upper end has to be within the bound. Few samples make wide intervals, and so refusals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from solutions.core.errors import ConfigError
from solutions.core.measure.metrics import PairedRatio
from solutions.core.measure.profiling import measure_pair
from solutions.phase2_optimization.quantization.running import Feeds, Predict, predictor
from solutions.phase2_optimization.quantization.sensitivity import LayerError, rank_layers
from solutions.phase2_optimization.quantization.variants import Variants

Score = Callable[[Predict], np.ndarray]
Compare = Callable[[Predict, Predict], PairedRatio]
_RANKED_ON = 8  # samples for the ranking; every layer runs on all of them


@dataclass(frozen=True, slots=True)
class GateConfig:
    """The bounds.

    Attributes:
        max_drop: the mean score may fall by at most this much, e.g. 0.01 of a score in 0..1.
        min_speedup: the float model's time over the quantized one's must reach this.
        confidence: of the interval of the drop.
        rounds: of the interleaved timing.
        threads: of ONNX Runtime.
    """

    max_drop: float = 0.01
    min_speedup: float = 1.2
    confidence: float = 0.95
    rounds: int = 30
    threads: int = 1

    def __post_init__(self) -> None:
        if self.max_drop < 0 or self.min_speedup <= 0:
            raise ConfigError(
                f"max_drop must be >= 0 and min_speedup > 0, got {self.max_drop:g} and {self.min_speedup:g}"
            )
        if not 0 < self.confidence < 1 or self.rounds < 1 or self.threads < 1:
            raise ConfigError(
                f"confidence must lie in (0, 1), rounds and threads be >= 1, got {self.confidence:g}, "
                f"{self.rounds} and {self.threads}"
            )


@dataclass(frozen=True, slots=True)
class Drop:
    """How much the mean score falls, with the ends of its interval; negative where the quantized model is better."""

    mean: float
    low: float
    high: float
    samples: int

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}] over {self.samples} samples"


@dataclass(frozen=True, slots=True)
class GateReport:
    """The verdict and the figures behind it.

    Attributes:
        accepted: faster and good enough.
        reason: the verdict as a sentence with the figures.
        drop: of the model judged last.
        ratio: its time over the float model's.
        kept: name of each layer left in float -> why.
        steps: number of layers in float -> drop, in the order tried.
    """

    accepted: bool
    reason: str
    drop: Drop
    ratio: PairedRatio
    kept: Mapping[str, str]
    steps: tuple[tuple[int, Drop], ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "accepted": self.accepted,
            "reason": self.reason,
            "drop": _drop_dict(self.drop),
            "ratio": self.ratio.as_dict(),
            "speedup": self.ratio.speedup,
            "kept_float": dict(self.kept),
            "steps": [{"layers_in_float": count, **_drop_dict(drop)} for count, drop in self.steps],
        }


def paired_drop(
    before: np.ndarray, after: np.ndarray, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Drop:
    """The mean of before - after with its bootstrap interval over samples; the same seed gives the same interval.

    Raises:
        ConfigError: no scores, lengths that differ, or a score that is not finite.

    >>> print(paired_drop(np.ones(4), np.ones(4)))
    0.0000 [0.0000, 0.0000] over 4 samples
    """
    first, second = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise ConfigError(f"a drop needs one score per sample on both sides, got shapes {first.shape}, {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ConfigError("a score is NaN or infinite: the model's outputs cannot be judged")
    falls = first - second
    draws = np.random.default_rng(seed).integers(0, falls.size, size=(resamples, falls.size))
    low, high = np.quantile(falls[draws].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Drop(float(falls.mean()), float(low), float(high), int(falls.size))


def agreement(model: onnx.ModelProto, feeds: Sequence[Feeds], threads: int = 1) -> Score:
    """A score without labels: how far a model answers as the float `model` does, 1 per sample being the same.

    For one output of class scores it is 1 where the best class is the same and 0 where not; otherwise it is
    1 - |difference| / |answer| of the worst output, at least 0.

    Raises:
        ConfigError: no samples.
    """
    if not feeds:
        raise ConfigError("judging a model needs at least one sample, got none")
    exact = predictor(model, threads)
    want = [exact(sample) for sample in feeds]

    def score(predict: Predict) -> np.ndarray:
        return np.array([_likeness(answer, predict(sample)) for answer, sample in zip(want, feeds, strict=True)])

    return score


def run_gate(
    model: onnx.ModelProto,
    variants: Variants,
    feeds: Sequence[Feeds],
    config: GateConfig = GateConfig(),
    *,
    score: Score | None = None,
    compare: Compare | None = None,
) -> tuple[onnx.ModelProto | None, GateReport]:
    """The quantized model with as few layers in float as the bound needs, or None when refused; and the report.

    Args:
        model: the float model.
        variants: of the same model.
        feeds: samples to judge and to time on; other ones than those of the calibration.
        config: the bounds.
        score: scores per sample of a model, in the same order each time; `agreement` on `feeds` by default.
        compare: (float, quantized) -> ratio of times; interleaved timing on the first sample by default.

    Raises:
        ConfigError: no samples, or scores that cannot be compared.
    """
    score = score or agreement(model, feeds, config.threads)
    compare = compare or _timed(feeds[0], config.rounds)
    exact = predictor(model, config.threads)
    before = score(exact)
    steps: dict[int, Drop] = {}
    ranking: list[LayerError] = []

    def attempt(count: int) -> tuple[onnx.ModelProto, Predict, bool]:
        candidate = variants.build([layer.name for layer in ranking[:count]])
        predict = predictor(candidate, config.threads)
        steps[count] = paired_drop(before, score(predict), confidence=config.confidence)
        return candidate, predict, steps[count].high <= config.max_drop

    candidate, predict, good = attempt(0)
    ratio = compare(exact, predict)
    hopeless = ratio.verdict(at_most=1 / config.min_speedup) == "fail"  # layers in float will not make it faster
    count = 0
    if not good and not hopeless and variants.layers:
        ranking = list(rank_layers(model, variants, feeds[:_RANKED_ON], threads=config.threads))
        found, count = _fewest(lambda tried: attempt(tried)[2], len(ranking))
        candidate, predict, good = attempt(count) if found else (candidate, predict, False)
        ratio = compare(exact, predict)
    fast = ratio.verdict(at_most=1 / config.min_speedup) == "pass"
    kept = {layer.name: layer.reason for layer in ranking[:count]}
    report = GateReport(
        good and fast, _sentence(good, fast, steps[count], ratio, config, kept), steps[count], ratio, kept,
        tuple(steps.items()),
    )  # fmt: skip
    return (candidate if report.accepted else None), report


def _fewest(good: Callable[[int], bool], most: int) -> tuple[bool, int]:
    """Whether some count in 1..most is good, and the least one as far as halving tells; `most` where none is."""
    low, high = 0, 1
    while not good(min(high, most)):
        if high >= most:
            return False, most
        low, high = high, 2 * high
    high = min(high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return True, high


def _timed(sample: Feeds, rounds: int) -> Compare:
    def compare(first: Predict, second: Predict) -> PairedRatio:
        return measure_pair(lambda: first(sample), lambda: second(sample), rounds=rounds).ratio

    return compare


def _likeness(want: list[np.ndarray], got: list[np.ndarray]) -> float:
    if len(want) == 1 and want[0].ndim == 2 and want[0].shape[1] > 1:
        return float((want[0].argmax(axis=1) == got[0].argmax(axis=1)).mean())
    likeness = []
    for exact, close in zip(want, got, strict=True):
        wide = exact.astype(np.float64)
        size, error = np.linalg.norm(wide), np.linalg.norm(wide - close.astype(np.float64))
        likeness.append(1 - float(error / size) if size > 0 else float(error == 0))
    return max(min(likeness), 0.0) if np.isfinite(likeness).all() else 0.0


def _sentence(
    good: bool, fast: bool, drop: Drop, ratio: PairedRatio, config: GateConfig, kept: Mapping[str, str]
) -> str:
    speedup = f"{ratio.speedup:.2f} [{1 / ratio.high:.2f}, {1 / ratio.low:.2f}] times as fast"
    verdict = "accepted" if good and fast else "refused"
    # The bootstrap cannot draw what was never seen; the rule of three can.
    unseen = f"; {drop.samples} samples cannot exclude {3 / drop.samples:.3f}" if drop.low == drop.high == 0 else ""
    return (
        f"{verdict}: {speedup} as float ({config.min_speedup:g} wanted), the score falls by {drop} "
        f"({config.max_drop:g} allowed), {len(kept)} layers kept in float{unseen}"
    )


def _drop_dict(drop: Drop) -> dict[str, float]:
    return {"mean": drop.mean, "low": drop.low, "high": drop.high, "samples": drop.samples}
