"""Detection -> tracking -> classification: frames in, results out, for one stream or a batch of streams.

    frames -> [motion gate, interval] -> detector -> tracker -> classifier -> results

The detector need not see every frame: between its looks the tracker predicts. One frame of each stream goes in at a
time, so the models and the tracker work on whole batches while the state of every stream stays its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from solutions.core.errors import ConfigError, PipelineStopped
from solutions.core.vision.detection import Detections
from solutions.core.vision.frames import Frame
from solutions.core.vision.tracks import Tracks
from solutions.phase4_production.video_analysis.classifier import ClassifierConfig, CropClassifier, TrackClassifier
from solutions.phase4_production.video_analysis.detector import TimedDetections
from solutions.phase4_production.video_analysis.motion import MotionConfig, MotionGate
from solutions.phase4_production.video_analysis.results import FrameResult, Label, StageTimes
from solutions.phase4_production.video_analysis.tracker import Tracker
from solutions.phase4_production.video_analysis.tracker_config import TrackerConfig


class FrameDetector(Protocol):
    """What the pipeline needs of a detector; `detector.Detector` is one."""

    def picture_hw(self, frame_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the picture that it makes of a frame of this size."""

    def detect_timed(
        self, frames: Sequence[np.ndarray], *, frame_sizes: Sequence[tuple[int, int]] | None = None
    ) -> TimedDetections:
        """What is in each frame, in order, in pixels of `frame_sizes` where given, and where the time went."""

    def close(self) -> None:
        """Free the model."""


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """What the pipeline does with each frame.

    Attributes:
        tracker: how detections become tracks.
        classifier: when a track is looked at.
        detect_every: the detector sees every n-th frame of a stream. 2 nearly halves the cost and costs accuracy with
            fast objects and low frame rates.
        motion: skip the detector on still frames too; None looks at every due frame.
    """

    tracker: TrackerConfig = field(default_factory=TrackerConfig.pipeline)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    detect_every: int = 1
    motion: MotionConfig | None = None

    def __post_init__(self) -> None:
        if self.detect_every < 1:
            raise ConfigError(f"detect_every must be >= 1, got {self.detect_every}")


@dataclass(slots=True)
class _Stream:
    """What one stream needs to remember besides its tracks."""

    gate: MotionGate | None
    labels: TrackClassifier | None
    frames: int = 0
    last_index: int = -1


class Pipeline:
    """Detector, tracker and classifier behind one call. Owned by one thread.

    Args:
        detector: finds objects in pixels.
        classifier: names tracks; None leaves them with the detector's class.
        config: see there.
        clock: the clock that stamped `Frame.captured_at_s`.
    """

    def __init__(
        self,
        detector: FrameDetector,
        classifier: CropClassifier | None = None,
        config: PipelineConfig = PipelineConfig(),
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._detector = detector
        self._classifier = classifier
        self._config = config
        self._clock = clock
        self._tracker = Tracker(config.tracker)
        self._streams: dict[str, _Stream] = {}
        self._closed = False
        self.detected, self.gated = 0, 0

    def process(self, frame: Frame) -> FrameResult:
        """The result of one frame; see `process_batch`."""
        return self.process_batch([frame])[0]

    def process_batch(self, frames: Sequence[Frame]) -> list[FrameResult]:
        """One result per frame, in the same order.

        Raises:
            ConfigError: two frames of one stream, or a frame older than one already processed.
            PipelineStopped: the pipeline was closed.
        """
        if self._closed:
            raise PipelineStopped("this pipeline was closed; build a new one")
        streams = self._admit(frames)
        gate_start = self._clock()
        due = [position for position, frame in enumerate(frames) if self._detector_is_due(streams[position], frame)]
        gate_s = self._clock() - gate_start
        found, times = self._detect(frames, due)
        track_start = self._clock()
        tracks = self._tracker.update({frame.stream_id: found.get(n) for n, frame in enumerate(frames)})
        track_s = self._clock() - track_start
        results = []
        for position, (frame, stream) in enumerate(zip(frames, streams, strict=True)):
            inside = _clip(tracks[frame.stream_id], frame.size_hw)
            labels, classify_s, classify_model_s = self._classify(stream, frame, inside)
            looked = position in found
            results.append(
                FrameResult(
                    frame.stream_id,
                    frame.index,
                    frame.pts_s,
                    frame.captured_at_s,
                    self._clock(),
                    found.get(position),
                    inside,
                    labels,
                    StageTimes(
                        preprocess_s=gate_s / len(frames) + (times.preprocess_s / len(due) if looked else 0.0),
                        detect_s=(times.model_s + times.decode_s) / len(due) if looked else 0.0,
                        track_s=track_s / len(frames),
                        classify_s=classify_s,
                        model_s=(times.model_s / len(due) if looked else 0.0) + classify_model_s,
                    ),
                )
            )
        return results

    def picture_hw(self, frame_hw: tuple[int, int]) -> tuple[int, int]:
        """The size for `FrameSource.also_scale`: what the detector makes of frames of size `frame_hw`."""
        return self._detector.picture_hw(frame_hw)

    def remove(self, stream_id: str) -> None:
        """Forget a stream that has ended; unknown ones are ignored."""
        if self._streams.pop(stream_id, None) is not None:
            self._tracker.remove(stream_id)

    def close(self) -> None:
        """Free the models. May be called twice."""
        if not self._closed:
            self._closed = True
            self._detector.close()
            if self._classifier is not None:
                self._classifier.close()

    def _admit(self, frames: Sequence[Frame]) -> list[_Stream]:
        if len({frame.stream_id for frame in frames}) != len(frames):
            raise ConfigError(f"a batch holds one frame per stream, got {[frame.stream_id for frame in frames]}")
        streams = []
        for frame in frames:
            stream = self._streams.get(frame.stream_id)
            if stream is None:
                gate = MotionGate(self._config.motion) if self._config.motion else None
                labels = TrackClassifier(self._classifier, self._config.classifier) if self._classifier else None
                stream = self._streams[frame.stream_id] = _Stream(gate, labels)
            if frame.index <= stream.last_index:
                raise ConfigError(
                    f"frames of {frame.stream_id} must come in order, got {frame.index} after {stream.last_index}"
                )
            streams.append(stream)
        for frame, stream in zip(frames, streams, strict=True):
            stream.last_index = frame.index
        return streams

    def _detector_is_due(self, stream: _Stream, frame: Frame) -> bool:
        stream.frames += 1
        if (stream.frames - 1) % self._config.detect_every:
            return False
        if stream.gate is None or stream.gate.moved(frame.pixels):
            return True
        self.gated += 1
        return False

    def _detect(self, frames: Sequence[Frame], due: list[int]) -> tuple[dict[int, Detections], TimedDetections]:
        if not due:
            return {}, TimedDetections([], 0.0, 0.0, 0.0)
        looked_at = [frames[position] for position in due]
        timed = self._detector.detect_timed(
            [frame.pixels if frame.scaled is None else frame.scaled for frame in looked_at],
            frame_sizes=[frame.size_hw for frame in looked_at],
        )
        self.detected += len(due)
        return dict(zip(due, timed.detections, strict=True)), timed

    def _classify(self, stream: _Stream, frame: Frame, tracks: Tracks) -> tuple[dict[int, Label], float, float]:
        """Labels, seconds in all, seconds inside the model."""
        if stream.labels is None:
            return {}, 0.0, 0.0
        start = self._clock()
        labels, model_s = stream.labels.update(frame.index, frame.pixels, tracks)
        return labels, self._clock() - start, model_s


def _clip(tracks: Tracks, size_hw: tuple[int, int]) -> Tracks:
    """The tracks with their boxes cut to the frame; those wholly outside are left out."""
    height, width = size_hw
    boxes = np.maximum(tracks.boxes, 0)
    np.minimum(boxes, np.array([width, height, width, height], np.float32), out=boxes)
    inside = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
    if inside.all():
        return Tracks(tracks.ids, boxes, tracks.scores, tracks.class_ids)
    return Tracks(tracks.ids[inside], boxes[inside], tracks.scores[inside], tracks.class_ids[inside])
