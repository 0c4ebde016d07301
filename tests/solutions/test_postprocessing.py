"""From scores to names: stable softmax and sigmoid, ties, outputs that are probabilities already, quantized outputs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

from solutions.core.errors import ConfigError
from solutions.phase1_basics.prediction.postprocessing import (
    Postprocessing,
    Prediction,
    dequantize,
    sigmoid,
    softmax,
    top_k,
)
from tests.solutions.stub_models import StubModel

LOGITS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(-1e4, 1e4, width=32)
)


@settings(deadline=None)
@given(LOGITS)
def test_softmax_and_sigmoid_agree_with_scipy(logits):
    # exp of a float32 difference errs by |difference| * 2^-24 relative, and exp is < 1: beyond -104 both are 0
    np.testing.assert_allclose(softmax(logits), special.softmax(logits.astype(float), axis=1), atol=2e-5)
    np.testing.assert_allclose(softmax(logits).sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(sigmoid(logits), special.expit(logits.astype(float)), atol=1e-6)
    assert softmax(logits).dtype == sigmoid(logits).dtype == np.float32


def test_masked_classes_get_nothing():
    np.testing.assert_array_equal(softmax(np.array([[0.0, -np.inf, 0.0]])), [[0.5, 0, 0.5]])


@pytest.mark.parametrize(
    ("scores", "k", "want"),
    [
        pytest.param([[1, 3, 2]], 2, [[1, 2]], id="best-first"),
        pytest.param([[1, 3, 2]], 9, [[1, 2, 0]], id="no-more-than-there-are"),
        pytest.param([[5, 5, 5, 5]], 3, [[0, 1, 2]], id="ties-in-order"),
        pytest.param([[0, 7, 0, 7]], 4, [[1, 3, 0, 2]], id="two-ties"),
        pytest.param(np.array([[0, 200, 255]], np.uint8), 2, [[2, 1]], id="unsigned-codes"),
        pytest.param(np.zeros((0, 3)), 2, np.zeros((0, 2)), id="no-rows"),
    ],
)
def test_top_k(scores, k, want):
    np.testing.assert_array_equal(top_k(np.asarray(scores), k), want)


@settings(deadline=None)
@given(hnp.arrays(np.int8, st.tuples(st.integers(1, 5), st.integers(1, 30))), st.integers(1, 40))
def test_top_k_is_a_stable_sort(scores, k):
    for row, got in zip(scores.tolist(), top_k(scores, k).tolist(), strict=True):
        assert got == sorted(range(len(row)), key=lambda index: (-row[index], index))[:k]


def test_dequantize_survives_the_edges_of_its_types():
    np.testing.assert_array_equal(dequantize(np.array([-128, 127], np.int8), 0.5, -128), [0, 127.5])
    np.testing.assert_array_equal(dequantize(np.array([0, 255], np.uint8), 2.0, 255), [-510, 0])


def test_predictions_have_names():
    processing = Postprocessing(labels=("cat", "", "cow"))
    (best,) = processing.predictions(np.array([[0.0, 9.0, 0.0]], np.float32), top=2)
    assert [prediction.label for prediction in best] == ["class 1", "cat"]
    assert best[1] == Prediction(0, "cat", pytest.approx(1 / (2 + np.exp(9)), rel=1e-5))
    assert Postprocessing().predictions(np.array([[0.0, 9.0]]), top=1)[0][0].label == "class 1"


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1, 1), (2, 1, 1, 3), (2, 1, 3)])
def test_shapes_that_classifiers_have(shape):
    output = np.arange(6, dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(Postprocessing(activation="none").scores(output), [[0, 1, 2], [3, 4, 5]])


def test_one_class_and_no_rows():
    np.testing.assert_array_equal(Postprocessing(activation="sigmoid").scores(np.zeros((2, 1))), [[0.5], [0.5]])
    assert Postprocessing().predictions(np.zeros((0, 4), np.float32)) == []
    with pytest.raises(ConfigError, match="a logit or a probability; say sigmoid or none"):
        Postprocessing().scores(np.zeros((2, 1)))


@pytest.mark.parametrize("shape", [(3,), (), (1, 20, 20), (1, 3234, 4)])
def test_detectors_are_told_apart(shape):
    with pytest.raises(ConfigError, match="is this a detector"):
        Postprocessing().scores(np.zeros(shape))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_probabilities_are_left_alone(dtype):
    probabilities = softmax(np.random.default_rng(0).normal(0, 3, (4, 1000))).astype(dtype)
    np.testing.assert_array_equal(Postprocessing().scores(probabilities), probabilities.astype(np.float32))


@pytest.mark.parametrize(
    "logits",
    [
        pytest.param([[0.2, 0.3, 0.4]], id="sums-to-less"),
        pytest.param([[-0.5, 1.0, 0.5]], id="negative"),
        pytest.param([[0.5, 0.5], [0.5, 0.9]], id="one-row-of-two"),
        pytest.param([[2.0, -1.0]], id="sums-to-one-by-chance"),
    ],
)
def test_logits_that_look_almost_like_probabilities(logits):
    np.testing.assert_allclose(Postprocessing().scores(np.array(logits)), special.softmax(logits, axis=1), atol=1e-6)


def test_several_classes_at_once():
    got = Postprocessing(activation="sigmoid").scores(np.array([[4.0, 4.0, -4.0]]))
    np.testing.assert_allclose(got, [[0.982, 0.982, 0.018]], atol=1e-3)


def test_quantized_probabilities_by_litert():
    codes = np.zeros((1, 1001), np.uint8)
    codes[0, 7] = 200  # 200 / 256, and the rest is lost in rounding
    got = Postprocessing(quantization=(1 / 256, 0)).scores(codes)
    assert got[0, 7] == 200 / 256
    signed = Postprocessing(quantization=(1 / 256, -128)).scores((codes.astype(int) - 128).astype(np.int8))
    np.testing.assert_array_equal(signed, got)


def test_quantized_logits_become_probabilities():
    codes = np.array([[10, 60, 20]], np.uint8)
    got = Postprocessing(quantization=(0.1, 30)).scores(codes)
    np.testing.assert_allclose(got, special.softmax([[-2.0, 3.0, -1.0]], axis=1), atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_overflow_is_said(bad):
    with pytest.raises(ConfigError, match=r"NaN or infinity for picture 1 of the batch.*float32"):
        Postprocessing().scores(np.array([[0.0, 1.0], [bad, 0.0]]))


def model(outputs, metadata=None, quantization=None):
    return StubModel([("x", (1, 3, 8, 8))], outputs, metadata=metadata, quantization=quantization)


def test_what_the_model_tells():
    told = Postprocessing.of(
        model(
            [("classes", (None, 2)), ("colours", (None, 7))],
            {"labels": "cat,dog", "activation": "sigmoid"},
            {"classes": (0.5, 3)},
        )
    )
    assert told == Postprocessing("classes", ("cat", "dog"), "sigmoid", (0.5, 3))
    assert Postprocessing.of(model([("y", (None, 2))], {"activation": "none"}), activation="auto").activation == "auto"
    assert Postprocessing.of(model([("y", (None, 2))], {"labels": "a,b"}), labels=("c", "d")).labels == ("c", "d")


def test_wrong_numbers_of_labels_are_seen_early_or_late():
    with pytest.raises(ConfigError, match="knows 3 classes and there are 2 labels"):
        Postprocessing.of(model([("y", (None, 3))], {"labels": "a,b"}))
    late = Postprocessing.of(model([("y", (None, None))], {"labels": "a,b"}))
    with pytest.raises(ConfigError, match="knows 3 classes and there are 2 labels"):
        late.predictions(np.zeros((1, 3), np.float32))


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="auto, softmax, sigmoid, none"):
        Postprocessing.of(model([("y", (None, 3))], {"activation": "relu"}))
    with pytest.raises(ConfigError, match="top must be at least 1"):
        Postprocessing().predictions(np.zeros((1, 3)), top=0)
