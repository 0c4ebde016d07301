"""Models and devices beside each other: times, outputs, copies, and what is said where there is no GPU."""

import numpy as np
import pytest
from torch import nn

from solutions.core.errors import BackendUnavailable
from solutions.phase1_basics.profiling import parts as profile_parts
from solutions.phase1_basics.profiling.device_comparison import (
    compare_models,
    find_gpu,
    relative_difference,
    time_copies,
)
from tests.solutions.profiler_fakes import FakeClock, FakeModel


def test_models_are_compared_with_the_first_and_their_outputs_too():
    clock = FakeClock()
    slow, fast = FakeModel(clock, lambda rows: 0.010), FakeModel(clock, lambda rows: 0.005)
    wrong = FakeModel(clock, lambda rows: 0.020)
    wrong.predict = lambda feeds, honest=wrong.predict: {"y": 1.5 * honest(feeds)["y"]}
    feeds = {"x": np.ones((1, 3), np.float32)}
    first, second, third = compare_models({"slow": slow, "fast": fast, "wrong": wrong}, feeds, rounds=3, clock=clock)
    assert (first.ratio, first.latency.p50) == (None, pytest.approx(10.0))
    assert second.ratio.ratio == pytest.approx(0.5)
    assert second.beside_ms == pytest.approx(10.0)
    assert (second.difference, third.difference) == (0.0, pytest.approx(0.5))


def test_short_calls_are_timed_several_at_once():
    clock = FakeClock()
    a, b = FakeModel(clock, lambda rows: 0.0005), FakeModel(clock, lambda rows: 0.0005)
    compare_models({"a": a, "b": b}, {"x": np.ones((1, 3), np.float32)}, rounds=2, warmup=0, clock=clock)
    assert len(b.calls) == 1 + 2 * 2 * 4  # the output, then two rounds of two timings of four calls


def test_pictures_are_turned_to_the_layout_of_the_runtime():
    clock = FakeClock()
    nchw = FakeModel(clock, lambda rows: 0.001, shape=(None, 3, 4, 5))
    nhwc = FakeModel(clock, lambda rows: 0.001, shape=(None, 4, 5, 3))
    _, point = compare_models({"a": nchw, "b": nhwc}, {"x": np.ones((1, 3, 4, 5), np.float32)}, rounds=2, clock=clock)
    assert point.difference is None  # shapes that do not correspond are not compared


@pytest.mark.parametrize(
    ("expected", "got", "want"),
    [
        pytest.param([2.0, -4.0], [2.0, -4.0], 0.0, id="same"),
        pytest.param([2.0, -4.0], [2.0, -2.0], 0.5, id="half"),
        pytest.param([0.0], [0.25], 0.25, id="nothing-to-relate-to"),
        pytest.param([], [], 0.0, id="empty"),
        pytest.param([1.0], [1.0, 2.0], None, id="other-shape"),
        pytest.param([1.0], [float("nan")], None, id="nan"),
    ],
)
def test_relative_difference(expected, got, want):
    assert relative_difference([np.array(expected)], [np.array(got)]) == want


def test_copies_and_computing_are_timed_apart():
    clock = FakeClock()

    class Net(nn.Module):
        def forward(self, x):
            clock.advance(0.007)
            return x + 1

    found = time_copies(Net(), [np.ones((1, 3), np.float32)], "cpu", repeats=3, clock=clock)
    assert (found.to_device.p50, found.compute.p50, found.from_device.p50) == pytest.approx((0.0, 7.0, 0.0))


def _on(device, clock, seconds):
    model = FakeModel(clock, lambda rows: seconds)
    model.device = device
    return model


@pytest.mark.parametrize("loaded", ["cpu", "cuda:0"])
def test_with_a_gpu_the_cpu_is_the_baseline_whichever_was_loaded(monkeypatch, loaded, tmp_path):
    monkeypatch.setattr(profile_parts, "find_gpu", lambda: "cuda:0")
    clock = FakeClock()
    models = {"cpu": _on("cpu", clock, 0.010), "cuda:0": _on("cuda:0", clock, 0.002)}
    effort = profile_parts.Effort(threads=1, runs=2, rounds=3, clock=clock)
    feeds = {"x": np.ones((1, 3), np.float32)}
    found, rival = profile_parts.compare(
        models[loaded], tmp_path / "x", feeds, lambda threads, device: models[device], effort
    )
    assert [point.title for point in found.points] == ["cpu", "cuda:0"]
    assert found.points[1].ratio.ratio == pytest.approx(0.2)
    assert "cannot be told apart" in found.sentence
    assert (found.copies, rival) == (None, None)
    assert [model.closed for model in models.values()] == [loaded != "cpu", loaded == "cpu"]


def test_a_gpu_that_cannot_load_the_model_is_said_and_the_cpu_goes_on(monkeypatch, tmp_path):
    monkeypatch.setattr(profile_parts, "find_gpu", lambda: "cuda")

    def load(threads, device):
        raise BackendUnavailable("no CUDA in this runtime")

    clock = FakeClock()
    effort = profile_parts.Effort(threads=1, runs=2, rounds=3, clock=clock)
    feeds = {"x": np.ones((1, 3), np.float32)}
    found, _ = profile_parts.compare(_on("cpu", clock, 0.01), tmp_path / "x", feeds, load, effort)
    assert "no CUDA in this runtime" in found.sentence
    assert [point.title for point in found.points] == ["fake"]


def test_without_a_gpu_one_sentence_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(profile_parts, "find_gpu", lambda: None)
    clock = FakeClock()
    effort = profile_parts.Effort(threads=1, runs=2, rounds=3, clock=clock)
    feeds = {"x": np.ones((1, 3), np.float32)}
    found, _ = profile_parts.compare(_on("cpu", clock, 0.01), tmp_path / "x", feeds, lambda *_: None, effort)
    assert found.sentence.startswith("no GPU that torch can use is here")


def test_find_gpu_names_a_device_that_torch_has():
    assert find_gpu() in (None, "cuda", "mps")
