"""Operations and bytes of one call of a torch module, by the same rules as for ONNX nodes.

A module of a known type is counted as the ONNX nodes it would be exported to, so that the two passes agree. Operations
of any other type are unknown, which is said and not guessed; its bytes are counted all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from solutions.core.hardware import op_costs
from solutions.phase1_basics.profiling.layer_table import LayerCost

# Class name of a module -> the ONNX operator with the same cost.
_AS_ONNX = {
    "Linear": "Gemm", "NonDynamicallyQuantizableLinear": "Gemm", "BatchNorm1d": "BatchNormalization",
    "BatchNorm2d": "BatchNormalization", "BatchNorm3d": "BatchNormalization", "GroupNorm": "GroupNormalization",
    "InstanceNorm2d": "InstanceNormalization", "LayerNorm": "LayerNormalization", "ReLU": "Relu", "ReLU6": "Clip",
    "Hardtanh": "Clip", "LeakyReLU": "LeakyRelu", "PReLU": "PRelu", "Sigmoid": "Sigmoid", "SiLU": "Swish",
    "GELU": "Gelu", "Tanh": "Tanh", "ELU": "Elu", "Softplus": "Softplus", "Hardsigmoid": "HardSigmoid",
    "Hardswish": "HardSwish", "Softmax": "Softmax", "LogSoftmax": "LogSoftmax", "MaxPool2d": "MaxPool",
    "AvgPool2d": "AveragePool", "Dropout": "Dropout", "Dropout2d": "Dropout", "Identity": "Identity",
    "Flatten": "Flatten", "Unflatten": "Reshape", "PixelShuffle": "DepthToSpace", "Embedding": "Gather",
}  # fmt: skip
_POOLED = ("AdaptiveAvgPool2d", "AdaptiveMaxPool2d")
_PICKS = ("Embedding",)  # touch the rows they take, not the whole table


def module_cost(module: nn.Module, inputs: Iterable[Any], outputs: Any) -> LayerCost:
    """The cost of a call that took these inputs and gave these outputs.

    Args:
        module: a leaf.
        inputs: its arguments; what is no tensor costs nothing.
        outputs: a tensor, or any nest of lists, tuples and dicts of them.

    >>> module_cost(nn.Linear(4, 2), [torch.zeros(1, 4)], torch.zeros(1, 2))
    LayerCost(flops=18, bytes=64)
    """
    read, written = tensors_in(list(inputs)), tensors_in(outputs)
    op = _operator(module)
    if op in op_costs.VIEWS:
        return LayerCost(0, 0)
    flops = None
    if isinstance(module, nn.MultiheadAttention):
        flops = _attention_flops(module, read[0], read[1])
    elif op is not None and read and written:
        flops = _flops(op, module, read[0], written[0])
    weights = sum(_nbytes(tensor) for tensor in (*module.parameters(), *module.buffers()))
    if type(module).__name__ in _PICKS:
        weights = sum(_nbytes(tensor) for tensor in written)
    return LayerCost(flops, weights + sum(map(_nbytes, read)) + sum(map(_nbytes, written)))


def tensors_in(value: Any) -> list[torch.Tensor]:
    """All tensors in a nest of lists, tuples and dicts, in order.

    >>> len(tensors_in({"a": torch.zeros(1), "b": [torch.zeros(2), "text"]}))
    2
    """
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for item in value for tensor in tensors_in(item)] if isinstance(value, list | tuple) else []


def _operator(module: nn.Module) -> str | None:
    """The ONNX operator whose rule counts this module, or None."""
    name = type(module).__name__
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return "ConvTranspose"
    if isinstance(module, nn.modules.conv._ConvNd):
        return "Conv"
    if name in _POOLED:
        return "GlobalAveragePool"
    return _AS_ONNX.get(name)


def _flops(op: str, module: nn.Module, read: torch.Tensor, written: torch.Tensor) -> int:
    shapes: list[tuple[int, ...]] = [tuple(read.shape)]
    if op in op_costs.MAC_RULES:
        shapes += [tuple(tensor.shape) for tensor in module.parameters(recurse=False)]
    attributes: dict[str, Any] = {}
    if op in ("MaxPool", "AveragePool"):
        size = module.kernel_size
        attributes["kernel_shape"] = size if isinstance(size, tuple) else (size, size)
    return op_costs.count(op, shapes, [tuple(written.shape)], attributes)[1]


def _attention_flops(module: nn.MultiheadAttention, query: torch.Tensor, key: torch.Tensor) -> int:
    """Three projections in, scores, softmax, weighted sum, one projection out."""
    length, source = (query.shape[-2], key.shape[-2]) if module.batch_first else (query.shape[0], key.shape[0])
    batch = query.numel() // (length * module.embed_dim)
    wide = module.embed_dim
    macs = length * wide * wide * 2 + source * wide * ((module.kdim or wide) + (module.vdim or wide))
    macs += 2 * length * source * wide
    softmax = op_costs.count("Softmax", [], [(module.num_heads, length, source)], {})[1]
    bias = 0 if module.in_proj_bias is None else 2 * length * wide + 2 * source * wide
    return int(batch * (2 * macs + softmax + bias))


def _nbytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
