"""Where results go: annotated video, one JSON line per frame, MOTChallenge rows."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from solutions.core.errors import VideoError
from solutions.core.vision.drawing import Box, annotate
from solutions.core.vision.frames import Frame
from solutions.core.vision.mot import result_rows
from solutions.core.vision.video import VideoSink
from solutions.phase4_production.video_analysis.results import FrameResult


class ResultSink(Protocol):
    """Takes every result in order. A write that fails raises VideoError; close may be called twice."""

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Take one result and the frame it belongs to."""

    def close(self) -> None:
        """Finish what was written."""


class AnnotatedVideo:
    """H.264 MP4 of the frames with boxes, ids, labels and trails drawn in.

    Args:
        path: the file to write.
        size_hw: height and width of the frames.
        fps: frames per second of the file.
        labels: names of the detector's classes.
        trail: frames that a trail reaches back; 0 draws none.
    """

    def __init__(
        self, path: str | Path, *, size_hw: tuple[int, int], fps: float, labels: Sequence[str], trail: int = 30
    ) -> None:
        self._video = VideoSink(path, size_hw=size_hw, fps=fps)
        self._labels = labels
        self._trails: dict[int, deque[tuple[float, float]]] = {}
        self._trail = trail
        self._latency_ms = 0.0

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Draw on a copy of the frame and encode it."""
        tracks = result.tracks
        boxes = []
        trails: dict[int, deque[tuple[float, float]]] = {}
        for track_id, box, class_id in zip(
            tracks.ids.tolist(), tracks.boxes.tolist(), tracks.class_ids.tolist(), strict=True
        ):
            label = result.labels.get(track_id)
            boxes.append(Box(tuple(box), str(label) if label else self._labels[class_id], track_id=track_id))
            trails[track_id] = self._trails.get(track_id, deque(maxlen=self._trail))
            trails[track_id].append(((box[0] + box[2]) / 2, box[3]))
        self._trails = trails  # those that left take their trail along
        self._latency_ms += (result.latency_s * 1e3 - self._latency_ms) * (0.05 if result.index else 1.0)
        hud = (f"frame {result.index}", f"{len(tracks)} tracked", f"{self._latency_ms:.1f} ms")
        points = {track_id: np.array(trail) for track_id, trail in trails.items()}
        self._video.write(annotate(frame.pixels, boxes, trails=points, hud=hud))

    def close(self) -> None:
        """Finish the file, so that it plays."""
        self._video.close()


class _TextSink:
    """A text file whose every failure is one sentence."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        with self._failures_named():
            self._handle: TextIO = open(path, "w", encoding="utf-8")  # noqa: SIM115 - closed by close()

    def _write(self, text: str) -> None:
        with self._failures_named():
            self._handle.write(text)

    def close(self) -> None:
        """Flush and close the file."""
        with self._failures_named():
            self._handle.close()

    @contextlib.contextmanager
    def _failures_named(self):  # type: ignore[no-untyped-def]
        try:
            yield
        except OSError as error:
            raise VideoError(
                f"{self._path} cannot be written: {error.strerror or error}. Choose another place."
            ) from error


class EventLog(_TextSink):
    """One JSON object per frame and line: stream, frame, pts_s, latency_ms, detected, objects."""

    def __init__(self, path: str | Path, *, labels: Sequence[str]) -> None:
        super().__init__(path)
        self._labels = labels

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Append the line of this frame."""
        self._write(json.dumps(event_of(result, self._labels)) + "\n")


class MotResults(_TextSink):
    """Rows of MOTChallenge: frame (from 1), id, x, y, w, h, score, -1, -1, -1."""

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Append a row for each track of this frame."""
        self._write("".join(result_rows(result.index + 1, result.tracks)))


def event_of(result: FrameResult, labels: Sequence[str]) -> dict[str, Any]:
    """A result as JSON values; boxes are x1 y1 x2 y2 in pixels."""
    objects = []
    tracks = result.tracks
    for track_id, box, score, class_id in zip(
        tracks.ids.tolist(), tracks.boxes.tolist(), tracks.scores.tolist(), tracks.class_ids.tolist(), strict=True
    ):
        found: dict[str, Any] = {
            "id": track_id,
            "class": labels[class_id],
            "score": round(score, 4),
            "box": [round(edge, 1) for edge in box],
        }
        label = result.labels.get(track_id)
        if label is not None:
            found["label"] = {
                "class": label.class_name,
                "colour": label.colour,
                "confidence": round(label.confidence, 4),
                "looks": label.looks,
            }
        objects.append(found)
    return {
        "stream": result.stream_id,
        "frame": result.index,
        "pts_s": round(result.pts_s, 4),
        "latency_ms": round(result.latency_s * 1e3, 3),
        "detected": result.detections is not None,
        "objects": objects,
    }
