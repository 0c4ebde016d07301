"""How well a candidate answers, beside the float model on ONNX Runtime, and whether that is good enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from solutions.core.errors import CourseError
from solutions.phase2_optimization.quantization.judges import Drop, Judge, MeanScore, Score, agreement
from solutions.phase2_optimization.quantization.running import Feeds, predictor, sqnr_db
from solutions.phase2_optimization.tuning.pictures import Samples

ModelPredict = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]

CLASS_DROP, OTHER_DROP = 0.01, 0.05
_CONFIDENCE = 0.95
_ROUNDING_DB = 80.0  # noise of 1e-4: float32 in another order ends at 100 to 130 dB, 16 bits between 35 and 65


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A candidate beside the float model.

    Attributes:
        score: the mean over samples, or, where a judge knows no mean, 1 - the drop.
        drop: how much it falls; on the set that loses most.
        sqnr_db: signal to noise of the worst output.
    """

    score: float
    drop: Drop
    sqnr_db: float

    def as_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {"score": self.score, "drop": self.drop.as_dict(), "sqnr_db": self.sqnr_db}

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
        score: another one, predict -> float [samples]; or a judge, as the gate takes it, whose worst set decides.
        means_nothing: the weights are random, so scores are shown and not judged, as for noise.
    """

    def __init__(
        self,
        graph: Path,
        samples: Samples,
        *,
        max_drop: float | None = None,
        score: Score | Judge | None = None,
        means_nothing: bool = False,
    ) -> None:
        self._judged = samples.judged
        model = onnx.load(graph)
        exact = predictor(model)
        self._want = [exact(sample) for sample in self._judged]
        measure = score or samples.score() or agreement(model, self._judged)
        self._judge = measure if isinstance(measure, Judge) else MeanScore(measure)
        self._before = self._judge.look(exact)
        self._own = float(self._before.mean()) if isinstance(self._judge, MeanScore) else 1.0
        first = self._want[0]
        by_class = samples.truth is not None or (len(first) == 1 and first[0].ndim == 2)
        self.metric = "score" if score else "accuracy" if samples.truth is not None else "agreement"
        self.bound = max_drop
        if max_drop is None and samples.meaningful and not means_nothing:
            self.bound = CLASS_DROP if by_class or score else OTHER_DROP

    def look(self, predict: ModelPredict) -> Accuracy:
        """The candidate's accuracy; where its answers differ from the float model's by rounding alone, the same as its.

        Raises:
            ConfigError: its answers cannot be scored.
        """
        got = [list(predict(sample).values()) for sample in self._judged]
        ratio = sqnr_db(self._want, got)
        if ratio >= _ROUNDING_DB and _equal_integers(self._want, got):
            return Accuracy(self._own, Drop(0.0, 0.0, 0.0, len(got)), ratio)
        known = {id(sample): answer for sample, answer in zip(self._judged, got, strict=True)}

        def answers(feeds: Feeds) -> list[np.ndarray]:
            found = known.get(id(feeds))  # a judge may look at samples of its own
            return found if found is not None else list(predict(feeds).values())

        after = self._judge.look(answers)
        drop = max(self._judge.drops(self._before, after, _CONFIDENCE).values(), key=lambda one: one.high)
        return Accuracy(float(after.mean()) if isinstance(self._judge, MeanScore) else 1 - drop.mean, drop, ratio)

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


def _equal_integers(want: Sequence[Sequence[np.ndarray]], got: Sequence[Sequence[np.ndarray]]) -> bool:
    """True when all outputs that are not floats, which `sqnr_db` leaves out, are the same."""
    pairs = (pair for exact, close in zip(want, got, strict=True) for pair in zip(exact, close, strict=True))
    return all(np.array_equal(exact, close) for exact, close in pairs if exact.dtype.kind != "f")
