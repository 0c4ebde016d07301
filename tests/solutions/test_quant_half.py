"""FP16 and BF16 conversion: equal results, valid graphs, and float32 kept where 16 bits would ruin the numbers."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.optional import available
from solutions.core.zoo.registry import embedded
from solutions.phase2_optimization.quantization.half import HalfConfig, convert_half, to_half

X = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)


def _model(nodes, constants, shape=("n", 8), out_rank=2) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node(op, reads, makes, name=makes[0], **extra) for op, reads, makes, extra in nodes],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * out_rank)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _run(model: onnx.ModelProto, feeds) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def _sqnr(want: np.ndarray, got: np.ndarray) -> float:
    exact = want.astype(np.float64)
    return float(10 * np.log10((exact**2).sum() / (((exact - got) ** 2).sum() + 1e-30)))


def _linear(scale: float = 1.0, **more) -> onnx.ModelProto:
    weight = (np.random.default_rng(1).normal(size=(8, 8)) * scale).astype(np.float32)
    return _model([("MatMul", ["x", "w"], ["h"], {}), ("Relu", ["h"], ["y"], {})], {"w": weight, **more})


@pytest.mark.parametrize("name", ["street-small", "street-classifier"])
@pytest.mark.parametrize("half_io", [False, True])
def test_embedded_models_keep_their_answers_at_half_the_size(name, half_io, tmp_path):
    source = embedded(name).onnx
    model = onnx.load(source)
    port = model.graph.input[0]
    sizes = [dim.dim_value or (64 if axis else 1) for axis, dim in enumerate(port.type.tensor_type.shape.dim)]
    feeds = {port.name: (np.random.default_rng(0).random(sizes) * 255).astype(np.float32)}
    report = convert_half(source, tmp_path / "half.onnx", HalfConfig(half_io=half_io))
    converted = onnx.load(tmp_path / "half.onnx")
    onnx.checker.check_model(converted, full_check=True)
    kind = np.float16 if half_io else np.float32
    got = _run(converted, {port.name: feeds[port.name].astype(kind)})
    for want, have in zip(_run(model, feeds), got, strict=True):
        assert have.dtype == kind
        assert _sqnr(want, have) > 45
    assert (tmp_path / "half.onnx").stat().st_size < 0.6 * source.stat().st_size
    assert report.converted
    assert report.casts == (0 if half_io else len(model.graph.input) + len(model.graph.output))
    assert {entry.key for entry in converted.metadata_props} == {entry.key for entry in model.metadata_props}


def test_as_good_as_onnx_runtimes_converter():
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = _linear()
    want = _run(model, {"x": X})[0]
    ours = _run(to_half(model)[0], {"x": X})[0]
    stock = _run(convert_float_to_float16(_linear(), keep_io_types=True), {"x": X})[0]
    assert _sqnr(want, ours) >= _sqnr(want, stock) - 0.1


def test_the_source_stays_as_it_was():
    model = _linear()
    before = model.SerializeToString()
    to_half(model, feeds=[{"x": X}])
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("model", "feeds", "node", "reason"),
    [
        pytest.param(_linear(scale=1e5), [{"x": X}], "h", "ends at 6.55e+04", id="weights-overflow"),
        pytest.param(_linear(scale=1e-8), None, "h", "too small", id="weights-underflow"),
        pytest.param(_linear(scale=3e4), [{"x": X}], "y", "activations reach", id="activations-overflow"),
        pytest.param(_linear(scale=1e-3), [{"x": X * 1e-4}], "h", "activations stay below", id="activations-vanish"),
        pytest.param(
            _model([("ReduceSumSquare", ["x"], ["s"], {"axes": [1]}), ("Relu", ["s"], ["y"], {})], {}), None,
            "s", "precision", id="long-sums",
        ),
        pytest.param(
            _model([("Shape", ["x"], ["i"], {}), ("Cast", ["i"], ["y"], {"to": TensorProto.FLOAT})], {}, out_rank=1),
            None, "y", "sizes", id="sizes",
        ),
    ],
)  # fmt: skip
def test_float32_is_kept_with_the_reason(model, feeds, node, reason):
    converted, report = to_half(model, feeds=feeds)
    assert reason in report.kept[node]
    onnx.checker.check_model(converted, full_check=True)
    x = feeds[0]["x"] if feeds else X
    want, got = _run(model, {"x": x})[0], _run(converted, {"x": x})[0]
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, want, rtol=2e-3)


def test_what_is_lost_is_counted_and_nothing_more_is_kept():
    weight = np.ones((8, 8), np.float32)
    weight[0, :4] = 1e-9  # far below float16's smallest number, and of no consequence beside the ones
    model = _model([("MatMul", ["x", "w"], ["y"], {})], {"w": weight})
    report = to_half(model)[1]
    assert report.lost_weights == {"w": 4 / 64}
    assert report.kept == {}
    assert to_half(model, HalfConfig("bfloat16"))[1].lost_weights == {}


def test_nodes_kept_by_name_read_the_full_weights():
    converted, report = to_half(_linear(), HalfConfig(keep_nodes=("h",)))
    assert report.kept == {"h": "asked for"}
    kinds = {tensor.name: tensor.data_type for tensor in converted.graph.initializer}
    assert kinds == {"w": TensorProto.FLOAT}
    assert _sqnr(_run(_linear(), {"x": X})[0], _run(converted, {"x": X})[0]) > 60


def test_a_weight_that_both_sides_read_is_stored_in_both_types():
    weight = np.eye(8, dtype=np.float32)
    nodes = [("MatMul", ["x", "w"], ["h"], {}), ("MatMul", ["h", "w"], ["y"], {})]
    converted, report = to_half(_model(nodes, {"w": weight}), HalfConfig(keep_nodes=("h",)))
    assert {tensor.data_type for tensor in converted.graph.initializer} == {TensorProto.FLOAT, TensorProto.FLOAT16}
    assert report.casts == 2  # h down, y up
    np.testing.assert_allclose(_run(converted, {"x": X})[0], X, rtol=1e-3)


def test_resize_gets_its_scales_in_float32():
    constants = {"scales": np.float32([1, 1, 2, 2])}
    nodes = [("Resize", ["x", "", "scales"], ["h"], {"mode": "nearest"}), ("Relu", ["h"], ["y"], {})]
    model = _model(nodes, constants, (1, 1, 4, 4), 4)
    x = np.random.default_rng(0).random((1, 1, 4, 4), dtype=np.float32)
    converted, report = to_half(model)
    assert set(report.converted) == {"h", "y"}
    np.testing.assert_allclose(_run(converted, {"x": x})[0], _run(model, {"x": x})[0], rtol=1e-3)


@pytest.mark.parametrize("half_io", [False, True])
def test_branches_see_the_float32_they_were_written_for(half_io):
    def branch(op):
        out = helper.make_tensor_value_info(f"{op}_out", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["h"], [f"{op}_out"])], op, [], [out])

    nodes = [
        ("Relu", ["x"], ["h"], {}),
        ("If", ["c"], ["b"], {"then_branch": branch("Neg"), "else_branch": branch("Abs")}),
        ("Relu", ["b"], ["y"], {}),
    ]
    model = _model(nodes, {"c": np.array(True)})
    converted, report = to_half(model, HalfConfig(half_io=half_io))
    assert "graph of its own" in report.kept["b"]
    got = _run(converted, {"x": X.astype(np.float16 if half_io else np.float32)})[0]
    np.testing.assert_allclose(got, 0 * X)


def test_bfloat16_is_valid_and_onnx_runtimes_cpu_does_not_compute_it(tmp_path):
    model = onnx.load(embedded("street-classifier").onnx)
    convert_half(model, tmp_path / "bf16.onnx", HalfConfig("bfloat16"))
    converted = onnx.load(tmp_path / "bf16.onnx")
    onnx.checker.check_model(converted, full_check=True)
    assert any(tensor.data_type == TensorProto.BFLOAT16 for tensor in converted.graph.initializer)
    with pytest.raises(Exception, match="NOT_IMPLEMENTED"):
        _run(converted, {})


@pytest.mark.skipif(not available("openvino"), reason="not run here: needs openvino")
def test_bfloat16_keeps_its_answers_where_it_is_computed(tmp_path):
    import openvino

    source = embedded("street-classifier").onnx
    convert_half(source, tmp_path / "bf16.onnx", HalfConfig("bfloat16"))
    port = onnx.load(source).graph.input[0]
    sizes = [dim.dim_value or 1 for dim in port.type.tensor_type.shape.dim]
    feeds = {port.name: (np.random.default_rng(0).random(sizes) * 255).astype(np.float32)}
    want = _run(onnx.load(source), feeds)[0]
    compiled = openvino.Core().compile_model(str(tmp_path / "bf16.onnx"), "CPU")
    assert _sqnr(want, compiled(feeds)[0]) > 25


def test_errors(tmp_path):
    with pytest.raises(ConfigError, match="float16 or bfloat16, got int8"):
        to_half(_linear(), HalfConfig("int8"))
    with pytest.raises(ConfigError, match="no node 'nobody'"):
        to_half(_linear(), HalfConfig(keep_nodes=("nobody",)))
    with pytest.raises(ModelLoadError, match="does not exist"):
        to_half(tmp_path / "none.onnx")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        convert_half(_linear(), tmp_path / "file" / "out.onnx")


def test_report_is_json(tmp_path):
    import json

    report = convert_half(_linear(), tmp_path / "new" / "out.onnx")
    assert json.loads(json.dumps(report.as_dict()))["converted_nodes"] == 2
