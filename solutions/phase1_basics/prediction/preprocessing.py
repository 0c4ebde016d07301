"""The preprocessing that belongs to a model: from pictures of any size to the one tensor it was trained on.

A wrong preprocessing raises no error. It costs accuracy: some points for the wrong resize, most of them for the wrong
mean or channel order. So it is read from the model as far as the model tells, and what had to be assumed is said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.tensors import Model, TensorSpec
from solutions.core.vision.images import IMAGENET_RGB, PixelFormat, to_blob
from solutions.phase1_basics.prediction.resizing import CROP_SHARE, IMAGENET_RESIZE, Resize

Layout = Literal["NCHW", "NHWC"]
Quantization = tuple[float, int]  # scale and zero-point: real = scale * (code - zero_point)

PIXEL_FORMATS: Mapping[str, PixelFormat] = {
    "imagenet": IMAGENET_RGB,
    "unit": PixelFormat(rgb=True, scale=1 / 255),
    "signed": PixelFormat(rgb=True, scale=1 / 127.5, mean=(1.0, 1.0, 1.0)),
    "raw": PixelFormat(rgb=True),
    "raw-bgr": PixelFormat(),
}
_DEFAULT_SIDE = 224


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Everything between a frame and a model's input.

    Attributes:
        input_name: the input that takes the pictures.
        input_hw: its height and width in pixels.
        channels: 3, or 1 for a model of grey pictures.
        layout: where its channel axis is.
        dtype: what it takes: float32, float16, uint8 or int8.
        resize: how a picture comes to that size.
        pixels: channel order and normalisation, in real numbers.
        quantization: of a uint8 or int8 input; None there means that the codes are the bytes themselves (for int8:
            minus 128), and `pixels` must be raw.
        assumed: what the model did not tell, in words.
    """

    input_name: str = "images"
    input_hw: tuple[int, int] = (_DEFAULT_SIDE, _DEFAULT_SIDE)
    channels: int = 3
    layout: Layout = "NCHW"
    dtype: str = "float32"
    resize: Resize = IMAGENET_RESIZE
    pixels: PixelFormat = IMAGENET_RGB
    quantization: Quantization | None = None
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if min(self.input_hw) < 1 or self.channels not in (1, 3) or self.layout not in ("NCHW", "NHWC"):
            raise ConfigError(
                f"a picture input needs sizes of at least 1, 1 or 3 channels, and NCHW or NHWC; got "
                f"{self.input_hw}, {self.channels} channels, {self.layout}"
            )
        if self.dtype not in ("float32", "float16", "uint8", "int8"):
            raise ConfigError(f"pictures can be given as float32, float16, uint8 or int8, not as {self.dtype}")
        if self.quantization is not None and self.quantization[0] <= 0:
            raise ConfigError(f"the scale of {self.input_name} must be > 0, got {self.quantization[0]}")
        if self._is_integer and self.quantization is None and not self.pixels.is_raw:
            raise ConfigError(
                f"{self.input_name} takes {self.dtype} codes, and without scale and zero-point normalised pixels "
                "cannot be turned into them; give the quantization, or raw pixels"
            )

    @classmethod
    def of(cls, model: Model, *, pixels: PixelFormat | None = None, resize: Resize | None = None) -> Preprocessing:
        """What the model says about itself, the rest assumed and listed in `assumed`.

        Told by: the input's shape and dtype (layout by its channel axis); `model.metadata` where there is one
        ("layout", "input_hw" as "224,224", "pixels" as a PixelFormat in JSON, "resize" as a Resize in JSON);
        `model.quantization`, (scale, zero-point) by tensor name.

        Args:
            model: a loaded model with exactly one input of pictures.
            pixels: what to use whatever the model says.
            resize: likewise.

        Raises:
            ConfigError: no input, or more than one, looks like a picture.
            ModelLoadError: the metadata cannot be understood.
        """
        facts: Mapping[str, str] = getattr(model, "metadata", {}) or {}
        spec, layout = _picture_input(model, facts.get("layout"))
        assumed: list[str] = []
        height, width, channels = (spec.shape[axis] for axis in ((2, 3, 1) if layout == "NCHW" else (1, 2, 3)))
        told_hw = _input_hw(facts, model.name)
        if (height is None or width is None) and told_hw is None:
            assumed.append(f"input size {_DEFAULT_SIDE} x {_DEFAULT_SIDE}")
        default_hw = told_hw or (_DEFAULT_SIDE, _DEFAULT_SIDE)
        quantization = quantization_of(model, spec.name)
        if pixels is None:
            pixels = _told_pixels(facts, model.name)
        if pixels is None:
            pixels, name = _usual_pixels(spec, layout)
            assumed.append(f"{name} pixels")
            if np.dtype(spec.dtype).kind != "f":
                quantization = None  # the codes are the bytes
        if resize is None:
            resize = _told_resize(facts, model.name)
        if resize is None:
            resize = IMAGENET_RESIZE
            assumed.append(f"shorter side to input / {CROP_SHARE:g}, middle cut out, bilinear")
        return cls(
            spec.name, (height or default_hw[0], width or default_hw[1]), channels or 3, layout, spec.dtype,
            resize, pixels, quantization, tuple(assumed),
        )  # fmt: skip

    def batch(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """The input tensor of N frames (uint8 [H, W, 3] BGR, any sizes): [N, C, H, W] or [N, H, W, C], C-contiguous.

        Raises:
            ConfigError: a frame is not a non-empty uint8 [H, W, 3].
        """
        height, width = self.input_hw
        planes = (self.channels, height, width) if self.layout == "NCHW" else (height, width, self.channels)
        tensor = np.empty((len(images), *planes), np.dtype(self.dtype))
        for row, image in enumerate(images):
            resized = self.resize.to(image, self.input_hw)
            tensor[row] = self._codes(resized) if self._is_integer else self._normalised(resized)
        return tensor

    @property
    def _is_integer(self) -> bool:
        return np.dtype(self.dtype).kind in "iu"

    def _codes(self, pixels: np.ndarray) -> np.ndarray:
        """What a quantized input stores for these pixels."""
        limits = np.iinfo(self.dtype)
        scale, zero_point = self.quantization or (1.0, int(limits.min))
        real = self._normalised(pixels)
        codes: np.ndarray = np.clip(np.rint(real / np.float32(scale)) + zero_point, limits.min, limits.max)
        return codes.astype(self.dtype)

    def _normalised(self, pixels: np.ndarray) -> np.ndarray:
        """float32 [C, H, W] or [H, W, C] in the model's order and range."""
        if self.channels == 1:
            grey: np.ndarray = np.float32(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))
            grey = (grey * np.float32(self.pixels.scale) - self.pixels.mean[0]) / np.float32(self.pixels.std[0])
            return grey[None] if self.layout == "NCHW" else grey[..., None]
        blob: np.ndarray = to_blob(pixels, self.pixels)[0]
        return blob if self.layout == "NCHW" else blob.transpose(1, 2, 0)


def quantization_of(model: Model, tensor: str) -> Quantization | None:
    """Scale and zero-point of a model's tensor; None where it has none (LiteRT writes a scale of 0 for that)."""
    known: Mapping[str, Quantization] = getattr(model, "quantization", {}) or {}
    scale, zero_point = known.get(tensor, (0.0, 0))
    return (float(scale), int(zero_point)) if scale else None


def _picture_input(model: Model, told: str | None) -> tuple[TensorSpec, Layout]:
    """The one input that takes pictures, and its layout: four axes, 1 or 3 channels where `told` does not decide."""
    found: list[tuple[TensorSpec, Layout]] = []
    for spec in model.inputs:
        if len(spec.shape) == 4:
            if told == "NCHW" or (told != "NHWC" and spec.shape[1] in (1, 3)):
                found.append((spec, "NCHW"))
            elif told == "NHWC" or spec.shape[3] in (1, 3):
                found.append((spec, "NHWC"))
    if len(found) != 1:
        inputs = ", ".join(f"{spec.name} {spec.describe()}" for spec in model.inputs)
        raise ConfigError(
            f"{model.name} needs exactly one input of pictures, [N, 3, H, W] or [N, H, W, 3], and has {inputs}"
        )
    return found[0]


def _usual_pixels(spec: TensorSpec, layout: Layout) -> tuple[PixelFormat, str]:
    """What models that say nothing mostly want: bytes for 8-bit inputs, else what their framework trains with."""
    if np.dtype(spec.dtype).kind != "f":
        name = "raw"
    else:
        name = "imagenet" if layout == "NCHW" else "signed"
    return PIXEL_FORMATS[name], name


def _input_hw(facts: Mapping[str, str], name: str) -> tuple[int, int] | None:
    if "input_hw" not in facts:
        return None
    try:
        height, width = (int(side) for side in facts["input_hw"].split(","))
    except ValueError:
        raise ModelLoadError(
            f"{name} says input_hw is {facts['input_hw']!r}; a height and a width like 224,224 were expected."
        ) from None
    return height, width


def _told_pixels(facts: Mapping[str, str], name: str) -> PixelFormat | None:
    if "pixels" not in facts:
        return PixelFormat() if facts.get("head") == "crop" else None  # our own crop models take frames as they are
    told = _json_object(facts["pixels"], "pixels", name)
    try:
        mean, std = (tuple(float(value) for value in told[key]) for key in ("mean", "std"))
        if {len(mean), len(std)} != {3}:
            raise ValueError("mean and std must have three values")
        return PixelFormat(bool(told["rgb"]), float(told["scale"]), mean, std)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelLoadError(f"{name} describes its pixels in a way not understood here: {error}.") from error


def _told_resize(facts: Mapping[str, str], name: str) -> Resize | None:
    if "resize" not in facts:
        return Resize("stretch") if facts.get("head") == "crop" else None
    try:
        return Resize(**_json_object(facts["resize"], "resize", name))
    except (TypeError, ConfigError) as error:
        raise ModelLoadError(f"{name} describes its resize in a way not understood here: {error}.") from error


def _json_object(text: str, key: str, name: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ModelLoadError(f"{name} says {key} is {text!r}; a JSON object was expected.")
    return value
