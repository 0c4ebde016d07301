"""Activation memory: liveness of a graph, and of a module's tensors while it runs."""

import itertools

import pytest
import torch
from onnx import helper
from torch import nn

from solutions.phase1_basics.profiling.activation_memory import Lifetime, onnx_activation_memory, peak_by_liveness
from solutions.phase1_basics.profiling.torch_activations import torch_activation_memory
from tests.solutions.onnx_builders import save
from tests.solutions.profiler_fakes import Residual


@pytest.mark.parametrize(
    ("lives", "want"),
    [
        pytest.param([], (0, 0), id="nothing"),
        pytest.param([(7, 2, 2)], (7, 2), id="one"),
        pytest.param([(4, 0, 1), (4, 1, 2), (4, 2, 3)], (8, 1), id="a-chain-is-two"),
        pytest.param([(4, 0, 9), (4, 1, 2), (4, 2, 3)], (12, 2), id="a-skip-stays"),
        pytest.param([(4, 0, 0), (9, 1, 1)], (9, 1), id="never-together"),
        pytest.param([(4, 5, 5), (4, 5, 5)], (8, 5), id="at-once"),
    ],
)
def test_peak_by_liveness(lives, want):
    assert peak_by_liveness([Lifetime("a", *life) for life in lives]) == want


def _graph(path, nodes, outputs=(("y", (None, 8)),), weights=()):
    return save(path, nodes, [("x", (None, 8))], list(outputs), weights)


def test_a_chain_needs_two_buffers_whatever_its_length(tmp_path):
    names = ["x", "a", "b", "c", "d", "y"]
    nodes = [helper.make_node("Relu", [i], [o]) for i, o in itertools.pairwise(names)]
    found = onnx_activation_memory(_graph(tmp_path / "g.onnx", nodes), {"x": (2, 8)})
    assert (found.peak_bytes, found.naive_bytes, found.tensors) == (2 * 64, 6 * 64, 6)
    assert found.saved == pytest.approx(2 / 3)


def test_a_skip_connection_keeps_its_tensor(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Sigmoid", ["a"], ["b"]),
        helper.make_node("Tanh", ["b"], ["c"], name="tanh"),
        helper.make_node("Add", ["a", "c"], ["y"], name="add"),
    ]
    found = onnx_activation_memory(_graph(tmp_path / "g.onnx", nodes), {"x": (1, 8)})
    assert (found.peak_bytes, found.at) == (3 * 32, "tanh")


def test_a_view_takes_nothing_and_keeps_what_it_shows(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Identity", ["a"], ["v"]),
        helper.make_node("Sigmoid", ["x"], ["b"]),
        helper.make_node("Tanh", ["b"], ["c"]),
        helper.make_node("Add", ["v", "c"], ["y"]),
    ]
    found = onnx_activation_memory(_graph(tmp_path / "g.onnx", nodes), {"x": (1, 8)})
    assert (found.peak_bytes, found.tensors) == (3 * 32, 5)


def test_an_early_output_lives_to_the_end(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["early"]),
        helper.make_node("Tanh", ["x"], ["b"]),
        helper.make_node("Sigmoid", ["b"], ["y"]),
    ]
    path = _graph(tmp_path / "g.onnx", nodes, outputs=[("early", (None, 8)), ("y", (None, 8))])
    assert onnx_activation_memory(path, {"x": (1, 8)}).peak_bytes == 3 * 32


def test_torch_sees_the_sum_that_no_module_owns():
    net, x = Residual(2).eval(), torch.zeros(1, 2, 4, 4)
    found = torch_activation_memory(net, [x])
    one = x.numel() * 4
    # x, conv2's output and the sum; relu(conv1) died when conv2 had read it
    assert found.peak_bytes == 3 * one
    assert found.naive_bytes == 6 * one
    assert found.weight_bytes == sum(p.numel() * 4 for p in net.parameters())


def test_torch_counts_views_and_work_in_place_once():
    net = nn.Sequential(nn.Flatten(), nn.ReLU(inplace=True), nn.Identity())
    found = torch_activation_memory(net, [torch.zeros(1, 2, 4)])
    assert (found.peak_bytes, found.tensors) == (32, 1)


def test_torch_chain_frees_as_it_goes():
    found = torch_activation_memory(nn.Sequential(*[nn.Sigmoid() for _ in range(5)]), [torch.zeros(1, 8)])
    assert found.naive_bytes == 6 * 32
    assert found.peak_bytes <= 3 * 32  # the input, which the caller holds, and two of the chain
