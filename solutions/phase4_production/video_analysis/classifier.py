"""Names for tracks: each track is classified from its crop, again while unsure, and then never more.

A street of ten cars costs ten crops, not ten crops a frame: the answer is cached under the track's id.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.tensors import Model
from solutions.core.vision.images import IMAGENET_RGB, PixelFormat, crop_batch
from solutions.core.vision.tracks import Tracks
from solutions.phase4_production.video_analysis.results import Label


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """When to look at a track, and when to stop.

    A track below `confident` is looked at again every `refresh_every` frames, `max_looks` times at most; the
    probabilities of its looks are averaged. A track first seen cut by the frame's edge is looked at afresh once it is
    whole: a car's roof at the border is anything. Boxes lower than `min_height` pixels wait until they are nearer.
    At most `max_batch` crops go into one frame, so a crowd that enters at once cannot blow the frame's time.
    """

    confident: float = 0.85
    refresh_every: int = 5
    max_looks: int = 6
    min_height: int = 10
    max_batch: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.confident <= 1:
            raise ConfigError(f"confident must lie in (0, 1], got {self.confident}")
        for name in ("refresh_every", "max_looks", "min_height", "max_batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, got {getattr(self, name)}")


class CropClassifier:
    """A crop model with its labels: float32 [N, 3, h, w] in, one row of probabilities per crop and output out.

    The embedded model answers `classes` and `colours`; any other classifier has one output of logits, whose labels come
    from the file's metadata (`labels`, comma-separated) or from the caller.
    """

    def __init__(self, model: Model, *, labels: Sequence[str] = ()) -> None:
        metadata: Mapping[str, str] = getattr(model, "metadata", {})
        self._model = model
        self._input = model.inputs[0].name
        self._outputs = [spec.name for spec in model.outputs]
        self._embedded = metadata.get("head") == "crop"
        self._format = PixelFormat() if self._embedded else IMAGENET_RGB
        self.labels = tuple(labels) or tuple(filter(None, metadata.get("labels", "").split(",")))
        self.colours = tuple(filter(None, metadata.get("colours", "").split(",")))
        self.size_hw = _input_hw(model, metadata)
        if not self.labels:
            raise ModelLoadError(f"{model.name} does not say what its classes are called. Name a file: --labels FILE")

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._model.name

    def probabilities(self, pixels: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
        """One float32 [N, K] per output, rows summing to 1."""
        crops = crop_batch(pixels, boxes, self.size_hw, self._format)
        answers = self._model.predict({self._input: crops})
        return [_softmax(answers[name]) for name in self._outputs]

    def close(self) -> None:
        """Free the model."""
        self._model.close()


@dataclass(slots=True)
class _Evidence:
    sums: list[np.ndarray]
    looks: int
    next_frame: int
    last_frame: int
    cut: bool


class TrackClassifier:
    """The labels of all tracks of one stream."""

    def __init__(self, classifier: CropClassifier, config: ClassifierConfig = ClassifierConfig()) -> None:
        self._classifier = classifier
        self._config = config
        self._evidence: dict[int, _Evidence] = {}
        self._labels: dict[int, Label] = {}

    def update(self, index: int, pixels: np.ndarray, tracks: Tracks) -> tuple[dict[int, Label], float]:
        """The labels of the tracks in this frame, by id, and the seconds spent inside the model."""
        cut = _cut_by_edge(tracks.boxes, pixels.shape[:2])
        due = self._due(index, tracks, cut)
        model_s = 0.0
        if due:
            start = time.perf_counter()
            answers = self._classifier.probabilities(pixels, tracks.boxes[due])
            model_s = time.perf_counter() - start
            for row, track_id in enumerate(tracks.ids[due].tolist()):
                self._learn(track_id, index, [answer[row] for answer in answers], bool(cut[due[row]]))
        present = tracks.ids.tolist()
        for track_id in present:
            if track_id in self._evidence:
                self._evidence[track_id].last_frame = index
        self._forget(index)
        return {track_id: self._labels[track_id] for track_id in present if track_id in self._labels}, model_s

    def _due(self, index: int, tracks: Tracks, cut: np.ndarray) -> list[int]:
        """Rows to look at now: never seen ones first, then the unsure."""
        config = self._config
        tall = tracks.boxes[:, 3] - tracks.boxes[:, 1] >= config.min_height
        fresh, unsure = [], []
        for row, track_id in enumerate(tracks.ids.tolist()):
            known = self._evidence.get(track_id)
            if known is None:
                if tall[row]:
                    fresh.append(row)
                continue
            now_whole = known.cut and not cut[row]
            may_look = known.looks < config.max_looks and index >= known.next_frame
            if now_whole or (may_look and self._labels[track_id].confidence < config.confident):
                unsure.append(row)
        return (fresh + unsure)[: config.max_batch]

    def _learn(self, track_id: int, index: int, answers: list[np.ndarray], cut: bool) -> None:
        known = self._evidence.get(track_id)
        if known is None or (known.cut and not cut):
            known = self._evidence[track_id] = _Evidence([np.zeros_like(a) for a in answers], 0, 0, index, cut)
        known.sums = [total + answer for total, answer in zip(known.sums, answers, strict=True)]
        known.looks += 1
        known.next_frame = index + self._config.refresh_every
        means = [total / known.looks for total in known.sums]
        best = [int(mean.argmax()) for mean in means]
        names = [self._classifier.labels, self._classifier.colours]
        words = [names[which][choice] for which, choice in enumerate(best)]
        confidence = min(float(mean[choice]) for mean, choice in zip(means, best, strict=True))
        self._labels[track_id] = Label(words[0], words[1] if len(words) > 1 else "", confidence, known.looks)

    def _forget(self, index: int, *, after: int = 300) -> None:
        """Drop tracks unseen for `after` frames: a camera that runs for months must not remember everyone."""
        if index % after:
            return
        for track_id in [key for key, known in self._evidence.items() if index - known.last_frame > after]:
            del self._evidence[track_id], self._labels[track_id]


def _cut_by_edge(boxes: np.ndarray, size_hw: tuple[int, ...]) -> np.ndarray:
    """bool [N]: boxes that end within 2 pixels of the frame's edge."""
    height, width = size_hw
    cut: np.ndarray = (boxes[:, :2] < 2).any(axis=1) | (boxes[:, 2] > width - 2) | (boxes[:, 3] > height - 2)
    return cut


def _input_hw(model: Model, metadata: Mapping[str, str]) -> tuple[int, int]:
    if "input_hw" in metadata:
        height, width = metadata["input_hw"].split(",")
        return int(height), int(width)
    shape = model.inputs[0].shape
    if len(shape) != 4 or shape[1] != 3:
        raise ModelLoadError(f"{model.name} wants {model.inputs[0].describe()}, not crops [N, 3, height, width].")
    return shape[2] or 224, shape[3] or 224


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float32)
