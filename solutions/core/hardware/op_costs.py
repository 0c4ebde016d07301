"""What one ONNX node computes: multiply-accumulates where it has weights to multiply, plain operations elsewhere.

Conventions: one multiply-accumulate (MAC) is two operations (FLOPs, or integer OPs); arithmetic and comparisons cost
one per element; exp, tanh and their kin cost `TRANSCENDENTAL`, about the length of the polynomial that computes them;
moving data costs nothing here, its bytes are counted elsewhere. Papers that quote "GFLOPs" often mean GMACs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Shape = tuple[int, ...]
Attributes = Mapping[str, Any]

TRANSCENDENTAL = 8

# Nodes that only rename memory: no operations, no bytes.
VIEWS = frozenset({"Constant", "Dropout", "Flatten", "Identity", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze"})


def _each(names: str, cost: int) -> dict[str, int]:
    return dict.fromkeys(names.split(), cost)


# Nodes that move bytes and compute nothing.
MOVES = frozenset(
    _each(
        "Cast CastLike Concat ConstantOfShape DepthToSpace Expand EyeLike Gather GatherElements GatherND Pad Range "
        "ReverseSequence ScatterElements ScatterND Slice SpaceToDepth Split Tile Transpose",
        0,
    )
)

# Operations per output element.
_PER_OUTPUT: dict[str, int] = {
    **_each(
        "Abs Add Ceil Clip Div Floor Max Min Mod Mul Neg Reciprocal Relu Round Sign Sub Sum QLinearAdd QLinearMul", 1
    ),
    **_each("And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Where Xor", 1),
    **_each("BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor", 1),
    **_each("BatchNormalization LeakyRelu PRelu QuantizeLinear DequantizeLinear ThresholdedRelu", 2),
    **_each("HardSigmoid DynamicQuantizeLinear QLinearLeakyRelu", 3),
    **_each("HardSwish", 4),
    **_each("GroupNormalization InstanceNormalization LayerNormalization LpNormalization", 7),
    **_each("MeanVarianceNormalization RMSNormalization SimplifiedLayerNormalization SkipLayerNormalization", 7),
    **_each("Acos Asin Atan Celu Cos Cosh Elu Erf Exp Log Mish Pow Selu Sigmoid Sin Sinh", TRANSCENDENTAL),
    **_each("Softplus Softsign Sqrt Tan Tanh QLinearSigmoid QuickGelu", TRANSCENDENTAL),
    **_each("Gelu LogSoftmax QLinearSoftmax Softmax Swish", TRANSCENDENTAL + 3),
}

# Operations per input element.
_PER_INPUT: dict[str, int] = {
    **_each("ArgMax ArgMin CumSum GlobalAveragePool GlobalMaxPool QLinearGlobalAveragePool", 1),
    **_each("ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum", 1),
    **_each("ReduceL1 ReduceL2 ReduceSumSquare", 2),
    **_each("ReduceLogSum ReduceLogSumExp", TRANSCENDENTAL + 1),
}

_POOLS = ("AveragePool", "LpPool", "MaxPool", "QLinearAveragePool")
_RESIZES = ("Resize", "Upsample")


def _conv(inputs: Sequence[Shape], outputs: Sequence[Shape], attributes: Attributes, weight: int = 1) -> int:
    return math.prod(outputs[0]) * math.prod(inputs[weight][1:])  # weight [M, C/groups, *kernel]


def _conv_transpose(inputs: Sequence[Shape], outputs: Sequence[Shape], attributes: Attributes) -> int:
    return math.prod(inputs[0]) * math.prod(inputs[1][1:])  # weight [C, M/groups, *kernel]


def _gemm(inputs: Sequence[Shape], outputs: Sequence[Shape], attributes: Attributes) -> int:
    return math.prod(outputs[0]) * inputs[0][0 if attributes.get("transA") else -1]


def _matmul(inputs: Sequence[Shape], outputs: Sequence[Shape], attributes: Attributes) -> int:
    return math.prod(outputs[0]) * inputs[0][-1]


def _recurrent(inputs: Sequence[Shape], outputs: Sequence[Shape], attributes: Attributes) -> int:
    # X [steps, batch, I], W [directions, gates * H, I], R [directions, gates * H, H]
    return math.prod(inputs[0][:2]) * (math.prod(inputs[1]) + math.prod(inputs[2]))


MacRule = Callable[[Sequence[Shape], Sequence[Shape], Attributes], int]
MAC_RULES: dict[str, MacRule] = {
    "Conv": _conv,
    "FusedConv": _conv,
    "ConvInteger": _conv,
    "QLinearConv": lambda inputs, outputs, attributes: _conv(inputs, outputs, attributes, weight=3),
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "QGemm": _gemm,
    "FusedMatMul": _matmul,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "RNN": _recurrent,
}

# Position of the bias among the inputs: it adds one operation per output element.
_BIAS = {"Conv": 2, "FusedConv": 2, "ConvTranspose": 2, "Gemm": 2, "QLinearConv": 8, "QGemm": 6}


def known(op: str) -> bool:
    """True when the operations of this node type can be counted."""
    return any(op in table for table in (MAC_RULES, VIEWS, MOVES, _PER_OUTPUT, _PER_INPUT, _POOLS, _RESIZES))


def count(op: str, inputs: Sequence[Shape], outputs: Sequence[Shape], attributes: Attributes) -> tuple[int, int]:
    """MACs and operations of one node: (0, 0) for unknown types. An absent optional input has the shape ()."""
    if op in MAC_RULES:
        macs = MAC_RULES[op](inputs, outputs, attributes)
        bias = _BIAS.get(op)
        has_bias = bias is not None and len(inputs) > bias and inputs[bias] != ()
        return macs, 2 * macs + (math.prod(outputs[0]) if has_bias else 0)
    if op in _PER_OUTPUT:
        factor = max(1, len(inputs) - 1) if op in ("Max", "Min", "Sum") else _PER_OUTPUT[op]
        return 0, factor * math.prod(outputs[0])
    if op in _PER_INPUT:
        return 0, _PER_INPUT[op] * math.prod(inputs[0])
    if op in _POOLS:
        return 0, math.prod(outputs[0]) * math.prod(attributes.get("kernel_shape", ()))
    if op in _RESIZES:
        return 0, math.prod(outputs[0]) * _taps(inputs[0], outputs[0], attributes)
    return 0, 0


def _taps(before: Shape, after: Shape, attributes: Attributes) -> int:
    """Operations per output element of an interpolation: 2 taps per resized axis when linear, 4 when cubic."""
    mode = attributes.get("mode", b"nearest")
    taps = {"linear": 2, "cubic": 4}.get(mode.decode() if isinstance(mode, bytes) else str(mode))
    if taps is None:
        return 0
    axes = sum(1 for old, new in zip(before, after, strict=True) if old != new)
    return 2 * taps**axes if axes else 0
