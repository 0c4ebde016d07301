"""From a frame to what a model eats, and boxes back: letterbox, plain resize, NCHW blobs, crops.

Frames are uint8 [H, W, 3] in BGR order, as `Frame.pixels`. Everything here is NumPy and OpenCV on the CPU; a fixed
output buffer can be passed in, so that a video loop allocates nothing per frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from solutions.core.errors import ConfigError


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
        height, width = self.frame_hw
        scale = np.array(self.scale_xy * 2, np.float32)
        mapped = (np.asarray(boxes, np.float32) - np.array(self.offset_xy * 2, np.float32)) / scale
        clipped: np.ndarray = np.clip(mapped, 0, np.array([width, height] * 2, np.float32), out=mapped)
        return clipped

    def to_canvas(self, boxes: np.ndarray) -> np.ndarray:
        """Frame boxes [..., 4] in canvas pixels, float32, not clipped: the inverse of `to_frame`."""
        scale = np.array(self.scale_xy * 2, np.float32)
        mapped: np.ndarray = np.asarray(boxes, np.float32) * scale + np.array(self.offset_xy * 2, np.float32)
        return mapped


class Letterboxer:
    """Letterboxes frame after frame into one canvas: resize with the aspect ratio kept, the rest filled with `pad`.

    The returned canvas is overwritten by the next call (a frame that already has the size is handed back itself, not
    copied), so turn it into a blob first. One instance serves one thread; frames of changing size are fine.

    Args:
        size_hw: height and width of the canvas in pixels.
        pad: grey value of the filling; 114 is what YOLO models are trained with.
        centre: frame in the middle (YOLOv5, v8) or in the top-left corner (YOLOX, our own detectors).
    """

    def __init__(self, size_hw: tuple[int, int], *, pad: int = 114, centre: bool = False) -> None:
        if len(size_hw) != 2 or min(size_hw) < 1:
            raise ConfigError(f"size_hw must be a height and a width of at least 1 pixel, got {size_hw}")
        if not 0 <= pad <= 255:
            raise ConfigError(f"pad must be a grey value in 0..255, got {pad}")
        self.size_hw = (int(size_hw[0]), int(size_hw[1]))
        self.pad = pad
        self.centre = centre
        self._canvas = np.empty((*self.size_hw, 3), np.uint8)
        self._inside = self._canvas
        self._transform: LetterboxTransform | None = None

    def __call__(
        self, pixels: np.ndarray, *, frame_hw: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, LetterboxTransform]:
        """The canvas, uint8 [H, W, 3], and the transform that maps boxes back.

        Args:
            pixels: the whole frame, uint8 [H, W, 3].
            frame_hw: the size of the frame that boxes are wanted in, if `pixels` are a copy of it in another size; one
                of `inner_hw` is placed as it is.

        Raises:
            ConfigError: pixels are not a non-empty uint8 [H, W, 3].
        """
        given_hw = check_pixels(pixels)
        frame_hw = frame_hw or given_hw
        if self._transform is None or self._transform.frame_hw != frame_hw:
            self._transform = self._lay_out(frame_hw)
        if given_hw == self.size_hw == self._inside.shape[:2]:
            return pixels, self._transform
        height, width = self._inside.shape[:2]
        if given_hw == (height, width):
            np.copyto(self._inside, pixels)
        else:
            cv2.resize(pixels, (width, height), dst=self._inside, interpolation=cv2.INTER_LINEAR)
        return self._canvas, self._transform

    def inner_hw(self, frame_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width in pixels that a frame of this size has on the canvas."""
        (height, width), (frame_height, frame_width) = self.size_hw, frame_hw
        ratio = min(height / frame_height, width / frame_width)
        return min(height, max(1, round(frame_height * ratio))), min(width, max(1, round(frame_width * ratio)))

    def _lay_out(self, frame_hw: tuple[int, int]) -> LetterboxTransform:
        """Fix where frames of this size go, and fill the rest of the canvas."""
        (height, width), (frame_height, frame_width) = self.size_hw, frame_hw
        inner_height, inner_width = self.inner_hw(frame_hw)
        top = (height - inner_height) // 2 if self.centre else 0
        left = (width - inner_width) // 2 if self.centre else 0
        self._canvas.fill(self.pad)
        self._inside = self._canvas[top : top + inner_height, left : left + inner_width]
        return LetterboxTransform(frame_hw, (inner_width / frame_width, inner_height / frame_height), (left, top))


def letterbox(
    pixels: np.ndarray, size_hw: tuple[int, int], *, pad: int = 114, centre: bool
) -> tuple[np.ndarray, LetterboxTransform]:
    """A fresh canvas with the whole frame on it, and the way back; for one picture (`Letterboxer` for a video)."""
    return Letterboxer(size_hw, pad=pad, centre=centre)(pixels)


def plain_resize(
    pixels: np.ndarray, size_hw: tuple[int, int], *, frame_hw: tuple[int, int] | None = None
) -> tuple[np.ndarray, LetterboxTransform]:
    """The frame stretched to `size_hw`, aspect ratio not kept, and the way back (FastestDet and SSD want this).

    `frame_hw` as for `Letterboxer`: the size that boxes are wanted in, if `pixels` are a copy in another size.
    """
    given_hw = check_pixels(pixels)
    frame_hw = frame_hw or given_hw
    height, width = size_hw
    transform = LetterboxTransform(frame_hw, (width / frame_hw[1], height / frame_hw[0]))
    if given_hw == tuple(size_hw):
        return pixels, transform
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)), transform


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How a model wants its pixels: (value * scale - mean) / std, in BGR or RGB order.

    >>> PixelFormat().is_raw, PixelFormat(scale=1 / 255).is_raw
    (True, False)
    """

    rgb: bool = False
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.scale == 0 or any(value == 0 for value in self.std):
            raise ConfigError(f"scale and std must not be 0, got {self.scale} and {self.std}")

    @property
    def is_raw(self) -> bool:
        """True when the values stay 0..255."""
        return self.scale == 1 and self.mean == (0, 0, 0) and self.std == (1, 1, 1)


IMAGENET_RGB = PixelFormat(rgb=True, scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def to_blob(
    pixels: np.ndarray,
    pixel_format: PixelFormat = PixelFormat(),
    *,
    out: np.ndarray | None = None,
    planes: np.ndarray | None = None,
) -> np.ndarray:
    """float32 [1, 3, H, W] of a uint8 [H, W, 3] BGR picture, C-contiguous.

    `out` (same shape and dtype) is filled and returned instead of a new array; `planes`, uint8 [3, H, W], is scratch
    space to reuse: memory that was used a moment ago is still in the cache. Splitting the bytes into planes first
    and converting afterwards is several times faster than one strided conversion or `cv2.dnn.blobFromImage`, because
    both passes then run over contiguous memory.
    """
    height, width = check_pixels(pixels)
    if out is None:
        out = np.empty((1, 3, height, width), np.float32)
    elif out.shape != (1, 3, height, width) or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise ConfigError(f"out must be contiguous float32 (1, 3, {height}, {width}), got {out.dtype} {out.shape}")
    if planes is None:
        planes = np.empty((3, height, width), np.uint8)
    order = (2, 1, 0) if pixel_format.rgb else (0, 1, 2)
    cv2.split(pixels, [planes[channel] for channel in order])
    if pixel_format.is_raw:
        np.copyto(out[0], planes)
        return out
    for channel in range(3):
        factor = np.float32(pixel_format.scale / pixel_format.std[channel])
        np.multiply(planes[channel], factor, out=out[0, channel], dtype=np.float32)
        if pixel_format.mean[channel]:
            out[0, channel] -= np.float32(pixel_format.mean[channel] / pixel_format.std[channel])
    return out


def crop_batch(
    pixels: np.ndarray, boxes: np.ndarray, size_hw: tuple[int, int], pixel_format: PixelFormat | None = None
) -> np.ndarray:
    """The boxes cut out and resized: uint8 [N, 3, h, w] in BGR, or float32 in `pixel_format` where one is given.

    Boxes [N, 4] (x1 y1 x2 y2, frame pixels) are rounded outwards and clipped; a box beyond the frame gives the
    nearest pixel, so row i is always box i.
    """
    frame_height, frame_width = check_pixels(pixels)
    height, width = size_hw
    batch = np.empty((len(boxes), 3, height, width), np.uint8 if pixel_format is None else np.float32)
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    x1 = np.clip(np.floor(corners[:, 0]), 0, frame_width - 1).astype(int)
    y1 = np.clip(np.floor(corners[:, 1]), 0, frame_height - 1).astype(int)
    x2 = np.clip(np.ceil(corners[:, 2]), x1 + 1, frame_width).astype(int)
    y2 = np.clip(np.ceil(corners[:, 3]), y1 + 1, frame_height).astype(int)
    for row in range(len(corners)):
        crop = pixels[y1[row] : y2[row], x1[row] : x2[row]]
        shrinks = crop.shape[0] > 2 * height and crop.shape[1] > 2 * width
        resized = cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        if pixel_format is None:
            cv2.split(resized, list(batch[row]))
        else:
            to_blob(np.asarray(resized), pixel_format, out=batch[row : row + 1])
    return batch


def check_pixels(pixels: np.ndarray) -> tuple[int, int]:
    """Height and width of a frame.

    Raises:
        ConfigError: it is not a non-empty uint8 [H, W, 3].
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ConfigError(f"a frame must be uint8 [H, W, 3] in BGR order, got {pixels.dtype} {list(pixels.shape)}")
    return pixels.shape[0], pixels.shape[1]
