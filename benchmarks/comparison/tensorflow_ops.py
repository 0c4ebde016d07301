"""ONNX's operators in TensorFlow, for tensors that have their channels last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import numpy_helper

from solutions.core.errors import ConfigError

Facts = Mapping[str, Any]  # attributes of a node by name
_LAST = (0, 3, 1, 2)  # place of N, C, H, W among N, H, W, C


class Tensors:
    """The tensors of a network while it is built: those with four axes have their channels last, stored ones do not.

    Args:
        tf: the module.
        weights: stored arrays by name.
    """

    def __init__(self, tf: Any, weights: Mapping[str, np.ndarray]) -> None:
        self.tf = tf
        self._weights, self._made = dict(weights), {}  # type: ignore[var-annotated]

    def keep(self, name: str, tensor: Any) -> None:
        """Remember what a node made; an array joins the stored ones."""
        (self._weights if isinstance(tensor, np.ndarray) else self._made)[name] = tensor

    def stored(self, name: str) -> np.ndarray:
        """A stored array, as ONNX has it.

        Raises:
            ConfigError: it is computed.
        """
        if name not in self._weights:
            raise ConfigError(f"the conversion to TensorFlow wants {name} stored, and it is computed")
        return self._weights[name]

    def is_stored(self, name: str) -> bool:
        """True for an array that is known now."""
        return name in self._weights

    def tensor(self, name: str) -> Any:
        """What a node made, or the input; a stored array as it is."""
        return self._made[name] if name in self._made else self._weights[name]

    def pair(self, names: Sequence[str]) -> list[Any]:
        """Operands that are broadcast against each other: a stored one is laid out like the other."""
        four = any(name in self._made and len(self._made[name].shape) == 4 for name in names)
        return [self._beside_pictures(name) if four and self.is_stored(name) else self.tensor(name) for name in names]

    def channels_first(self, name: str) -> Any:
        """What a node made, in ONNX's layout."""
        tensor = self.tensor(name)
        return self.tf.transpose(tensor, (0, 3, 1, 2)) if len(tensor.shape) == 4 else tensor

    def _beside_pictures(self, name: str) -> np.ndarray:
        array = self._weights[name]
        laid: np.ndarray = array.reshape((1,) * (4 - array.ndim) + array.shape).transpose(0, 2, 3, 1)
        return laid


Operator = Callable[[Tensors, Sequence[str], Facts], Any]


def _conv(t: Tensors, names: Sequence[str], facts: Facts) -> Any:
    tf, x, weight = t.tf, t.tensor(names[0]), t.stored(names[1])
    if weight.ndim != 4 or facts.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise ConfigError("the conversion to TensorFlow knows convolutions over pictures with padding in numbers")
    strides, dilations = facts.get("strides", [1, 1]), facts.get("dilations", [1, 1])
    x, padding = _padded(t, x, facts.get("pads", [0, 0, 0, 0]), weight.shape[2:], strides, dilations, 0.0)
    groups, channels = facts.get("group", 1), int(x.shape[3])
    if groups == 1:
        y = tf.nn.conv2d(x, weight.transpose(2, 3, 1, 0), strides, padding, dilations=dilations)
    elif groups == channels and strides[0] == strides[1]:
        each = weight.reshape(channels, -1, *weight.shape[2:])  # channel, its outputs, height, width
        y = tf.nn.depthwise_conv2d(x, each.transpose(2, 3, 0, 1), [1, *strides, 1], padding, dilations=dilations)
    else:
        parts = zip(tf.split(x, groups, axis=3), np.split(weight, groups), strict=True)
        made = [tf.nn.conv2d(p, w.transpose(2, 3, 1, 0), strides, padding, dilations=dilations) for p, w in parts]
        y = tf.concat(made, axis=3)
    return y + t.stored(names[2]) if len(names) > 2 and names[2] else y


def _padded(
    t: Tensors, x: Any, pads: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int],
    filler: float,
) -> tuple[Any, str]:  # fmt: skip
    """The picture with its border, and TensorFlow's word for what is left to pad.

    Its "SAME" is ONNX's symmetric padding only at stride 1: at stride 2 it would put the odd pixel on the other side.
    """
    same = [(size - 1) * step for size, step in zip(kernel, dilations, strict=True)]
    top, left, bottom, right = pads
    if not any(pads):
        return x, "VALID"
    whole = top == bottom and left == right and [top + bottom, left + right] == same
    if list(strides) == [1, 1] and whole and filler == 0.0:
        return x, "SAME"
    return t.tf.pad(x, [[0, 0], [top, bottom], [left, right], [0, 0]], constant_values=filler), "VALID"


def _max_pool(t: Tensors, names: Sequence[str], facts: Facts) -> Any:
    kernel, strides = facts["kernel_shape"], facts.get("strides", [1, 1])
    if facts.get("ceil_mode", 0) or any(step != 1 for step in facts.get("dilations", [1, 1])):
        raise ConfigError("the conversion to TensorFlow knows no pooling with ceil_mode or dilations")
    lowest = float(np.finfo(np.float32).min)  # what padding must never win against
    x, padding = _padded(t, t.tensor(names[0]), facts.get("pads", [0] * 4), kernel, strides, [1, 1], lowest)
    return t.tf.nn.max_pool2d(x, kernel, strides, padding)


def _average_pool(t: Tensors, names: Sequence[str], facts: Facts) -> Any:
    if any(facts.get("pads", [0])) or facts.get("ceil_mode", 0):
        raise ConfigError("the conversion to TensorFlow knows average pooling without padding only")
    return t.tf.nn.avg_pool2d(t.tensor(names[0]), facts["kernel_shape"], facts.get("strides", [1, 1]), "VALID")


def _gemm(t: Tensors, names: Sequence[str], facts: Facts) -> Any:
    weight = t.stored(names[1]) * np.float32(facts.get("alpha", 1.0))
    y = t.tf.matmul(t.tensor(names[0]), weight.T if facts.get("transB", 0) else weight)
    bias = t.stored(names[2]) * np.float32(facts.get("beta", 1.0)) if len(names) > 2 and names[2] else None
    return y if bias is None else y + bias


def _batch_norm(t: Tensors, names: Sequence[str], facts: Facts) -> Any:
    scale, bias, mean, variance = (t.stored(name).astype(np.float64) for name in names[1:5])
    factor = scale / np.sqrt(variance + facts.get("epsilon", 1e-5))
    return t.tensor(names[0]) * factor.astype(np.float32) + (bias - mean * factor).astype(np.float32)


def _reduced(function: str) -> Operator:
    def reduce(t: Tensors, names: Sequence[str], facts: Facts) -> Any:
        x = t.tensor(names[0])
        axes = t.stored(names[1]).tolist() if len(names) > 1 and names[1] else facts.get("axes")
        if axes is None:
            raise ConfigError("the conversion to TensorFlow wants to know which axes are reduced")
        rank, keep = len(x.shape), bool(facts.get("keepdims", 1))
        if rank == 4 and not keep and sorted(axis % 4 for axis in axes) != [2, 3]:
            raise ConfigError("the conversion to TensorFlow reduces pictures over height and width only")
        return getattr(t.tf, function)(x, axis=[_axis(axis, rank) for axis in axes], keepdims=keep)

    return reduce


def _global_average(t: Tensors, names: Sequence[str], _: Facts) -> Any:
    return t.tf.reduce_mean(t.tensor(names[0]), axis=[1, 2], keepdims=True)


def _flatten(t: Tensors, names: Sequence[str], facts: Facts) -> Any:
    x = t.channels_first(names[0])
    if facts.get("axis", 1) != 1 or any(size is None for size in x.shape[1:]):
        raise ConfigError("the conversion to TensorFlow flattens everything but the batch, of a known size")
    return t.tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])


def _reshape(t: Tensors, names: Sequence[str], _: Facts) -> Any:
    x, shape = t.channels_first(names[0]), t.stored(names[1]).tolist()
    if len(shape) == 4:
        raise ConfigError("the conversion to TensorFlow reshapes no tensor to pictures")
    rest = [x.shape[place] if size == 0 else size for place, size in enumerate(shape)][1:]
    if -1 in rest:  # the batch is free already, and only one size may be
        rest[rest.index(-1)] = int(np.prod(x.shape[1:])) // -int(np.prod(rest))
    return t.tf.reshape(x, [-1 if shape[0] in (0, -1) else shape[0], *rest])


def _concat(t: Tensors, names: Sequence[str], facts: Facts) -> Any:
    parts = t.pair(names)
    return t.tf.concat(parts, axis=_axis(facts["axis"], len(parts[0].shape)))


def _resize(t: Tensors, names: Sequence[str], facts: Facts) -> Any:
    x = t.tensor(names[0])
    if len(names) > 2 and names[2]:
        factors = t.stored(names[2]).tolist()
    else:
        factors = [1, 1, *(size / old for size, old in zip(t.stored(names[3])[2:], x.shape[1:3], strict=True))]
    if facts.get("mode", b"nearest") != b"nearest" or any(factor % 1 for factor in factors) or factors[:2] != [1, 1]:
        raise ConfigError("the conversion to TensorFlow enlarges pictures by whole factors, to the nearest pixel")
    size = [int(x.shape[1] * factors[2]), int(x.shape[2] * factors[3])]
    return t.tf.raw_ops.ResizeNearestNeighbor(images=x, size=size)


def _clip(t: Tensors, names: Sequence[str], facts: Facts) -> Any:
    low, high = (
        float(t.stored(names[place])) if len(names) > place and names[place] else facts.get(name)
        for place, name in ((1, "min"), (2, "max"))
    )
    x = t.tensor(names[0])
    if (low, high) == (0.0, 6.0):
        return t.tf.nn.relu6(x)
    x = x if low is None else t.tf.maximum(x, np.float32(low))
    return x if high is None else t.tf.minimum(x, np.float32(high))


def _hard_sigmoid(t: Tensors, names: Sequence[str], facts: Facts) -> Any:
    scaled = np.float32(facts.get("alpha", 0.2)) * t.tensor(names[0]) + np.float32(facts.get("beta", 0.5))
    return t.tf.minimum(t.tf.maximum(scaled, np.float32(0)), np.float32(1))


def _hard_swish(t: Tensors, names: Sequence[str], _: Facts) -> Any:
    x = t.tensor(names[0])
    return x * (t.tf.nn.relu6(x + np.float32(3)) * np.float32(1 / 6))


def _constant(_: Tensors, names: Sequence[str], facts: Facts) -> np.ndarray:
    return np.asarray(numpy_helper.to_array(facts["value"]))


def _binary(function: str) -> Operator:
    return lambda t, names, _: getattr(t.tf, function)(*t.pair(names))


def _unary(function: Callable[[Any], Any]) -> Operator:
    return lambda t, names, _: function(t.tf)(t.tensor(names[0]))


def _axis(axis: int, rank: int) -> int:
    """Where ONNX's axis lies here."""
    return _LAST[axis % 4] if rank == 4 else axis % rank


OPERATORS: dict[str, Operator] = {
    "Add": _binary("add"),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "Conv": _conv,
    "Div": _binary("divide"),
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Identity": _unary(lambda tf: tf.identity),
    "MaxPool": _max_pool,
    "Mul": _binary("multiply"),
    "ReduceMax": _reduced("reduce_max"),
    "ReduceMean": _reduced("reduce_mean"),
    "Relu": _unary(lambda tf: tf.nn.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _unary(lambda tf: tf.nn.sigmoid),
    "Sub": _binary("subtract"),
}
