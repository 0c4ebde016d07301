"""How well a candidate answers, beside the float model on ONNX Runtime, and whether that is good enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from solutions.core.errors import CourseError
from solutions.phase2_optimization.quantization.gate import Drop, agreement, paired_drop
from solutions.phase2_optimization.quantization.running import Feeds, Predict, predictor, sqnr_db
from solutions.phase2_optimization.tuning.pictures import Samples

Score = Callable[[Predict], np.ndarray]
ModelPredict = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]

CLASS_DROP, OTHER_DROP = 0.01, 0.05


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A candidate beside the float model: mean score, how much it falls, and signal to noise of its worst output."""

    score: float
    drop: Drop
    sqnr_db: float

    def as_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        drop = {"mean": self.drop.mean, "low": self.drop.low, "high": self.drop.high, "samples": self.drop.samples}
        return {"score": self.score, "drop": drop, "sqnr_db": self.sqnr_db}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Accuracy:
        """What `as_dict` gave."""
        return cls(stored["score"], Drop(**stored["drop"]), stored["sqnr_db"])


class Jury:
    """Judges candidates on samples that no calibration has seen.

    The score of a sample is 1 where the class is right (with truth) or the float model's (without), or for other
    networks 1 - |difference| / |answer| of the worst output. Samples that are noise judge nothing: their scores are
    shown, and only answers that are not finite are refused.

    Args:
        graph: the float model.
        samples: with `judged` ones.
        max_drop: the bound of the upper end of the drop; None takes 0.01 of a share of right classes, and 0.05 of any
            other score.
        score: another one: predict -> float [samples].
        means_nothing: the weights are random, so scores are shown and not judged, as for noise.
    """

    def __init__(
        self,
        graph: Path,
        samples: Samples,
        *,
        max_drop: float | None = None,
        score: Score | None = None,
        means_nothing: bool = False,
    ) -> None:
        self._judged = samples.judged
        model = onnx.load(graph)
        exact = predictor(model)
        self._want = [exact(sample) for sample in self._judged]
        self._score = score or samples.score() or agreement(model, self._judged)
        self._before = self._score(exact)
        first = self._want[0]
        by_class = samples.truth is not None or (len(first) == 1 and first[0].ndim == 2)
        self.metric = "score" if score else "right" if samples.truth is not None else "agreement"
        self.bound = max_drop
        if max_drop is None and samples.meaningful and not means_nothing:
            self.bound = CLASS_DROP if by_class or score else OTHER_DROP

    def look(self, predict: ModelPredict) -> Accuracy:
        """The candidate's accuracy.

        Raises:
            ConfigError: its answers cannot be scored.
        """
        kept: list[list[np.ndarray]] = []

        def answers(feeds: Feeds) -> list[np.ndarray]:
            kept.append(list(predict(feeds).values()))
            return kept[-1]

        after = self._score(answers)
        got = kept if len(kept) == len(self._want) else [list(predict(sample).values()) for sample in self._judged]
        return Accuracy(float(after.mean()), paired_drop(self._before, after), sqnr_db(self._want, got))

    def objection(self, accuracy: Accuracy) -> str:
        """Why that is not good enough; "" where it is."""
        if accuracy.sqnr_db <= -200:  # the floor of `sqnr_db`
            return "its answers are not finite"
        if self.bound is not None and accuracy.drop.high > self.bound:
            return f"the {self.metric} falls by {accuracy.drop}, {self.bound:g} allowed"
        return ""

    def verdict(self, predict: ModelPredict) -> tuple[Accuracy | None, str]:
        """Accuracy and objection; a candidate that cannot answer the samples is objected to."""
        try:
            accuracy = self.look(predict)
        except CourseError as error:
            return None, str(error)
        return accuracy, self.objection(accuracy)
