"""Small float networks with the structures that quantizers stumble over, and how to run and compare models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SIZE = 16


class Net:
    """A graph under construction; every method adds a node and returns the name of its output."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def constant(self, array: np.ndarray) -> str:
        name = f"k{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{kind}_{len(self.nodes)}", **attributes))
        return output

    def conv(self, x: str, ins: int, outs: int, k: int = 3, group: int = 1, bias: bool = True, **attributes) -> str:
        fan = ins // group * k * k
        weight = self.random.normal(0, (2 / fan) ** 0.5, (outs, ins // group, k, k)).astype(np.float32)
        inputs = [x, self.constant(weight)]
        if bias:
            inputs.append(self.constant(self.random.normal(0, 0.2, outs).astype(np.float32)))
        return self.op("Conv", *inputs, kernel_shape=[k, k], group=group, pads=[k // 2] * 4, **attributes)

    def norm(self, x: str, channels: int) -> str:
        parts = [
            self.random.uniform(0.5, 2, channels), self.random.normal(0, 0.3, channels),
            self.random.normal(0, 0.3, channels), self.random.uniform(0.5, 2, channels),
        ]  # fmt: skip
        return self.op("BatchNormalization", x, *(self.constant(part.astype(np.float32)) for part in parts))

    def silu(self, x: str) -> str:
        return self.op("Mul", x, self.op("Sigmoid", x))

    def model(self, *outputs: str, opset: int = 17, channels: int = 3, batch: int | str = 1) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, channels, SIZE, SIZE])],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            self.tensors,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        made = onnx.shape_inference.infer_shapes(made)
        del made.graph.value_info[:]
        onnx.checker.check_model(made)
        return made


def residual_net(opset: int = 17) -> onnx.ModelProto:
    """Stem, pool, residual block with BatchNorm, global pool and Gemm: `x` [1, 3, 16, 16] -> [1, 10]."""
    net = Net()
    x = net.op("Relu", net.norm(net.conv("x", 3, 16, bias=False, strides=[2, 2]), 16))
    x = net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    y = net.op("Relu", net.norm(net.conv(x, 16, 16), 16))
    x = net.op("Relu", net.op("Add", net.norm(net.conv(y, 16, 16), 16), x))
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    weight = net.constant(net.random.normal(0, 0.3, (10, 16)).astype(np.float32))
    return net.model(net.op("Gemm", x, weight, net.constant(np.ones(10, np.float32)), transB=1), opset=opset)


def detector_net() -> onnx.ModelProto:
    """SiLU, depthwise, Concat, Resize, Slice and a two-part head: `x` [1, 3, 16, 16] -> boxes and scores joined."""
    net = Net(1)
    x = net.silu(net.conv("x", 3, 16, strides=[2, 2]))
    y = net.silu(net.conv(net.silu(net.conv(x, 16, 16, group=16)), 16, 16, k=1))
    small = net.silu(net.conv(y, 16, 16, strides=[2, 2]))
    big = net.op("Resize", small, "", net.constant(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    x = net.silu(net.conv(net.op("Concat", big, net.op("Add", x, y), axis=1), 32, 16, k=1))
    boxes = net.conv(x, 16, 4, k=1)
    scores = net.op("Sigmoid", net.conv(x, 16, 5, k=1))
    return net.model(net.op("Concat", boxes, scores, axis=1))


def pictures(count: int = 8, seed: int = 5) -> list[dict[str, np.ndarray]]:
    """Samples for the input `x`."""
    random = np.random.default_rng(seed)
    return [{"x": random.normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)} for _ in range(count)]


def run(model: onnx.ModelProto | Path, feed: dict[str, np.ndarray], optimised: bool = True) -> list[np.ndarray]:
    """The outputs, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"]).run(None, feed)


def sqnr_db(reference: np.ndarray, other: np.ndarray) -> float:
    """Signal to quantization noise, in decibel."""
    return float(10 * np.log10((reference**2).sum() / ((reference - other) ** 2).sum()))
