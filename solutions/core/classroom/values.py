"""The values that the exercises take and hand back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a classifier saw its training pictures; the defaults are those of torchvision's ImageNet models.

    Attributes:
        shorter_side: pixels that the shorter side of a picture is brought to.
        crop_hw: height and width of what is cut out of its middle.
        mean: of red, green and blue in 0..1.
        std: likewise.
    """

    shorter_side: int = 256
    crop_hw: tuple[int, int] = (224, 224)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One row of a bottleneck table: a layer's path in the model, its class, its calls and their seconds together."""

    name: str
    kind: str
    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a network: it reads the tensors made by other steps and makes one of `bytes`, known by its `name`.

    A picture that comes in from outside is a step that reads nothing.
    """

    name: str
    reads: tuple[str, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Roof:
    """What the roofline says of one layer.

    Attributes:
        bound: which of the two roofs is the lower one.
        attainable_flops_per_s: the most operations per second that the layer can reach.
        best_seconds: the least time that it can take.
    """

    bound: Literal["compute", "memory"]
    attainable_flops_per_s: float
    best_seconds: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Time of b over time of a: the median over rounds and its 95 % interval. Below 1, b is faster."""

    ratio: float
    low: float
    high: float
    verdict: Verdict
