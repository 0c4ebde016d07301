"""Any number of rows through any batch: every row once, in order, nothing of the filling left, calls counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solutions.core.errors import ConfigError
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.prediction.batching import fixed_batch, predict_in_batches, rows_per_call
from tests.solutions.onnx_builders import doubling
from tests.solutions.stub_models import StubModel


def doubler(batch):
    """y = 2 x and a second output with other axes."""
    return StubModel(
        [("x", (batch, 3))],
        [("y", (batch, 3)), ("sum", (batch,))],
        lambda feeds: {"y": feeds["x"] * 2, "sum": feeds["x"].sum(axis=1)},
    )


def rows_of(count):
    return np.arange(count * 3, dtype=np.float32).reshape(count, 3) + 1


@settings(deadline=None)
@given(st.integers(1, 70), st.one_of(st.none(), st.integers(1, 9)), st.integers(1, 40))
def test_every_row_comes_back_in_its_place(count, fixed, max_batch):
    model = doubler(fixed)
    got = predict_in_batches(model, {"x": rows_of(count)}, max_batch=max_batch)
    np.testing.assert_array_equal(got.outputs["y"], rows_of(count) * 2)
    np.testing.assert_array_equal(got.outputs["sum"], rows_of(count).sum(axis=1))
    size = fixed or max_batch
    assert got.calls == len(model.batches) == -(-count // size)
    assert got.padded_rows == (got.calls * size - count if fixed else 0)
    assert set(model.batches[:-1]) <= {size}
    assert sum(model.batches) == count + got.padded_rows
    assert all(array.flags.c_contiguous for array in got.outputs.values())


@pytest.mark.parametrize(
    ("count", "fixed", "max_batch", "batches"),
    [
        pytest.param(5, None, 2, [2, 2, 1], id="free-batch-is-split"),
        pytest.param(5, None, 32, [5], id="free-batch-fits"),
        pytest.param(5, 1, 32, [1] * 5, id="one-by-one"),
        pytest.param(5, 4, 32, [4, 4], id="the-last-is-filled"),
        pytest.param(1, 4, 1, [4], id="fixed-goes-by-its-own-size"),
        pytest.param(8, 4, 32, [4, 4], id="nothing-to-fill"),
    ],
)
def test_calls(count, fixed, max_batch, batches):
    model = doubler(fixed)
    predict_in_batches(model, {"x": rows_of(count)}, max_batch=max_batch)
    assert model.batches == batches


def test_no_rows_no_calls():
    model = doubler(4)
    got = predict_in_batches(model, {"x": rows_of(0)})
    assert (got.calls, model.batches) == (0, [])
    assert {name: array.shape for name, array in got.outputs.items()} == {"y": (0, 3), "sum": (0,)}


def test_the_filling_repeats_the_last_row_and_leaves_no_trace():
    seen = []

    def answer(feeds):
        seen.append(feeds["x"].copy())
        return {"y": feeds["x"]}

    model = StubModel([("x", (4, 1))], [("y", (4, 1))], answer)
    got = predict_in_batches(model, {"x": np.array([[1], [2], [3], [4], [5]], np.float32)})
    np.testing.assert_array_equal(seen[1], [[5], [5], [5], [5]])
    np.testing.assert_array_equal(got.outputs["y"], [[1], [2], [3], [4], [5]])


@settings(deadline=None)
@given(st.integers(1, 20), st.sampled_from([None, 1, 3, 4]))
def test_several_inputs_stay_together(count, fixed):
    model = StubModel(
        [("ids", (None, 2), "int64"), ("x", (fixed, 2)), ("threshold", (1,))],
        [("y", (fixed, 2))],
        lambda feeds: {"y": feeds["ids"] + feeds["x"] + feeds["threshold"]},
    )
    ids = np.arange(count * 2).reshape(count, 2)
    got = predict_in_batches(
        model,
        {"ids": ids, "x": ids.astype(np.float32) / 2, "threshold": np.float32([0.25])},
        max_batch=5,
        whole=["threshold"],
    )
    np.testing.assert_array_equal(got.outputs["y"], ids * 1.5 + 0.25)


def test_a_real_runtime(tmp_path):
    model = load_model(doubling(tmp_path / "m.onnx"), device="cpu", threads=1)
    got = predict_in_batches(model, {"x": rows_of(7)}, max_batch=3)
    np.testing.assert_array_equal(got.outputs["y"], rows_of(7) * 2)
    assert got.calls == 3
    model.close()


def test_one_result_does_not_share_memory_with_the_next():
    model = doubler(2)
    first = predict_in_batches(model, {"x": rows_of(3)}).outputs["y"]
    kept = first.copy()
    predict_in_batches(model, {"x": rows_of(3) * 9})
    np.testing.assert_array_equal(first, kept)


def test_batches_that_disagree():
    two = StubModel([("a", (2, 1)), ("b", (3, 1))], [("y", (2, 1))])
    with pytest.raises(ConfigError, match=r"different batches \(a 2, b 3\)"):
        fixed_batch(two)
    assert fixed_batch(two, whole=["b"]) == 2
    with pytest.raises(ConfigError, match="same number of rows"):
        predict_in_batches(
            StubModel([("a", (None, 1)), ("b", (None, 1))], []),
            {"a": np.zeros((2, 1), np.float32), "b": np.zeros((3, 1), np.float32)},
        )
    with pytest.raises(ConfigError, match="given no batch"):
        predict_in_batches(doubler(2), {})
    with pytest.raises(ConfigError, match="no input that takes a batch"):
        fixed_batch(StubModel([("a", (2,))], []), whole=["a"])
    with pytest.raises(ConfigError, match="name it in `whole`"):
        fixed_batch(StubModel([("a", ())], []))
    with pytest.raises(ConfigError, match="max_batch must be at least 1"):
        rows_per_call(doubler(None), max_batch=0)


@pytest.mark.parametrize("answer", [np.zeros((1, 3)), np.zeros(()), np.zeros((3, 4))])
def test_outputs_without_a_row_per_row(answer):
    model = StubModel([("x", (None, 3))], [("y", (None, 3))], lambda feeds: {"y": answer})
    with pytest.raises(ConfigError, match="not one row per input row"):
        predict_in_batches(model, {"x": rows_of(4)})
