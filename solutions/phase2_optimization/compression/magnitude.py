"""Magnitude pruning: the smallest weights become zero, and stay zero while the rest is trained on.

Removing the smallest weights and training the survivors follows Han et al. 2015 ("Learning both Weights and Connections
for Efficient Neural Networks"). What it buys is a file that compresses better. What it does not buy is time: a dense
kernel multiplies a zero as carefully as any other number, so the pruned model takes as long as the original.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn.utils import parametrize

from solutions.core.errors import ConfigError

Masks = dict[str, npt.NDArray[np.bool_]]
"""Name of a weight -> True where it is kept."""
Scope = Literal["global", "layer", "lamp"]
MaskRule = Callable[[Mapping[str, npt.NDArray[Any]]], Masks]
"""From weights by name to their masks, such as `magnitude_masks` with its settings bound."""

Net = TypeVar("Net", bound=nn.Module)
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
_WEIGHT_INPUT = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}


@dataclass(frozen=True, slots=True)
class Sparsity:
    """How many of the weights that a mask covers are zero, by layer and in all."""

    zeros: dict[str, int]
    sizes: dict[str, int]

    @property
    def total(self) -> float:
        """Share of zeros over all layers, 0..1."""
        return sum(self.zeros.values()) / max(1, sum(self.sizes.values()))

    def share(self, name: str) -> float:
        """Share of zeros in one layer, 0..1."""
        return self.zeros[name] / self.sizes[name]

    def as_dict(self) -> dict[str, Any]:
        """Total and shares by layer, ready for JSON."""
        return {"total": self.total, "layers": {name: self.share(name) for name in self.sizes}}


def magnitude_masks(weights: Mapping[str, npt.NDArray[Any]], sparsity: float, *, scope: Scope = "global") -> Masks:
    """Masks that remove the share `sparsity` of the weights, the smallest magnitudes first.

    Exactly floor(sparsity x count) are removed, however many are equal; among equals the first go.

    Args:
        weights: arrays by name.
        sparsity: 0 <= sparsity < 1.
        scope: how layers share the loss. "layer" takes the same share of each. "global" takes the smallest of all,
            which presumes that the layers' weights are of one scale: a first layer that reads pixels of 0..255 has
            tiny ones, loses them all, and the network is blind. "lamp" compares each squared weight with the sum of
            those in its layer that are not smaller (Lee et al. 2021, "Layer-adaptive sparsity for the magnitude-based
            pruning"): no scale counts, and the largest weight of a layer goes last.

    Raises:
        ConfigError: a share outside [0, 1), or an unknown scope.

    >>> magnitude_masks({"w": np.array([[0.1, -3.0], [-0.2, 0.5]])}, 0.5)["w"].tolist()
    [[False, True], [False, True]]
    """
    if not 0 <= sparsity < 1:
        raise ConfigError(f"sparsity must lie in [0, 1), got {sparsity}")
    if scope not in ("global", "layer", "lamp"):
        raise ConfigError(f"scope must be global, layer or lamp, got {scope}")
    sizes = {name: np.abs(weight).ravel() for name, weight in weights.items()}
    if scope == "layer" or not sizes:
        return {name: _largest(own, sparsity).reshape(weights[name].shape) for name, own in sizes.items()}
    if scope == "lamp":
        sizes = {name: _lamp(own) for name, own in sizes.items()}
    kept = _largest(np.concatenate([*sizes.values()]), sparsity)
    ends = np.cumsum([own.size for own in sizes.values()])[:-1]
    return {
        name: part.reshape(weight.shape)
        for (name, weight), part in zip(weights.items(), np.split(kept, ends), strict=True)
    }


def _lamp(sizes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Each squared size over the sum of those that come after it when they are sorted, itself included."""
    order = np.argsort(sizes, kind="stable")
    squares = sizes[order].astype(np.float64) ** 2
    left = np.cumsum(squares[::-1])[::-1]
    scores = np.empty(len(sizes))
    scores[order] = squares / np.maximum(left, np.finfo(np.float64).tiny)
    return scores


def _largest(sizes: npt.NDArray[Any], sparsity: float) -> npt.NDArray[np.bool_]:
    kept = np.ones(len(sizes), bool)
    # 0.7 * 10 is 7.000000000000001 in one order of factors and 6.99 in another: shares mean what they say.
    kept[np.argsort(sizes, kind="stable")[: math.floor(sparsity * len(sizes) + 1e-9)]] = False
    return kept


class Masked(nn.Module):
    """A weight times its mask, as a parametrization: the gradient of a removed weight is zero by the chain rule, and
    whatever the optimizer does to it (decay, momentum) never reaches the network.
    """

    mask: torch.Tensor

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight with zeros where the mask is False."""
        return weight * self.mask


def weights_of(module: nn.Module) -> dict[str, npt.NDArray[Any]]:
    """The weights that pruning is about: those of convolutions and linear layers, as they act (masks applied)."""
    return {
        f"{name}.weight".lstrip("."): layer.weight.detach().cpu().numpy()
        for name, layer in module.named_modules()
        if isinstance(layer, _LAYERS)
    }


def attach_masks(module: Net, masks: Masks) -> Net:
    """`module` itself, its weights masked until `bake_masks`; train it as any other.

    Raises:
        ConfigError: a mask names no weight, has another shape, or the weight is masked already.
    """
    layers = {
        f"{name}.weight".lstrip("."): layer for name, layer in module.named_modules() if isinstance(layer, _LAYERS)
    }
    for name, mask in masks.items():
        if name not in layers:
            raise ConfigError(f"the module has no convolution or linear layer with a weight {name}")
        layer = layers[name]
        if tuple(layer.weight.shape) != mask.shape:
            raise ConfigError(f"the mask of {name} is {mask.shape}, the weight {tuple(layer.weight.shape)}")
        if parametrize.is_parametrized(layer, "weight"):
            raise ConfigError(f"{name} has a mask already: bake_masks first")
        parametrize.register_parametrization(layer, "weight", Masked(torch.from_numpy(mask).to(layer.weight.device)))
    return module


def bake_masks(module: Net) -> Net:
    """`module` itself with plain weights again, zeros written where masks were."""
    for layer in module.modules():
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return module


def graph_weights(model: onnx.ModelProto) -> dict[str, npt.NDArray[Any]]:
    """The constant weights of Conv, ConvTranspose, Gemm and MatMul nodes, by the initializer's name."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        place = _WEIGHT_INPUT.get(node.op_type)
        if place is not None and node.input[place] in stored:
            found[node.input[place]] = np.asarray(numpy_helper.to_array(stored[node.input[place]]))
    return found


def mask_graph(model: onnx.ModelProto, masks: Masks) -> onnx.ModelProto:
    """A copy of the model with zeros where the masks are False.

    Raises:
        ConfigError: a mask names no initializer, or has another shape.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    stored = {tensor.name: tensor for tensor in made.graph.initializer}
    for name, mask in masks.items():
        if name not in stored:
            raise ConfigError(f"the graph has no initializer {name}")
        weight = numpy_helper.to_array(stored[name])
        if weight.shape != mask.shape:
            raise ConfigError(f"the mask of {name} is {mask.shape}, the weight {weight.shape}")
        stored[name].CopyFrom(numpy_helper.from_array(np.where(mask, weight, np.zeros((), weight.dtype)), name))
    return made


def sparsity_of(weights: Mapping[str, npt.NDArray[Any]]) -> Sparsity:
    """The zeros among the weights: `sparsity_of(weights_of(module))`, `sparsity_of(graph_weights(model))`."""
    return Sparsity(
        {name: int((weight == 0).sum()) for name, weight in weights.items()},
        {name: int(weight.size) for name, weight in weights.items()},
    )
