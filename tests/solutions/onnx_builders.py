"""Tiny ONNX files for tests: they say what they are told to say."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int64": TensorProto.INT64}


def save(path: Path, nodes, inputs, outputs, initializers=(), metadata=None, opset=17) -> Path:
    """Write a model; inputs and outputs are (name, shape) or (name, shape, dtype), None in a shape being free."""
    graph = helper.make_graph(
        nodes,
        "test",
        [_value(*spec) for spec in inputs],
        [_value(*spec) for spec in outputs],
        [numpy_helper.from_array(array, name) for name, array in initializers],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def saying(path: Path, answer: np.ndarray, input_hw, metadata=None, extra=()) -> Path:
    """A detector that answers `answer` whatever it sees: input [1, 3, H, W], output [1, ...]."""
    outputs = [answer, *extra]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nil"]),
    ]
    nodes += [helper.make_node("Add", ["nil", f"answer{i}"], [f"output{i}"]) for i in range(len(outputs))]
    initializers = [("zero", np.zeros((), np.float32))]
    initializers += [(f"answer{i}", array[None].astype(np.float32)) for i, array in enumerate(outputs)]
    specs = [(f"output{i}", (1, *array.shape)) for i, array in enumerate(outputs)]
    return save(path, nodes, [("images", (1, 3, *input_hw))], specs, initializers, metadata)


def doubling(path: Path) -> Path:
    """y = 2 x for float32 [N, 3]; the weight is one stored tensor."""
    node = helper.make_node("Mul", ["x", "two"], ["y"])
    return save(path, [node], [("x", (None, 3))], [("y", (None, 3))], [("two", np.full(3, 2, np.float32))])


def small_network(path: Path, seed=0, metadata=None, opset=17) -> Path:
    """Two convolutions with ReLU and a sigmoid tail: `images` [N, 3, H, W] -> `grid` [N, 9, H / 8, W / 8]."""
    random = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Conv", ["images", "w0", "b0"], ["c0"], name="stem", strides=[4, 4], kernel_shape=[4, 4]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], name="middle", strides=[2, 2], kernel_shape=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["grid"], name="predict", kernel_shape=[1, 1]),
    ]
    arrays = [
        ("w0", random.normal(0, 0.01, (16, 3, 4, 4))), ("b0", random.normal(0, 0.1, 16)),
        ("w1", random.normal(0, 0.2, (16, 16, 2, 2))), ("b1", random.normal(0, 0.1, 16)),
        ("w2", random.normal(0, 0.4, (9, 16, 1, 1))), ("b2", random.normal(0, 0.1, 9)),
    ]  # fmt: skip
    return save(
        path,
        nodes,
        [("images", (None, 3, None, None))],
        [("grid", (None, 9, None, None))],
        [(name, array.astype(np.float32)) for name, array in arrays],
        metadata or {"head": "grid", "labels": "car,truck,bus,bicycle,pedestrian", "input_hw": "64,96"},
        opset,
    )


def _value(name, shape, dtype="float32"):
    sizes = [f"{name}_{axis}" if size is None else size for axis, size in enumerate(shape)]
    return helper.make_tensor_value_info(name, _TYPES[dtype], sizes)
