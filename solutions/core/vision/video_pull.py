"""Sources that wait for their reader: files and synthetic scenes, as fast as they are read or paced like a camera.

Paced (`realtime`), nothing runs in the background: when the reader comes back late, the packets that a camera would
have sent meanwhile are decoded and all but the newest picture are dropped as `stale`, so no backlog can grow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import av
import numpy as np

from solutions.core.errors import VideoError
from solutions.core.vision.frames import Frame
from solutions.core.vision.video_decode import Address, Decoded, VideoReader
from solutions.core.vision.video_delivery import DeliveringSource
from solutions.core.vision.video_source import Lost, Pause, SourceInfo
from solutions.core.vision.video_timeline import Timeline

if TYPE_CHECKING:
    from solutions.core.vision.scenes import SceneTruth


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture on its way to a Frame; an array is BGR in the announced size already. `pts_s` from the start."""

    image: av.VideoFrame | np.ndarray
    pts_s: float
    decode_s: float
    truth: SceneTruth | None = None


class Feed(Protocol):
    """What a PulledSource pulls from."""

    def due_s(self) -> float | None:
        """When the next thing to decode arrives, in seconds from the start; None at the end."""

    def take(self) -> list[Picture | Lost]:
        """Decode it: the pictures that it completes, in order; maybe none."""

    def close(self) -> None:
        """Give everything back."""


class FileFeed:
    """The packets of a recording, over and over if `loop`, on one timeline that never runs backwards."""

    def __init__(self, reader: VideoReader, address: Address, *, loop: bool) -> None:
        self._reader = reader
        self._address = address
        self._loop = loop
        self._timeline = Timeline(1 / reader.fps)
        self._due_s = 0.0
        self._start_pass()

    def _start_pass(self) -> None:
        self._packets = self._reader.packets()
        self._packet: av.Packet[av.VideoStream] | None = None
        self._pictures_this_pass = 0
        self._timeline.restart(start_s=self._reader.start_s)

    def due_s(self) -> float | None:
        """When the next packet is due; None at the end, or when a whole pass gave no picture.

        Raises:
            VideoError: the file cannot be read any further, or cannot be opened again.
        """
        if self._packet is not None:
            return self._due_s
        self._packet = next(self._packets, None)
        if self._packet is None and self._loop and self._pictures_this_pass:
            self._reader.close()
            self._reader = VideoReader(self._address)
            self._start_pass()
            self._packet = next(self._packets, None)
        if self._packet is None:
            return None
        self._due_s = self._timeline.arrival(self._reader.raw_s(self._packet))
        return self._due_s

    def take(self) -> list[Picture | Lost]:
        """The pictures that the packet completes, the lost ones included."""
        packet, self._packet = self._packet, None
        return [] if packet is None else [self._placed(item) for item in self._reader.decode(packet)]

    def _placed(self, item: Decoded | Lost) -> Picture | Lost:
        if isinstance(item, Lost):
            self._timeline.lost()
            return item
        self._pictures_this_pass += 1
        return Picture(item.image, self._timeline.picture(item.raw_pts_s), item.decode_s)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


class PulledSource(DeliveringSource):
    """A FrameSource without a thread: reading, decoding and scaling happen in the reader's own call.

    Unpaced, `captured_at_s` is when the packet had been read; paced, when the schedule says that it arrived, so that
    latency counts the time a picture waited for a late reader.
    """

    reconnects = 0

    def __init__(
        self,
        info: SourceInfo,
        feed: Feed,
        *,
        stream_id: str,
        realtime: bool,
        max_frames: int | None,
        clock: Callable[[], float],
        pause: Pause,
    ) -> None:
        super().__init__(info, stream_id)
        self._feed = feed
        self._realtime = realtime
        self._max_frames = max_frames
        self._clock = clock
        self._pause = pause
        self._pending: deque[tuple[int, float, Picture]] = deque()  # index, captured_at_s, picture
        self._epoch_s: float | None = None

    def __iter__(self) -> PulledSource:
        return self

    def __next__(self) -> Frame:
        asked_s = self._clock()
        if self._epoch_s is None:
            self._epoch_s = asked_s
        chosen = None
        while (arrived := self._next_due(self._epoch_s, asked_s, wait=chosen is None)) is not None:
            if chosen is not None:
                self._ledger.drop("stale")
            chosen = arrived
            if not self._realtime:
                break
        if chosen is None:
            if self._ledger.yielded == 0 and not self._pause.stopped:
                raise VideoError(f"{self.info.spec} has not one picture that can be decoded: it is damaged.")
            raise StopIteration
        index, captured_at_s, picture = chosen
        return self._deliver(
            picture.image,
            index=index,
            pts_s=picture.pts_s,
            captured_at_s=captured_at_s,
            decode_s=picture.decode_s,
            truth=picture.truth,
        )

    def _next_due(self, epoch_s: float, asked_s: float, *, wait: bool) -> tuple[int, float, Picture] | None:
        """The next picture that had arrived when the reader asked, waited for if `wait`; None if there is none."""
        while not self._pause.stopped:
            if self._pending:
                if self._arrives(epoch_s + self._pending[0][2].pts_s, asked_s, wait):
                    return self._pending.popleft()
                return None
            due_s = None if self._complete() else self._feed.due_s()
            if due_s is None or not self._arrives(epoch_s + due_s, asked_s, wait):
                return None
            arrived_s = epoch_s + due_s if self._realtime else self._clock()
            for item in self._feed.take():
                self._admit(item, arrived_s, epoch_s)
        return None

    def _arrives(self, at_s: float, asked_s: float, wait: bool) -> bool:
        if not self._realtime or at_s <= asked_s:
            return True
        return wait and not self._pause.wait(at_s - self._clock())

    def _complete(self) -> bool:
        return self._max_frames is not None and self.captured >= self._max_frames

    def _admit(self, item: Picture | Lost, arrived_s: float, epoch_s: float) -> None:
        if self._complete():
            return
        index = self._ledger.capture()
        if isinstance(item, Lost):
            self._ledger.drop(item.name)
            return
        if self._realtime:  # a reordered picture, or the tail that a flush gives at once: a camera sends one by one
            arrived_s = max(arrived_s, epoch_s + item.pts_s)
        self._pending.append((index, arrived_s, item))

    def __enter__(self) -> PulledSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what feeds it; a picture that was decoded and not read counts as stale. May be called twice."""
        self._pause.end()
        self._feed.close()
        while self._pending:
            self._pending.popleft()
            self._ledger.drop("stale")
