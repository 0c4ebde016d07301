"""Cold and warm latency, batches, threads, stages, devices and the profiler's own cost, all on a fake clock."""

import numpy as np
import pytest
import torch
from torch import nn

from solutions.core.errors import BackendUnavailable, ConfigError
from solutions.core.measure.energy import EnergyMeter
from solutions.core.measure.metrics import PairedRatio
from solutions.core.measure.profiling import measure
from solutions.core.tensors import TensorSpec
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.prediction.classifier import StageSeconds
from solutions.phase1_basics.profiling import parts as profile_parts
from solutions.phase1_basics.profiling import same_network, stage_split
from solutions.phase1_basics.profiling.device_comparison import (
    compare_models,
    find_gpu,
    relative_difference,
    time_copies,
)
from solutions.phase1_basics.profiling.feeds import sample_feeds, usable_batches
from solutions.phase1_basics.profiling.latency import cold_start, profile_latency, sweep_batches, sweep_threads
from solutions.phase1_basics.profiling.overhead import instrument_us, latency_overhead
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from tests.solutions.onnx_builders import doubling
from tests.solutions.profiler_fakes import FakeClock, FakeModel, picture, small

# ------------------------------------------------------------------------------------------------------ feeds


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


# ---------------------------------------------------------------------------------------------------- latency


def test_cold_start_separates_loading_from_the_first_inference():
    clock = FakeClock()

    def load():
        clock.advance(2.0)
        return FakeModel(clock, lambda rows: 0.001, first_s=0.5)

    model, cold = cold_start(load, clock=clock)
    assert (cold.load_ms, cold.first_ms) == pytest.approx((2000.0, 500.0))
    assert not model.closed


def test_warm_up_is_in_no_number():
    clock = FakeClock()
    model = FakeModel(clock, lambda rows: 0.004, first_s=9.0)
    meter = EnergyMeter([], interval_s=None, clock=clock)
    found, resources = profile_latency(
        model, {"x": np.ones((1, 3), np.float32)}, iterations=5, warmup=2, clock=clock, meter=meter
    )
    assert found.summary.max == pytest.approx(4.0)
    assert (found.summary.n, found.warmup, len(model.calls)) == (5, 2, 7)
    assert resources.energy.seconds == pytest.approx(0.020)
    assert resources.as_dict()["joules_per_inference"] is None
    assert resources.rss_peak_mb > 0


def test_throughput_of_a_batch_counts_rows():
    clock = FakeClock()
    model = FakeModel(clock, lambda rows: 0.002 + 0.001 * rows)
    one, eight = sweep_batches(model, [1, 8], repeats=3, clock=clock)
    assert (one.latency.p50, one.rows_per_s) == pytest.approx((3.0, 1 / 0.003))
    assert (eight.latency.p50, eight.rows_per_s) == pytest.approx((10.0, 800.0))


def test_threads_are_interleaved_with_the_first_count_and_closed():
    clock = FakeClock()
    made = []

    def load(threads):
        made.append(FakeModel(clock, lambda rows: 0.012 / threads))
        return made[-1]

    points = sweep_threads(load, [1, 2, 3], rounds=4, clock=clock)
    assert [point.threads for point in points] == [1, 2, 3]
    assert points[0].ratio is None
    assert [point.ratio.ratio for point in points[1:]] == pytest.approx([1 / 2, 1 / 3])
    assert all(model.closed for model in made)


def test_one_thread_count_needs_no_pair():
    clock = FakeClock()
    (point,) = sweep_threads(lambda threads: FakeModel(clock, lambda rows: 0.003), [2], rounds=2, clock=clock)
    assert (point.latency.n, point.ratio) == (4, None)


@pytest.mark.parametrize("threads", [[], [0], [2, -1]])
def test_thread_counts_are_checked(threads):
    with pytest.raises(ConfigError):
        sweep_threads(lambda count: None, threads, rounds=2)


def test_models_are_closed_when_one_fails():
    clock = FakeClock()
    made = []

    def load(threads):
        def seconds(rows):
            if threads == 2:
                raise ConfigError("no")
            return 0.001

        made.append(FakeModel(clock, seconds))
        return made[-1]

    with pytest.raises(ConfigError):
        sweep_threads(load, [1, 2], rounds=2, clock=clock)
    assert [model.closed for model in made] == [True, True]


# --------------------------------------------------------------------------------------------------- overhead


def test_overhead_is_what_the_clock_costs():
    now = [0.0]

    def clock():  # a slow clock: each look at it takes 0.1 ms
        now[0] += 0.0001
        return now[0]

    def work():
        now[0] += 0.005

    found = latency_overhead(work, rounds=3, clock=clock)
    assert found.ratio.ratio == pytest.approx((0.005 + 0.0002 + 0.0001) / (0.005 + 0.0001))
    assert found.ratio.verdict(at_most=1.02) == "fail"


def test_measuring_looks_at_the_clock_twice_per_call_and_no_more():
    looks = [0]

    def clock():
        looks[0] += 1
        return looks[0] * 1e-6

    measure(lambda: None, warmup=5, repeats=100, clock=clock)
    assert looks[0] == 200


def test_the_constant_cost_is_that_of_the_clock():
    now = [0.0]

    def clock():  # two looks cost 4 microseconds; the look that ends each timing is in both sides
        now[0] += 2e-6
        return now[0]

    assert instrument_us(calls=10, rounds=3, clock=clock) == pytest.approx(4.0)


# ------------------------------------------------------------------------------------------------------ stages


def test_stage_shares_add_up():
    split = stage_split.of_seconds([StageSeconds(0.001, 0.002, 0.006, 0.001)] * 3, "a picture")
    assert split.total.p50 == pytest.approx(10.0)
    assert [split.share(stage) for stage in stage_split.STAGES] == pytest.approx([0.1, 0.2, 0.6, 0.1])
    assert split.as_dict()["stages"]["infer"]["latency_ms"]["p50"] == pytest.approx(6.0)


def test_a_classifier_is_split_in_four():
    with_model = load_model("street-classifier", device="cpu", threads=1)
    split = stage_split.split_stages(with_model, repeats=2, warmup=1)
    with_model.close()
    assert set(split.stages) == set(stage_split.STAGES)
    assert split.total.n == 2
    assert "made-up" in split.picture


def test_a_detector_has_no_postprocessing_here_and_that_is_said():
    model = OnnxModel(embedded("street-small").onnx, device="cpu", threads=1)
    split = stage_split.split_stages(model, repeats=1, warmup=0)
    model.close()
    assert set(split.stages) == {"load", "preprocess", "infer"}
    assert "not decoded here" in split.note


def test_a_model_without_pictures_has_no_stages(tmp_path):
    model = load_model(doubling(tmp_path / "doubling.onnx"), device="cpu", threads=1)
    with pytest.raises(ConfigError, match="input of pictures"):
        stage_split.split_stages(model, repeats=1)


# ---------------------------------------------------------------------------------------------------- devices


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


def test_an_interval_below_the_bar_passes():
    assert PairedRatio(1.001, 0.998, 1.004, rounds=30).verdict(at_most=1.02) == "pass"
