"""Per-layer passes: hooks on torch modules, ONNX Runtime's profile, and the names and costs that both share."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from solutions.core.errors import ConfigError
from solutions.core.hardware.model_cost import model_cost
from solutions.core.zoo.export import export_onnx
from solutions.phase1_basics.profiling.layer_costs import module_cost, tensors_in
from solutions.phase1_basics.profiling.layer_table import matched
from solutions.phase1_basics.profiling.onnx_layers import kernels_by_run, layers_from_profile, profile_onnx_layers
from solutions.phase1_basics.profiling.onnx_names import GraphNames
from solutions.phase1_basics.profiling.overhead import onnx_layers_overhead, same_weights, torch_layers_overhead
from solutions.phase1_basics.profiling.torch_layers import find_leaves, profile_torch_layers
from tests.solutions.onnx_builders import save
from tests.solutions.profiler_fakes import FakeClock, Residual, Sleeper, picture, small


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "small.onnx"
    export_onnx(
        small(), torch.rand(2, 3, 16, 16), path,
        inputs=["images"], outputs=["scores"], sizes={0: torch.export.Dim("batch")}, facts={},
    )  # fmt: skip
    return path


# ------------------------------------------------------------------------------------------------------ torch


def test_each_layer_gets_the_time_it_takes_and_the_rest_is_outside():
    clock = FakeClock()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fast, self.slow = Sleeper(clock, 0.001), Sleeper(clock, 0.004)

        def forward(self, x):
            clock.advance(0.002)  # what no module owns
            return self.slow(self.fast(self.slow(x)))

    found = profile_torch_layers(Net(), [torch.zeros(1, 2)], runs=5, clock=clock)
    assert [(layer.name, layer.calls) for layer in found.layers] == [("slow", 2), ("fast", 1)]
    assert [layer.ms for layer in found.layers] == pytest.approx([8.0, 1.0])
    assert found.outside_ms == pytest.approx(2.0)
    assert found.total_ms == pytest.approx(11.0)
    assert sum(found.share(layer) for layer in found.layers) == pytest.approx(9 / 11)
    assert [span.name for span in found.timeline] == ["slow", "fast", "slow"]
    assert [layer.name for layer in found.slowest(1)] == ["slow"]


def test_synchronise_belongs_to_the_layer_that_queued_the_work():
    clock = FakeClock()
    queued = [0.0]

    class Launch(nn.Module):
        def __init__(self, seconds):
            super().__init__()
            self.seconds = seconds

        def forward(self, x):
            queued[0] += self.seconds
            return x

    def wait():
        clock.advance(queued[0])
        queued[0] = 0.0

    net = nn.Sequential(Launch(0.003), Launch(0.005))
    found = profile_torch_layers(net, [torch.zeros(1)], runs=2, synchronize=wait, clock=clock)
    assert [layer.ms for layer in found.layers] == pytest.approx([3.0, 5.0])


def test_warm_up_is_left_out():
    clock = FakeClock()
    layer = Sleeper(clock, 0.001)
    durations = iter([9.0, 9.0, 9.0, 0.001, 0.001])  # costs, two warm-up runs, two timed ones

    class Changing(Sleeper):
        def forward(self, x):
            clock.advance(next(durations))
            return x

    found = profile_torch_layers(nn.Sequential(Changing(clock, 0), layer), [torch.zeros(1)], runs=2, clock=clock)
    assert found.layers[0].ms == pytest.approx(1.0)


def test_a_leaf_is_what_calls_no_other_module():
    attention = nn.Sequential(nn.MultiheadAttention(8, 2, batch_first=True)).eval()

    class Self(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = attention[0]

        def forward(self, x):
            return self.attend(x, x, x, need_weights=False)[0]

    assert list(find_leaves(Self().eval(), [torch.rand(1, 3, 8)])) == ["attend"]


def test_hooks_are_gone_afterwards():
    net = small()
    profile_torch_layers(net, [torch.from_numpy(picture())], runs=1)
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in net.modules())


def test_hooks_are_gone_after_a_failure():
    net = nn.Sequential(nn.Linear(3, 3))
    with pytest.raises(RuntimeError):
        find_leaves(net, [torch.zeros(1, 4)])
    assert not net[0]._forward_hooks


def test_a_single_layer_is_its_own_leaf():
    assert list(find_leaves(nn.Linear(2, 2), [torch.zeros(1, 2)])) == ["Linear"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_runs_as_one_piece_is_refused_in_one_sentence():
    scripted = torch.jit.trace(small(), torch.from_numpy(picture()))
    with pytest.raises(ConfigError, match="runs as one piece"):
        profile_torch_layers(scripted, [torch.from_numpy(picture())], runs=1)


@pytest.mark.parametrize(("runs", "warmup"), [pytest.param(0, 0, id="no-runs"), pytest.param(1, -1, id="no-warmup")])
def test_counts_are_checked(runs, warmup):
    with pytest.raises(ConfigError):
        profile_torch_layers(small(), [torch.from_numpy(picture())], runs=runs, warmup=warmup)


# ------------------------------------------------------------------------------------------------------ costs

_IMAGE = torch.zeros(2, 4, 8, 8)


@pytest.mark.parametrize(
    ("module", "inputs", "macs"),
    [
        pytest.param(nn.Conv2d(4, 6, 3, bias=False), [_IMAGE], 2 * 6 * 36 * 4 * 9, id="conv"),
        pytest.param(nn.Conv2d(4, 4, 3, groups=4, bias=False), [_IMAGE], 2 * 4 * 36 * 9, id="depthwise"),
        pytest.param(nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False), [_IMAGE], 2 * 4 * 64 * 6 * 4, id="transposed"),
        pytest.param(nn.Linear(8, 5, bias=False), [torch.zeros(3, 8)], 3 * 8 * 5, id="linear"),
        pytest.param(nn.Linear(8, 5, bias=False), [torch.zeros(3, 7, 8)], 21 * 8 * 5, id="linear-on-a-sequence"),
    ],
)
def test_operations_are_two_per_multiply_and_agree_with_torchs_own_counter(module, inputs, macs):
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        outputs = module(*inputs)
    assert module_cost(module, inputs, outputs).flops == 2 * macs == counter.get_total_flops()


@pytest.mark.parametrize(
    ("module", "flops", "moved"),
    [
        pytest.param(nn.ReLU(), 512, 2 * 512 * 4, id="relu"),
        pytest.param(nn.BatchNorm2d(4), 2 * 512, 2 * 512 * 4 + 4 * 4 * 4 + 8, id="batchnorm-reads-its-statistics"),
        pytest.param(nn.Flatten(), 0, 0, id="a-view-is-free"),
        pytest.param(nn.Dropout(), 0, 0, id="dropout-is-free"),
        pytest.param(nn.MaxPool2d(2), 2 * 4 * 16 * 4, (512 + 128) * 4, id="maxpool"),
        pytest.param(nn.AdaptiveAvgPool2d(1), 512, (512 + 8) * 4, id="global-pool"),
        pytest.param(nn.Upsample(scale_factor=2), None, (512 + 2048) * 4, id="unknown-operations-known-bytes"),
    ],
)
def test_costs_of_layers_without_products(module, flops, moved):
    cost = module_cost(module.eval(), [_IMAGE], module.eval()(_IMAGE))
    assert (cost.flops, cost.bytes) == (flops, moved)
    assert (cost.intensity is None) == (flops is None or moved == 0)


def test_attention_counts_projections_scores_and_softmax():
    attention = nn.MultiheadAttention(8, 2, batch_first=True, bias=False)
    x = torch.zeros(3, 5, 8)
    products = 3 * (4 * 5 * 8 * 8 + 2 * 5 * 5 * 8)
    cost = module_cost(attention, [x, x, x], (x, None))
    assert cost.flops == 2 * products + 11 * 3 * 2 * 5 * 5
    # the other layout holds the same work
    turned = nn.MultiheadAttention(8, 2, bias=False)
    assert module_cost(turned, [x.transpose(0, 1)] * 3, x).flops == cost.flops


def test_an_embedding_moves_the_rows_it_takes():
    table = nn.Embedding(1000, 16)
    index = torch.zeros(4, dtype=torch.int64)
    assert module_cost(table, [index], table(index)).bytes == 4 * 8 + 2 * 4 * 16 * 4


def test_tensors_are_found_in_any_nest():
    assert len(tensors_in(({"a": _IMAGE}, [_IMAGE, None], 3))) == 2


# ------------------------------------------------------------------------------------------------------- ONNX


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


def _chain(path):
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


def test_a_profile_becomes_layers(tmp_path):
    path = _chain(tmp_path / "chain.onnx")
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
    path = _chain(tmp_path / "chain.onnx")
    events = [_event("r_nchwc", "Conv", 1, 1), _event("node_out", "Conv", 3, 1), _run(0, 9)]
    found = layers_from_profile(events, path, {"x": (1, 3, 4, 4)})
    assert found.layers[0].cost.bytes == 150 + 2 * 3 * 4


def test_kernels_of_the_runtimes_own_keep_their_name(tmp_path):
    path = _chain(tmp_path / "chain.onnx")
    found = layers_from_profile([_event("ReorderOutput", "ReorderOutput", 1, 1), _run(0, 9)], path, {})
    assert (found.layers[0].name, found.layers[0].cost.flops) == ("ReorderOutput", 0)


def test_a_kernel_in_a_loop_is_one_row(tmp_path):
    path = _chain(tmp_path / "chain.onnx")
    events = [_event("node_out", "Conv", 1, 2), _event("node_out", "Conv", 5, 3), _run(0, 20)]
    (layer,) = layers_from_profile(events, path, {}).layers
    assert (layer.calls, layer.ms) == (2, pytest.approx(0.005))


def test_a_profile_without_runs_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no run beyond the first 1"):
        layers_from_profile([_run(0, 9)], _chain(tmp_path / "chain.onnx"), {}, skip=1)


def test_events_go_to_the_run_that_contains_them():
    runs = kernels_by_run([_event("b", "Conv", 205, 5), _run(200, 20), _event("a", "Conv", 105, 5), _run(100, 20)])
    assert [[kernel.name for kernel in kernels] for _, kernels in runs] == [["a"], ["b"]]


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
    assert GraphNames(onnx.load(_chain(tmp_path / "chain.onnx")).graph).find(kernel, op) == want


def test_the_exporters_scopes_name_nodes_without_weights(tmp_path):
    model = onnx.load(_chain(tmp_path / "chain.onnx"))
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
    model = onnx.load(_chain(tmp_path / "chain.onnx"))
    model.graph.node[1].metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    assert GraphNames(model.graph).layer_name(1) == "node_relu"


# --------------------------------------------------------------------------------------------------- overhead


def test_overhead_of_the_hooks_is_a_paired_ratio_on_shared_weights():
    net = Residual(2).eval()
    clone = same_weights(net)
    assert clone.conv1 is not net.conv1
    assert clone.conv1.weight is net.conv1.weight
    found = torch_layers_overhead(net, [torch.rand(1, 2, 4, 4)], rounds=3)
    assert found.ratio.rounds == 3
    assert not net.conv1._forward_hooks


def test_overhead_of_onnx_runtimes_profiler(exported):
    found = onnx_layers_overhead(exported, {"images": picture()}, rounds=3, threads=1)
    assert found.ratio.rounds == 3
