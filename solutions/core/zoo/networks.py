"""The two embedded networks, in PyTorch: StreetNet finds the actors of a street, CropNet names one of them.

Both are plain convolution + BatchNorm + ReLU: every runtime fuses these three, and 8-bit arithmetic likes them. Pixels
go in as they come from a camera, BGR 0..255; the scaling is part of the first convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

STRIDE = 8  # pixels per output cell of StreetNet


@dataclass(frozen=True, slots=True)
class StreetNetSize:
    """Channels after each halving (strides 2, 4, 8, 16, 32) and residual blocks at strides 8, 16, 32.

    A wider stride-8 stage finds small actors better and costs the most time; deeper later stages see large ones.
    """

    channels: tuple[int, int, int, int, int]
    blocks: tuple[int, int, int]


SIZES: dict[str, StreetNetSize] = {
    "small": StreetNetSize((16, 16, 32, 48, 32), (1, 1, 1)),
    "medium": StreetNetSize((16, 32, 48, 48, 32), (1, 2, 1)),
    "large": StreetNetSize((16, 32, 64, 48, 32), (2, 2, 1)),
}


class ConvBnRelu(nn.Module):
    """3x3 or 1x1 convolution, BatchNorm, ReLU."""

    def __init__(self, c_in: int, c_out: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(c_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Activations [N, c_out, H / stride, W / stride]."""
        out: torch.Tensor = functional.relu(self.norm(self.conv(x)))
        return out


class Residual(nn.Module):
    """x + ConvBnRelu(x): depth without losing the gradient."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = ConvBnRelu(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Activations of the shape of `x`."""
        out: torch.Tensor = x + self.body(x)
        return out


def _expect_pixels(layers: nn.Sequential) -> None:
    """Scale the first convolution down, since pixels arrive as 0..255."""
    with torch.no_grad():
        next(layers.parameters()).mul_(1 / 64)


def _stage(c_in: int, c_out: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(ConvBnRelu(c_in, c_out, stride=2), *(Residual(c_out) for _ in range(blocks)))


class StreetNet(nn.Module):
    """Anchor-free detector with one output grid at stride 8.

    Input `images`: float32 [N, 3, H, W], BGR 0..255, H and W multiples of 32.
    Output `grid`: float32 [N, classes + 4, H / 8, W / 8]: first the class logits, then the log distances, in cells,
    from the cell's centre to the left, top, right and bottom edge of the box: distance_px = 8 * exp(value).

    The shape follows FCOS (Tian et al. 2019) with a feature pyramid collapsed into its finest level.
    """

    def __init__(self, size: StreetNetSize, *, classes: int = 5) -> None:
        super().__init__()
        c2, c4, c8, c16, c32 = size.channels
        self.stem = nn.Sequential(ConvBnRelu(3, c2, stride=2), ConvBnRelu(c2, c4, stride=2))
        self.stage8 = _stage(c4, c8, size.blocks[0])
        self.stage16 = _stage(c8, c16, size.blocks[1])
        self.stage32 = _stage(c16, c32, size.blocks[2])
        self.down32 = ConvBnRelu(c32, c16, kernel=1)
        self.down16 = ConvBnRelu(c16, c8, kernel=1)
        self.head = ConvBnRelu(c8, c8)
        self.predict = nn.Conv2d(c8, classes + 4, 1)
        nn.init.zeros_(self.predict.weight)
        # The class prior of focal loss (sigmoid = 0.01) keeps the first steps calm; boxes begin 4 cells wide.
        self.predict.bias = nn.Parameter(torch.tensor([-4.6] * classes + [0.7] * 4))
        _expect_pixels(self.stem)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The grid [N, classes + 4, H / 8, W / 8]."""
        x8 = self.stage8(self.stem(images))
        x16 = self.stage16(x8)
        x32 = self.stage32(x16)
        x16 = x16 + functional.interpolate(self.down32(x32), scale_factor=2.0, mode="nearest")
        x8 = x8 + functional.interpolate(self.down16(x16), scale_factor=2.0, mode="nearest")
        grid: torch.Tensor = self.predict(self.head(x8))
        return grid


class CropNet(nn.Module):
    """Class and colour of one actor.

    Input `crops`: float32 [N, 3, 48, 48], BGR 0..255. Outputs, as logits: `classes` [N, classes], `colours`
    [N, colours].
    """

    def __init__(self, *, classes: int = 5, colours: int = 7, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvBnRelu(3, width, stride=2),
            ConvBnRelu(width, 2 * width, stride=2),
            Residual(2 * width),
            ConvBnRelu(2 * width, 3 * width, stride=2),
            Residual(3 * width),
        )
        self.classes = nn.Linear(6 * width, classes)
        self.colours = nn.Linear(6 * width, colours)
        _expect_pixels(self.features)

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of class [N, classes] and of colour [N, colours]."""
        x = self.features(crops)
        pooled = torch.cat((x.mean((2, 3)), x.amax((2, 3))), 1)
        return self.classes(pooled), self.colours(pooled)


def fold_batchnorm(model: nn.Module) -> nn.Module:
    """`model` with every BatchNorm folded into the convolution before it, in place; for inference only."""
    for module in model.modules():
        if isinstance(module, ConvBnRelu) and isinstance(module.norm, nn.BatchNorm2d):
            module.conv = nn.utils.fuse_conv_bn_eval(module.conv.eval(), module.norm.eval())
            module.norm = nn.Identity()
    return model.eval()
