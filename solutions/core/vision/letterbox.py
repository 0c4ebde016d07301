"""How a frame gets onto a canvas of another shape, and how boxes find their way back.

Frames are uint8 [H, W, 3] in BGR order, as `Frame.pixels`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.vision.images import RAW_BGR, PixelFormat, check_pixels, split_channels, to_blob

Fit = Literal["corner", "centre", "stretch"]
"""Letterboxed into the top-left corner (YOLOX, our own detectors) or the middle (YOLOv5, v8), or stretched without
regard to its shape (FastestDet, SSD)."""


@dataclass(frozen=True, slots=True)
class LetterboxTransform:
    """Where a frame lies on its canvas: canvas = frame * scale + offset, x and y apart.

    Attributes:
        frame_hw: height and width of the frame in pixels.
        scale_xy: canvas pixels per frame pixel. After rounding to whole pixels the two may differ a little; after
            `plain_resize` they differ as much as the aspect ratios do.
        offset_xy: left and top padding in canvas pixels.
    """

    frame_hw: tuple[int, int]
    scale_xy: tuple[float, float] = (1.0, 1.0)
    offset_xy: tuple[float, float] = (0.0, 0.0)

    def to_frame(self, boxes: np.ndarray) -> np.ndarray:
        """Canvas boxes [..., 4] (x1 y1 x2 y2) in frame pixels, float32, clipped to the frame.

        >>> LetterboxTransform((100, 200), (0.5, 0.5), (0, 14)).to_frame(np.array([[-3.0, 14.0, 50.0, 64.0]]))
        array([[  0.,   0., 100., 100.]], dtype=float32)
        """
        scale, offset, corner = _arrays(self)
        mapped: np.ndarray = np.asarray(boxes, np.float32) - offset
        mapped /= scale
        np.maximum(mapped, 0, out=mapped)
        np.minimum(mapped, corner, out=mapped)
        return mapped

    def to_canvas(self, boxes: np.ndarray) -> np.ndarray:
        """Frame boxes [..., 4] in canvas pixels, float32, not clipped: the inverse of `to_frame`."""
        scale, offset, _ = _arrays(self)
        mapped: np.ndarray = np.asarray(boxes, np.float32) * scale + offset
        return mapped


@lru_cache(maxsize=256)
def _arrays(transform: LetterboxTransform) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale, offset and the frame's far corner, each float32 [4] for a box; cached, for a video asks at every frame."""
    height, width = transform.frame_hw
    rows = (transform.scale_xy * 2, transform.offset_xy * 2, (width, height) * 2)
    scale, offset, corner = (np.array(row, np.float32) for row in rows)
    return scale, offset, corner


@dataclass(frozen=True, slots=True)
class Placement:
    """Where frames of one size lie on a canvas.

    Attributes:
        transform: the way of boxes between frame and canvas.
        rows: of the canvas that the frame covers.
        columns: likewise.
    """

    transform: LetterboxTransform
    rows: slice
    columns: slice

    @property
    def inner_hw(self) -> tuple[int, int]:
        """Height and width of the frame on the canvas, in pixels."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


def place(frame_hw: tuple[int, int], canvas_hw: tuple[int, int], fit: Fit) -> Placement:
    """Where a frame of that size goes, as large as it can be (its aspect ratio kept but for `stretch`).

    >>> place((100, 200), (192, 320), "centre").rows
    slice(16, 176, None)
    """
    (height, width), (frame_height, frame_width) = canvas_hw, frame_hw
    ratio = min(height / frame_height, width / frame_width)
    inner_height = height if fit == "stretch" else min(height, max(1, round(frame_height * ratio)))
    inner_width = width if fit == "stretch" else min(width, max(1, round(frame_width * ratio)))
    top = (height - inner_height) // 2 if fit == "centre" else 0
    left = (width - inner_width) // 2 if fit == "centre" else 0
    scale_xy = (inner_width / frame_width, inner_height / frame_height)
    transform = LetterboxTransform((frame_height, frame_width), scale_xy, (left, top))
    return Placement(transform, slice(top, top + inner_height), slice(left, left + inner_width))


def letterbox(
    pixels: np.ndarray, size_hw: tuple[int, int], *, pad: int = 114, centre: bool
) -> tuple[np.ndarray, LetterboxTransform]:
    """A fresh canvas, uint8 [H, W, 3], with the whole frame on it, and the way back."""
    placement = place(check_pixels(pixels), size_hw, "centre" if centre else "corner")
    canvas = np.full((*size_hw, 3), pad, np.uint8)
    height, width = placement.inner_hw
    inside = canvas[placement.rows, placement.columns]
    cv2.resize(pixels, (width, height), dst=inside, interpolation=cv2.INTER_LINEAR)
    return canvas, placement.transform


class Letterboxer:
    """Turns frame after frame into blobs of one size: scaled, placed, the rest filled, all as the model wants it.

    It holds its scratch memory, so one instance serves one thread. Frames of changing size are fine.

    Args:
        size_hw: height and width of the canvas in pixels.
        fit: how the frame is placed.
        pad: grey value of the filling; 114 is what YOLO models are trained with.
        pixel_format: scale, mean, std and channel order of the blob.
        as_bytes: blobs are uint8 and only the channel order counts: for models that scale the values themselves.
    """

    def __init__(
        self,
        size_hw: tuple[int, int],
        *,
        fit: Fit,
        pad: int = 114,
        pixel_format: PixelFormat = RAW_BGR,
        as_bytes: bool = False,
    ) -> None:
        if len(size_hw) != 2 or min(size_hw) < 1:
            raise ConfigError(f"size_hw must be a height and a width of at least 1 pixel, got {size_hw}")
        if not 0 <= pad <= 255:
            raise ConfigError(f"pad must be a grey value in 0..255, got {pad}")
        self.size_hw = (int(size_hw[0]), int(size_hw[1]))
        self.fit: Fit = fit
        self._format = pixel_format
        self.dtype = np.dtype(np.uint8 if as_bytes else np.float32)
        grey = np.full((1, 1, 3), pad, np.uint8)
        self._pad = grey.reshape(3, 1, 1) if as_bytes else to_blob(grey, pixel_format)[0]
        self._placement = place(self.size_hw, self.size_hw, fit)
        self._lay_out(self._placement)

    def __call__(
        self,
        pixels: np.ndarray,
        *,
        frame_hw: tuple[int, int] | None = None,
        out: np.ndarray | None = None,
        holds: Placement | None = None,
    ) -> tuple[np.ndarray, Placement]:
        """The blob, float32 or uint8 [1, 3, H, W], and where the frame lies on it.

        Args:
            pixels: the whole frame, uint8 [H, W, 3].
            frame_hw: the size of the frame that boxes are wanted in, if `pixels` are a copy of it in another size; one
                of `inner_hw` need not be scaled any more.
            out: filled in place of a new blob.
            holds: how the frame lay that `out` was filled with last; if it is the same, the padding is there already.

        Raises:
            ConfigError: pixels are not a non-empty uint8 [H, W, 3], or `out` has another shape.
        """
        given_hw = check_pixels(pixels)
        frame_hw = frame_hw or given_hw
        if self._placement.transform.frame_hw != frame_hw:
            self._lay_out(place(frame_hw, self.size_hw, self.fit))
        if out is None:
            out = np.empty((1, 3, *self.size_hw), self.dtype)
        elif out.shape != (1, 3, *self.size_hw) or out.dtype != self.dtype:
            wanted = f"{self.dtype} (1, 3, {self.size_hw[0]}, {self.size_hw[1]})"
            raise ConfigError(f"out must be {wanted}, got {out.dtype} {out.shape}")
        if given_hw != self._placement.inner_hw:
            height, width = self._placement.inner_hw
            pixels = cv2.resize(pixels, (width, height), dst=self._scaled, interpolation=cv2.INTER_LINEAR)
        rows, columns = self._placement.rows, self._placement.columns
        if self.dtype == np.uint8:
            split_channels(pixels, out[0, :, rows, columns], rgb=self._format.rgb)
        else:
            to_blob(pixels, self._format, out=out[:, :, rows, columns], planes=self._planes)
        if holds != self._placement:
            for empty_rows, empty_columns in self._empty:
                out[0, :, empty_rows, empty_columns] = self._pad
        return out, self._placement

    def inner_hw(self, frame_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width in pixels that a frame of this size has on the canvas."""
        return place(frame_hw, self.size_hw, self.fit).inner_hw

    def _lay_out(self, placement: Placement) -> None:
        """Prepare for frames that are placed so: scratch memory, and which parts of a blob stay empty."""
        self._placement = placement
        self._scaled = np.empty((*placement.inner_hw, 3), np.uint8)
        self._planes = np.empty((3, *placement.inner_hw), np.uint8)
        (height, width), rows, columns = self.size_hw, placement.rows, placement.columns
        strips = [
            (slice(0, rows.start), slice(0, width)),
            (slice(rows.stop, height), slice(0, width)),
            (rows, slice(0, columns.start)),
            (rows, slice(columns.stop, width)),
        ]
        self._empty = [strip for strip in strips if all(part.start < part.stop for part in strip)]
