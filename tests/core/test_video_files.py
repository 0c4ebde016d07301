"""Files: every frame once and in order, in the announced size, on one timeline."""

import threading
from fractions import Fraction

import av
import numpy as np
import pytest

from solutions.core.errors import ConfigError, VideoError
from solutions.core.vision.video import open_source
from tests.core.video_clips import CONTAINERS, HW, STEP, balanced, make_clip, number_of


@pytest.mark.parametrize("kind", CONTAINERS)
def test_every_frame_comes_once_in_order(tmp_path, kind):
    codec, container = CONTAINERS[kind]
    path = make_clip(tmp_path / f"clip.{kind}", 30, codec=codec, container=container)
    with open_source(str(path), stream_id="gate") as source:
        frames = list(source)
        fps = source.info.fps
    assert [number_of(frame.pixels) for frame in frames] == list(range(30))
    assert [frame.index for frame in frames] == list(range(30))
    assert [frame.pts_s for frame in frames] == pytest.approx([n / fps for n in range(30)], abs=0.002)
    assert {frame.stream_id for frame in frames} == {"gate"}
    assert {frame.size_hw for frame in frames} == {HW}
    assert source.drops == {}
    assert balanced(source)


def test_the_announcement(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", 12, fps=Fraction(30000, 1001))
    with open_source(str(path)) as source:
        info = source.info
        frame = next(source)
    assert (info.spec, info.kind, info.size_hw, info.frames, info.codec, info.live) == (
        str(path),
        "file",
        HW,
        12,
        "h264",
        False,
    )
    assert info.fps == pytest.approx(29.97, abs=0.001)
    assert frame.stream_id == "clip.mp4"
    assert frame.decode_s > 0


@pytest.mark.parametrize("size_hw", [(48, 64), (95, 127), (33, 50), (192, 320), (1, 1)], ids=str)
def test_any_size_comes_out_contiguous(tmp_path, size_hw):
    path = make_clip(tmp_path / "clip.mp4", 3)
    with open_source(str(path), size_hw=size_hw) as source:
        frames = list(source)
    assert source.info.size_hw == size_hw
    for number, frame in enumerate(frames):
        assert frame.pixels.shape == (*size_hw, 3)
        assert frame.pixels.dtype == np.uint8
        assert frame.pixels.flags.c_contiguous
        assert np.ptp(frame.pixels) <= STEP  # padding bytes would show
        assert number_of(frame.pixels) == number


def test_also_scale_hands_out_the_same_picture_twice(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", 5)
    with open_source(str(clip)) as source:
        source.also_scale((48, 64))
        frames = list(source)
    assert [frame.pixels.shape for frame in frames] == [(*HW, 3)] * 5
    assert [frame.scaled.shape for frame in frames] == [(48, 64, 3)] * 5
    assert [number_of(frame.scaled) for frame in frames] == [number_of(frame.pixels) for frame in frames] == [*range(5)]
    assert all(frame.scaled.flags.c_contiguous for frame in frames)


def test_also_scale_to_the_size_of_the_source_costs_nothing(tmp_path):
    with open_source(str(make_clip(tmp_path / "clip.mp4", 2))) as source:
        source.also_scale(HW)
        assert next(source).scaled is None


def test_a_smaller_picture_averages_what_it_merges(tmp_path):
    stripes = np.tile(np.array([16, 235], np.uint8), (HW[0], HW[1] // 2))  # one pixel each: what skipping would alias
    planes = np.concatenate((stripes, np.full((HW[0] // 2, HW[1]), 128, np.uint8)))
    path = tmp_path / "stripes.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = HW
        container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode(None))
    with open_source(str(path), size_hw=(HW[0] // 4, HW[1] // 4)) as source:
        inside = next(source).pixels[4:-4, 4:-4]
    assert abs(inside.astype(int) - 127).max() <= 4


def test_frames_stay_as_they_are_while_later_ones_are_decoded(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", 20)
    with open_source(str(path)) as source:
        frames = list(source)
    assert [number_of(frame.pixels) for frame in frames] == list(range(20))


def test_a_size_that_changes_mid_stream_comes_out_in_the_announced_size(tmp_path):
    small = make_clip(tmp_path / "a.h264", 5, container="h264").read_bytes()
    large = make_clip(tmp_path / "b.h264", 5, container="h264", size_hw=(192, 256)).read_bytes()
    (tmp_path / "both.h264").write_bytes(small + large)
    with open_source(str(tmp_path / "both.h264")) as source:
        frames = list(source)
    assert len(frames) == 10
    assert {frame.pixels.shape for frame in frames} == {(*HW, 3)}


def test_two_recordings_spliced_together_keep_one_timeline(tmp_path):
    part = make_clip(tmp_path / "a.ts", 10, container="mpegts").read_bytes()
    (tmp_path / "both.ts").write_bytes(part + part)
    with open_source(str(tmp_path / "both.ts")) as source:
        times = [frame.pts_s for frame in source]
    assert len(times) >= 18
    assert np.all(np.diff(times) > 0)
    assert times[-1] < 1.0


@pytest.mark.parametrize("kind", ["mp4", "avi", "ts"])
def test_looping_goes_on_in_index_and_time(tmp_path, kind):
    codec, container = CONTAINERS[kind]
    path = make_clip(tmp_path / f"clip.{kind}", 7, codec=codec, container=container)
    with open_source(str(path), loop=True, max_frames=20) as source:
        frames = list(source)
    assert source.info.frames is None
    assert [frame.index for frame in frames] == list(range(20))
    assert [number_of(frame.pixels) for frame in frames] == [n % 7 for n in range(20)]
    assert np.diff([frame.pts_s for frame in frames]) == pytest.approx(0.04, abs=0.002)
    assert balanced(source)


def test_a_looping_file_that_disappears_is_an_error(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", 4)
    with open_source(str(path), loop=True) as source:
        next(source)
        path.unlink()
        with pytest.raises(VideoError, match=r"clip\.mp4"):
            list(source)


def test_max_frames_and_leaving_early_balance(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", 30)
    with open_source(str(path), max_frames=5) as source:
        assert len(list(source)) == 5
        assert next(iter(source), None) is None
    assert (source.captured, source.yielded) == (5, 5)
    with open_source(str(path)) as source:
        next(source)
    assert balanced(source)
    assert list(source) == []
    source.close()


def test_stop_ends_the_iteration(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", 30)
    stop = threading.Event()
    with open_source(str(path), loop=True, stop=stop) as source:
        for frame in source:
            if frame.index == 40:
                stop.set()
    assert source.yielded == 41


@pytest.mark.parametrize("spec", ["ftp://host/x.mp4", "scenes:", "scenes:x", "scenes:1@0x4", "a\0b"], ids=repr)
def test_a_spec_that_means_nothing_is_refused(spec):
    with pytest.raises(VideoError):
        open_source(spec)


@pytest.mark.parametrize(
    "wrong", [{"timeout_s": 0}, {"size_hw": (0, 4)}, {"max_frames": 0}, {"decode_threads": 0}], ids=str
)
def test_a_setting_that_cannot_be_is_refused(tmp_path, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        open_source(str(make_clip(tmp_path / "c.mp4", 2)), **wrong)
