"""Paced sources on a fake clock: on time nothing is lost; late, the newest frame wins and the rest are counted."""

import sys
import threading
import types
from fractions import Fraction

import numpy as np
import pytest

from solutions.core.vision.scenes import StreetScene
from solutions.core.vision.video import open_source
from tests.core.video_clips import make_clip, number_of


class FakeClock:
    """Time passes only when somebody sleeps or works."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds


class StubStreet:
    """Stands in for the synthetic street: numbered frames, the truth is the number."""

    def __init__(self, seed, size_hw=(360, 640), fps=30.0):
        self.seed, self.size_hw, self.fps = seed, size_hw, fps

    def render(self):
        return next(self.frames())

    def frames(self, count=None):
        number = 0
        while True:
            yield np.full((*self.size_hw, 3), number % 256, np.uint8), (self.seed, number)
            number += 1


@pytest.fixture
def street(monkeypatch):
    module = types.ModuleType("solutions.core.vision.scenes")
    module.StreetScene = StubStreet
    monkeypatch.setitem(sys.modules, "solutions.core.vision.scenes", module)


def test_a_reader_on_time_gets_every_frame_when_it_is_due(tmp_path):
    clock = FakeClock()
    path = make_clip(tmp_path / "c.mp4", 20, fps=25)
    with open_source(str(path), realtime=True, clock=clock, sleep=clock.sleep) as source:
        for number, frame in enumerate(source):
            assert number_of(frame.pixels) == frame.index == number
            assert clock.now_s == pytest.approx(1000 + frame.pts_s)
            assert frame.captured_at_s == pytest.approx(1000 + frame.pts_s)
    assert number == 19
    assert source.drops == {}


@pytest.mark.parametrize(("work_s", "every"), [(0.03, 1), (0.07, 2), (0.11, 3), (0.35, 9)])
def test_a_slow_reader_gets_the_newest_frame_and_the_others_are_stale(tmp_path, work_s, every):
    clock = FakeClock()
    options = {"bf": "0", "tune": "zerolatency"}
    path = make_clip(tmp_path / "c.mp4", 30, fps=25, options=options)
    ages, indices = [], []
    with open_source(str(path), realtime=True, clock=clock, sleep=clock.sleep) as source:
        for frame in source:
            ages.append(clock() - frame.captured_at_s)
            indices.append(frame.index)
            assert number_of(frame.pixels) == frame.index
            clock.now_s += work_s
    assert max(ages[:-1]) <= 0.04 + 1e-6  # never older than one frame interval: nothing queues up
    assert max(np.diff(indices)) <= every
    assert source.captured == 30 == source.yielded + sum(source.drops.values())
    assert source.drops.get("stale", 0) == 30 - len(indices)


def test_reordered_pictures_are_paced_too(tmp_path):
    clock = FakeClock()
    path = make_clip(tmp_path / "c.mp4", 24, fps=25, noise=True, options={"bf": "3", "preset": "slow"})
    with open_source(str(path), realtime=True, clock=clock, sleep=clock.sleep) as source:
        for frame in source:
            assert frame.captured_at_s <= clock() + 1e-9
            assert clock.now_s == pytest.approx(1000 + frame.pts_s, abs=0.13)
    assert source.yielded == 24


def test_a_long_absence_costs_no_backlog(tmp_path):
    clock = FakeClock()
    path = make_clip(tmp_path / "c.mp4", 10, fps=10, options={"bf": "0", "tune": "zerolatency"})
    with open_source(str(path), realtime=True, loop=True, clock=clock, sleep=clock.sleep) as source:
        next(source)
        clock.now_s += 5.02
        frame = next(source)
        assert (frame.index, number_of(frame.pixels)) == (50, 0)
        assert next(source).index == 51
    assert source.drops == {"stale": 49}


def test_a_jump_in_the_timestamps_does_not_stop_the_clock(tmp_path):
    clock = FakeClock()
    part = make_clip(tmp_path / "a.ts", 10, container="mpegts").read_bytes()
    offset = {"output_ts_offset": "3000"}
    later = make_clip(tmp_path / "b.ts", 10, container="mpegts", container_options=offset).read_bytes()
    (tmp_path / "both.ts").write_bytes(part + later)
    with open_source(str(tmp_path / "both.ts"), realtime=True, clock=clock, sleep=clock.sleep) as source:
        count = len(list(source))
    assert count >= 18
    assert clock.now_s < 1002


def test_stop_interrupts_the_wait_for_a_frame(tmp_path):
    path = make_clip(tmp_path / "c.mp4", 3, fps=Fraction(1, 100))  # the second frame is due in 100 s
    stop = threading.Event()
    with open_source(str(path), realtime=True, stop=stop) as source:
        got = []
        reader = threading.Thread(target=lambda: got.extend(source))
        reader.start()
        reader.join(0.3)
        assert reader.is_alive()
        stop.set()
        reader.join(2)
        assert not reader.is_alive()
    assert len(got) <= 1


def test_scenes_carry_their_truth(street):
    with open_source("scenes:7@64x48", stream_id="s", max_frames=5) as source:
        frames = list(source)
    assert (source.info.kind, source.info.size_hw, source.info.fps) == ("scenes", (48, 64), 30.0)
    assert (source.info.frames, source.info.live) == (None, False)
    assert [frame.truth for frame in frames] == [(7, n) for n in range(5)]
    assert [frame.index for frame in frames] == list(range(5))
    assert [frame.pts_s for frame in frames] == pytest.approx([n / 30 for n in range(5)])
    assert frames[0].pixels.shape == (48, 64, 3)


def test_scenes_are_drawn_in_the_wanted_size(street):
    with open_source("scenes:7@64x48", size_hw=(30, 40), max_frames=1) as source:
        assert next(source).pixels.shape == (30, 40, 3)


def test_paced_scenes_drop_for_a_slow_reader(street):
    clock = FakeClock()
    with open_source("scenes:7", realtime=True, clock=clock, sleep=clock.sleep, max_frames=90) as source:
        indices = []
        for frame in source:
            indices.append(frame.index)
            assert frame.truth == (7, frame.index)
            clock.now_s += 0.1001
    assert set(np.diff(indices[1:-1])) <= {3, 4}
    assert source.captured == 90 == source.yielded + source.drops["stale"]


def test_the_real_street_comes_through_unchanged():
    with open_source("scenes:3@160x96", max_frames=3) as source:
        frames = list(source)
    for frame, (pixels, truth) in zip(frames, StreetScene(3, size_hw=(96, 160), fps=30.0).frames(3), strict=True):
        assert np.array_equal(frame.pixels, pixels)
        assert np.array_equal(frame.truth.boxes, truth.boxes)
