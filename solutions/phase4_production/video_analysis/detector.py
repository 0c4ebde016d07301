"""A detector: any model with any head behind one call, its three stages also callable apart so that each can be timed.

preprocess (letterbox, colour, float) -> run (the model) -> decode (boxes, NMS, back to frame pixels)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.tensors import Model
from solutions.core.vision.detection import Detections, nms
from solutions.core.vision.letterbox import Letterboxer, LetterboxTransform, Placement
from solutions.phase1_basics.model_loader import load_model
from solutions.phase4_production.video_analysis.heads import Head, make_head

_MAX_CANDIDATES = 1000  # best boxes that NMS looks at: bounds its time when a low threshold lets thousands through


@dataclass(frozen=True, slots=True)
class Prepared:
    """One frame ready for the model.

    Attributes:
        blob: [1, 3, H, W] in the dtype of the model's input; uint8 holds the bytes, which the model scales itself.
        transform: the way from canvas pixels back to the frame.
    """

    blob: np.ndarray
    transform: LetterboxTransform


@dataclass(frozen=True, slots=True)
class TimedDetections:
    """Detections of a batch of frames, and where the time went, in seconds for the whole batch.

    `preprocess_s` makes blobs of frames, `model_s` is inside the runtime, `decode_s` makes boxes of outputs.
    """

    detections: list[Detections]
    preprocess_s: float
    model_s: float
    decode_s: float


class Detector:
    """Frames in, `Detections` in frame pixels out, best score first.

    Serves one thread at a time; several detectors may share one model where its runtime allows that. It does not close
    the model it was given unless `close` is called.

    Args:
        model: a loaded model with one image input [N, 3, H, W].
        head: how to read it: a `Head`, the name of one, or None to recognise it.
        input_hw: canvas size where the model leaves it free; default the head's.
        score_threshold: overrides the head's default. Raising it trades missed objects for fewer false ones.
        iou_threshold: overrides the head's default for NMS.
        max_detections: best boxes kept per frame.
        wanted: names of the classes to keep; None keeps all.

    Raises:
        ModelLoadError: the model is not a detector known here.
        ConfigError: a setting is out of range or contradicts the model.
    """

    def __init__(
        self,
        model: Model,
        head: Head | str | None = None,
        *,
        input_hw: tuple[int, int] | None = None,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int = 300,
        wanted: Sequence[str] | None = None,
    ) -> None:
        self.model = model
        self.head = head if isinstance(head, Head) else make_head(model, head)
        self.score_threshold = self.head.score_threshold if score_threshold is None else score_threshold
        self.iou_threshold = self.head.iou_threshold if iou_threshold is None else iou_threshold
        self.max_detections = max_detections
        for name, value in (("score_threshold", self.score_threshold), ("iou_threshold", self.iou_threshold)):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} must lie in [0, 1], got {value}")
        if max_detections < 1:
            raise ConfigError(f"max_detections must be at least 1, got {max_detections}")
        self.labels = self.head.labels
        self._wanted = self._class_ids(wanted)
        self.batch_size, self.input_hw = self._sizes(input_hw)
        self._input = model.inputs[0]
        head = self.head
        as_bytes = self._input.dtype == "uint8"
        self._letterboxer = Letterboxer(
            self.input_hw, fit=head.fit, pad=head.pad, pixel_format=head.pixels, as_bytes=as_bytes
        )
        self._reserve(self.batch_size or 1)

    def picture_hw(self, frame_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width that a frame of this size is scaled to; a source may do it already."""
        return self._letterboxer.inner_hw(frame_hw)

    def preprocess(self, pixels: np.ndarray) -> Prepared:
        """The frame, uint8 [H, W, 3] BGR of any size, as the model wants it."""
        blob, placement = self._letterboxer(pixels)
        return Prepared(blob.astype(self._input.dtype, copy=False), placement.transform)

    def run(self, blob: np.ndarray) -> tuple[np.ndarray, ...]:
        """The model's outputs, in its order, for a batch [N, 3, H, W] that it can take."""
        outputs = self.model.predict({self._input.name: blob})
        return tuple(np.asarray(outputs[spec.name], np.float32) for spec in self.model.outputs)

    def decode(self, outputs: Sequence[np.ndarray], transforms: Sequence[LetterboxTransform]) -> list[Detections]:
        """Detections in frame pixels for each image of the batch that has a transform."""
        found = []
        for row, transform in enumerate(transforms):
            candidates = self.head.decode(
                [output[row] for output in outputs], canvas_hw=self.input_hw, score_threshold=self.score_threshold
            )
            if self._wanted is not None:
                candidates = candidates[np.isin(candidates.class_ids, self._wanted)]
            if len(candidates) > _MAX_CANDIDATES:
                candidates = candidates[np.argpartition(-candidates.scores, _MAX_CANDIDATES)[:_MAX_CANDIDATES]]
            kept = nms(candidates, iou_threshold=self.iou_threshold)
            if len(kept) > self.max_detections:
                kept = kept[: self.max_detections]
            found.append(Detections(transform.to_frame(kept.boxes), kept.scores, kept.class_ids))
        return found

    def detect(self, pixels: np.ndarray) -> Detections:
        """What is in one frame."""
        return self.detect_batch([pixels])[0]

    def detect_batch(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """What is in each frame, in order; sizes may differ."""
        return self.detect_timed(frames).detections

    def detect_timed(
        self,
        frames: Sequence[np.ndarray],
        *,
        frame_sizes: Sequence[tuple[int, int]] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> TimedDetections:
        """What is in each frame, in order, and where the time went.

        `frame_sizes` gives the size (height, width) of each frame whose picture was scaled before; boxes come in it.
        A model of fixed batch size gets batches of that size; what the last one lacks is filled with older frames,
        whose answers nobody reads.
        """
        step = self.batch_size or max(1, len(frames))
        if len(self._batch) < step:
            self._reserve(step)
        found: list[Detections] = []
        preprocess_s = model_s = decode_s = 0.0
        for first in range(0, len(frames), step):
            start = clock()
            transforms = []
            for row, pixels in enumerate(frames[first : first + step]):
                frame_hw = frame_sizes[first + row] if frame_sizes else None
                out, holds = self._batch[row : row + 1], self._placements[row]
                _, placement = self._letterboxer(pixels, frame_hw=frame_hw, out=out, holds=holds)
                self._placements[row] = placement
                transforms.append(placement.transform)
            blob = self._batch[: self.batch_size or len(transforms)].astype(self._input.dtype, copy=False)
            ready = clock()
            outputs = self.run(blob)
            ran = clock()
            found += self.decode(outputs, transforms)
            preprocess_s += ready - start
            model_s += ran - ready
            decode_s += clock() - ran
        return TimedDetections(found, preprocess_s, model_s, decode_s)

    def close(self) -> None:
        """Close the model; detect raises PipelineStopped afterwards."""
        self.model.close()

    def _reserve(self, rows: int) -> None:
        """Memory for a batch: what a frame is written into is still padded when the next of its size comes."""
        self._batch = np.zeros((rows, 3, *self.input_hw), self._letterboxer.dtype)
        self._placements: list[Placement | None] = [None] * rows

    def _class_ids(self, wanted: Sequence[str] | None) -> np.ndarray | None:
        if wanted is None:
            return None
        unknown = sorted(set(wanted) - set(self.labels))
        if unknown:
            raise ConfigError(f"the model does not know {', '.join(unknown)}. It knows: {', '.join(self.labels)}.")
        return np.array([self.labels.index(name) for name in wanted], np.int64)

    def _sizes(self, input_hw: tuple[int, int] | None) -> tuple[int | None, tuple[int, int]]:
        """The model's batch size (None = free) and the canvas size, both checked against its input."""
        inputs = self.model.inputs
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] not in (3, None):
            shapes = ", ".join(f"{spec.name} {spec.describe()}" for spec in inputs)
            raise ModelLoadError(f"{self.model.name} takes {shapes}; a detector wants one image input [N, 3, H, W].")
        if inputs[0].dtype not in ("float32", "float16", "uint8"):
            raise ModelLoadError(
                f"{self.model.name} takes {inputs[0].dtype} pixels; float32, float16 and uint8 work here."
            )
        batch, _, height, width = inputs[0].shape
        wanted = input_hw or self.head.input_hw
        size = (height or wanted[0], width or wanted[1])
        if input_hw is not None and size != tuple(input_hw):
            raise ConfigError(f"{self.model.name} takes {size[0]}x{size[1]} only, input_hw asks for {input_hw}")
        if (height is None and size[0] % 32) or (width is None and size[1] % 32):
            raise ConfigError(f"input_hw must be multiples of 32 pixels, got {size}")
        return batch, size


def load_detector(
    path_or_name: str | Path,
    head: str | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    **settings: Any,
) -> Detector:
    """A `Detector` over the model at a path or of a zoo name; `settings` are Detector's.

    Raises:
        ModelLoadError, BackendUnavailable, ConfigError: as `load_model` and `Detector`.
    """
    model = load_model(path_or_name, device=device, threads=threads)
    try:
        return Detector(model, head, **settings)
    except BaseException:
        model.close()
        raise
