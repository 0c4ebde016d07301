"""The script around the quantization exercises: they quantize the embedded classifier and are judged by the result."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper

from solutions.core.classroom.crops import Crops, street_crops
from solutions.core.classroom.graph_values import Code, Node
from solutions.core.classroom.values import Comparison, Verdict
from solutions.core.errors import ConfigError
from solutions.core.measure.profiling import measure_pair
from solutions.core.measure.report import render_table
from solutions.core.scripts import EXIT_OK
from solutions.core.zoo.registry import CLASSIFIER, embedded

Array = npt.NDArray[Any]
Run = Callable[[Array], list[Array]]
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The functions that the exercises ask for, as the learner wrote them."""

    choose_code: Callable[..., Code]
    quantize: Callable[..., Array]
    percentile_limit: Callable[..., float]
    least_error_limit: Callable[..., float]
    fake_quantize: Callable[..., torch.Tensor]
    integer_linear: Callable[..., Array]
    place_codes: Callable[..., dict[str, str]]
    gate: Callable[..., Verdict]


def quantize_script(argv: Sequence[str] | None, tools: Toolbox) -> int:
    """Exit code 0, after the embedded classifier was quantized and compared with its float original.

    Raises:
        ConfigError: an option out of its range.
    """
    args = _parse_args(argv)
    if args.pictures < 2 or args.rounds < 1 or not 0 < args.share <= 1:
        raise ConfigError("--pictures must be at least 2, --rounds at least 1, and --share above 0 and at most 1")
    model = onnx.load(embedded(CLASSIFIER).onnx)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    placed = _places(model, tools)
    learnt, held_out = (street_crops(args.pictures, held_out=unseen) for unseen in (False, True))
    batches = [learnt.pictures[start : start + _BATCH] for start in range(0, len(learnt.pictures), _BATCH)]
    codes = _codes(model, placed, batches, args.share, tools)
    print(f"{CLASSIFIER}: {len(codes)} activations and {len(placed) - len(codes)} weights get codes")
    _one_layer(model, weights, codes, held_out, tools)
    before, after = _session(model), _session(_with_pairs(model, weights, placed, codes, tools))
    _judge(before, after, held_out, args.rounds, tools)
    return EXIT_OK


def _parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Quantize the embedded classifier with your own functions.")
    parser.add_argument("--pictures", type=int, default=256, help="to calibrate, and to test (default: %(default)s)")
    parser.add_argument("--share", type=float, default=0.9999, help="of activations not clipped (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=30, help="of the comparison of times (default: %(default)s)")
    return parser.parse_args(argv)


def quantized(model: onnx.ModelProto, batches: Sequence[Array], tools: Toolbox, *, share: float) -> onnx.ModelProto:
    """The model with a quantize-dequantize pair wherever the learner's functions put one.

    Args:
        model: a float32 graph with one input, whose weights are those of Conv and Gemm.
        batches: what it calibrates with, one array per run.
        tools: all of them but `fake_quantize`, `integer_linear` and `gate` are called.
        share: of the activations that is not clipped.
    """
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    placed = _places(model, tools)
    return _with_pairs(model, weights, placed, _codes(model, placed, batches, share, tools), tools)


def _places(model: onnx.ModelProto, tools: Toolbox) -> dict[str, str]:
    """Which tensors of the model get a pair, and whose range each takes."""
    nodes = [Node(n.output[0], n.op_type.replace("Gemm", "MatMul"), tuple(n.input)) for n in model.graph.node]
    return tools.place_codes(nodes)


def _session(model: onnx.ModelProto) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pictures: list(session.run(None, {name: pictures}))


def _codes(
    model: onnx.ModelProto, placed: dict[str, str], batches: Sequence[Array], share: float, tools: Toolbox
) -> dict[str, Code]:
    """The code of each activation, from what the float model computes, batch by batch."""
    weights = {tensor.name for tensor in model.graph.initializer}
    activations = [name for name in dict.fromkeys(placed.values()) if name not in weights]
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    inner = [name for name in activations if name != model.graph.input[0].name]
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in inner)
    run = _session(onnx.shape_inference.infer_shapes(watched))
    seen: dict[str, list[Array]] = {model.graph.input[0].name: list(batches)}
    for batch in batches:
        for name, values in zip(inner, run(batch), strict=True):
            seen.setdefault(name, []).append(values)
    codes = {}
    for name in activations:
        limit = tools.percentile_limit(iter(seen[name]), share)
        low = -limit if min(float(values.min()) for values in seen[name]) < 0 else 0.0
        codes[name] = tools.choose_code(low, limit)
    return codes


def _weight_codes(weight: Array, tools: Toolbox) -> tuple[Array, Array]:
    """The weight as int8, and the scale of each of its rows."""
    scales = np.array([tools.least_error_limit(row) / 127 or 1.0 for row in weight], np.float32)
    return tools.quantize(weight, scales, np.zeros(len(weight), np.int32), 0, "int8"), scales


def _with_pairs(
    model: onnx.ModelProto, weights: dict[str, Array], placed: dict[str, str], codes: dict[str, Code], tools: Toolbox
) -> onnx.ModelProto:
    """The model with a quantize-dequantize pair on each placed tensor, weights stored as int8."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:]
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in placed]
    del made.graph.initializer[:]
    made.graph.initializer.extend(kept)

    def constant(name: str, values: Array) -> str:
        made.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def pair(tensor: str) -> None:
        if tensor in weights:
            codes_of, scales = _weight_codes(weights[tensor], tools)
            zeros = constant(f"{tensor}.zeros", np.zeros(len(scales), np.int8))
            parts = [constant(f"{tensor}.codes", codes_of), constant(f"{tensor}.scales", scales), zeros]
            made.graph.node.append(helper.make_node("DequantizeLinear", parts, [f"{tensor}.real"], axis=0))
            return
        code = codes[placed[tensor]]
        scale = constant(f"{tensor}.scale", np.array(code.scale, np.float32))
        zero = constant(f"{tensor}.zero", np.array(code.zero_point, np.uint8))
        made.graph.node.append(helper.make_node("QuantizeLinear", [tensor, scale, zero], [f"{tensor}.codes"]))
        made.graph.node.append(
            helper.make_node("DequantizeLinear", [f"{tensor}.codes", scale, zero], [f"{tensor}.real"])
        )

    for tensor in placed:
        if tensor in weights or tensor == model.graph.input[0].name:
            pair(tensor)
    for node in model.graph.node:
        new = made.graph.node.add()
        new.CopyFrom(node)
        if node.op_type in ("Conv", "Gemm", "Add"):
            new.input[:] = [f"{name}.real" if name in placed else name for name in node.input]
        if node.output[0] in placed:
            pair(node.output[0])
    return made


def _one_layer(
    model: onnx.ModelProto, weights: dict[str, Array], codes: dict[str, Code], crops: Crops, tools: Toolbox
) -> None:
    """The last layer in integers, beside the same layer in float on values that went through their codes."""
    head = next(node for node in model.graph.node if node.op_type == "Gemm")
    source, weight, bias = head.input
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.insert(0, helper.make_empty_tensor_value_info(source))
    features = _session(onnx.shape_inference.infer_shapes(watched))(crops.pictures)[0]
    real = features @ weights[weight].T + weights[bias]
    code, limit = codes[source], float(np.abs(real).max())
    answer = tools.choose_code(-limit, limit)
    rounded = tools.fake_quantize(torch.from_numpy(features), code).numpy()
    x = (np.rint(rounded / code.scale) + code.zero_point).astype(np.uint8)
    int_weight, scales = _weight_codes(weights[weight], tools)
    y = tools.integer_linear(x, code, int_weight, scales, weights[bias], answer)
    same = float(np.mean(y.argmax(axis=1) == real.argmax(axis=1)))
    worst = np.abs((y.astype(float) - answer.zero_point) * answer.scale - real).max() / answer.scale
    print(f"{head.output[0]} in integers: {same:.1%} the same classes, at most {worst:.1f} steps off")


def _judge(before: Run, after: Run, crops: Crops, rounds: int, tools: Toolbox) -> None:
    """Print both accuracies, the ratio of times and the verdict."""
    right = [run(crops.pictures)[0].argmax(axis=1) == crops.classes for run in (before, after)]
    batch = crops.pictures[:_BATCH]
    pair = measure_pair(lambda: before(batch), lambda: after(batch), rounds=rounds, inner=4)
    ratio = pair.ratio
    time = Comparison(ratio.ratio, ratio.low, ratio.high, "inconclusive")
    rows = [("float32", f"{right[0].mean():.2%}", pair.a.p50), ("int8", f"{right[1].mean():.2%}", pair.b.p50)]
    print(f"{len(crops.classes)} held-out crops; times of {len(batch)} at once, on one thread")
    render_table("the gate", ("model", "right", "p50 ms"), rows)
    print(f"speed-up x{1 / time.ratio:.2f} [{1 / time.high:.2f}, {1 / time.low:.2f}]")
    print(f"at most 1 point lost and at least 1.2 times as fast: {tools.gate(*right, time)}")
