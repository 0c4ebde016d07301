"""Every kind of damage to a file is a count or a sentence, never a hang, a crash or a silent loss."""

import av
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from solutions.core.errors import VideoError
from solutions.core.vision.video import open_source
from tests.core.video_clips import CONTAINERS, balanced, make_clip, make_sound, number_of, scribble


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
@example(kind="ts", seed=135, hits=52)  # the damage looks like one more stream
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
