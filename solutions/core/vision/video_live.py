"""Live sources: cameras and network streams, read by one thread each that keeps only the newest picture.

The thread owns the connection. It reads and decodes whatever arrives (a stream that is not read backs up in the network
and grows old), puts each picture into a slot for one, and counts the one it replaces as `stale`. Scaling happens in the
reader's own call: a picture that nobody takes is never scaled. A lost connection is restored with back-off; the reader
just waits, and `trouble` says why.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

from solutions.core.errors import VideoError
from solutions.core.vision.frames import Frame
from solutions.core.vision.video_decode import Decoded, VideoReader
from solutions.core.vision.video_delivery import DeliveringSource
from solutions.core.vision.video_source import Lost, Pause, ReconnectPolicy, SourceInfo
from solutions.core.vision.video_timeline import Timeline

_WAKE_S = 0.05
_CLOSE_GRACE_S = 0.8


@dataclass(frozen=True, slots=True)
class _Newest:
    index: int
    pts_s: float
    captured_at_s: float
    decoded: Decoded


def first_connection(
    connect: Callable[[], VideoReader], policy: ReconnectPolicy, pause: Pause, rng: random.Random
) -> VideoReader:
    """The first connection, tried again as `policy` says if it grants that with `retry_first`.

    Raises:
        VideoError: no connection, or stopped before there was one.
    """
    attempt = 0
    while True:
        try:
            return connect()
        except VideoError as error:
            attempt += 1
            if not policy.retry_first or policy.gives_up(attempt):
                raise
            if pause.wait(policy.delay_s(attempt, rng)):
                raise VideoError(f"Stopped before the first connection: {error}") from error


class LiveSource(DeliveringSource):
    """A FrameSource fed by a thread that starts at once; iteration ends when it is stopped or has `max_frames`.

    Raises (from iteration):
        VideoError: the connection was lost and `policy` gave up, or libav hangs past every timeout.
    """

    def __init__(
        self,
        info: SourceInfo,
        reader: VideoReader,
        connect: Callable[[], VideoReader],
        *,
        stream_id: str,
        policy: ReconnectPolicy,
        rng: random.Random,
        timeout_s: float,
        max_frames: int | None,
        clock: Callable[[], float],
        pause: Pause,
    ) -> None:
        super().__init__(info, stream_id)
        self.reconnects = 0
        self.trouble: str | None = None
        self._connect = connect
        self._policy = policy
        self._rng = rng
        self._timeout_s = timeout_s
        self._max_frames = max_frames
        self._clock = clock
        self._pause = pause
        self._timeline = Timeline(1 / info.fps)
        self._changed = threading.Condition()
        self._slot: _Newest | None = None
        self._attempts = 0
        self._last_arrival_s = clock()
        self._error: BaseException | None = None
        self._ended = False
        self._in_libav_since: float | None = time.monotonic()
        self._thread = threading.Thread(target=self._run, args=(reader,), name=f"video {stream_id}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        with self._changed:
            while self._pause.stopped or self._slot is None:
                if self._pause.stopped or (self._ended and self._error is None):
                    raise StopIteration
                if self._error is not None:
                    raise self._error
                self._check_hang()
                self._changed.wait(_WAKE_S)
            newest, self._slot = self._slot, None
        return self._deliver(
            newest.decoded.image,
            index=newest.index,
            pts_s=newest.pts_s,
            captured_at_s=newest.captured_at_s,
            decode_s=newest.decoded.decode_s,
        )

    def _check_hang(self) -> None:
        since, limit_s = self._in_libav_since, 3 * self._timeout_s + 1  # opening alone has a right to two timeouts
        if since is not None and time.monotonic() - since > limit_s:
            raise VideoError(f"{self.info.spec} has hung in its driver for more than {limit_s:g} s. Reset the device.")

    def _run(self, reader: VideoReader) -> None:
        connection: VideoReader | None = reader
        try:
            while connection is not None:
                self._drain(connection)
                connection = self._reconnect()
        except BaseException as error:  # surfaces in the consumer
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _drain(self, reader: VideoReader) -> None:
        """Read until the connection is lost, the source is stopped, or it has enough."""
        last_picture_s = self._in_libav_since = time.monotonic()
        try:
            for packet in reader.packets():
                arrived_s = self._clock()
                items = reader.decode(packet)
                for item in items:
                    self._offer(item, arrived_s)
                if self._over():
                    return
                now_s = self._in_libav_since = time.monotonic()
                if any(isinstance(item, Decoded) for item in items):
                    last_picture_s = now_s
                elif now_s - last_picture_s > self._timeout_s:
                    raise VideoError(f"{self.info.spec} sends data, but no picture in {self._timeout_s:g} s.")
            self.trouble = f"{self.info.spec} closed the connection."
        except VideoError as error:
            self.trouble = str(error)
        finally:
            reader.close()

    def _reconnect(self) -> VideoReader | None:
        """A new connection, after as many attempts as it takes; None when it is over."""
        while not self._over():
            self._attempts += 1
            if self._policy.gives_up(self._attempts):
                raise VideoError(f"{self.trouble} Gave up after {self._attempts - 1} attempts to reconnect.")
            self._in_libav_since = None
            if self._pause.wait(self._policy.delay_s(self._attempts, self._rng)):
                break
            self._in_libav_since = time.monotonic()
            try:
                reader = self._connect()
            except VideoError as error:
                self.trouble = str(error)
                continue
            self.reconnects += 1
            self._timeline.restart(gap_s=self._clock() - self._last_arrival_s)
            return reader
        return None

    def _offer(self, item: Decoded | Lost, arrived_s: float) -> None:
        with self._changed:
            if self._over():
                return
            index = self._ledger.capture()
            if isinstance(item, Lost):
                self._ledger.drop(item.name)
                self._timeline.lost()
                return
            if self._slot is not None:
                self._ledger.drop("stale")
            self._slot = _Newest(index, self._timeline.picture(item.raw_pts_s), arrived_s, item)
            self._last_arrival_s = arrived_s
            self._attempts = 0
            self._changed.notify_all()

    def _over(self) -> bool:
        return self._pause.stopped or (self._max_frames is not None and self.captured >= self._max_frames)

    def __enter__(self) -> LiveSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the thread and give the connection back, within timeout_s + 1 s; from any thread, any number of times.

        A thread in libav notices at its next packet or timeout; one inside a driver or a name server is left to end by
        itself. To close many stalled streams, set their common `stop` first: their threads then end side by side.
        """
        self._pause.end()
        with self._changed:
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(self._timeout_s + _CLOSE_GRACE_S)
        with self._changed:
            if self._slot is not None:
                self._slot = None
                self._ledger.drop("stale")
