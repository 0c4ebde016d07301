"""How good a model is beside another: scores on the same samples, and the interval of how much they fall.

A judge may look at several labelled sets and says of each how much the quantized model loses there: a mean over all of
them would let a gain on one hide a loss on another. The score is a mean over samples here; one that is not (average
precision belongs to a set, not to a picture) brings a judge of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import onnx

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.quantization.running import Feeds, Predict, predictor

Score = Callable[[Predict], np.ndarray]


@dataclass(frozen=True, slots=True)
class Drop:
    """How much a score falls, with the ends of its interval; negative where the quantized model is better."""

    mean: float
    low: float
    high: float
    samples: int

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}] over {self.samples} samples"

    def as_dict(self) -> dict[str, float]:
        """The fields, ready for JSON."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "samples": self.samples}


@runtime_checkable
class Judge(Protocol):
    """What the gate asks of a model, and how the answers of two models compare."""

    def look(self, predict: Predict) -> Any:
        """All that is needed of a model's answers on the judged samples."""

    def drops(self, before: Any, after: Any, confidence: float) -> Mapping[str, Drop]:
        """What `look` gave of the float model and of the quantized one -> by name of the set, how much is lost."""


class MeanScore:
    """A judge by one score per sample, in the same order each time; its one set has no name."""

    def __init__(self, score: Score) -> None:
        self._score = score

    def look(self, predict: Predict) -> np.ndarray:
        """The scores."""
        return self._score(predict)

    def drops(self, before: np.ndarray, after: np.ndarray, confidence: float) -> dict[str, Drop]:
        """The fall of the mean."""
        return {"": paired_drop(before, after, confidence=confidence)}


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


def _likeness(want: list[np.ndarray], got: list[np.ndarray]) -> float:
    if len(want) == 1 and want[0].ndim == 2 and want[0].shape[1] > 1:
        return float((want[0].argmax(axis=1) == got[0].argmax(axis=1)).mean())
    likeness = []
    for exact, close in zip(want, got, strict=True):
        wide = exact.astype(np.float64)
        size, error = np.linalg.norm(wide), np.linalg.norm(wide - close.astype(np.float64))
        likeness.append(1 - float(error / size) if size > 0 else float(error == 0))
    return max(min(likeness), 0.0) if np.isfinite(likeness).all() else 0.0
