"""Scaling an architecture: fewer channels, fewer blocks, or fewer pixels.

Multiply-accumulates grow with the square of the width, with the first power of the depth, and with the square of the
resolution's side (Tan and Le 2019, EfficientNet). Latency does not follow them exactly: kernels work on blocks of 8 or
16 channels, and small layers cost their overhead whatever is in them. Hence the curves are measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from solutions.core.errors import ConfigError
from solutions.core.zoo.networks import CropNet, Residual, StreetNetSize


@dataclass(frozen=True, slots=True)
class CropScale:
    """A variant of CropNet.

    Attributes:
        width: channels of the first layer; later ones have two and three times as many (the zoo's has 16).
        depth: residual blocks after each of the second and third halving (the zoo's has 1).
        side: pixels of the crop's side (the zoo's has 48); smaller crops are averaged from those of 48.
    """

    width: int = 16
    depth: int = 1
    side: int = 48

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 0:
            raise ConfigError(f"width must be >= 1 and depth >= 0, got {self.width} and {self.depth}")
        if self.side < 8:
            raise ConfigError(f"side must be >= 8 pixels, three halvings leave nothing of {self.side}")

    def build(self, *, classes: int = 5, colours: int = 7) -> CropNet:
        """A fresh network of this size, with random weights."""
        net = CropNet(classes=classes, colours=colours, width=self.width)
        stages = [stage for stage in net.features if not isinstance(stage, Residual)]
        blocks = [[Residual(times * self.width) for _ in range(self.depth)] for times in (2, 3)]
        net.features = nn.Sequential(stages[0], stages[1], *blocks[0], stages[2], *blocks[1])
        return net

    def shrink(self, crops: torch.Tensor) -> torch.Tensor:
        """Crops float32 [N, 3, H, W] at this resolution: averages over areas, as a camera's pixels are."""
        if crops.shape[2:] == (self.side, self.side):
            return crops
        return functional.interpolate(crops, size=(self.side, self.side), mode="area")


def scale_street(size: StreetNetSize, *, width: float = 1.0, depth: float = 1.0, round_to: int = 8) -> StreetNetSize:
    """StreetNet's size with all channels times `width` and all blocks times `depth`.

    Args:
        size: where to start, such as `networks.SIZES["small"]`.
        width: > 0; the products are rounded to the nearest multiple of `round_to`, at least one.
        depth: >= 0; rounded to the nearest number of blocks.
        round_to: kernels work on blocks of 8 (AVX2, NEON) or 16 (AVX512) channels; 12 channels cost as many as 16.

    >>> scale_street(StreetNetSize((16, 16, 32, 48, 32), (1, 1, 1)), width=0.5)
    StreetNetSize(channels=(8, 8, 16, 24, 16), blocks=(1, 1, 1))
    """
    if width <= 0 or depth < 0 or round_to < 1:
        raise ConfigError(f"width must be > 0, depth >= 0, round_to >= 1, got {width}, {depth}, {round_to}")
    channels = [max(1, round(count * width / round_to)) * round_to for count in size.channels]
    blocks = [round(count * depth) for count in size.blocks]
    return StreetNetSize((*channels,), (*blocks,))  # type: ignore[arg-type]  # lengths are those of `size`
