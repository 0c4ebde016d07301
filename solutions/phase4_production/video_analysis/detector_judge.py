"""The gate's judge of detectors: AP50 on labelled sets of pictures, each set by itself.

Average precision belongs to a set: it ranks the detections of all its pictures together. So the bootstrap draws
pictures and computes the precision of both models on the same draw; the detections are judged once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.vision.detection import Detections
from solutions.core.vision.detection_metrics import APResult, TruthBoxes, judge_frames
from solutions.phase2_optimization.quantization.judges import Drop
from solutions.phase2_optimization.quantization.running import Predict
from solutions.phase4_production.video_analysis.detector import Detector

ApScore = Callable[[APResult], float]
_RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Pictures with their truth.

    Attributes:
        frames: uint8 [H, W, 3] BGR, in order; gone through once for every model that is judged.
        truth: of each frame.
        class_aware: False where only boxes are labelled, not classes.
    """

    frames: Iterable[np.ndarray]
    truth: Sequence[TruthBoxes]
    class_aware: bool = True


class DetectorJudge:
    """A judge for `gate.run_gate` (see `judges.Judge`).

    Args:
        detector: over the float model; prepares frames and reads the outputs of every model that is judged.
        sets: by name; the quantized model has to be good enough on each.

    Raises:
        ConfigError: no set, or frames and truth of different number (when looked at).
    """

    def __init__(self, detector: Detector, sets: Mapping[str, LabelledSet]) -> None:
        if not sets:
            raise ConfigError("judging a detector needs at least one labelled set")
        self._detector, self._sets = detector, dict(sets)

    def look(self, predict: Predict) -> dict[str, list[Detections]]:
        """What a model detects in each set."""
        return {name: [self._detect(predict, frame) for frame in held.frames] for name, held in self._sets.items()}

    def drops(
        self, before: Mapping[str, list[Detections]], after: Mapping[str, list[Detections]], confidence: float
    ) -> dict[str, Drop]:
        """How much AP50 falls on each set."""
        return {
            name: ap_drop(before[name], after[name], held.truth, confidence=confidence, class_aware=held.class_aware)
            for name, held in self._sets.items()
        }

    def _detect(self, predict: Predict, frame: np.ndarray) -> Detections:
        ready = self._detector.preprocess(frame)
        outputs = predict({self._detector.model.inputs[0].name: ready.blob})
        return self._detector.decode([np.asarray(output, np.float32) for output in outputs], [ready.transform])[0]


def mean_ap(result: APResult) -> float:
    """The plain mean over classes."""
    return result.mean


def weighted_ap(result: APResult) -> float:
    """The mean over classes, each weighted by how often it occurs: a class seen once does not decide."""
    total = sum(result.truths.values())
    return sum(result.ap[key] * count for key, count in result.truths.items()) / total if total else float("nan")


def ap_drop(
    before: Sequence[Detections],
    after: Sequence[Detections],
    truth: Sequence[TruthBoxes],
    *,
    confidence: float = 0.95,
    class_aware: bool = True,
    score: ApScore = mean_ap,
    seed: int = 0,
) -> Drop:
    """How much AP50 falls from one model's detections to another's, with the paired bootstrap's interval over frames.

    Args:
        before: what the float model detected in each frame.
        after: what the quantized one did.
        truth: of each frame.
        confidence: of the interval.
        class_aware: whether classes count.
        score: what is made of the precisions of the classes.
        seed: the same one gives the same interval.

    Raises:
        ConfigError: different numbers of frames, or no truth in them that counts.
    """
    if not len(before) == len(after) == len(truth):
        raise ConfigError(f"AP wants one truth per frame, got {len(before)}, {len(after)} and {len(truth)}")
    judged = [judge_frames(list(zip(seen, truth, strict=True)), class_aware=class_aware) for seen in (before, after)]
    if not judged[0].truths:
        raise ConfigError("the frames show nothing to compare models on: give frames with objects in them")
    exact, close = (score(each.average_precision()) for each in judged)
    random = np.random.default_rng(seed)
    falls = []
    for _ in range(_RESAMPLES):
        times = np.bincount(random.integers(0, len(truth), size=len(truth)), minlength=len(truth))
        drawn = [score(each.average_precision(times)) for each in judged]
        falls.append(drawn[0] - drawn[1])
    # A draw without any truth says nothing; it happens only where hardly a frame has some.
    low, high = np.nanquantile(falls, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Drop(exact - close, float(low), float(high), len(truth))
