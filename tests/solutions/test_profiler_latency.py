"""Cold and warm latency, batches and threads, on a fake clock."""

import numpy as np
import pytest

from solutions.core.errors import ConfigError
from solutions.core.measure.energy import EnergyMeter
from solutions.phase1_basics.profiling.latency import cold_start, profile_latency, sweep_batches, sweep_threads
from tests.solutions.profiler_fakes import FakeClock, FakeModel


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
