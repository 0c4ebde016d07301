"""From pixels to what a model eats: NCHW blobs in the pixel format of the model, and crops.

Frames are uint8 [H, W, 3] in BGR order, as `Frame.pixels`. Everything here is NumPy and OpenCV on the CPU; a fixed
output buffer can be passed in, so that a video loop allocates nothing per frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from solutions.core.errors import ConfigError


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


RAW_BGR = PixelFormat()
IMAGENET_RGB = PixelFormat(rgb=True, scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def to_blob(
    pixels: np.ndarray,
    pixel_format: PixelFormat = RAW_BGR,
    *,
    out: np.ndarray | None = None,
    planes: np.ndarray | None = None,
) -> np.ndarray:
    """float32 [1, 3, H, W] of a uint8 [H, W, 3] BGR picture, C-contiguous.

    `out` (same shape and dtype; a part of a larger blob will do) is filled and returned instead of a new array;
    `planes`, uint8 [3, H, W], is scratch space to reuse: memory that was used a moment ago is still in the cache.
    Splitting the bytes into planes first and converting afterwards is several times faster than one strided conversion
    or `cv2.dnn.blobFromImage`, because both passes then run over contiguous memory.
    """
    height, width = check_pixels(pixels)
    if out is None:
        out = np.empty((1, 3, height, width), np.float32)
    elif out.shape != (1, 3, height, width) or out.dtype != np.float32:
        raise ConfigError(f"out must be float32 (1, 3, {height}, {width}), got {out.dtype} {out.shape}")
    if planes is None:
        planes = np.empty((3, height, width), np.uint8)
    split_channels(pixels, planes, rgb=pixel_format.rgb)
    if pixel_format.is_raw:
        np.copyto(out[0], planes)
        return out
    for channel in range(3):
        factor = np.float32(pixel_format.scale / pixel_format.std[channel])
        np.multiply(planes[channel], factor, out=out[0, channel], dtype=np.float32)
        if pixel_format.mean[channel]:
            out[0, channel] -= np.float32(pixel_format.mean[channel] / pixel_format.std[channel])
    return out


def split_channels(pixels: np.ndarray, planes: np.ndarray, *, rgb: bool) -> None:
    """Fill `planes`, uint8 [3, H, W], with the channels of a uint8 [H, W, 3] BGR picture, in RGB order if `rgb`."""
    order = (2, 1, 0) if rgb else (0, 1, 2)
    cv2.split(pixels, [planes[channel] for channel in order])


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
