"""The contract of `Model`, the same for every runtime that is installed.

A runtime joins with one entry in `MAKERS`: how to make a file of its kind that doubles float32 [N, 3].
"""

import numpy as np
import pytest

from solutions.core.errors import ConfigError, PipelineStopped
from solutions.core.tensors import Model
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.runtimes import runtimes
from tests.solutions import tf_builders, torch_builders
from tests.solutions.onnx_builders import doubling

MAKERS = {
    "onnx": lambda folder: doubling(folder / "doubling.onnx"),
    **torch_builders.DOUBLING,
    **tf_builders.DOUBLING,
}


@pytest.fixture(params=sorted(MAKERS))
def model(request, tmp_path):
    if not runtimes()[request.param].is_available:
        pytest.skip(f"not run here: {runtimes()[request.param].needs} is not installed")
    options = torch_builders.OPTIONS.get(request.param, {})
    loaded = load_model(MAKERS[request.param](tmp_path), device="cpu", threads=1, **options)
    yield loaded
    loaded.close()


def test_every_runtime_has_a_maker_here():
    assert set(runtimes()) <= set(MAKERS)


def test_it_is_a_model(model):
    assert isinstance(model, Model)
    assert model.name == "doubling"
    assert model.format in runtimes()
    assert model.device == "cpu"


def test_it_says_what_goes_in_and_out(model):
    assert [(spec.shape, spec.dtype) for spec in (*model.inputs, *model.outputs)] == [((None, 3), "float32")] * 2


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_it_predicts_any_batch(model, rows):
    x = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    outputs = model.predict({model.inputs[0].name: x})
    assert set(outputs) == {spec.name for spec in model.outputs}
    y = outputs[model.outputs[0].name]
    assert (y.dtype, y.flags.c_contiguous) == (np.float32, True)
    np.testing.assert_array_equal(y, 2 * x)


def test_an_input_may_be_a_view(model):
    x = np.arange(24, dtype=np.float32).reshape(4, 6)[::-1, ::2]
    (y,) = model.predict({model.inputs[0].name: x}).values()
    np.testing.assert_array_equal(y, 2 * x)


def test_outputs_belong_to_the_caller(model):
    name = model.inputs[0].name
    (first,) = model.predict({name: np.ones((1, 3), np.float32)}).values()
    model.predict({name: np.zeros((1, 3), np.float32)})
    np.testing.assert_array_equal(first, [[2, 2, 2]])


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        pytest.param(np.ones((1, 4), np.float32), "got float32\\[1, 4\\]", id="wrong-size"),
        pytest.param(np.ones(3, np.float32), "got float32\\[3\\]", id="wrong-rank"),
        pytest.param(np.ones((1, 3)), "got float64\\[1, 3\\]", id="wrong-dtype"),
    ],
)
def test_a_wrong_array_is_refused(model, feed, message):
    with pytest.raises(ConfigError, match=message):
        model.predict({model.inputs[0].name: feed})


def test_wrong_names_are_refused(model):
    x = np.ones((1, 3), np.float32)
    name = model.inputs[0].name
    for feeds in ({}, {"other": x}, {name: x, "other": x}):
        with pytest.raises(ConfigError, match="takes the inputs"):
            model.predict(feeds)


def test_after_close_it_refuses(model):
    model.close()
    model.close()
    with pytest.raises(PipelineStopped, match="was closed"):
        model.predict({model.inputs[0].name: np.ones((1, 3), np.float32)})
