"""A live source whose camera dies, stalls or was never there, and how it comes back; every wait is bounded."""

import threading
from contextlib import closing

import numpy as np
import pytest

from solutions.core.errors import VideoError
from solutions.core.vision.video import ReconnectPolicy, open_source
from tests.core.video_clips import AT_ONCE, Server, answer, at_most, balanced, live_clip, make_clip, silence, until


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return live_clip(tmp_path_factory.mktemp("live"))


def test_a_camera_that_sends_only_rubbish_counts_as_lost(tmp_path):
    path = make_clip(tmp_path / "c.mjpg", 25, codec="mjpeg", container="mpjpeg")
    headers = "Content-Type: multipart/x-mixed-replace; boundary=ffmpeg"
    start = answer(path.read_bytes(), hold=False, headers=headers)

    def turns_bad(connection, closing):
        start(connection, closing)
        while not closing.wait(0.02):
            part = b"--ffmpeg\r\nContent-type: image/jpeg\r\nContent-length: 200\r\n\r\n" + bytes(200) + b"\r\n"
            connection.sendall(part)

    with Server(turns_bad) as server, open_source(server.url, timeout_s=0.5, reconnect=AT_ONCE) as source:
        until(lambda: source.reconnects >= 1)
        assert "no picture" in source.trouble
        assert source.drops["decode_error"] > 0
        server.close()
    assert balanced(source)


@pytest.mark.parametrize("hold", [False, True], ids=["it-hangs-up", "it-stalls"])
def test_a_lost_camera_that_comes_back_goes_on(clip, hold):
    scripts = answer(clip, hold=hold), answer(clip, hold=True)
    with Server(*scripts) as server, open_source(server.url, timeout_s=1, reconnect=AT_ONCE) as source:
        first = next(source)
        until(lambda: source.reconnects >= 1)
        assert source.trouble
        until(lambda: source.captured > 30)
        later = next(source)
        assert later.index > first.index
        assert later.pts_s > first.pts_s
        server.close()
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
    lost = Server(answer(clip, hold=False))
    with lost as server, open_source(server.url, reconnect=policy, sleep=delays.append) as source:
        server.refuse()
        with pytest.raises(VideoError):
            list(source)
    if source.reconnects == 0:
        assert delays == [1, 3, 9, 20, 20]
    assert delays[-3:] == [9, 20, 20]


def test_the_first_connection_is_tried_again_only_if_the_policy_says_so(clip):
    server = Server(answer(clip, hold=True))
    delays = []

    def sleep(seconds):
        delays.append(seconds)
        if len(delays) == 2:
            server.listen()

    policy = ReconnectPolicy(first_delay_s=1, jitter=0, retry_first=True)
    with closing(server), open_source(server.url, reconnect=policy, sleep=sleep) as source:
        assert delays == [1, 2]
        next(source)
        server.close()


def test_stop_ends_the_attempts_to_connect():
    server, stop = Server(silence), threading.Event()
    policy = ReconnectPolicy(retry_first=True)

    with pytest.raises(VideoError, match="Stopped before"):
        open_source(server.url, reconnect=policy, stop=stop, sleep=lambda seconds: stop.set())
    server.refuse()


def test_close_interrupts_the_wait_before_a_reconnection(clip):
    policy = ReconnectPolicy(first_delay_s=60, max_delay_s=60)
    with Server(answer(clip, hold=False)) as server:
        source = open_source(server.url, reconnect=policy)
        until(lambda: source.trouble is not None)
        with at_most(1):
            source.close()
    assert balanced(source)
