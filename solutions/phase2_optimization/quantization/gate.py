"""Accuracy control: a quantized model is accepted only if it is faster and good enough, both beyond doubt.

Where it is not good enough, the layers that hurt most go back to float, as few as will do. How good it is says a judge
(see `judges`), who looks at float and quantized model on the same samples: the interval of what is lost is the paired
bootstrap's, and its upper end has to be within the bound. Few samples make wide intervals, and so refusals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from solutions.core.errors import ConfigError
from solutions.core.measure.metrics import PairedRatio
from solutions.core.measure.profiling import measure_pair
from solutions.phase2_optimization.quantization.judges import Drop, Judge, MeanScore, Score, agreement, paired_drop
from solutions.phase2_optimization.quantization.running import Feeds, Predict, predictor
from solutions.phase2_optimization.quantization.sensitivity import LayerError, rank_layers
from solutions.phase2_optimization.quantization.variants import Variants

__all__ = [
    "Compare",
    "Drop",
    "GateConfig",
    "GateReport",
    "Judge",
    "MeanScore",
    "Score",
    "Weighed",
    "agreement",
    "paired_drop",
    "run_gate",
    "weigh",
]

Compare = Callable[[Predict, Predict], PairedRatio]
_RANKED_ON = 8  # samples for the ranking; every layer runs on all of them


@dataclass(frozen=True, slots=True)
class GateConfig:
    """The bounds.

    Attributes:
        max_drop: the score may fall by at most this much on any set, e.g. 0.01 of a score in 0..1.
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
class GateReport:
    """The verdict and the figures behind it.

    Attributes:
        accepted: faster and good enough.
        reason: the verdict as a sentence with the figures.
        drops: of the model judged last, by name of the set.
        ratio: its time over the float model's.
        kept: name of each layer left in float -> why.
        steps: number of layers in float -> drop on the set that loses most, in the order tried.
    """

    accepted: bool
    reason: str
    drops: Mapping[str, Drop]
    ratio: PairedRatio
    kept: Mapping[str, str]
    steps: tuple[tuple[int, Drop], ...]

    @property
    def drop(self) -> Drop:
        """On the set that loses most."""
        return _worst(self.drops)

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "accepted": self.accepted,
            "reason": self.reason,
            "drop": self.drop.as_dict(),
            "sets": {name: drop.as_dict() for name, drop in self.drops.items()},
            "ratio": self.ratio.as_dict(),
            "speedup": self.ratio.speedup,
            "kept_float": dict(self.kept),
            "steps": [{"layers_in_float": count, **drop.as_dict()} for count, drop in self.steps],
        }


@dataclass(frozen=True, slots=True)
class Weighed:
    """The verdict on one model: good enough, fast enough, and both as a sentence with the figures."""

    good: bool
    fast: bool
    reason: str

    @property
    def accepted(self) -> bool:
        """Good and fast enough."""
        return self.good and self.fast


def weigh(drops: Mapping[str, Drop], ratio: PairedRatio, config: GateConfig, *, base: str = "float") -> Weighed:
    """The verdict on a model by what it loses on each set and by its time over that of the model called `base`.

    Good enough: on every set the upper end of the interval is within the bound. Fast enough: so is all of the ratio's.
    """
    good = all(drop.high <= config.max_drop for drop in drops.values())
    fast = ratio.verdict(at_most=1 / config.min_speedup) == "pass"
    falls = ", ".join(f"{drop} on {name}" if name else str(drop) for name, drop in drops.items())
    # The bootstrap cannot draw what was never seen; the rule of three can.
    few = min((drop.samples for drop in drops.values() if drop.low == drop.high == 0), default=0)
    unseen = f"; {few} samples cannot exclude {3 / few:.3f}" if few else ""
    reason = (
        f"{'accepted' if good and fast else 'refused'}: {ratio.speedup:.2f} [{1 / ratio.high:.2f}, {1 / ratio.low:.2f}]"
        f" times as fast as {base} ({config.min_speedup:g} wanted), the score falls by {falls} "
        f"({config.max_drop:g} allowed){unseen}"
    )
    return Weighed(good, fast, reason)


def run_gate(
    model: onnx.ModelProto,
    variants: Variants,
    feeds: Sequence[Feeds],
    config: GateConfig = GateConfig(),
    *,
    score: Score | Judge | None = None,
    compare: Compare | None = None,
) -> tuple[onnx.ModelProto | None, GateReport]:
    """The quantized model with as few layers in float as the bound needs, or None when refused; and the report.

    Args:
        model: the float model.
        variants: of the same model.
        feeds: samples to rank layers by, to time on, and to judge on by default; other ones than those of the
            calibration.
        config: the bounds.
        score: scores per sample of a model, in the same order each time, or a judge; `agreement` on `feeds` by default.
        compare: (float, quantized) -> ratio of times; interleaved timing on the first sample by default.

    Raises:
        ConfigError: no samples, or scores that cannot be compared.
    """
    score = score or agreement(model, feeds, config.threads)
    judge = score if isinstance(score, Judge) else MeanScore(score)
    compare = compare or _timed(feeds[0], config.rounds)
    exact = predictor(model, config.threads)
    before = judge.look(exact)
    tried: dict[int, Mapping[str, Drop]] = {}
    ranking: list[LayerError] = []

    def attempt(count: int) -> tuple[onnx.ModelProto, Predict, bool]:
        candidate = variants.build([layer.name for layer in ranking[:count]])
        predict = predictor(candidate, config.threads)
        tried[count] = judge.drops(before, judge.look(predict), config.confidence)
        return candidate, predict, _worst(tried[count]).high <= config.max_drop

    candidate, predict, good = attempt(0)
    ratio = compare(exact, predict)
    hopeless = ratio.verdict(at_most=1 / config.min_speedup) == "fail"  # layers in float will not make it faster
    count = 0
    if not good and not hopeless and variants.layers:
        ranking = list(rank_layers(model, variants, feeds[:_RANKED_ON], threads=config.threads))
        found, count = _fewest(lambda number: attempt(number)[2], len(ranking))
        candidate, predict, _ = attempt(count) if found else (candidate, predict, False)
        ratio = compare(exact, predict)
    verdict = weigh(tried[count], ratio, config)
    kept = {layer.name: layer.reason for layer in ranking[:count]}
    reason = f"{verdict.reason}; {len(kept)} layers kept in float"
    steps = tuple((number, _worst(drops)) for number, drops in tried.items())
    report = GateReport(verdict.accepted, reason, tried[count], ratio, kept, steps)
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


def _worst(drops: Mapping[str, Drop]) -> Drop:
    return max(drops.values(), key=lambda drop: drop.high)
