"""Live sources against real servers on loopback that say much, little or nothing; every wait is bounded."""

import threading
import time

import numpy as np
import pytest

from solutions.core.errors import VideoError
from solutions.core.vision import video, video_live
from solutions.core.vision.video import open_source
from solutions.core.vision.video_source import Pause, SourceInfo
from tests.core.video_clips import (
    AT_ONCE,
    HW,
    Server,
    answer,
    at_most,
    balanced,
    drip,
    live_clip,
    make_clip,
    number_of,
    rtsp,
    silence,
    until,
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return live_clip(tmp_path_factory.mktemp("live"))


def nearly_all(source):
    """The whole clip has arrived, but for what the demuxer holds back until more comes."""
    return source.captured >= 28


def test_the_newest_frame_wins_and_the_others_are_stale(clip):
    with Server(answer(clip, hold=True)) as server, open_source(server.url, stream_id="cam") as source:
        assert (source.info.kind, source.info.live, source.info.frames) == ("url", True, None)
        until(lambda: nearly_all(source))
        frame = next(source)
        assert frame.index >= 27
        assert number_of(frame.pixels) == frame.index
        assert frame.pixels.shape == (*HW, 3)
        assert source.drops["stale"] == frame.index
        assert frame.captured_at_s <= time.perf_counter()
        server.close()
    assert balanced(source)
    assert not [thread for thread in threading.enumerate() if thread.name == "video cam"]


def test_what_was_never_taken_is_stale_when_it_closes(clip):
    with Server(answer(clip, hold=True)) as server:
        with open_source(server.url, size_hw=(32, 32)) as source:
            until(lambda: nearly_all(source))
            server.close()
        source.close()
    assert source.yielded == 0
    assert balanced(source)
    assert list(source) == []


def test_max_frames_ends_a_live_source(clip):
    with Server(answer(clip, hold=True)) as server, open_source(server.url, max_frames=10) as source:
        with at_most(5):
            frames = list(source)
        assert frames[-1].index == 9
    assert source.captured == 10
    assert balanced(source)


def test_rtsp_over_tcp(clip):
    with Server(rtsp(clip), scheme="rtsp") as server, open_source(server.url, timeout_s=3) as source:
        frame = next(source)
        assert source.info.live
        assert number_of(frame.pixels) == frame.index
        server.close()


def test_motion_jpeg_over_http(tmp_path):
    path = make_clip(tmp_path / "c.mjpg", 25, codec="mjpeg", container="mpjpeg")
    headers = "Content-Type: multipart/x-mixed-replace; boundary=ffmpeg"
    camera = answer(path.read_bytes(), hold=True, headers=headers)
    with Server(camera) as server, open_source(server.url, timeout_s=3) as source:
        frame = next(source)
        assert source.info.live
        assert number_of(frame.pixels) == frame.index
        server.close()


def test_nobody_listens():
    server = Server(silence)
    with at_most(5), pytest.raises(VideoError, match="nothing listens"):
        open_source(server.url)
    server.refuse()


@pytest.mark.parametrize(
    ("script", "scheme"), [(silence, "http"), (silence, "rtsp"), (drip, "http")], ids=["http", "rtsp", "drip"]
)
def test_a_server_that_says_nothing_times_out(script, scheme):
    with Server(script, scheme=scheme) as server, at_most(4), pytest.raises(VideoError, match=r"no data for 0\.4 s"):
        open_source(server.url, timeout_s=0.4)


def test_a_server_that_says_no():
    def refuse(connection, closing):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    with Server(refuse) as server, pytest.raises(VideoError, match="404"):
        open_source(server.url)


def test_a_password_is_never_shown():
    server = Server(silence)
    url = server.url.replace("http://", "http://admin:hunter2@")
    with pytest.raises(VideoError) as failure:
        open_source(url)
    assert "hunter2" not in str(failure.value)
    server.refuse()


def test_stop_ends_the_wait_for_a_stalled_camera_at_once(clip):
    stop = threading.Event()
    with Server(answer(clip, hold=True)) as server, open_source(server.url, timeout_s=1, stop=stop) as source:
        until(lambda: nearly_all(source))
        next(source)
        reader = threading.Thread(target=lambda: list(source))
        reader.start()
        with at_most(1):
            stop.set()
            reader.join(5)
        with at_most(2.0):
            source.close()
    assert balanced(source)


def test_a_recording_on_a_server_is_read_like_a_file(clip):
    length = f"Content-Type: video/mp2t\r\nContent-Length: {len(clip)}"
    with Server(answer(clip, hold=False, headers=length)) as server, open_source(server.url) as source:
        assert not source.info.live
        assert [number_of(frame.pixels) for frame in source] == list(range(30))


def test_a_recording_that_breaks_off_is_an_error(clip):
    length = f"Content-Type: video/mp2t\r\nContent-Length: {len(clip)}"
    broken = answer(clip[: len(clip) // 2], hold=False, headers=length)
    with Server(broken) as server, open_source(server.url) as source, pytest.raises(VideoError):
        list(source)
    assert balanced(source)


def test_a_camera_is_found_by_its_number_and_comes_back(monkeypatch):
    monkeypatch.setattr(video, "_camera", lambda index: ("testsrc=size=64x48:rate=25:duration=1", "lavfi"))
    with open_source("0", reconnect=AT_ONCE) as source:
        assert (source.info.spec, source.info.kind, source.info.live) == ("camera 0", "camera", True)
        assert next(source).pixels.shape == (48, 64, 3)
        until(lambda: source.reconnects >= 2)
    assert balanced(source)


def test_a_camera_that_is_not_there():
    with pytest.raises(VideoError, match="camera 99"):
        open_source("99")


def test_a_driver_that_hangs_is_an_error_in_the_reader():
    release = threading.Event()

    class Hung:
        def packets(self):
            release.wait(20)
            return iter(())

        def close(self):
            pass

    info = SourceInfo("camera 0", "camera", HW, 25.0, None, "h264", live=True)
    source = video_live.LiveSource(
        info,
        Hung(),
        Hung,
        stream_id="hung",
        policy=AT_ONCE,
        rng=np.random.default_rng(0),
        timeout_s=0.05,
        max_frames=None,
        clock=time.perf_counter,
        pause=Pause(None, None),
    )
    with at_most(5), pytest.raises(VideoError, match="hung"):
        next(source)
    with at_most(2):
        source.close()
    release.set()
