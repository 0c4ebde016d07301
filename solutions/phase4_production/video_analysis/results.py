"""What leaves the pipeline: one result per frame, under the frame's own identity."""

from __future__ import annotations

from dataclasses import dataclass, field

from solutions.core.vision.detection import Detections
from solutions.core.vision.tracks import Tracks


@dataclass(frozen=True, slots=True)
class Label:
    """What the classifier makes of one track: class and colour names ("" where the model has none), and how sure it is.

    `confidence` is the smaller of the two mean probabilities, 0..1. `looks` counts the crops that went into it.
    """

    class_name: str
    colour: str
    confidence: float
    looks: int

    def __str__(self) -> str:
        return f"{self.colour} {self.class_name}".strip()


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Seconds one frame spent in each stage. `model_s` is the part of detect and classify inside the runtime.

    A batch of frames shares its model calls: each frame is charged an equal share.
    """

    preprocess_s: float = 0.0
    detect_s: float = 0.0
    track_s: float = 0.0
    classify_s: float = 0.0
    model_s: float = 0.0

    @property
    def own_s(self) -> float:
        """Our own code: everything but the runtime's."""
        return self.preprocess_s + self.detect_s + self.track_s + self.classify_s - self.model_s


@dataclass(frozen=True, slots=True)
class FrameResult:
    """Everything known about one frame.

    `detections` is None when the detector did not look at this frame (interval or motion gate): the tracks are then
    predictions. `labels` holds an entry for each track that was classified, by track id. `finished_at_s` is on the
    clock that stamped `captured_at_s`.
    """

    stream_id: str
    index: int
    pts_s: float
    captured_at_s: float
    finished_at_s: float
    detections: Detections | None
    tracks: Tracks
    labels: dict[int, Label] = field(default_factory=dict)
    times: StageTimes = field(default_factory=StageTimes)

    @property
    def latency_s(self) -> float:
        """Seconds from capture to result."""
        return self.finished_at_s - self.captured_at_s
