"""`TorchModel` beyond the contract: devices, threads, what it copies, and what it says when a module fails."""

import numpy as np
import pytest
import torch
from torch import nn

from solutions.core.errors import BackendUnavailable, ConfigError, PipelineStopped
from solutions.core.tensors import TensorSpec
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.runtimes import torch_model
from solutions.phase1_basics.runtimes.torch_model import TorchModel, choose_device
from solutions.phase1_basics.runtimes.torch_specs import flatten_outputs, named_inputs, probe_outputs
from tests.solutions.torch_builders import OPTIONS, Doubling, save_state

CPU = torch.device("cpu")
X, Y = TensorSpec("x", (None, 3)), TensorSpec("y", (None, 3))


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Function(nn.Module):
    """A module around a function, with one buffer."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.register_buffer("stored", torch.ones(1, 3))

    def forward(self, x):
        return self.function(self, x)


def model_of(function, outputs=(Y,), **options):
    return TorchModel(
        Function(function).eval(), name="m", format="pickle", device=CPU, inputs=(X,), outputs=outputs, **options
    )


def predict(model, rows=1):
    return model.predict({"x": np.zeros((rows, 3), np.float32)})


def test_a_module_that_writes_into_its_input_leaves_the_callers_alone():
    model = model_of(lambda self, x: x.add_(1))
    x = np.zeros((1, 3), np.float32)
    x.flags.writeable = False
    np.testing.assert_array_equal(model.predict({"x": x})["y"], np.ones((1, 3)))
    np.testing.assert_array_equal(x, np.zeros((1, 3)))


def test_an_output_that_is_the_input_or_a_buffer_is_the_callers_own():
    for function in (lambda self, x: x, lambda self, x: self.stored, lambda self, x: self.stored[:, :]):
        model = model_of(function)
        x = np.zeros((1, 3), np.float32)
        first = model.predict({"x": x})["y"]
        before = first.copy()
        first += 5
        np.testing.assert_array_equal(model.predict({"x": x})["y"], before)
        np.testing.assert_array_equal(x, np.zeros((1, 3)))


def test_outputs_are_contiguous_and_of_dtypes_that_numpy_has():
    model = model_of(
        lambda self, x: {"t": x.expand(4, 3).t(), "b": x.bfloat16() + 1.5},
        (TensorSpec("t", (3, 4)), TensorSpec("b", (None, 3))),
    )
    outputs = predict(model)
    assert outputs["t"].flags.c_contiguous
    assert (outputs["b"].dtype, outputs["b"][0, 0]) == (np.float32, 1.5)


def test_what_fails_inside_is_one_sentence():
    def fail(self, x):
        raise AssertionError("first\nsecond")

    with pytest.raises(ConfigError, match=r"^m cannot run with x \[2, 3\]: first$"):
        predict(model_of(fail), rows=2)
    with pytest.raises(ConfigError, match="it gave 2 outputs in place of 1"):
        predict(model_of(lambda self, x: (x, x)))
    with pytest.raises(ConfigError, match="gives a str"):
        predict(model_of(lambda self, x: "answer"))


def test_no_gradients_are_kept():
    seen = []
    predict(model_of(lambda self, x: seen.append(torch.is_inference_mode_enabled()) or x))
    assert seen == [True]


def test_threads_are_the_models_own(tmp_path):
    path = save_state(Doubling(), tmp_path / "m.pth")
    one, two = (load_model(path, device="cpu", threads=n, **OPTIONS["torch-weights"]) for n in (1, 2))
    for model, want in ((one, 1), (two, 2), (one, 1)):
        predict(model)
        assert torch.get_num_threads() == want
    with pytest.raises(ConfigError, match="at least 1"):
        load_model(path, device="cpu", threads=0, **OPTIONS["torch-weights"])


def test_no_number_of_threads_leaves_what_is_set_down_to_the_usable_cores(monkeypatch):
    monkeypatch.setattr(torch_model, "usable_cores", lambda: 2)
    for before, after in ((1, 1), (2, 2), (5, 2)):
        torch.set_num_threads(before)
        predict(model_of(lambda self, x: x))
        assert torch.get_num_threads() == after


def test_after_close_the_module_is_gone():
    model = model_of(lambda self, x: x)
    assert isinstance(model.module, nn.Module)
    model.close()
    with pytest.raises(PipelineStopped, match="m was closed"):
        _ = model.module


@pytest.mark.parametrize("device", ["tpu", "cpu:1", "cuda:", "cuda:x", "", "mps:0"])
def test_words_that_are_no_device(device):
    with pytest.raises(ConfigError, match="must be auto, cpu, cuda, cuda:N or mps"):
        choose_device(device)


@pytest.mark.parametrize(
    ("cuda", "mps", "device", "want"),
    [
        (False, False, "auto", "cpu"), (False, False, "cpu", "cpu"), (True, True, "auto", "cuda:0"),
        (False, True, "auto", "mps"), (True, False, "cuda", "cuda:0"), (True, False, "cuda:1", "cuda:1"),
        (False, True, "mps", "mps"), (True, True, "cpu", "cpu"),
    ],
)  # fmt: skip
def test_devices(monkeypatch, cuda, mps, device, want):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert str(choose_device(device)) == want


@pytest.mark.parametrize(
    ("cuda", "device", "message"),
    [
        (False, "cuda", "device cuda needs an NVIDIA GPU with a working driver"),
        (True, "cuda:7", r"device cuda:7 is not here: the last GPU is cuda:1"),
        (True, "mps", "device mps needs a Mac"),
    ],
)
def test_absent_devices(monkeypatch, cuda, device, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(BackendUnavailable, match=message):
        choose_device(device)


def test_on_a_gpu(tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("not run here: no CUDA device")
    path = save_state(Doubling(), tmp_path / "m.pth")
    model = load_model(path, device="cuda", **OPTIONS["torch-weights"])
    assert model.device == "cuda:0"
    np.testing.assert_array_equal(model.predict({"x": np.ones((2, 3), np.float32)})["output"], np.full((2, 3), 2))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (torch.zeros(1), ["output"]),
        ((torch.zeros(1),), ["output"]),
        ((torch.zeros(1), torch.zeros(1)), ["output0", "output1"]),
        ({"a": torch.zeros(1), "b": (torch.zeros(1), {"c": torch.zeros(1)})}, ["a", "b.0", "b.1.c"]),
    ],
)
def test_names_of_outputs(value, names):
    assert [name for name, _ in flatten_outputs(value)] == names


def test_probes_find_the_free_axes():
    inputs = (TensorSpec("x", (None, 3, None)), TensorSpec("ids", (2,), "int64"))
    outputs = probe_outputs(lambda xs: {"a": xs[0].sum(1), "b": xs[1] + 1, "c": xs[0].mean()}, inputs, CPU)
    assert outputs == (TensorSpec("a", (None, None)), TensorSpec("b", (2,), "int64"), TensorSpec("c", ()))


def test_one_shape_for_several_inputs_is_refused():
    with pytest.raises(ConfigError, match="the module takes x, y: give a TensorSpec for each"):
        named_inputs(("x", "y"), (None, 3))
    assert named_inputs(("x", "y"), (X, TensorSpec("y", ()))) == (X, TensorSpec("y", ()))
    assert named_inputs((), (None, 3)) == (TensorSpec("input", (None, 3)),)
