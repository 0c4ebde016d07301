"""Agreement of two models: what counts as the same answer, and how far rounding may lead."""

import math

import numpy as np
import pytest
from onnx import helper

from solutions.core.errors import ConfigError
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.compilation.parity import (
    Agreement,
    check_parity,
    measure_amplification,
    outputs_agree,
    rounding_tolerance,
    sum_lengths,
)
from tests.solutions.compile_parts import conv_graph, qdq_graph, save_graph
from tests.solutions.onnx_builders import doubling


def one(want, got, **kw):
    return outputs_agree({"y": np.asarray(want)}, {"y": np.asarray(got)}, **kw)


def test_equal_answers_agree():
    assert one([1.0, -2.0], [1.0, -2.0]).agrees
    assert one([1.0, -2.0], [1.0, -2.0]).worst == 0


def test_the_worst_is_relative_to_the_largest_value_of_its_output():
    agreement = one(np.float32([100, 0.001]), np.float32([100, 0.101]), tolerance=2e-3)
    assert agreement.worst == pytest.approx(1e-3, rel=1e-4)
    assert agreement.absolute == pytest.approx(0.1, rel=1e-4)
    assert agreement.agrees


def test_the_worst_output_is_named():
    want = {"a": np.ones(2), "b": np.ones(2)}
    got = {"a": np.ones(2) + 1e-9, "b": np.ones(2) + 1e-3}
    agreement = outputs_agree(want, got)
    assert (agreement.output, agreement.agrees) == ("b", False)


@pytest.mark.parametrize(
    ("want", "got", "agrees"),
    [
        pytest.param([np.nan, 1.0], [np.nan, 1.0], True, id="nan-in-the-same-place"),
        pytest.param([np.nan, 1.0], [1.0, 1.0], False, id="nan-lost"),
        pytest.param([1.0, 1.0], [1.0, np.inf], False, id="infinity-won"),
        pytest.param([np.inf], [-np.inf], False, id="the-other-infinity"),
        pytest.param([1, 2], [1, 2], True, id="integers"),
        pytest.param([1, 2], [1, 3], False, id="integers-must-be-equal"),
        pytest.param([True], [False], False, id="bools"),
        pytest.param([[1.0]], [1.0], False, id="shape"),
        pytest.param(np.zeros((0, 4)), np.zeros((0, 4)), True, id="empty"),
        pytest.param([0.0, 0.0], [1e-9, 0.0], True, id="zero-reference-tiny-answer"),
        pytest.param([0.0, 0.0], [0.1, 0.0], False, id="zero-reference"),
    ],
)
def test_special_values(want, got, agrees):
    assert one(want, got).agrees is agrees


def test_no_outputs_at_all_agree():
    assert outputs_agree({}, {}).agrees


def test_other_names_cannot_be_compared():
    with pytest.raises(ConfigError, match="cannot be compared"):
        outputs_agree({"a": np.ones(1)}, {"b": np.ones(1)})


def test_an_infinite_difference_is_ready_for_json():
    facts = one([1, 2], [1, 3]).as_dict()
    assert (facts["worst"], facts["agrees"]) == (None, False)
    assert "1 of 2 integers" in one([1, 2], [1, 3]).describe()


def test_float16_differences_do_not_overflow():
    assert one(np.float16([60000, -60000]), np.float16([-60000, 60000])).worst == pytest.approx(2, rel=1e-3)


def test_sum_lengths_are_read_off_the_weights(tmp_path):
    assert sum_lengths(conv_graph(tmp_path / "c.onnx")) == [27]
    assert sum_lengths(qdq_graph(tmp_path / "q.onnx")) == [27]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["m"]),
        helper.make_node("Gemm", ["m", "b"], ["g"], transB=1),
        helper.make_node("ConvTranspose", ["t", "c"], ["y"]),
    ]
    arrays = [
        ("a", np.zeros((8, 5), np.float32)),
        ("b", np.zeros((2, 5), np.float32)),
        ("c", np.zeros((6, 3, 2, 2), np.float32)),
    ]
    assert sum_lengths(save_graph(tmp_path / "m.onnx", nodes, initializers=arrays)) == [8, 5, 24]


def test_the_tolerance_grows_with_depth_unit_and_amplification(tmp_path):
    graph = conv_graph(tmp_path / "c.onnx")
    f32 = rounding_tolerance(graph)
    assert f32 == pytest.approx((math.sqrt(27) + 4) * 2**-24)
    assert rounding_tolerance(graph, amplification=3) == pytest.approx(3 * f32)
    assert rounding_tolerance(graph, amplification=0.1) == f32, "a damping network still rounds its last layer"
    assert f32 < rounding_tolerance(graph, precision="f16") < rounding_tolerance(graph, precision="bf16")
    with pytest.raises(ConfigError, match="precision must be one of"):
        rounding_tolerance(graph, precision="int8")


def test_amplification_of_a_linear_model_is_one(tmp_path):
    model = OnnxModel(doubling(tmp_path / "d.onnx"), device="cpu", threads=1)
    feeds = {"x": np.ones((4, 3), np.float32)}
    assert measure_amplification(model, feeds) == pytest.approx(1, rel=1e-3)


class Shifted:
    """A model whose answers are off by a share of their largest value."""

    def __init__(self, model, share, broken_batch=None):
        self._model, self._share, self._broken = model, share, broken_batch
        self.inputs, self.outputs, self.metadata = model.inputs, model.outputs, model.metadata

    def predict(self, feeds):
        rows = next(iter(feeds.values())).shape[0]
        share = self._share if self._broken in (None, rows) else 0.0
        return {
            name: value + np.float32(share * np.abs(value).max()) for name, value in self._model.predict(feeds).items()
        }


@pytest.fixture(scope="module")
def classifier():
    return OnnxModel(embedded("street-classifier").onnx, device="cpu", threads=1, graph_level="none")


GRAPH = embedded("street-classifier").onnx


def test_a_rewritten_graph_agrees(classifier):
    rewritten = OnnxModel(GRAPH, device="cpu", threads=1, graph_level="all")
    agreement = check_parity(classifier, rewritten, graph=GRAPH)
    assert agreement.agrees, agreement.describe()
    assert agreement.compared == 3
    assert agreement.tolerance < 1e-4, "what rounding explains in float32 is far below what float16 would cost"


def test_a_small_error_is_caught(classifier):
    assert not check_parity(classifier, Shifted(classifier, 1e-3), graph=GRAPH).agrees


def test_an_error_in_one_batch_size_only_is_caught(classifier):
    agreement = check_parity(classifier, Shifted(classifier, 1e-2, broken_batch=3), graph=GRAPH)
    assert not agreement.agrees


def test_check_parity_needs_something_to_go_by(classifier):
    with pytest.raises(ConfigError, match="needs the graph"):
        check_parity(classifier, classifier)
    with pytest.raises(ConfigError, match="at least one batch"):
        check_parity(classifier, classifier, tolerance=0, batches=())


def test_sentences():
    assert Agreement(1e-2, 1e-5, "y").describe().startswith("differs: off by at most 1.0e-02")
