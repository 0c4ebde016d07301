"""Kernels and nodes of a graph by the names of the layers that they belong to."""

import numpy as np
import onnx
import pytest
from onnx import helper

from solutions.phase1_basics.profiling.onnx_names import GraphNames
from tests.solutions.onnx_builders import save
from tests.solutions.profiler_graphs import chain


@pytest.mark.parametrize(
    ("kernel", "op", "want"),
    [
        pytest.param("node_conv", "Conv", 0, id="node"),
        pytest.param("c_nchwc", "Conv", 0, id="tensor-with-a-layout"),
        pytest.param("r", "FusedConv", 0, id="fused-tensor-goes-back-to-the-convolution"),
        pytest.param("fused node_conv", "FusedConv", 0, id="fused-prefix"),
        pytest.param("node_relu", "Relu", 1, id="an-activation-that-stayed"),
        pytest.param("y_token_3", "QLinearConv", 2, id="quantised"),
        pytest.param("ReorderInput", "ReorderInput", None, id="the-runtimes-own"),
    ],
)
def test_a_kernel_is_found_in_the_file(tmp_path, kernel, op, want):
    assert GraphNames(onnx.load(chain(tmp_path / "chain.onnx")).graph).find(kernel, op) == want


def test_the_exporters_scopes_name_nodes_without_weights(tmp_path):
    model = onnx.load(chain(tmp_path / "chain.onnx"))
    model.graph.node[1].metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['', 'layer', 'layer.act', 'relu']")
    names = GraphNames(model.graph)
    assert [names.layer_name(index) for index in range(3)] == ["layer.conv", "layer.act", "layer.out"]


def test_a_transposed_weight_is_named_by_its_bias(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "val_3"], ["m"], name="node_matmul"),
        helper.make_node("Add", ["m", "mlp.0.bias"], ["y"], name="node_add"),
    ]
    weights = [("val_3", np.ones((3, 2), np.float32)), ("mlp.0.bias", np.ones(2, np.float32))]
    path = save(tmp_path / "m.onnx", nodes, [("x", (1, 3))], [("y", (1, 2))], weights)
    names = GraphNames(onnx.load(path).graph)
    assert [names.layer_name(index) for index in range(2)] == ["mlp.0", "mlp.0"]


@pytest.mark.parametrize("scopes", ["not a list", "[]", "['']", "{'a': 1}"])
def test_damaged_scopes_fall_back_to_the_nodes_name(tmp_path, scopes):
    model = onnx.load(chain(tmp_path / "chain.onnx"))
    model.graph.node[1].metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    assert GraphNames(model.graph).layer_name(1) == "node_relu"
