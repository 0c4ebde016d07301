"""The sink: what comes out is an H.264 MP4 that plays, whatever happened to its writer."""

import os
import resource
import shutil
from contextlib import contextmanager
from fractions import Fraction

import av
import numpy as np
import pytest

from solutions.core.errors import ConfigError, VideoError
from solutions.core.vision.video import VideoSink, open_source

needs_dev_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="not run here: no /dev/full")


def texture(number, size_hw=(96, 128)):
    noise = np.random.default_rng(1).integers(0, 255, (*size_hw, 3), np.uint8)
    return np.ascontiguousarray(np.roll(noise, number, axis=1))


def grey(number, size_hw):
    return np.full((*size_hw, 3), 20 + 5 * number, np.uint8)


def fill(sink, count):
    with sink:
        for number in range(count):
            sink.write(texture(number * 7 % 128) ^ np.uint8(number % 256))


@contextmanager
def file_size_limit(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def open_files():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.mark.parametrize("size_hw", [(96, 128), (97, 128), (96, 127), (97, 127), (1, 1)], ids=str)
def test_what_goes_in_comes_out(tmp_path, size_hw):
    path = tmp_path / "out.mp4"
    with VideoSink(path, size_hw=size_hw, fps=25) as sink:
        for number in range(20):
            sink.write(grey(number, size_hw))
    assert sink.frames == 20
    with open_source(str(path)) as source:
        frames = list(source)
    height, width = size_hw
    assert source.info.size_hw == (height + height % 2, width + width % 2)
    assert (source.info.codec, source.info.frames, source.drops) == ("h264", 20, {})
    for number, frame in enumerate(frames):
        assert np.abs(frame.pixels.astype(int) - grey(number, source.info.size_hw)).max() <= 6
        assert frame.pts_s == pytest.approx(number / 25)


@pytest.mark.parametrize(
    ("fps", "want"),
    [
        pytest.param(25, Fraction(25), id="whole"),
        pytest.param(Fraction(30000, 1001), Fraction(30000, 1001), id="ntsc"),
        pytest.param(29.97, Fraction(2997, 100), id="29.97"),
        pytest.param(30000 / 1001, Fraction(30000, 1001), id="ntsc-as-float"),
        pytest.param(12.5, Fraction(25, 2), id="12.5"),
        pytest.param(0.5, Fraction(1, 2), id="every-two-seconds"),
    ],
)
def test_the_rate_is_kept(tmp_path, fps, want):
    path = tmp_path / "out.mp4"
    with VideoSink(path, size_hw=(32, 32), fps=fps) as sink:
        for number in range(10):
            sink.write(grey(number, (32, 32)))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == want
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")


def test_arrays_that_are_no_plain_memory_are_taken(tmp_path):
    path = tmp_path / "out.mp4"
    with VideoSink(path, size_hw=(32, 64), fps=25) as sink:
        sink.write(grey(3, (64, 64))[::2])
        sink.write(grey(3, (32, 64))[:, ::-1])
    with open_source(str(path)) as source:
        assert len(list(source)) == 2


def test_it_plays_after_an_exception_in_the_body(tmp_path):
    path = tmp_path / "out.mp4"

    def work():
        with VideoSink(path, size_hw=(96, 128), fps=25) as sink:
            for number in range(13):
                sink.write(texture(number))
            raise RuntimeError("the detector died")

    with pytest.raises(RuntimeError, match="the detector died"):
        work()
    with open_source(str(path)) as source:
        assert len(list(source)) == 13


def test_what_a_killed_writer_leaves_plays(tmp_path):
    sink = VideoSink(tmp_path / "out.mp4", size_hw=(96, 128), fps=10)
    for number in range(100):
        sink.write(texture(number))
    shutil.copy(sink.path, tmp_path / "left.mp4")  # what is on the disk at this moment
    sink.close()
    with open_source(str(tmp_path / "left.mp4")) as source:
        assert 20 <= len(list(source)) <= 100


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(np.zeros((96, 127, 3), np.uint8), id="width"),
        pytest.param(np.zeros((128, 96, 3), np.uint8), id="turned"),
        pytest.param(np.zeros((96, 128), np.uint8), id="grey"),
        pytest.param(np.zeros((96, 128, 4), np.uint8), id="alpha"),
        pytest.param(np.zeros((96, 128, 3), np.float32), id="float"),
    ],
)
def test_a_frame_of_another_kind_is_refused_and_the_file_goes_on(tmp_path, wrong):
    path = tmp_path / "out.mp4"
    with VideoSink(path, size_hw=(96, 128), fps=25) as sink:
        sink.write(texture(0))
        with pytest.raises(VideoError, match=r"uint8 \(96, 128, 3\)"):
            sink.write(wrong)
        sink.write(texture(1))
    with open_source(str(path)) as source:
        assert len(list(source)) == 2


def test_closing_twice_is_fine_and_writing_after_it_is_not(tmp_path):
    sink = VideoSink(tmp_path / "out.mp4", size_hw=(96, 128), fps=25)
    sink.write(texture(0))
    sink.close()
    sink.close()
    with pytest.raises(VideoError, match="is closed"):
        sink.write(texture(1))


def test_without_a_frame_no_file_is_left(tmp_path):
    with VideoSink(tmp_path / "out.mp4", size_hw=(96, 128), fps=25):
        pass
    assert not (tmp_path / "out.mp4").exists()


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "none" / "out.mp4", tmp_path, tmp_path / "file" / "out.mp4"):
        with pytest.raises(VideoError, match="cannot be created"):
            VideoSink(path, size_hw=(96, 128), fps=25)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="not run here: root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(VideoError, match="permission"):
        VideoSink(tmp_path / "out.mp4", size_hw=(96, 128), fps=25)


@pytest.mark.parametrize("wrong", [{"fps": 0}, {"fps": -1}, {"size_hw": (0, 5)}], ids=str)
def test_a_setting_that_cannot_be_is_refused(tmp_path, wrong):
    with pytest.raises(ConfigError):
        VideoSink(tmp_path / "out.mp4", **({"size_hw": (96, 128), "fps": 25} | wrong))
    assert not (tmp_path / "out.mp4").exists()


@needs_dev_full
@pytest.mark.parametrize("count", [1, 100])
def test_a_full_disk_is_a_sentence_and_the_file_is_closed(count):
    before = open_files()
    sink = VideoSink("/dev/full", size_hw=(96, 128), fps=25)
    with pytest.raises(VideoError, match="no space left"):
        fill(sink, count)
    with pytest.raises(VideoError, match="is closed"):
        sink.write(texture(0))
    sink.close()
    assert open_files() == before
    assert os.path.exists("/dev/full")


def test_a_disk_that_fills_up_leaves_what_was_written_before(tmp_path):
    path = tmp_path / "out.mp4"
    before = open_files()
    with file_size_limit(600_000), pytest.raises(VideoError, match="cannot be"):
        fill(VideoSink(path, size_hw=(96, 128), fps=10), 2000)
    assert open_files() == before
    assert path.stat().st_size <= 600_000
    with open_source(str(path)) as source:
        assert len(list(source)) >= 10
