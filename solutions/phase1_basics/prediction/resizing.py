"""A picture at the size a model wants, cut or stretched as in its training.

The filter matters: shrinking without antialiasing looks at a few pixels and skips the rest, which a network trained
on smoothed pictures punishes with points of accuracy. With antialiasing the resize is Pillow's, because torchvision's
classifiers were trained and scored with it: the same bytes come out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from PIL import Image

from solutions.core.errors import ConfigError
from solutions.core.vision.images import check_pixels

Rule = Literal["crop", "stretch", "letterbox"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]

CROP_SHARE = 0.875  # 224 of 256 pixels: what ImageNet models were scored with before anyone tuned it
LETTERBOX_GREY = 114
_LONGEST = 16  # sides; beyond that only the middle of a picture is scaled before the crop, the rest being cut anyway

_PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_OPENCV = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


@dataclass(frozen=True, slots=True)
class Resize:
    """How a picture of any size becomes one of a given size.

    Attributes:
        rule: "crop" brings the shorter side to `shorter_side` and cuts the middle out (the border is lost);
            "stretch" ignores the aspect ratio; "letterbox" keeps the whole picture, centred on grey.
        shorter_side: for "crop", in pixels; None means the larger side of the input / 0.875.
        interpolation: the filter.
        antialias: smooth while shrinking, as Pillow does; False samples like OpenCV.
    """

    rule: Rule = "crop"
    shorter_side: int | None = None
    interpolation: Interpolation = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise ConfigError(f"the resize rule must be one of {', '.join(get_args(Rule))}, got {self.rule!r}")
        if self.interpolation not in get_args(Interpolation):
            known = ", ".join(get_args(Interpolation))
            raise ConfigError(f"the interpolation must be one of {known}, got {self.interpolation!r}")
        if self.shorter_side is not None and (self.rule != "crop" or self.shorter_side < 1):
            raise ConfigError(f"shorter_side goes with crop and must be >= 1, got {self.shorter_side} for {self.rule}")

    def to(self, pixels: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
        """uint8 [H, W, 3] of exactly `size_hw`; the channels stay in their order.

        Raises:
            ConfigError: pixels are not a non-empty uint8 [H, W, 3], or `shorter_side` is too small to cut from.
        """
        height, width = check_pixels(pixels)
        if self.rule == "stretch":
            return self._scale(pixels, size_hw)
        if self.rule == "letterbox":
            ratio = min(size_hw[0] / height, size_hw[1] / width)
            inner = min(size_hw[0], max(1, round(height * ratio))), min(size_hw[1], max(1, round(width * ratio)))
            canvas = np.full((*size_hw, 3), LETTERBOX_GREY, np.uint8)
            top, left = (size_hw[0] - inner[0]) // 2, (size_hw[1] - inner[1]) // 2
            canvas[top : top + inner[0], left : left + inner[1]] = self._scale(pixels, inner)
            return canvas
        short = self.shorter_side or round(max(size_hw) / CROP_SHARE)
        if short < max(size_hw):
            raise ConfigError(f"a crop of {size_hw[0]} x {size_hw[1]} cannot be cut from a shorter side of {short}")
        if max(height, width) > _LONGEST * min(height, width):  # a line of 1 x 80,000 would grow to 5 billion pixels
            pixels = _middle(pixels, (min(height, _LONGEST * width), min(width, _LONGEST * height)))
            height, width = pixels.shape[:2]
        # torchvision rounds the longer side down, and the corner of the crop to the even neighbour
        scaled = (short, int(short * width / height)) if height <= width else (int(short * height / width), short)
        return _middle(self._scale(pixels, scaled), size_hw)

    def _scale(self, pixels: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
        if pixels.shape[:2] == tuple(size_hw):
            return pixels
        wh = (size_hw[1], size_hw[0])
        if self.antialias:
            return np.asarray(Image.fromarray(pixels).resize(wh, _PILLOW[self.interpolation]))
        return np.asarray(cv2.resize(pixels, wh, interpolation=_OPENCV[self.interpolation]))


IMAGENET_RESIZE = Resize()  # what to assume of a classifier that does not tell


def _middle(pixels: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """A view of the middle."""
    top, left = (round((pixels.shape[axis] - size_hw[axis]) / 2) for axis in (0, 1))
    return pixels[top : top + size_hw[0], left : left + size_hw[1]]
