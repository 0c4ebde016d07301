"""Files: every frame once and in order, in the announced size; every kind of damage a count or a sentence."""

import threading
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from solutions.core.errors import ConfigError, VideoError
from solutions.core.vision.video import open_source
from tests.core.video_clips import HW, STEP, make_clip, make_sound, number_of, scribble

CONTAINERS = {
    "mp4": ("libx264", "mp4"),
    "ts": ("libx264", "mpegts"),
    "avi": ("mpeg4", "avi"),
    "mkv": ("libx264", "matroska"),
    "h264": ("libx264", "h264"),
    "mjpg": ("mjpeg", "mjpeg"),
}


def balanced(source):
    return source.captured == source.yielded + sum(source.drops.values())


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


def no_file(path):
    return path / "none.mp4"


def directory(path):
    return path


def empty(path):
    (path / "e.mp4").write_bytes(b"")
    return path / "e.mp4"


def text_called_video(path):
    (path / "t.mp4").write_text("this is a letter, not a video\n" * 400)
    return path / "t.mp4"


def text(path):
    (path / "t.txt").write_text("this is a letter, not a video\n" * 400)
    return path / "t.txt"


def sound_only(path):
    return make_sound(path / "s.mp4")


def no_index(path):
    whole = make_clip(path / "c.mp4").read_bytes()
    (path / "c.mp4").write_bytes(whole[: len(whole) // 2])
    return path / "c.mp4"


def zeros(path):
    (path / "z.ts").write_bytes(bytes(100_000))
    return path / "z.ts"


def device(path):
    return "/dev/zero"


@pytest.mark.parametrize(
    ("make", "saying"),
    [
        (no_file, "no such file"),
        (directory, "is a directory"),
        (empty, "is empty"),
        (text_called_video, "no video that can be read"),
        (text, "text file"),
        (sound_only, "only sound"),
        (no_index, "cut off before its index"),
        (zeros, "no video that can be read"),
        (device, "not a regular file"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_no_video_is_refused_in_one_sentence(tmp_path, capfd, make, saying):
    path = make(tmp_path)
    with pytest.raises(VideoError, match=saying) as failure:
        open_source(str(path))
    assert str(path) in str(failure.value)
    assert capfd.readouterr() == ("", "")  # libav keeps quiet


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


@pytest.mark.parametrize("kind", ["ts", "avi", "mkv", "mjpg"])
def test_a_file_cut_off_mid_stream_plays_to_the_cut(tmp_path, kind):
    codec, container = CONTAINERS[kind]
    path = make_clip(tmp_path / f"c.{kind}", 40, codec=codec, container=container, noise=True, options={"g": "8"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_source(str(path)) as source:
        frames = list(source)
    assert 5 < len(frames) < 40
    assert balanced(source)


@pytest.mark.parametrize("kind", ["mp4", "ts", "avi", "mkv", "h264"])
def test_damage_mid_stream_is_counted_and_decoding_goes_on(tmp_path, capfd, kind):
    codec, container = CONTAINERS[kind]
    keyframes = {"g": "10"}
    path = make_clip(tmp_path / f"c.{kind}", 60, codec=codec, container=container, noise=True, options=keyframes)
    path.write_bytes(scribble(path.read_bytes(), hits=40, start=0.4, end=0.6))
    with open_source(str(path)) as source:
        frames = list(source)
    assert sum(source.drops.values()) > 0
    assert set(source.drops) <= {"corrupt", "decode_error"}
    assert balanced(source)
    assert len(frames) > 20
    if kind != "mkv":  # its demuxer may not find a way past the damage
        assert frames[-1].index > 50
    indices = [frame.index for frame in frames]
    assert indices == sorted(set(indices))
    assert capfd.readouterr() == ("", "")


def test_gaps_in_the_index_are_where_the_video_lost_frames(tmp_path):
    path = make_clip(tmp_path / "c.avi", 30, codec="mjpeg", container="avi")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        spots = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for lost in (11, 12, 20):
        at, size = spots[lost]
        data[at : at + size] = bytes(size)
    path.write_bytes(data)
    with open_source(str(path)) as source:
        frames = list(source)
    want = [n for n in range(30) if n not in (11, 12, 20)]
    assert [frame.index for frame in frames] == want
    assert [number_of(frame.pixels) for frame in frames] == want
    assert source.drops == {"decode_error": 3}


@pytest.mark.parametrize("loop", [False, True])
def test_a_stream_in_which_nothing_decodes_is_an_error(tmp_path, loop):
    path = make_clip(tmp_path / "c.mp4", 10)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start : data.index(b"moov") - 4] = bytes(len(data[start : data.index(b"moov") - 4]))
    path.write_bytes(data)
    with open_source(str(path), loop=loop) as source, pytest.raises(VideoError, match="not one picture"):
        next(source)
    assert balanced(source)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(CONTAINERS)), seed=st.integers(0, 10_000), hits=st.integers(1, 400))
def test_no_damage_does_more_than_a_count_or_a_sentence(tmp_path, kind, seed, hits):
    codec, container = CONTAINERS[kind]
    clip = tmp_path / f"whole.{kind}"
    if not clip.exists():
        make_clip(clip, 20, codec=codec, container=container, noise=True, size_hw=(48, 64))
    damaged = tmp_path / f"damaged.{kind}"
    damaged.write_bytes(scribble(clip.read_bytes(), hits=hits, start=0, end=1, seed=seed))
    try:
        with open_source(str(damaged)) as source:
            indices = [frame.index for frame in source]
    except VideoError:
        return
    assert balanced(source)
    assert indices == sorted(set(indices))
