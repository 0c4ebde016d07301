"""One network on every runtime of the CPU: which runtimes take it, and that they agree."""

import pytest
import torch

from solutions.core.tensors import TensorSpec
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.profiling import same_network
from solutions.phase1_basics.profiling.device_comparison import compare_models
from solutions.phase1_basics.profiling.feeds import sample_feeds
from tests.solutions.onnx_builders import doubling
from tests.solutions.profiler_fakes import FakeClock, FakeModel, picture, small


class _Eager(FakeModel):
    """A real network behind the face of a loaded model."""

    format = "torch"

    def __init__(self):
        super().__init__(FakeClock(), lambda rows: 0.0, shape=(None, 3, 16, 16))
        self.module = small()
        self.inputs = (TensorSpec("images", (None, 3, 16, 16)),)
        self.outputs = (TensorSpec("scores", (None, 5)),)

    def predict(self, feeds):
        with torch.inference_mode():
            return {"scores": self.module(torch.from_numpy(feeds["images"])).numpy()}


def test_a_torch_network_runs_on_every_cpu_runtime_and_agrees(tmp_path):
    model, feeds = _Eager(), {"images": picture(2)}
    with same_network.cpu_runtimes(model, tmp_path / "net.pth", feeds, threads=1) as network:
        assert list(network.models)[:2] == [same_network.TORCH, same_network.ORT]
        points = compare_models(network.models, feeds, rounds=2, warmup=0)
        runtimes = dict(network.models)
    # float32 through three products of up to 36 terms: some 10 roundings of 2^-24, times a margin
    assert all(point.difference < 1e-5 for point in points[1:])
    assert not model.closed
    assert not network.graph.exists()
    with pytest.raises(Exception, match="closed"):
        runtimes[same_network.ORT].predict(feeds)


def test_an_onnx_file_is_compared_without_torch_and_that_is_said(tmp_path):
    path = doubling(tmp_path / "doubling.onnx")
    model = load_model(path, device="cpu", threads=1)
    with same_network.cpu_runtimes(model, path, sample_feeds(model), threads=1) as network:
        assert same_network.TORCH not in network.models
        assert "torch eager" in network.missing


def test_other_formats_are_alone_and_that_is_said(tmp_path):
    model = FakeModel(FakeClock(), lambda rows: 0.0)
    with same_network.cpu_runtimes(model, tmp_path / "x", {}, threads=1) as network:
        assert list(network.models) == ["fake"]
        assert "neither runs a fake file" in network.missing
