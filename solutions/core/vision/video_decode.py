"""One open container: its packets, decoded; every failure a sentence, every lost picture an entry.

A picture goes from the decoder's own format to BGR in the wanted size in one pass of one persistent scaler per stream:
`frame.reformat()` would build a new scaler for every frame, which costs more than decoding it. Rotation metadata and
non-square pixels are not applied: what comes out is the coded picture, stretched to the wanted size.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from solutions.core.errors import VideoError
from solutions.core.vision.video_source import Lost

SCALER_OPTIONS: dict[str, Any] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}
_ONE_PICTURE_PER_PACKET = frozenset({"h264", "hevc"})
_MAX_BAD_READS = 16
_REORDER_DEPTH = 16
_FALLBACK_FPS = 25.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where libav finds a stream. `shown` is the name for messages (no password); `timeout_s` None never times out."""

    shown: str
    target: str
    container_format: str | None = None
    options: Mapping[str, str] | None = None
    timeout_s: float | None = None
    decode_threads: int = 1


@dataclass(frozen=True, slots=True)
class Decoded:
    """One picture as the decoder left it, with its raw timestamp and what decoding took, in seconds."""

    image: av.VideoFrame
    raw_pts_s: float | None
    decode_s: float


def sentence(error: Exception, address: Address, waited_s: float = 0.0) -> str:
    """What went wrong with `address` and the way out, from an exception of PyAV raised after `waited_s` seconds."""
    shown, limit = address.shown, address.timeout_s
    timed_out = isinstance(error, (av.error.TimeoutError, av.error.ExitError))
    if limit is not None and (timed_out or waited_s >= 0.9 * limit):  # RTSP reports its timeout as "invalid data"
        return f"{shown} gave no data for {limit:g} s. Check that it is up, or raise timeout_s."
    if isinstance(error, av.error.ConnectionRefusedError):
        return f"{shown} refuses the connection: nothing listens there. Check the address and the port."
    if isinstance(error, av.error.InvalidDataError):
        return f"{shown} holds no video that can be read: it is of another kind, damaged, or cut off before its index."
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{shown} cannot be read: {reason[:1].lower()}{reason[1:]}."


class VideoReader:
    """An open video stream; opening it may block for up to twice the timeout of `address`.

    `size_hw`, `fps`, `frames` (None if the container does not say) and `codec` are what the container announces;
    `start_s` is the raw time where it starts, if known; `recorded` tells a recording, which has an end, from a live
    stream.

    Raises:
        VideoError: it cannot be opened, or holds no video.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        limit = address.timeout_s
        started = time.monotonic()
        try:
            self._container = av.open(
                address.target,
                format=address.container_format,
                container_options=dict(address.options or {}),
                metadata_errors="replace",
                timeout=None if limit is None else (limit, limit),
            )
        except (av.FFmpegError, ValueError, OSError) as error:
            raise VideoError(sentence(error, address, time.monotonic() - started)) from error
        try:
            self._open_stream()
        except BaseException:
            self._container.close()
            raise

    def _open_stream(self) -> None:
        shown = self._address.shown
        if self._container.format.name == "tty":  # libav would render any .txt file as a terminal
            raise VideoError(f"{shown} is a text file, not a video.")
        if not self._container.streams.video:
            raise VideoError(f"{shown} holds no video stream, only sound or data.")
        stream = self._container.streams.video[0]
        context = stream.codec_context
        if context is None:
            raise VideoError(f"{shown} uses a codec that this build of PyAV cannot decode.")
        self.size_hw = (context.height, context.width)
        if min(self.size_hw) < 1:
            raise VideoError(f"{shown} does not say how large its picture is: it is empty or damaged.")
        context.thread_count = self._address.decode_threads
        self._stream = stream
        self.codec: str = getattr(context.codec, "canonical_name", context.name)  # PyAV 14 has no canonical_name
        rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
        self.fps = next((float(rate) for rate in rates if rate and 0 < rate <= 1000), _FALLBACK_FPS)
        self.frames: int | None = stream.frames or None
        self._time_base = stream.time_base or Fraction(1, 90_000)
        self.start_s = None if stream.start_time is None else float(stream.start_time * self._time_base)
        self.recorded = self._container.duration is not None or self._container.size > 0
        self._awaited: set[int] = set()
        self._given_up: deque[int] = deque(maxlen=_REORDER_DEPTH)
        self._track = self.codec in _ONE_PICTURE_PER_PACKET

    def packets(self) -> Iterator[av.Packet[av.VideoStream]]:
        """The packets of the video stream, then an empty one that flushes the decoder; damaged stretches are passed by.

        Raises:
            VideoError: the connection was lost, or no data came for the timeout.
        """
        bad_reads = 0
        while True:
            started = time.monotonic()
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size:
                        bad_reads = 0
                    yield packet
                    started = time.monotonic()
                return
            except (av.error.InvalidDataError, IndexError) as error:  # IndexError: damage made up a stream
                bad_reads += 1
                if bad_reads > _MAX_BAD_READS:
                    raise VideoError(sentence(error, self._address)) from error
            except av.error.BlockingIOError:
                time.sleep(0.001)  # a device that has nothing yet
            except (av.FFmpegError, OSError) as error:
                raise VideoError(sentence(error, self._address, time.monotonic() - started)) from error

    def decode(self, packet: av.Packet[av.VideoStream]) -> list[Decoded | Lost]:
        """The pictures that `packet` completes, in the order of presentation, with the lost ones in their places."""
        started = time.perf_counter()
        failed = False
        frames: list[av.VideoFrame] = []
        try:
            frames = packet.decode()
        except (av.FFmpegError, ValueError):
            failed = packet.size > 0
        each_s = (time.perf_counter() - started) / max(len(frames), 1)
        if self._track and packet.pts is not None:
            self._awaited.add(packet.pts)  # counted as lost when a later picture comes out in its place
            failed = False
        result: list[Decoded | Lost] = [Lost("decode_error")] if failed else []
        for frame in frames:
            if frame.pts is not None and frame.pts in self._given_up:
                continue  # counted already: damage made the decoder hand it out after its successor
            result += self._overdue(frame.pts)
            raw_s = None if frame.pts is None else float(frame.pts * self._time_base)
            result.append(Lost("corrupt") if frame.is_corrupt else Decoded(frame, raw_s, each_s))
        if not packet.size:
            result += [Lost("decode_error")] * len(self._awaited)
            self._awaited.clear()
        return result

    def _overdue(self, pts: int | None) -> list[Lost]:
        if pts is None or not self._awaited:
            return []
        self._awaited.discard(pts)
        missed = sorted(other for other in self._awaited if other < pts)
        self._awaited.difference_update(missed)
        self._given_up.extend(missed)
        return [Lost("decode_error")] * len(missed)

    def raw_s(self, packet: av.Packet[av.VideoStream]) -> float | None:
        """The decoding timestamp of a packet in seconds; the presentation timestamp where there is none."""
        stamp = packet.pts if packet.dts is None else packet.dts
        return None if stamp is None or not packet.size else float(stamp * self._time_base)

    def close(self) -> None:
        """Close the container; may be called twice."""
        with contextlib.suppress(av.FFmpegError):
            self._container.close()


class Scaler:
    """Decoded pictures as BGR arrays of one size; holds the scaler, so one per stream and one thread at a time."""

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self._height, self._width = size_hw
        self._reformatter = VideoReformatter()

    def bgr(self, image: av.VideoFrame) -> np.ndarray:
        """uint8 HxWx3 in BGR order, C-contiguous; it copies only where libav pads its rows (most odd widths).

        Raises:
            VideoError: the pixel format of `image` cannot be converted.
        """
        try:
            scaled = self._reformatter.reformat(
                image,
                width=self._width,
                height=self._height,
                format="bgr24",
                interpolation=_interpolation(image.width / self._width),
                **SCALER_OPTIONS,
            )
            return np.ascontiguousarray(scaled.to_ndarray())
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(f"a picture in {image.format.name} cannot be converted to BGR: {error}") from error


def _interpolation(ratio: float) -> str:
    """How libav shrinks by `ratio`: by area averaging, or by its bilinear filter, which widens as it shrinks.

    The filter is the blurrier of the two: pedestrians of vtest.avi shrunk 1.85 times lose 3 points of HOTA by it.
    Close to 1, averaging takes now one pixel and now two: synthetic streets shrunk 1.43 times lose 1.5 by that ripple.
    """
    return "AREA" if ratio >= 1.5 else "BILINEAR"
