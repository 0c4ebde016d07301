"""Times per layer from ONNX Runtime's own profile."""

import pytest
import torch

from solutions.core.errors import ConfigError
from solutions.core.hardware.model_cost import model_cost
from solutions.phase1_basics.profiling.layer_table import matched
from solutions.phase1_basics.profiling.onnx_layers import kernels_by_run, layers_from_profile, profile_onnx_layers
from solutions.phase1_basics.profiling.torch_layers import profile_torch_layers
from tests.solutions.profiler_fakes import picture, small
from tests.solutions.profiler_graphs import chain, exported_small


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return exported_small(tmp_path_factory.mktemp("export") / "small.onnx")


def test_names_are_the_modules_of_the_torch_network(exported):
    found = profile_onnx_layers(exported, {"images": picture()}, runs=2, warmup=1, threads=1)
    names = [layer.name for layer in found.layers]
    assert {"stem.0", "block.conv1", "block.conv2", "head"} <= set(names)
    assert found.runs == 2
    assert all(layer.ms >= 0 for layer in found.layers)


def test_layers_of_both_runtimes_meet_by_name(exported):
    graph = profile_onnx_layers(exported, {"images": picture()}, runs=1, threads=1)
    eager = profile_torch_layers(small(), [torch.from_numpy(picture())], runs=1)
    assert [name for name, _, _ in matched(eager, graph)] == ["stem.0", "block.conv1", "block.conv2", "head"]


def test_operations_of_fused_nodes_are_all_accounted_for(exported):
    found = profile_onnx_layers(exported, {"images": picture()}, runs=1, threads=1)
    cost = model_cost(exported, {"images": (1, 3, 16, 16)})
    assert sum(layer.cost.flops for layer in found.layers) == cost.flops
    head = next(layer for layer in found.layers if layer.name == "head")
    assert head.cost.bytes >= 4 * 5 * 4 + 4 * 4  # packed or not, its weights and its input are read


def _event(name, op, ts, dur, activations=100, weights=0, out=50):
    return {
        "cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur,
        "args": {
            "op_name": op, "activation_size": str(activations), "parameter_size": str(weights), "output_size": str(out)
        },
    }  # fmt: skip


def _run(ts, dur):
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": dur}


def test_a_profile_becomes_layers(tmp_path):
    path = chain(tmp_path / "chain.onnx")
    events = [
        *(_event("r_nchwc", "Conv", 1000, 900, weights=24), _event("node_out", "Conv", 1950, 40), _run(990, 1100)),
        *(_event("r_nchwc", "Conv", 3000, 30, weights=24), _event("node_out", "Conv", 3040, 10), _run(2990, 100)),
        *(_event("r_nchwc", "Conv", 4000, 50, weights=24), _event("node_out", "Conv", 4060, 30), _run(3990, 120)),
    ]
    found = layers_from_profile(events, path, {"x": (1, 3, 4, 4)}, skip=1)
    conv, out = found.layers
    assert (conv.name, conv.node, out.name) == ("layer.conv", "r_nchwc", "layer.out")
    assert (conv.ms, out.ms) == pytest.approx((0.040, 0.020))
    assert found.outside_ms == pytest.approx(0.050)  # 60 and 40 microseconds between the kernels
    assert conv.cost.flops == 2 * 2 * 16 * 3 + 2 * 16  # the fused ReLU is part of it
    assert conv.cost.bytes == 150 + 24
    assert [span.start_s for span in found.timeline] == pytest.approx([0.004, 0.00406])


def test_weights_that_the_runtime_has_packed_are_counted_from_the_file(tmp_path):
    path = chain(tmp_path / "chain.onnx")
    events = [_event("r_nchwc", "Conv", 1, 1), _event("node_out", "Conv", 3, 1), _run(0, 9)]
    found = layers_from_profile(events, path, {"x": (1, 3, 4, 4)})
    assert found.layers[0].cost.bytes == 150 + 2 * 3 * 4


def test_kernels_of_the_runtimes_own_keep_their_name(tmp_path):
    path = chain(tmp_path / "chain.onnx")
    found = layers_from_profile([_event("ReorderOutput", "ReorderOutput", 1, 1), _run(0, 9)], path, {})
    assert (found.layers[0].name, found.layers[0].cost.flops) == ("ReorderOutput", 0)


def test_a_kernel_in_a_loop_is_one_row(tmp_path):
    path = chain(tmp_path / "chain.onnx")
    events = [_event("node_out", "Conv", 1, 2), _event("node_out", "Conv", 5, 3), _run(0, 20)]
    (layer,) = layers_from_profile(events, path, {}).layers
    assert (layer.calls, layer.ms) == (2, pytest.approx(0.005))


def test_a_profile_without_runs_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no run beyond the first 1"):
        layers_from_profile([_run(0, 9)], chain(tmp_path / "chain.onnx"), {}, skip=1)


def test_events_go_to_the_run_that_contains_them():
    runs = kernels_by_run([_event("b", "Conv", 205, 5), _run(200, 20), _event("a", "Conv", 105, 5), _run(100, 20)])
    assert [[kernel.name for kernel in kernels] for _, kernels in runs] == [["a"], ["b"]]
