"""Stream time never runs backwards; the wait before a reconnection grows and stays bounded."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solutions.core.errors import ConfigError
from solutions.core.vision.video_source import Ledger, ReconnectPolicy
from solutions.core.vision.video_timeline import Timeline

stamps = st.one_of(st.none(), st.floats(-1e6, 1e6))


@given(st.lists(st.tuples(stamps, st.booleans()), max_size=60))
def test_pictures_get_later_and_arrivals_never_earlier_whatever_the_timestamps(steps):
    timeline = Timeline(0.04)
    times, dues = [], []
    for raw, again in steps:
        if again:
            timeline.restart()
        dues.append(timeline.arrival(raw))
        times.append(timeline.picture(raw))
    assert all(a < b for a, b in pairwise(times))
    assert all(a <= b for a, b in pairwise(dues))
    assert not times or times[0] >= 0


@given(st.floats(-1000, 1000), st.integers(2, 50))
def test_regular_timestamps_come_out_as_they_are_less_the_start(start, count):
    timeline = Timeline(0.1)
    got = [timeline.picture(start + n * 0.1) for n in range(count)]
    assert got == pytest.approx([n * 0.1 for n in range(count)], abs=1e-6)


def test_a_lost_picture_leaves_its_room_where_there_are_no_timestamps():
    timeline = Timeline(0.5)
    timeline.picture(None)
    timeline.lost()
    assert timeline.picture(None) == 1.0


def test_after_a_reconnection_time_goes_on_by_the_gap():
    timeline = Timeline(0.5)
    timeline.picture(100.0)
    timeline.restart(gap_s=7.0)
    assert [timeline.picture(5000.0), timeline.picture(5000.5)] == [7.0, 7.5]


@given(st.integers(1, 10_000), st.integers())
def test_delays_stay_within_the_jittered_bound(attempt, seed):
    policy = ReconnectPolicy(first_delay_s=0.5, factor=2, max_delay_s=10, jitter=0.2)
    ideal = min(10, 0.5 * 2 ** min(attempt - 1, 10))
    assert ideal * 0.8 - 1e-9 <= policy.delay_s(attempt, random.Random(seed)) <= min(10, ideal * 1.2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"first_delay_s": 0},
        {"first_delay_s": 11.0},
        {"factor": 0.5},
        {"jitter": 1.0},
        {"max_attempts": -1},
    ],
    ids=str,
)
def test_a_policy_that_cannot_work_is_refused(wrong):
    with pytest.raises(ConfigError):
        ReconnectPolicy(**wrong)


def test_the_ledger_balances():
    ledger = Ledger()
    indices = [ledger.capture() for _ in range(5)]
    ledger.drop("stale")
    ledger.drop("stale")
    ledger.drop("corrupt")
    ledger.deliver()
    ledger.deliver()
    assert indices == [0, 1, 2, 3, 4]
    assert ledger.captured == ledger.yielded + sum(ledger.drops.values())
    assert ledger.drops == {"stale": 2, "corrupt": 1}
