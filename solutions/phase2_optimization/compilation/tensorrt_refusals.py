"""Why TensorRT refuses a graph, in one sentence that also says the way out.

Its parser answers with assertions of its source code. Each pattern below was met by giving it such a graph.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Noise of a machine without a GPU, which accompanies every other error there.
_NOISE = re.compile(
    r"\[checkMacros\.cpp::catchCudaError|^\s*$|^--- (Begin|End) node|^In function|ModelImporter\.cpp:14[23]"
)

# Pattern in parser or builder text -> sentence; {op} and {node} come from the parser, further groups from the pattern.
_MEANINGS: tuple[tuple[str, str], ...] = (
    (
        r"input has type Int32 but must have type FP8",
        "{node} dequantizes an int32 bias, which TensorRT does not take: keep biases in float (QuantizeBias=False), it "
        "quantizes them itself.",
    ),
    (
        r"Non-zero zero point is not supported",
        "{node} has a zero-point other than 0, and TensorRT takes symmetric int8 only: quantize activations and "
        "weights to int8 with zero-point 0, not to uint8.",
    ),
    (
        r"(?P<name>\w+) plugin creator version 1 was not found",
        "{node} ({op}) needs a plugin that this TensorRT does not have, because its output's size depends on values: "
        "leave decoding and NMS out of the graph, and run them after it.",
    ),
    (
        r"(?P<name>\w+) has no runners that implement it",
        "no kernel here implements {name}: leave it out of the graph (NMS runs after it), or build with full TensorRT.",
    ),
    (
        r"Cannot compile operation '(?P<name>[^']*)' for Turing \((?P<gpu>SM\d+)\): (?P<what>[^.]*) is not supported",
        "{what} ({name}) does not exist for {gpu} in TensorRT-RTX: convert the model to float16, or build for SM80 or "
        "newer.",
    ),
    (
        r"Plugin not found, are the plugin name",
        "{node} is a {op}, which is no operator of ONNX and no plugin here: export without contributed operators, and "
        "optimise for TensorRT with nothing but ONNX's own.",
    ),
    (
        r"Failed to convert ONNX date type to TensorRT data type",
        "an input or output is of a type that TensorRT does not have (text, complex numbers): do that part outside the "
        "graph.",
    ),
    (
        r"must (?:have same input types|be of same type)[\s\S]*?(?P<what>types? .*?|`input`[^.]*)\.",
        "{node} ({op}) mixes element types ({what}), and in a strongly typed network nothing is cast by itself: insert "
        "a Cast, or convert the whole model to one type.",
    ),
    (
        r"Failed to sort the model topologically",
        "its nodes cannot be put in order, because two of them write the same tensor or form a circle: run ONNX's "
        "checker on it, and repair what wrote it.",
    ),
    (
        r"Failed to parse the ONNX model",
        "it is not a whole ONNX file: export or copy it again.",
    ),
    (
        r"no optimization profile has been defined",
        "it has free sizes and no profile: give each free input its smallest, usual and largest shape.",
    ),
    (
        r"please ensure that the optimization profiles satisfy MIN<=OPT<=MAX",
        "a profile's shapes are not in the order smallest <= usual <= largest.",
    ),
    (
        r"tensor (?P<name>\S+) is missing dimensions in profile (?P<index>\d+)",
        "profile {index} says nothing about the input {name}.",
    ),
    (
        r"QLinear|opset.*QLinear",
        "{node} is a {op}: the file is quantized with integer operators (QOperator), and TensorRT takes QDQ: quantize "
        "again with quant_format=QDQ.",
    ),
    (
        r"CUDA driver version is insufficient|cudaError 35|no CUDA-capable device",
        "there is no usable NVIDIA GPU or driver here: build on the GPU machine, or name a target (--target SM89) with "
        "TensorRT-RTX.",
    ),
    (
        r"[Oo]ut of memory|insufficient memory|could not find any implementation.*workspace",
        "the workspace is too small for every kernel of some layer: raise --workspace.",
    ),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One error of the parser: its text, and the ONNX node it is about; both names empty for a builder's error."""

    text: str
    operator: str = ""
    node: str = ""


def explain(refusals: Sequence[Refusal]) -> str:
    """One sentence for the first refusal that says something; its own telling line where it is unknown.

    >>> explain([Refusal("Non-zero zero point is not supported.", "QuantizeLinear", "q1")])[:37]
    'q1 has a zero-point other than 0, and'
    """
    told = [refusal for refusal in refusals if not _NOISE.search(refusal.text)] or list(refusals)
    for pattern, sentence in _MEANINGS:
        for refusal in told:
            found = re.search(pattern, f"{refusal.text}\n{refusal.operator}")
            if found:
                node = refusal.node or (f"a {refusal.operator}" if refusal.operator else "a node")
                return sentence.format(**{"op": refusal.operator, "node": node, **found.groupdict()})
    if not told:
        return "it gives no reason."
    first = told[0]
    lines = [line.strip() for line in first.text.splitlines() if not _NOISE.search(line)]
    where = f"{first.node or 'a node'} ({first.operator}): " if first.operator else ""
    text = next(
        (line for line in lines if not line.startswith("Invalid Node")), lines[0] if lines else "no reason given"
    )
    return f"{where}{text[:300].rstrip('.')}."
