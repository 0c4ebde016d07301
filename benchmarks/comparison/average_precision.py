"""AP50 as a `Judgement`: the figure of a detector, and how much lower another one's lies, on the same frames."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.comparison.tasks import Judgement
from solutions.core.errors import ConfigError
from solutions.core.vision.detection import Detections
from solutions.core.vision.detection_metrics import TruthBoxes, average_precision
from solutions.phase2_optimization.quantization.judges import Drop
from solutions.phase4_production.video_analysis.detector_judge import ap_drop


class Ap50:
    """What a detector found in frames, and what is true of them."""

    per_sample = None  # average precision is no mean over frames

    def __init__(self, found: Sequence[Detections], truth: Sequence[TruthBoxes]) -> None:
        self._found, self._truth = found, truth
        self.value = average_precision(list(zip(found, truth, strict=True))).mean

    def drop(self, after: Judgement, *, confidence: float = 0.95) -> Drop:
        """As `Judgement.drop`.

        Raises:
            ConfigError: the other one is no AP of as many frames, or there is nothing to find in them.
        """
        if not isinstance(after, Ap50):
            raise ConfigError("AP50 can only be compared with what another detector found in the same frames")
        return ap_drop(self._found, after._found, self._truth, confidence=confidence)
