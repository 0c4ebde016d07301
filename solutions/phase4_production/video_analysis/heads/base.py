"""What every detection head has: how it wants its pixels, what its classes are called, and how its output is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.vision.detection import Detections
from solutions.core.vision.images import PixelFormat
from solutions.core.vision.letterbox import Fit


@dataclass(frozen=True, kw_only=True)
class Head(ABC):
    """A family of detectors. Subclasses set the defaults of their family and read its output.

    Attributes:
        labels: names by class id.
        input_hw: size of the canvas in pixels, where the model leaves it free.
        pixels: scale, mean, std and channel order.
        fit: how frames are put on the canvas.
        pad: grey value of what a letterbox leaves empty.
        score_threshold: what this family is usually run at; lower finds more and is wrong more often.
        iou_threshold: overlap at which NMS calls two boxes of a class the same object.
    """

    name: ClassVar[str]

    labels: tuple[str, ...]
    input_hw: tuple[int, int]
    pixels: PixelFormat = field(default=PixelFormat())
    fit: Fit = "corner"
    pad: int = 114
    score_threshold: float = 0.3
    iou_threshold: float = 0.45

    @abstractmethod
    def decode(
        self, outputs: Sequence[np.ndarray], *, canvas_hw: tuple[int, int], score_threshold: float
    ) -> Detections:
        """The candidates of one image in canvas pixels, before NMS, in any order.

        Args:
            outputs: the model's outputs in its order, each without its batch axis.
            canvas_hw: height and width of the model's input.
            score_threshold: candidates below it are dropped before anything expensive is done to them.

        Raises:
            ConfigError: an output has not the shape of this head.
        """


def only_output(outputs: Sequence[np.ndarray], head: str, axes: str, ndim: int) -> np.ndarray:
    """The single output of a head that has one.

    Raises:
        ConfigError: there are more or fewer, or it has not `ndim` axes.
    """
    if len(outputs) != 1 or outputs[0].ndim != ndim:
        shapes = [list(output.shape) for output in outputs]
        raise ConfigError(
            f"the {head} head reads one output {axes} per image, this model gives {shapes}. Choose --head."
        )
    return outputs[0]


def check_classes(count: int, head: Head) -> None:
    """Refuse an output whose number of classes is not that of the labels."""
    if count != len(head.labels):
        raise ConfigError(
            f"the model gives {count} classes and the {head.name} head has {len(head.labels)} labels: "
            "give the labels the model was trained with"
        )


def corners(centres: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """float32 [N, 4] boxes x1 y1 x2 y2 from centres (x, y) and sizes (width, height), each [N, 2]."""
    half = sizes / 2
    return np.concatenate((centres - half, centres + half), axis=1).astype(np.float32, copy=False)
