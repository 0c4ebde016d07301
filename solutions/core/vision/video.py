"""Video in and out: `open_source` for files, cameras, network streams and synthetic scenes; `VideoSink` for MP4.

Everything goes through PyAV. A source is an iterator of `Frame` and keeps its books: captured = yielded + in flight +
drops, every drop under a name. Files wait for their reader; cameras and streams do not, and the newest frame wins.

>>> from solutions.core.vision.video import open_source
>>> with open_source("street.mp4", size_hw=(192, 320)) as source:  # doctest: +SKIP
...     for frame in source:
...         detect(frame.pixels)
"""

from __future__ import annotations

import os
import random
import re
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import av

from solutions.core.errors import ConfigError, VideoError
from solutions.core.vision.video_decode import Address, VideoReader
from solutions.core.vision.video_live import LiveSource, first_connection
from solutions.core.vision.video_pull import Feed, FileFeed, PulledSource
from solutions.core.vision.video_scenes import SCENE_FPS, SceneFeed, parse_scenes
from solutions.core.vision.video_sink import VideoSink
from solutions.core.vision.video_source import FrameSource, Pause, ReconnectPolicy, SourceInfo

__all__ = ["FrameSource", "ReconnectPolicy", "SourceInfo", "VideoSink", "open_source"]

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+)://(?:(?P<login>[^/@]*)@)?(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_CAMERA = re.compile(r"(?:/dev/video)?(?P<index>\d+)")
_DEFAULT_POLICY = ReconnectPolicy()


def open_source(
    spec: str,
    *,
    stream_id: str | None = None,
    size_hw: tuple[int, int] | None = None,
    realtime: bool = False,
    loop: bool = False,
    max_frames: int | None = None,
    timeout_s: float = 10.0,
    reconnect: ReconnectPolicy = _DEFAULT_POLICY,
    decode_threads: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] | None = None,
    stop: threading.Event | None = None,
) -> FrameSource:
    """An open source of frames; close it, or use it in a `with`.

    Args:
        spec: a path; the index of a camera ("0"); rtsp(s):// (over TCP) or http(s)://; `scenes:SEED[@WIDTHxHEIGHT]`.
            A URL whose server says how long it is counts as a recording and is read like a file.
        stream_id: the name on every frame; made from `spec` if None.
        size_hw: height and width of the frames in pixels; as in the source if None. The picture is stretched to it.
        realtime: pace files and scenes like a camera: frames that were due while the reader was busy are `stale`.
        loop: start a recording over at its end; index and time go on.
        max_frames: end after this many frames were captured, the lost ones included.
        timeout_s: how long a camera or server may be silent before the connection counts as lost. libav limits name
            look-up and TCP connection by itself, to some 5 s.
        reconnect: what to do when a live source is lost.
        decode_threads: threads of one decoder; with many streams, one each is best.
        clock: seconds, for `captured_at_s` and pacing.
        sleep: replaces the waiting; for tests with a fake clock.
        stop: setting it ends the iteration, at the latest when libav's timeout has passed.

    Raises:
        ConfigError: a setting out of range.
        VideoError: it cannot be opened, or is not a video.
    """
    if timeout_s <= 0:
        raise ConfigError(f"timeout_s must be > 0 seconds, got {timeout_s}")
    if size_hw is not None and min(size_hw) < 1:
        raise ConfigError(f"size_hw must be >= 1 pixel each way, got {size_hw}")
    if max_frames is not None and max_frames < 1:
        raise ConfigError(f"max_frames must be >= 1 or None, got {max_frames}")
    if decode_threads < 1:
        raise ConfigError(f"decode_threads must be >= 1, got {decode_threads}")
    pause = Pause(stop, sleep)

    def pulled(info: SourceInfo, feed: Feed, name: str) -> PulledSource:
        return PulledSource(
            info,
            feed,
            stream_id=stream_id or name,
            realtime=realtime,
            max_frames=max_frames,
            clock=clock,
            pause=pause,
        )

    if spec.startswith("scenes:"):
        seed, scene_hw = parse_scenes(spec)
        size_hw = size_hw or scene_hw
        info = SourceInfo(spec, "scenes", size_hw, SCENE_FPS, None, "scene", live=False)
        return pulled(info, SceneFeed(seed, size_hw), spec)

    kind, name, address = _address(spec, timeout_s, decode_threads)
    rng = random.Random(stream_id or name)  # streams of different names return at different moments

    def connect() -> VideoReader:
        return VideoReader(address)

    reader = connect() if kind == "file" else first_connection(connect, reconnect, pause, rng)
    live = kind == "camera" or (kind == "url" and not reader.recorded)
    frames = None if live or loop else reader.frames
    info = SourceInfo(address.shown, kind, size_hw or reader.size_hw, reader.fps, frames, reader.codec, live)
    if not live:
        return pulled(info, FileFeed(reader, address, loop=loop), name)
    return LiveSource(
        info,
        reader,
        connect,
        stream_id=stream_id or name,
        policy=reconnect,
        rng=rng,
        timeout_s=timeout_s,
        max_frames=max_frames,
        clock=clock,
        pause=pause,
    )


def _address(spec: str, timeout_s: float, decode_threads: int) -> tuple[str, str, Address]:
    """The kind of `spec`, a short name for it, and where libav finds it."""
    if camera := _CAMERA.fullmatch(spec):
        target, container_format = _camera(int(camera["index"]))
        shown = f"camera {camera['index']}"
        return "camera", shown, Address(shown, target, container_format, None, timeout_s, decode_threads)
    if url := _URL.fullmatch(spec):
        scheme, shown = url["scheme"].lower(), f"{url['scheme']}://{url['rest']}"
        microseconds = str(int(timeout_s * 1e6))
        if scheme in ("rtsp", "rtsps"):
            options = {"rtsp_transport": "tcp", "timeout": microseconds}
        elif scheme in ("http", "https"):
            options = {"rw_timeout": microseconds}
        else:
            raise VideoError(f"{shown} is of a kind that is not read here: use rtsp, rtsps, http or https, or a file.")
        return "url", shown, Address(shown, spec, None, options, timeout_s, decode_threads)
    _check_file(spec)
    return "file", Path(spec).name, Address(spec, f"file:{spec}", decode_threads=decode_threads)


def _camera(index: int) -> tuple[str, str]:
    """Target and libav format of camera `index` on this system."""
    target, container_format = (
        (str(index), "avfoundation") if sys.platform == "darwin" else (f"/dev/video{index}", "v4l2")
    )
    try:
        av.ContainerFormat(container_format, "r")
    except ValueError as error:
        raise VideoError(
            f"This build of PyAV cannot read cameras (no {container_format}): serve it as rtsp:// or http://."
        ) from error
    return target, container_format


def _check_file(path: str) -> None:
    """Refuse what libav would report in a puzzling way or wait for without end."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(f"{path} cannot be opened: {reason.lower()}. Check the path.") from error
    if stat.S_ISDIR(status.st_mode):
        raise VideoError(f"{path} is a directory: name a video file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(f"{path} is not a regular file: name a video file.")
    if status.st_size == 0:
        raise VideoError(f"{path} is empty: it was never written, or its copy failed.")
