"""How right a run was, when the truth is known: AP50 of the detector, MOTA, IDF1 and HOTA of the tracks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.vision.detection import Detections
from solutions.core.vision.detection_metrics import TruthBoxes, average_precision
from solutions.core.vision.frames import Frame
from solutions.core.vision.mot import read_truth
from solutions.core.vision.scenes import CLASSES, counts
from solutions.core.vision.tracking_metrics import Ignored, score
from solutions.core.vision.tracks import Tracks
from solutions.phase4_production.video_analysis.results import FrameResult

_PEDESTRIAN_NAMES = ("person", "pedestrian")
_MOT_PEDESTRIAN, _MOT_NO_CLASS = 1, -1


@dataclass(frozen=True, slots=True)
class Truth:
    """What is really in each frame, and the rules to judge by.

    Attributes:
        frames: the true boxes of each frame, place 0 for frame index 0; score 0 marks boxes not judged. None: the truth
            comes with the frames (synthetic scenes).
        class_ids: detector classes that are judged; everything else a detector says is left out.
        class_aware: whether a car called a truck is wrong.
        ignored: what happens to results on boxes not judged, see `tracking_metrics.score`.
    """

    frames: Sequence[Tracks] | None
    class_ids: frozenset[int]
    class_aware: bool
    ignored: Ignored


def scene_truth(labels: Sequence[str], frames: Sequence[Tracks] | None = None) -> Truth:
    """The truth of a synthetic street for a detector with these labels."""
    if tuple(labels) != CLASSES:
        raise ConfigError(f"the truth of a scene has the classes {', '.join(CLASSES)}; this detector has others")
    return Truth(frames, frozenset(range(len(CLASSES))), class_aware=True, ignored="absorb")


def file_truth(path: str, labels: Sequence[str]) -> Truth:
    """The truth in a MOTChallenge `gt.txt`.

    For a detector of the street classes, column 8 is one of those, counted from 1. For any other, the file is about
    pedestrians: class 1 or no class is judged, other classes (riders, mannequins, reflections) are not.

    Raises:
        VideoError: the file cannot be read.
        ConfigError: the detector knows no pedestrians.
    """
    frames = read_truth(path)
    if tuple(labels) == CLASSES:
        shifted = [Tracks(f.ids, f.boxes, f.scores, f.class_ids - 1) for f in frames]
        return scene_truth(labels, shifted)
    people = frozenset(number for number, label in enumerate(labels) if label in _PEDESTRIAN_NAMES)
    if not people:
        raise ConfigError(f"{path} is about pedestrians, and this detector has no class named person or pedestrian")
    judged = []
    with_classes = any((frame.class_ids != _MOT_NO_CLASS).any() for frame in frames)
    for frame in frames:
        person = np.isin(frame.class_ids, (_MOT_PEDESTRIAN, _MOT_NO_CLASS))
        judged.append(Tracks(frame.ids, frame.boxes, np.where(person, frame.scores, 0.0), frame.class_ids))
    return Truth(judged, people, class_aware=False, ignored="absorb" if with_classes else "drop")


class AccuracyLog:
    """Collects results beside their truth; memory grows with the run, so it is kept only where truth is known."""

    def __init__(self, truth: Truth) -> None:
        self._rules = truth
        self._truth: list[Tracks] = []
        self._tracks: list[Tracks] = []
        self._detected: list[tuple[Detections, TruthBoxes]] = []

    def add(self, frame: Frame, result: FrameResult) -> None:
        """Keep one result; frames that were lost before it count as frames with nothing found."""
        while len(self._truth) <= frame.index:
            self._truth.append(self._truth_at(len(self._truth), frame))
            self._tracks.append(Tracks.empty())
        truth = self._truth[frame.index]
        tracks = result.tracks
        self._tracks[frame.index] = tracks[self._judged(tracks.class_ids)]
        if result.detections is not None:
            found = result.detections[self._judged(result.detections.class_ids)]
            boxes = TruthBoxes(truth.boxes, truth.class_ids, truth.scores == 0)
            self._detected.append((found, boxes))

    def scores(self) -> dict[str, float] | None:
        """ap50, mota, idf1, hota in 0..1 (mota may be negative) and ids, a count; None without any truth."""
        if not any((frame.scores != 0).any() for frame in self._truth):
            return None
        tracking = score(self._truth, self._tracks, ignored=self._rules.ignored, class_aware=self._rules.class_aware)
        ap50 = average_precision(self._detected, class_aware=self._rules.class_aware).mean
        found = {"mota": tracking.mota, "idf1": tracking.idf1, "hota": tracking.hota, "ids": tracking.ids}
        return found if math.isnan(ap50) else {"ap50": ap50, **found}

    def _judged(self, class_ids: np.ndarray) -> np.ndarray:
        return np.isin(class_ids, list(self._rules.class_ids))

    def _truth_at(self, index: int, frame: Frame) -> Tracks:
        frames = self._rules.frames
        if frames is not None:
            return frames[index] if index < len(frames) else Tracks.empty()
        if frame.truth is None or index != frame.index:
            return Tracks.empty()
        judged = counts(frame.truth, frame.size_hw).astype(np.float32)
        return Tracks(frame.truth.ids, frame.truth.boxes, judged, frame.truth.class_ids)
