"""What pipeline tests share: a detector and a classifier whose answers are known beforehand."""

from __future__ import annotations

import numpy as np

from solutions.core.tensors import TensorSpec
from solutions.core.vision.detection import Detections
from solutions.core.vision.frames import Frame
from solutions.phase4_production.video_analysis.detector import TimedDetections


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def frame(index=0, *, stream="cam", size_hw=(120, 160), value=90, truth=None):
    pixels = np.full((*size_hw, 3), value, np.uint8)
    return Frame(stream, index, index / 30, index / 30, pixels, 0.001, truth)


def detections(*boxes, score=0.9, class_id=0):
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(count, 4),
        np.full(count, score, np.float32),
        np.full(count, class_id, np.int64),
    )


class ScriptedDetector:
    """Says of each frame what `answer(pixels)` says; counts the batches and frames it was shown."""

    def __init__(self, answer) -> None:
        self.answer, self.batches, self.closed = answer, [], 0

    def picture_hw(self, frame_hw):
        return frame_hw

    def detect_timed(self, frames, *, frame_sizes=None):
        self.batches.append(len(frames))
        return TimedDetections([self.answer(pixels) for pixels in frames], 0.001, 0.002, 0.0005)

    def close(self):
        self.closed += 1


class ColourModel:
    """Two classes by brightness of the crop: the darker than 100 are "dark". How sure it is can be set."""

    name, format, device = "colour", "fake", "cpu"
    inputs = (TensorSpec("crops", (None, 3, 8, 8)),)
    outputs = (TensorSpec("logits", (None, 2)),)

    def __init__(self, sharpness=10.0) -> None:
        self.metadata = {"labels": "dark,bright", "input_hw": "8,8", "head": "crop", "colours": ""}
        self.sharpness, self.crops, self.closed = sharpness, 0, 0

    def predict(self, feeds):
        crops = feeds["crops"]
        self.inputs[0].check(crops)
        self.crops += len(crops)
        bright = np.sign(crops.mean((1, 2, 3)) - 100) * self.sharpness
        return {"logits": np.stack((-bright, bright), 1).astype(np.float32) / 2}

    def close(self):
        self.closed += 1
