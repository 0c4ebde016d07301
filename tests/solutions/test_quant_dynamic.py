"""Dynamic INT8: the same answers at a quarter of the size, fused by ONNX Runtime, no worse than its own quantizer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from solutions.core.errors import ConfigError
from solutions.core.measure.profiling import measure_pair
from solutions.core.zoo.registry import embedded
from solutions.phase2_optimization.quantization.dynamic import (
    DynamicConfig,
    DynamicReport,
    quantize_dynamic,
    to_dynamic,
)

RANDOM = np.random.default_rng(0)
_START = RANDOM.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers_in_every_order():
    RANDOM.bit_generator.state = _START


def _model(nodes, constants, shape, rank=2) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node(op, reads, makes, name=makes[0], **extra) for op, reads, makes, extra in nodes],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _weight(*shape: int) -> np.ndarray:
    """Random, with channels of very different size as trained networks have them."""
    return (RANDOM.normal(size=shape) * np.exp(RANDOM.normal(size=shape[-1])) / np.sqrt(shape[0])).astype(np.float32)


def _session(model: onnx.ModelProto | str | Path, saved: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if saved:
        options.optimized_model_filepath = str(saved)
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _run(model, x) -> np.ndarray:
    return _session(model).run(None, {"x": x})[0]


def _sqnr(want: np.ndarray, got: np.ndarray) -> float:
    exact = want.astype(np.float64)
    return float(10 * np.log10((exact**2).sum() / (((exact - got) ** 2).sum() + 1e-30)))


def _mlp(width: int = 256) -> tuple[onnx.ModelProto, np.ndarray]:
    weights = {f"w{i}": _weight(width, width) for i in range(3)}
    nodes = [
        ("Gemm", ["x", "w0", "b"], ["a"], {}), ("Relu", ["a"], ["ar"], {}),
        ("Gemm", ["ar", "w1", "b"], ["c"], {"transB": 1}), ("Relu", ["c"], ["cr"], {}),
        ("MatMul", ["cr", "w2"], ["y"], {}),
    ]  # fmt: skip
    model = _model(nodes, {**weights, "b": _weight(1, width)[0]}, ("n", width))
    return model, RANDOM.normal(size=(4, width)).astype(np.float32)


def _attention(width: int = 128, heads: int = 4) -> tuple[onnx.ModelProto, np.ndarray]:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    split = [0, 0, heads, width // heads]
    nodes = []
    for name in "qkv":
        axes = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
        nodes += [
            ("MatMul", ["x", f"w{name}"], [f"p{name}"], {}), ("Reshape", [f"p{name}", "split"], [f"s{name}"], {}),
            ("Transpose", [f"s{name}"], [f"h{name}"], {"perm": axes}),
        ]  # fmt: skip
    nodes += [
        ("MatMul", ["hq", "hk"], ["scores"], {}), ("Softmax", ["scores"], ["shares"], {}),
        ("MatMul", ["shares", "hv"], ["mixed"], {}), ("Transpose", ["mixed"], ["back"], {"perm": [0, 2, 1, 3]}),
        ("Reshape", ["back", "join"], ["joined"], {}), ("MatMul", ["joined", "wo"], ["y"], {}),
    ]  # fmt: skip
    constants = {f"w{name}": torch.randn(width, width).numpy() / np.float32(width**0.5) for name in "qkvo"}
    constants |= {"split": np.int64(split), "join": np.int64([0, 0, width])}
    return _model(nodes, constants, ("n", "t", width), 3), RANDOM.normal(size=(2, 32, width)).astype(np.float32)


def _lstm(size: int = 64, hidden: int = 96) -> tuple[onnx.ModelProto, np.ndarray]:
    def weight(inputs: int) -> np.ndarray:
        return np.ascontiguousarray(np.stack([_weight(inputs, 4 * hidden).T for _ in range(2)]) * np.float32(0.5))

    constants = {"w": weight(size), "r": weight(hidden), "axes": np.int64([0])}
    extra = {"hidden_size": hidden, "direction": "bidirectional"}
    nodes = [
        ("LSTM", ["x", "w", "r"], ["all", "h"], extra),
        ("ReduceSum", ["h", "axes"], ["y"], {"keepdims": 0}),
    ]
    return _model(nodes, constants, ("t", "n", size)), RANDOM.normal(size=(10, 2, size)).astype(np.float32)


MODELS = {"mlp": (_mlp, 3), "attention": (_attention, 4), "lstm": (_lstm, 1)}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("per_channel", [True, False])
def test_answers_stay_at_a_quarter_of_the_size(name, per_channel, tmp_path):
    make, count = MODELS[name]
    model, x = make()
    onnx.save(model, tmp_path / "float.onnx")
    config = DynamicConfig(per_channel=per_channel)
    report = quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx", config)
    assert len(report.quantized) == count
    assert _sqnr(_run(model, x), _run(tmp_path / "int8.onnx", x)) > (25 if per_channel else 15)
    assert (tmp_path / "int8.onnx").stat().st_size < 0.29 * (tmp_path / "float.onnx").stat().st_size


@pytest.mark.parametrize("name", MODELS)
def test_no_worse_than_onnx_runtimes_quantizer(name, tmp_path):
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as stock

    model, x = MODELS[name][0]()
    onnx.save(model, tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "ours.onnx")
    want = _run(model, x)
    ours = _sqnr(want, _run(tmp_path / "ours.onnx", x))
    for per_channel in (False, True):
        stock(tmp_path / "float.onnx", tmp_path / "stock.onnx", per_channel=per_channel, weight_type=QuantType.QInt8)
        assert ours >= _sqnr(want, _run(tmp_path / "stock.onnx", x)) - 0.5
    # Both run the same kernels; what is left to differ is a stray node, which would cost far more than this.
    ops = []
    for which in ("ours", "stock"):
        _session(tmp_path / f"{which}.onnx", tmp_path / f"{which}.optimised.onnx")
        kinds = Counter(node.op_type for node in onnx.load(tmp_path / f"{which}.optimised.onnx").graph.node)
        ops.append(kinds)
    assert ops[0].total() <= ops[1].total()
    assert "MatMulInteger" not in ops[0], "ONNX Runtime did not fuse it"


def test_weights_decide_the_speed_of_a_large_layer(tmp_path):
    model, x = _mlp(1024)
    report = quantize_dynamic(model, tmp_path / "int8.onnx")
    assert len(report.quantized) == 3
    before, after = _session(model), _session(tmp_path / "int8.onnx")
    pair = measure_pair(
        lambda: before.run(None, {"x": x[:1]}), lambda: after.run(None, {"x": x[:1]}), rounds=20, inner=3
    )
    assert pair.ratio.low < 0.9, pair.ratio


def test_the_source_stays_as_it_was():
    model, _ = _mlp(64)
    before = model.SerializeToString()
    to_dynamic(model)
    assert model.SerializeToString() == before


def test_an_input_is_coded_once_for_all_its_readers():
    kinds = Counter(node.op_type for node in to_dynamic(_attention()[0])[0].graph.node)
    assert kinds["DynamicQuantizeLinear"] == 2  # x for three projections, and the joined heads
    assert kinds["MatMulInteger"] == 4


def test_a_weight_read_twice_is_stored_once():
    nodes = [("MatMul", ["x", "w"], ["h"], {}), ("MatMul", ["h", "w"], ["y"], {})]
    quantized = to_dynamic(_model(nodes, {"w": _weight(64, 64)}, ("n", 64)))[0]
    assert [list(t.dims) for t in quantized.graph.initializer if t.data_type == TensorProto.INT8] == [[64, 64], [64]]


@pytest.mark.parametrize("extra", [{"alpha": 0.5, "beta": 2.0}, {"transB": 1, "alpha": -1.5}, {"beta": 0.0}])
def test_gemm_attributes_go_into_the_constants(extra):
    model = _model([("Gemm", ["x", "w", "b"], ["y"], extra)], {"w": _weight(64, 64), "b": _weight(1, 64)}, ("n", 64))
    x = RANDOM.normal(size=(5, 64)).astype(np.float32)
    assert _sqnr(_run(model, x), _run(to_dynamic(model)[0], x)) > 30


def test_a_bias_that_is_computed():
    nodes = [("Relu", ["x"], ["b"], {}), ("Gemm", ["x", "w", "b"], ["y"], {"beta": 3.0})]
    model = _model(nodes, {"w": _weight(64, 64)}, ("n", 64))
    x = RANDOM.normal(size=(5, 64)).astype(np.float32)
    assert _sqnr(_run(model, x), _run(to_dynamic(model)[0], x)) > 30


def _embedding(table: np.ndarray, axis: int = 0) -> onnx.ModelProto:
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "x"], ["rows"], "words", axis=axis),
            helper.make_node("ReduceMean", ["rows"], ["y"], "mean", axes=[1], keepdims=0),
        ],
        "embedding",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["n", "t"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(table, "table")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


@pytest.mark.parametrize("per_channel", [True, False])
def test_an_embedding_is_stored_in_int8_and_rows_keep_their_own_scale(per_channel, tmp_path):
    table = RANDOM.normal(size=(500, 64)).astype(np.float32)
    table[7] *= 1e-3  # drowns under one scale for all
    table[8] = 0
    model = _embedding(table)
    onnx.save(model, tmp_path / "float.onnx")
    report = quantize_dynamic(model, tmp_path / "int8.onnx", DynamicConfig(per_channel=per_channel))
    assert report.quantized == ("words",)
    assert (tmp_path / "int8.onnx").stat().st_size < 0.29 * (tmp_path / "float.onnx").stat().st_size
    common, small, zero = np.int64([[0, 499, -1], [1, 2, 3]]), np.int64([[7]]), np.int64([[8, 8]])
    assert _sqnr(_run(model, common), _run(tmp_path / "int8.onnx", common)) > 35
    assert (_sqnr(_run(model, small), _run(tmp_path / "int8.onnx", small)) > 35) == per_channel
    np.testing.assert_array_equal(_run(tmp_path / "int8.onnx", zero), np.zeros((1, 64), np.float32))


def test_a_gather_that_looks_up_no_rows_of_a_stored_table_is_no_candidate():
    table = RANDOM.normal(size=(64, 64)).astype(np.float32)
    for model in (_embedding(table, axis=1), _embedding(table[..., None]), _embedding(table.astype(np.int64))):
        assert to_dynamic(model)[1] == DynamicReport((), {})
    assert to_dynamic(_embedding(table[:4]))[1].kept == {"words": "it has only 256 weights"}


def test_what_stays_in_float_and_why():
    attention = to_dynamic(_attention()[0], DynamicConfig(keep_float=("pq",)))[1]
    assert attention.kept == {
        "pq": "asked for", "scores": "both operands are activations", "mixed": "both operands are activations",
    }  # fmt: skip
    assert to_dynamic(_mlp(16)[0])[1].kept["a"] == "it has only 256 weights"
    turned = _model([("Gemm", ["x", "w"], ["y"], {"transA": 1})], {"w": _weight(64, 64)}, (64, "n"))
    assert to_dynamic(turned)[1].kept == {"y": "its input is transposed"}
    assert to_dynamic(_mlp()[0], DynamicConfig(ops=("Gemm",)))[1].quantized == ("a", "c")


def test_seven_bit_weights():
    quantized = to_dynamic(_mlp()[0], DynamicConfig(reduce_range=True))[0]
    codes = [numpy_helper.to_array(t) for t in quantized.graph.initializer if t.data_type == TensorProto.INT8]
    assert max(int(np.abs(array.astype(int)).max()) for array in codes) == 63


def test_errors(tmp_path):
    with pytest.raises(ConfigError, match="got \\['Conv'\\]"):
        DynamicConfig(ops=("Conv",))
    with pytest.raises(ConfigError, match="no node 'nobody'"):
        to_dynamic(_mlp(64)[0], DynamicConfig(keep_float=("nobody",)))
    with pytest.raises(ConfigError, match="static method"):
        quantize_dynamic(embedded("street-small").onnx, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()
