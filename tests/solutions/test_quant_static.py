"""The static recipe: options that keep the function, a report that tells the truth, errors that help."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.phase2_optimization.quantization import static
from solutions.phase2_optimization.quantization.bias_correction import channel_means, correct_bias
from solutions.phase2_optimization.quantization.equalisation import equalise
from solutions.phase2_optimization.quantization.fusion_check import check_fusion
from solutions.phase2_optimization.quantization.graph_edits import Wiring
from solutions.phase2_optimization.quantization.preparation import prepare
from solutions.phase2_optimization.quantization.static import (
    StaticConfig,
    calibrated_ranges,
    needs_reduced_range,
    quantize_static,
    tail_nodes,
)
from tests.solutions.quant_builders import Net, detector_net, pictures, residual_net, run, sqnr_db

REAL = os.environ.get("MLI_DATA")


@pytest.fixture
def source(tmp_path) -> Path:
    onnx.save(residual_net(opset=11), tmp_path / "float.onnx")
    return tmp_path / "float.onnx"


@pytest.mark.parametrize("observer", ["minmax", "entropy", "mse", "percentile:99.99"])
def test_the_recipe_gives_integer_layers_and_a_close_answer(source, tmp_path, observer):
    report = quantize_static(source, tmp_path / "q.onnx", pictures(), StaticConfig(observer=observer))
    found = check_fusion(report.path)
    assert (found.integer, found.float) == (4, 0)
    assert report.quantized["Conv"] == 3
    assert report.kept_float == ()
    assert report.samples == 8
    assert report.rewrites["gathered strides"] == 1
    feed = pictures(1, seed=9)[0]
    assert sqnr_db(run(source, feed)[0], run(report.path, feed)[0]) > 20


@pytest.mark.parametrize(
    "options", [{"equalise": True}, {"correct_bias": True}, {"equalise": True, "correct_bias": True}]
)
def test_options_do_their_work_and_no_harm(source, tmp_path, options):
    report = quantize_static(source, tmp_path / "q.onnx", pictures(), StaticConfig(observer="minmax", **options))
    assert report.equalised == (1 if "equalise" in options else 0)
    assert report.corrected == (3 if "correct_bias" in options else 0)
    feed = pictures(1, seed=9)[0]
    assert sqnr_db(run(source, feed)[0], run(report.path, feed)[0]) > 20


@pytest.mark.parametrize("target", ["openvino", "tensorrt"])
def test_other_targets(source, tmp_path, target):
    report = quantize_static(source, tmp_path / "q.onnx", pictures(), StaticConfig(target=target, observer="minmax"))
    kinds = {numpy_helper.to_array(t).dtype.name for t in onnx.load(report.path).graph.initializer}
    assert "uint8" not in kinds
    assert "int32" not in kinds


@pytest.mark.parametrize(("tail", "integer", "floats"), [("decode", 7, 0), ("predictions", 5, 2), ("none", 7, 0)])
def test_the_tail_decides_what_stays_in_float(tmp_path, tail, integer, floats):
    onnx.save(detector_net(), tmp_path / "float.onnx")
    report = quantize_static(tmp_path / "float.onnx", tmp_path / "q.onnx", pictures(), StaticConfig(tail=tail))
    found = check_fusion(report.path)
    assert (found.integer, found.float) == (integer, floats)
    assert len(report.kept_float) == floats


def test_a_layer_kept_in_float_stays_there_in_the_runtime(source, tmp_path):
    kept = [node.name for node in prepare(source).graph.node if node.op_type == "Conv"][1]
    report = quantize_static(source, tmp_path / "q.onnx", pictures(), StaticConfig(keep_float=(kept,)))
    assert report.kept_float == (kept,)
    assert check_fusion(report.path).float == 1


def test_only_so_many_samples_are_read(source, tmp_path):
    feeds = iter(pictures(8))
    quantize_static(source, tmp_path / "q.onnx", feeds, StaticConfig(max_samples=3, correct_bias=True))
    assert len(list(feeds)) == 5


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        pytest.param({"target": "coreml"}, "target must be one of onnxruntime", id="target"),
        pytest.param({"tail": "all"}, "tail must be one of", id="tail"),
        pytest.param({"max_samples": 0}, "must be >= 1", id="samples"),
        pytest.param({"silu_floor": -1}, "silu_floor", id="floor"),
        pytest.param({"channel_db": -1}, "channel_db", id="channels"),
        pytest.param({"observer": "median"}, "observer", id="observer"),
    ],
)
def test_bad_choices_are_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        StaticConfig(**settings)


def test_what_cannot_be_done_is_said_and_nothing_is_left_behind(source, tmp_path):
    out = tmp_path / "deep" / "q.onnx"
    with pytest.raises(ConfigError, match="at least one sample"):
        quantize_static(source, out, [])
    with pytest.raises(ConfigError, match="no node of the model"):
        quantize_static(source, out, pictures(), StaticConfig(keep_float=("nobody",)))
    with pytest.raises(ModelLoadError, match="does not exist"):
        quantize_static(tmp_path / "none.onnx", out, pictures())
    net = Net()
    onnx.save(net.model(net.op("Relu", "x")), tmp_path / "relu.onnx")
    with pytest.raises(ConfigError, match="no Conv, MatMul or Gemm"):
        quantize_static(tmp_path / "relu.onnx", out, pictures())
    with pytest.raises(ConfigError, match="cannot be written"):
        quantize_static(source, source / "q.onnx", pictures())
    assert not out.exists()


@pytest.mark.parametrize(
    ("machine", "isa", "reduced"),
    [("x86_64", ("AVX2",), True), ("x86_64", ("AVX2", "VNNI"), False), ("aarch64", ("NEON",), False)],
)
def test_seven_bit_weights_where_sums_saturate(monkeypatch, source, tmp_path, machine, isa, reduced):
    class Profile:
        def has(self, name):
            return name in isa

    Profile.machine = machine
    monkeypatch.setattr(static, "detect", Profile)
    assert needs_reduced_range() is reduced
    report = quantize_static(source, tmp_path / "q.onnx", pictures(), StaticConfig(observer="minmax"))
    assert report.config.reduce_range is reduced
    weights = [numpy_helper.to_array(t) for t in onnx.load(report.path).graph.initializer]
    most = max(int(np.abs(w.astype(int)).max()) for w in weights if w.dtype == np.int8 and w.ndim == 4)
    assert most == (63 if reduced else 127)


def test_inputs_are_not_clipped_and_silu_is_floored():
    net = Net()
    before = net.conv("x", 3, 4)
    model = prepare(net.model(net.silu(before)))
    feed = {"x": 100 * pictures(1)[0]["x"]}
    ranges = calibrated_ranges(model, ["x", before], [feed], StaticConfig(observer="percentile:60"))
    assert ranges["x"] == (float(feed["x"].min()), float(feed["x"].max()))
    assert ranges[before][0] == -8


def test_equalising_keeps_the_function_and_evens_out_the_channels():
    net = Net()
    x = net.op("Relu", net.conv("x", 3, 8))
    x = net.op("Relu", net.conv(x, 8, 8, group=8))
    model = prepare(net.model(net.conv(x, 8, 4, k=1)))
    first = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    spread = numpy_helper.to_array(first) * np.geomspace(1e-2, 1e2, 8).reshape(8, 1, 1, 1).astype(np.float32)
    first.CopyFrom(numpy_helper.from_array(spread.astype(np.float32), first.name))
    feed = pictures(1)[0]
    before = run(model, feed)[0]
    assert equalise(model) == 2
    assert np.allclose(run(model, feed)[0], before, rtol=1e-3, atol=1e-3)
    wiring = Wiring(model.graph)
    layers = [wiring.value(node.input[1]) for node in model.graph.node if node.op_type == "Conv"]
    largest = [np.abs(weight).max(axis=(1, 2, 3)) for weight in layers]
    assert np.allclose(largest[0], largest[1], rtol=0.01)


def test_nothing_is_equalised_through_silu_or_a_branch():
    net = Net()
    x = net.silu(net.conv("x", 3, 8))
    y = net.conv(x, 8, 8)
    assert equalise(prepare(net.model(net.conv(y, 8, 4), y))) == 0


@pytest.mark.parametrize("group", [1, 2, 4])
def test_bias_correction_removes_the_mean_error_of_rounded_weights(group):
    net = Net(3)
    out = net.conv(net.op("Relu", net.conv("x", 3, 8)), 8, 8, k=1, group=group, bias=False)
    model = prepare(net.model(out))
    names = [node.name for node in model.graph.node if node.op_type == "Conv"]
    wanted = channel_means(model, [out], pictures())[out]
    corrected = onnx.ModelProto()
    corrected.CopyFrom(model)
    assert correct_bias(corrected, names[1:], pictures(), reduce_range=True) == 1

    def mean_error(version: onnx.ModelProto) -> float:
        coarse = onnx.ModelProto()
        coarse.CopyFrom(version)
        wiring = Wiring(coarse.graph)
        node = next(node for node in coarse.graph.node if node.name == names[1])
        weight = wiring.value(node.input[1])
        step = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 63
        static_weight = (np.rint(weight / step) * step).astype(np.float32)
        next(t for t in coarse.graph.initializer if t.name == node.input[1]).CopyFrom(
            numpy_helper.from_array(static_weight, node.input[1])
        )
        return float(np.abs(channel_means(coarse, [out], pictures())[out] - wanted).max())

    assert mean_error(corrected) < 0.02 * mean_error(model)


def uneven_net(spread: float) -> onnx.ModelProto:
    """A stem whose channels differ by `spread`, SiLU, a depthwise layer that makes up for it, and a head."""
    net = Net(2)
    first = net.conv("x", 3, 8, bias=False)
    x = net.op("Clip", first, net.constant(np.float32(0)), net.constant(np.float32(1e6)))
    x = net.conv(net.op("HardSwish", x), 8, 8, group=8)
    model = net.model(net.conv(net.silu(x), 8, 4, k=1), opset=17)
    wide = np.geomspace(1, spread, 8).astype(np.float32).reshape(8, 1, 1, 1)
    for tensor, factor in zip(
        [t for t in model.graph.initializer if len(t.dims) == 4][:2], (wide, 1 / wide), strict=True
    ):
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * factor, tensor.name))
    return model


def test_a_layer_that_drowns_in_the_code_of_its_input_reads_floats(tmp_path):
    feed = pictures(1, seed=9)[0]
    quality = {}
    for spread in (1, 2000):
        onnx.save(uneven_net(spread), tmp_path / "float.onnx")
        for least in (0, 10):
            config = StaticConfig(observer="minmax", channel_db=least)
            report = quantize_static(tmp_path / "float.onnx", tmp_path / "q.onnx", pictures(), config)
            assert bool(report.drowned) == (spread == 2000 and least > 0)
            quality[spread, least] = sqnr_db(run(tmp_path / "float.onnx", feed)[0], run(report.path, feed)[0])
            if report.drowned:
                kinds = {node.name: node.op_type for node in prepare(tmp_path / "float.onnx").graph.node}
                assert sorted(kinds[name] for name in report.drowned) == ["Clip", "Conv", "Conv", "HardSwish"]
                assert report.kept_float == ("Conv_0", "Conv_3")
                assert check_fusion(report.path).float == 2
                assert "of 8 channels < 10 dB" in report.drowned["Conv_3"]
                assert report.drowned["Conv_0"] == "feeds Conv_3"
    assert quality[1, 10] == quality[1, 0]
    assert quality[2000, 10] > quality[2000, 0] + 10


def test_the_tail_ends_at_layers_with_weights():
    model = detector_net()
    kinds = {node.op_type for node in model.graph.node if node.name in tail_nodes(model)}
    assert kinds == {"Concat", "Sigmoid"}
    assert tail_nodes(model, "none") == set()
    assert tail_nodes(residual_net()) == set()


def test_yolox_keeps_two_layers_in_float_and_says_why(tmp_path):
    if not REAL:
        pytest.skip("not run here: MLI_DATA names no folder with real models")
    path = Path(REAL) / "models" / "yolox_nano.onnx"
    random = np.random.default_rng(0)
    feeds = [{"images": random.uniform(0, 255, (1, 3, 416, 416)).astype(np.float32)} for _ in range(2)]
    report = quantize_static(path, tmp_path / "q.onnx", feeds, StaticConfig(observer="minmax"))
    found = check_fusion(report.path)
    assert (found.integer, found.float) == (111, 2)
    assert report.kept_float == ("Conv_41", "Conv_44")
    assert "channels < 10 dB" in report.drowned["Conv_44"]
    assert report.rewrites == {
        "focus stem": 1, "pooling cascade": 2, "gathered strides": 1, "doubling by copies": 2, "channels-last head": 1
    }  # fmt: skip
    assert not found.ops.get("Slice", 0)
    assert sqnr_db(run(path, feeds[0])[0], run(report.path, feeds[0])[0]) > 5


@pytest.mark.parametrize(
    ("make", "want"),
    [
        pytest.param(lambda x: np.rint(np.clip(128 + 40 * x, 3, 250)), (0.0, 255.0), id="bytes"),
        pytest.param(lambda x: np.clip(128 + 40 * x, 3, 250), (3.0, 250.0), id="no-whole-numbers"),
        pytest.param(lambda x: np.rint(np.clip(40 * x, -99, 99)), (-99.0, 99.0), id="below-zero"),
        pytest.param(lambda x: np.float32(x > 0), (0.0, 1.0), id="yes-or-no"),
    ],
)
def test_bytes_keep_the_range_of_bytes(make, want):
    model = prepare(residual_net())
    feeds = [{"x": make(20 * feed["x"]).astype(np.float32)} for feed in pictures()]
    assert calibrated_ranges(model, ["x"], feeds, StaticConfig())["x"] == want
