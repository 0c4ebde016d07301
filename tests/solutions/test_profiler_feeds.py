"""What the profiler feeds a model: the sizes that its inputs take, and the batches that it allows."""

import numpy as np
import pytest

from solutions.core.errors import ConfigError
from solutions.core.tensors import TensorSpec
from solutions.phase1_basics.profiling.feeds import sample_feeds, usable_batches
from tests.solutions.profiler_fakes import FakeClock, FakeModel


@pytest.mark.parametrize(
    ("shape", "metadata", "want"),
    [
        pytest.param((None, 3, None, None), {"input_hw": "96,160"}, (4, 3, 96, 160), id="nchw-told"),
        pytest.param((None, None, None, 3), {"input_hw": "96,160"}, (4, 96, 160, 3), id="nhwc-told"),
        pytest.param((None, 3, None, None), {}, (4, 3, 224, 224), id="nobody-told"),
        pytest.param((None, 3, None, None), {"input_hw": "large"}, (4, 3, 224, 224), id="told-nonsense"),
        pytest.param((2, 3, 8, 8), {"input_hw": "96,160"}, (2, 3, 8, 8), id="fixed"),
        pytest.param((None, None, 16), {}, (4, 32, 16), id="sequence"),
        pytest.param((), {}, (), id="scalar"),
    ],
)
def test_feeds_have_the_models_sizes(shape, metadata, want):
    model = FakeModel(FakeClock(), lambda rows: 0.0, shape=shape, metadata=metadata)
    feeds = sample_feeds(model, batch=4)
    assert feeds["x"].shape == want
    assert model.inputs[0].accepts(feeds["x"])
    np.testing.assert_array_equal(feeds["x"], sample_feeds(model, batch=4)["x"])


def test_integer_inputs_get_small_integers():
    model = FakeModel(FakeClock(), lambda rows: 0.0)
    model.inputs = (TensorSpec("x", (None, 4), "int64"),)
    assert set(np.unique(sample_feeds(model, batch=8)["x"])) <= {0, 1}


def test_a_fixed_batch_is_the_only_one_and_that_is_said():
    model = FakeModel(FakeClock(), lambda rows: 0.0, shape=(2, 3))
    batches, note = usable_batches(model, [1, 4])
    assert batches == (2,)
    assert "a batch of 2 only" in note
    assert usable_batches(FakeModel(FakeClock(), lambda rows: 0.0), [4, 1, 4]) == ((1, 4), "")


def test_batch_sizes_below_one_are_refused():
    with pytest.raises(ConfigError):
        usable_batches(FakeModel(FakeClock(), lambda rows: 0.0), [0])
