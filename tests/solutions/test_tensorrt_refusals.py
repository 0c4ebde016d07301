"""Graphs that TensorRT refuses: one sentence for each reason, and nothing left behind.

The sentences are tested against TensorRT-RTX itself, wherever its package is installed: its parser needs no GPU.
"""

import numpy as np
import pytest
from onnx import TensorProto, helper

from solutions.core.errors import ModelLoadError
from solutions.phase2_optimization.compilation.tensorrt_engine import EngineConfig, build_engine
from solutions.phase2_optimization.compilation.tensorrt_refusals import Refusal, explain
from tests.solutions.compile_parts import conv_graph, qdq_graph, save_graph, value
from tests.solutions.tensorrt_fakes import fake, installed_rtx


@pytest.fixture
def graph(tmp_path):
    return conv_graph(tmp_path / "conv.onnx")


@pytest.fixture
def rtx():
    return installed_rtx()


def test_a_refused_graph_leaves_nothing_behind(graph, tmp_path):
    with pytest.raises(ModelLoadError, match="q7 has a zero-point other than 0"):
        build_engine(graph, tmp_path / "e.plan", api=fake("11", parses=False), gpu="SM89")
    with pytest.raises(ModelLoadError, match="the workspace is too small"):
        build_engine(graph, tmp_path / "e.plan", api=fake("11", builds=False), gpu="SM89")
    assert [path.name for path in tmp_path.iterdir()] == ["conv.onnx"]


def test_an_unknown_refusal_keeps_its_own_words():
    text = "Invalid Node - n\nIShuffleLayer: volume mismatch. In validate at a.cpp:3\n[checkMacros.cpp::catchCudaError"
    assert explain([Refusal(text, "Reshape", "n")]).startswith("n (Reshape): IShuffleLayer: volume mismatch")
    assert explain([]) == "it gives no reason."


def refused(name, path):
    """Graphs that TensorRT refuses, each for a reason of its own."""
    if name == "int32-bias":
        return qdq_graph(path, int32_bias=True)
    if name == "asymmetric":
        return qdq_graph(path, zero_point=5)
    if name == "uint8":
        return qdq_graph(path, zero_point=128, kind=np.uint8)
    if name == "nonzero":
        node = helper.make_node("NonZero", ["x"], ["y"], name="found")
        return save_graph(path, [node], outputs=[value("y", None, TensorProto.INT64)])
    if name == "nms":
        node = helper.make_node("NonMaxSuppression", ["b", "s"], ["y"], name="suppress")
        inputs = [value("b", [1, 100, 4]), value("s", [1, 3, 100])]
        return save_graph(path, [node], inputs=inputs, outputs=[value("y", None, TensorProto.INT64)])
    if name == "contributed":
        node = helper.make_node("QuickGelu", ["x"], ["y"], name="act", domain="com.microsoft", alpha=1.0)
        return save_graph(path, [node], domain="com.microsoft")
    if name == "mixed-types":
        nodes = [
            helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
            helper.make_node("Add", ["x", "h"], ["y"], name="sum"),
        ]
        return save_graph(path, nodes)
    if name == "mixed-weights":
        node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
        return save_graph(path, [node], initializers=[("w", np.ones((4, 3, 3, 3), np.float16))])
    if name == "qoperator":
        node = helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"], name="q")
        arrays = [("s", np.float32(0.1)), ("z", np.int8(0)), ("w", np.ones((4, 3, 3, 3), np.int8))]
        inputs = [value("x", ["N", 3, 8, 8], TensorProto.INT8)]
        return save_graph(
            path, [node], inputs=inputs, outputs=[value("y", None, TensorProto.INT8)], initializers=arrays
        )
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="fc")
    assert name == "fp32-gemm-on-turing"
    return save_graph(path, [node], inputs=[value("x", ["N", 8])], initializers=[("w", np.ones((8, 4), np.float32))])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("int32-bias", "dequantize_bias dequantizes an int32 bias, which TensorRT does not take: keep biases in float"),
        ("asymmetric", "quantize_x has a zero-point other than 0"),
        ("uint8", "quantize_x has a zero-point other than 0"),
        ("nonzero", r"found \(NonZero\) needs a plugin .* leave decoding and NMS out of the graph"),
        ("nms", "no kernel here implements suppress_1: leave it out of the graph"),
        ("contributed", "act is a QuickGelu, which is no operator of ONNX"),
        ("mixed-types", r"sum \(Add\) mixes element types \(types Float and Half\)"),
        ("mixed-weights", r"conv \(Conv\) mixes element types"),
        ("qoperator", "q is a QLinearConv: the file is quantized with integer operators"),
        (
            "fp32-gemm-on-turing",
            r"FP32 GEMM \(fc\) does not exist for SM75 in TensorRT-RTX: convert the model to float16",
        ),
    ],
)
def test_a_refusal_is_a_sentence(rtx, name, sentence, tmp_path):
    source = refused(name, tmp_path / "refused.onnx")
    target = "SM75" if "turing" in name else "SM89"
    with pytest.raises(ModelLoadError, match=sentence) as error:
        build_engine(source, tmp_path / "e.plan", EngineConfig(targets=(target,)), api=rtx, gpu="")
    assert "\n" not in str(error.value)
    assert "cudaError" not in str(error.value)
