"""Live sources against real servers on loopback that stall, die, lie and come back; every wait is bounded."""

import contextlib
import threading
import time

import numpy as np
import pytest

from solutions.core.errors import VideoError
from solutions.core.vision import video, video_live
from solutions.core.vision.video import ReconnectPolicy, open_source
from solutions.core.vision.video_source import Pause, SourceInfo
from tests.core.video_clips import HW, Server, answer, drip, make_clip, number_of, rtsp, silence, until

AT_ONCE = ReconnectPolicy(first_delay_s=0.001, max_delay_s=0.01)
LOW_DELAY = {"bf": "0", "tune": "zerolatency", "g": "5"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("live") / "c.ts"
    return make_clip(path, 30, container="mpegts", options=LOW_DELAY).read_bytes()


@contextlib.contextmanager
def at_most(limit_s):
    started = time.monotonic()
    yield
    assert time.monotonic() - started < limit_s


def balanced(source):
    return source.captured == source.yielded + sum(source.drops.values())


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
    assert balanced(source)
    assert not [thread for thread in threading.enumerate() if thread.name == "video cam"]


def test_what_was_never_taken_is_stale_when_it_closes(clip):
    with Server(answer(clip, hold=True)) as server:
        with open_source(server.url, size_hw=(32, 32)) as source:
            until(lambda: nearly_all(source))
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


def test_motion_jpeg_over_http(tmp_path):
    path = make_clip(tmp_path / "c.mjpg", 25, codec="mjpeg", container="mpjpeg")
    headers = "Content-Type: multipart/x-mixed-replace; boundary=ffmpeg"
    with Server(answer(path.read_bytes(), hold=True, headers=headers)) as server:
        with open_source(server.url, timeout_s=3) as source:
            frame = next(source)
            assert source.info.live
            assert number_of(frame.pixels) == frame.index


@pytest.mark.parametrize("hold", [False, True], ids=["it-hangs-up", "it-stalls"])
def test_a_lost_camera_that_comes_back_goes_on(clip, hold):
    with Server(answer(clip, hold=hold), answer(clip, hold=True)) as server:
        with open_source(server.url, timeout_s=0.5, reconnect=AT_ONCE) as source:
            first = next(source)
            until(lambda: source.reconnects >= 1)
            assert source.trouble
            until(lambda: source.captured > 30)
            later = next(source)
            if later.index < 28:  # the newest of the first connection was still in the slot
                later = next(source)
            assert later.index > first.index
            assert later.pts_s > first.pts_s
    assert balanced(source)


def test_a_camera_that_dies_again_and_again_keeps_one_timeline(clip):
    with Server(answer(clip, hold=False)) as server, open_source(server.url, reconnect=AT_ONCE) as source:
        frames = []
        with at_most(20):
            for frame in source:
                frames.append(frame)
                if source.reconnects >= 5:
                    break
    assert np.all(np.diff([frame.index for frame in frames]) > 0)
    assert np.all(np.diff([frame.pts_s for frame in frames]) > 0)
    assert balanced(source)


def test_giving_up_is_an_error_in_the_reader_after_the_last_frame(clip):
    policy = ReconnectPolicy(first_delay_s=0.001, max_delay_s=0.01, max_attempts=3)
    with Server(answer(clip, hold=False)) as server, open_source(server.url, reconnect=policy) as source:
        server.refuse()
        with at_most(10), pytest.raises(VideoError, match="Gave up after 3 attempts"):
            list(source)
        assert source.yielded >= 1
        with pytest.raises(VideoError):
            next(source)
    assert balanced(source)


def test_the_delays_between_attempts_grow(clip):
    delays = []
    policy = ReconnectPolicy(first_delay_s=1, factor=3, max_delay_s=20, max_attempts=5, jitter=0)
    with Server(answer(clip, hold=False)) as server:
        with open_source(server.url, reconnect=policy, sleep=delays.append) as source:
            server.refuse()
            with pytest.raises(VideoError):
                list(source)
    if source.reconnects == 0:
        assert delays == [1, 3, 9, 20, 20]
    assert delays[-3:] == [9, 20, 20]


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


def test_the_first_connection_is_tried_again_only_if_the_policy_says_so(clip):
    server = Server(answer(clip, hold=True))
    delays = []

    def sleep(seconds):
        delays.append(seconds)
        if len(delays) == 2:
            server.listen()

    policy = ReconnectPolicy(first_delay_s=1, jitter=0, retry_first=True)
    with contextlib.closing(server), open_source(server.url, reconnect=policy, sleep=sleep) as source:
        assert delays == [1, 2]
        next(source)


def test_stop_ends_the_attempts_to_connect():
    server, stop = Server(silence), threading.Event()
    policy = ReconnectPolicy(retry_first=True)

    with pytest.raises(VideoError, match="Stopped before"):
        open_source(server.url, reconnect=policy, stop=stop, sleep=lambda seconds: stop.set())
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


def test_close_interrupts_the_wait_before_a_reconnection(clip):
    policy = ReconnectPolicy(first_delay_s=60, max_delay_s=60)
    with Server(answer(clip, hold=False)) as server:
        source = open_source(server.url, reconnect=policy)
        until(lambda: source.trouble is not None)
        with at_most(1):
            source.close()
    assert balanced(source)


def test_a_recording_on_a_server_is_read_like_a_file(clip):
    length = f"Content-Type: video/mp2t\r\nContent-Length: {len(clip)}"
    with Server(answer(clip, hold=False, headers=length)) as server, open_source(server.url) as source:
        assert not source.info.live
        assert [number_of(frame.pixels) for frame in source] == list(range(30))


def test_a_recording_that_breaks_off_is_an_error(clip):
    length = f"Content-Type: video/mp2t\r\nContent-Length: {len(clip)}"
    with Server(answer(clip[: len(clip) // 2], hold=False, headers=length)) as server:
        with open_source(server.url) as source, pytest.raises(VideoError):
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
