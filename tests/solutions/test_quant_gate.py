"""The gate: as few layers in float as the bound needs, and nothing accepted that is not faster and good enough."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from solutions.core.errors import ConfigError
from solutions.core.measure.metrics import PairedRatio
from solutions.phase2_optimization.quantization.gate import (
    GateConfig,
    agreement,
    paired_drop,
    run_gate,
)
from solutions.phase2_optimization.quantization.running import predictor

ERRORS = (0.01, 0.3, 0.02, 0.1)  # of the layers a, b, c, d, as long as they are quantized
FEEDS = [{"x": np.float32([[value]])} for value in np.linspace(0.5, 1, 40)]
FASTER = PairedRatio(0.5, 0.45, 0.55, 30)
NOT_FASTER = PairedRatio(0.97, 0.93, 1.02, 30)


def _adder(error: float) -> onnx.ModelProto:
    """y = x + error."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "e"], ["y"])],
        "adder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        [numpy_helper.from_array(np.float32([[error]]), "e")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


class FakeVariants:
    """Four layers whose errors add up."""

    layers = ("a", "b", "c", "d")

    def __init__(self) -> None:
        self.built: list[tuple[str, ...]] = []

    def build(self, keep=()):
        self.built.append(tuple(keep))
        return _adder(sum(error for name, error in zip(self.layers, ERRORS, strict=True) if name not in keep))


def _gate(max_drop, ratio=FASTER, **more):
    variants = FakeVariants()
    config = GateConfig(max_drop=max_drop, min_speedup=1.2, **more)
    return run_gate(_adder(0.0), variants, FEEDS, config, compare=lambda first, second: ratio), variants


@pytest.mark.parametrize(
    ("max_drop", "kept"),
    [
        pytest.param(0.8, [], id="good-enough-at-once"),
        pytest.param(0.25, ["b"], id="the-worst-is-enough"),
        pytest.param(0.06, ["b", "d"], id="two"),
        pytest.param(0.02, ["b", "d", "c"], id="three"),
        pytest.param(0.0, ["b", "d", "c", "a"], id="all"),
    ],
)
def test_as_few_layers_as_the_bound_needs(max_drop, kept):
    (model, report), _ = _gate(max_drop)
    assert report.accepted
    assert list(report.kept) == kept
    assert all("dB" in reason for reason in report.kept.values())
    assert report.drop.high <= max_drop
    assert model is not None
    got = predictor(model)(FEEDS[0])[0] - FEEDS[0]["x"]
    left = [error for name, error in zip(FakeVariants.layers, ERRORS, strict=True) if name not in kept]
    np.testing.assert_allclose(got, sum(left), atol=1e-6)


def test_not_faster_is_refused_with_the_figures_however_accurate():
    (model, report), variants = _gate(0.8, NOT_FASTER)
    assert model is None
    assert not report.accepted
    assert report.reason.startswith("refused: 1.03 [0.98, 1.08] times as fast as float (1.2 wanted), the score falls")
    assert variants.built == [()], "no layer in float would have made it faster"


def test_inconclusive_speed_is_no_speed():
    (model, report), _ = _gate(0.8, PairedRatio(0.8, 0.7, 0.9, 30))
    assert model is None
    assert report.reason.startswith("refused")


def test_scores_that_no_layer_can_save_are_refused():
    variants = FakeVariants()
    scores = iter([np.ones(20)] + [np.zeros(20)] * 20)
    model, report = run_gate(
        _adder(0.0), variants, FEEDS, GateConfig(), score=lambda predict: next(scores), compare=lambda a, b: FASTER
    )
    assert model is None
    assert len(report.kept) == 4
    assert report.drop.mean == 1
    json.dumps(report.as_dict(), allow_nan=False)


def test_no_difference_in_few_samples_is_no_proof():
    scores = lambda predict: np.ones(20)  # noqa: E731
    _, report = run_gate(
        _adder(0.0), FakeVariants(), FEEDS, GateConfig(), score=scores, compare=lambda first, second: FASTER
    )
    assert report.accepted
    assert "; 20 samples cannot exclude 0.150;" in report.reason


def test_it_times_by_itself():
    _, report = run_gate(_adder(0.0), FakeVariants(), FEEDS, GateConfig(max_drop=1, min_speedup=50, rounds=5))
    assert not report.accepted
    assert report.ratio.rounds == 5


def test_pairs_narrow_the_interval():
    random = np.random.default_rng(0)
    before = random.random(200)  # samples differ by far more than the models do
    after = before - 0.01 + random.normal(scale=0.002, size=200)
    drop = paired_drop(before, after)
    assert drop.low < 0.01 < drop.high
    assert drop.high - drop.low < 0.001


def test_the_interval_holds_the_truth_as_often_as_it_says():
    random = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        falls = random.binomial(1, 0.1, size=100).astype(float)
        drop = paired_drop(falls, np.zeros(100), resamples=500, seed=seed)
        hits += drop.low <= 0.1 <= drop.high
    assert 180 <= hits <= 199


def _scores(model, feeds, other) -> list[float]:
    return agreement(model, feeds)(lambda sample: other(sample)).tolist()


def test_agreement_of_classes_and_of_numbers():
    feeds = [{"x": np.float32([[2.0]])}]
    assert _scores(_adder(0.0), feeds, lambda sample: [np.float32([[2.0]])]) == [1]
    assert _scores(_adder(0.0), feeds, lambda sample: [np.float32([[1.5]])]) == [0.75]
    assert _scores(_adder(0.0), feeds, lambda sample: [np.float32([[9.0]])]) == [0]
    assert _scores(_adder(0.0), feeds, lambda sample: [np.float32([[np.nan]])]) == [0]
    wide = helper.make_model(
        helper.make_graph(
            [helper.make_node("Relu", ["x"], ["y"])],
            "classes",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    rows = [{"x": np.float32([[1, 2, 0], [5, 0, 0]])}]
    assert _scores(wide, rows, lambda sample: [np.float32([[0, 9, 0], [0, 1, 0]])]) == [0.5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_drop": -0.1}, "max_drop must be >= 0"),
        ({"min_speedup": 0}, "min_speedup > 0"),
        ({"confidence": 1}, "confidence must lie in"),
        ({"rounds": 0}, "rounds"),
    ],
)
def test_bounds_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        GateConfig(**settings)


def test_errors():
    with pytest.raises(ConfigError, match="one score per sample"):
        paired_drop(np.ones(3), np.ones(4))
    with pytest.raises(ConfigError, match="NaN or infinite"):
        paired_drop(np.ones(2), np.array([1, np.nan]))
    with pytest.raises(ConfigError, match="at least one sample"):
        agreement(_adder(0), [])
