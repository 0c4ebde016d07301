"""ONNX files whose layers the profiler must name."""

import numpy as np
import torch
from onnx import helper

from solutions.core.zoo.export import export_onnx
from tests.solutions.onnx_builders import save
from tests.solutions.profiler_fakes import small


def chain(path):
    """Two convolutions with a ReLU between them, in one layer."""
    nodes = [
        helper.make_node("Conv", ["x", "layer.conv.weight"], ["c"], name="node_conv"),
        helper.make_node("Relu", ["c"], ["r"], name="node_relu"),
        helper.make_node("Conv", ["r", "layer.out.weight"], ["y"], name="node_out"),
    ]
    weights = [
        ("layer.conv.weight", np.ones((2, 3, 1, 1), np.float32)),
        ("layer.out.weight", np.ones((1, 2, 1, 1), np.float32)),
    ]
    return save(path, nodes, [("x", (1, 3, 4, 4))], [("y", (1, 1, 4, 4))], weights)


def exported_small(path):
    """The `small` network as torch exports it, with names that lead back to its modules."""
    export_onnx(
        small(), torch.rand(2, 3, 16, 16), path,
        inputs=["images"], outputs=["scores"], sizes={0: torch.export.Dim("batch")}, facts={},
    )  # fmt: skip
    return path
