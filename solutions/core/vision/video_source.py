"""What every video source has in common: what it is, what it lost and under which name, how it waits and stops."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from solutions.core.errors import ConfigError
from solutions.core.vision.frames import Frame

_STOP_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source announced when it was opened; every frame comes out in `size_hw`, whatever arrives later.

    `kind` is "file", "camera", "url" or "scenes". `fps` is the nominal rate in frames per second. `frames` is how many
    frames the container says it holds; None where it does not say or the source has no end. `live` means that frames
    arrive whether or not anybody looks, so a slow reader loses some.
    """

    spec: str
    kind: str
    size_hw: tuple[int, int]
    fps: float
    frames: int | None
    codec: str
    live: bool


class FrameSource(Protocol):
    """An iterator of frames, to be closed.

    At every moment captured = yielded + in flight + the sum of `drops`; once it is closed nothing is in flight.
    Drops have names: `stale` (a newer frame took its place, or nobody came for it), `decode_error` (the decoder could
    make nothing of the packet), `corrupt` (decoded, with damage that the decoder had to conceal).
    """

    @property
    def info(self) -> SourceInfo:
        """What the source announced."""

    @property
    def drops(self) -> Mapping[str, int]:
        """Frames lost so far, by name."""

    @property
    def captured(self) -> int:
        """Frames that came in so far, the lost ones included."""

    @property
    def yielded(self) -> int:
        """Frames handed out so far."""

    @property
    def reconnects(self) -> int:
        """How many times a lost connection was restored."""

    def also_scale(self, size_hw: tuple[int, int]) -> None:
        """Hand out every frame in this size too, as `Frame.scaled`: straight from the decoder, for a model's input.

        Drawn scenes have no decoder and ignore it. Call it before iterating.
        """

    def __iter__(self) -> Iterator[Frame]: ...

    def __next__(self) -> Frame: ...

    def __enter__(self) -> FrameSource: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def close(self) -> None:
        """Give back the file, connection or thread; may be called twice. Other threads set `stop` instead."""


@dataclass(frozen=True, slots=True)
class Lost:
    """In a list of pictures, the place of one that was lost, with the name it is counted under."""

    name: str


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """When to try again after a camera or stream was lost: exponential back-off, spread by jitter.

    Attempt n (from 1) waits min(max_delay_s, first_delay_s * factor**(n - 1)) seconds, varied by +-`jitter` so that a
    hundred cameras behind one switch do not return in step. `max_attempts` failures in a row are an error, None tries
    for ever; a frame that decodes starts the count anew. `retry_first` grants the same patience to the first
    connection, which otherwise must succeed at once.
    """

    first_delay_s: float = 0.5
    factor: float = 2.0
    max_delay_s: float = 10.0
    max_attempts: int | None = None
    jitter: float = 0.1
    retry_first: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.first_delay_s <= self.max_delay_s:
            raise ConfigError(
                f"first_delay_s must be > 0 and <= max_delay_s, got {self.first_delay_s} and {self.max_delay_s} seconds"
            )
        if self.factor < 1:
            raise ConfigError(f"factor must be >= 1, got {self.factor}")
        if not 0 <= self.jitter < 1:
            raise ConfigError(f"jitter must be in [0, 1), got {self.jitter}")
        if self.max_attempts is not None and self.max_attempts < 0:
            raise ConfigError(f"max_attempts must be >= 0 or None, got {self.max_attempts}")

    def delay_s(self, attempt: int, rng: random.Random) -> float:
        """Seconds to wait before attempt `attempt`, counted from 1; never more than max_delay_s.

        >>> policy = ReconnectPolicy(first_delay_s=0.5, factor=2, max_delay_s=10, jitter=0)
        >>> [policy.delay_s(n, random.Random(0)) for n in (1, 2, 3, 9)]
        [0.5, 1.0, 2.0, 10]
        """
        doublings = min(attempt - 1, 64)  # 2**64 is past any max_delay_s and far from overflow
        delay = min(self.max_delay_s, self.first_delay_s * self.factor**doublings)
        return min(self.max_delay_s, delay * (1 + self.jitter * rng.uniform(-1, 1)))

    def gives_up(self, attempt: int) -> bool:
        """Whether attempt `attempt`, counted from 1, is one too many."""
        return self.max_attempts is not None and attempt > self.max_attempts


class Ledger:
    """The frame counts of one source. Safe to read and write from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drops: Counter[str] = Counter()
        self._captured = 0
        self._yielded = 0

    def capture(self) -> int:
        """The index of a frame that has just come in."""
        with self._lock:
            self._captured += 1
            return self._captured - 1

    def drop(self, name: str) -> None:
        """Count one captured frame as lost under `name`."""
        with self._lock:
            self._drops[name] += 1

    def deliver(self) -> None:
        """Count one captured frame as handed out."""
        with self._lock:
            self._yielded += 1

    @property
    def captured(self) -> int:
        """Frames that came in."""
        return self._captured

    @property
    def yielded(self) -> int:
        """Frames handed out."""
        return self._yielded

    @property
    def drops(self) -> dict[str, int]:
        """A copy of the losses by name."""
        with self._lock:
            return dict(self._drops)


class Pause:
    """Waits that end early when the source is closed or the caller's `stop` event is set.

    `sleep` replaces the waiting itself: a test passes the sleep of its fake clock.
    """

    def __init__(self, stop: threading.Event | None, sleep: Callable[[float], object] | None) -> None:
        self._stop = stop
        self._sleep = sleep
        self._closed = threading.Event()

    @property
    def stopped(self) -> bool:
        """Whether nothing more shall be read."""
        return self._closed.is_set() or (self._stop is not None and self._stop.is_set())

    def end(self) -> None:
        """Stop for good and wake whoever waits."""
        self._closed.set()

    def wait(self, seconds: float) -> bool:
        """True when stopped, at the latest after `seconds`; a foreign stop event is noticed within 50 ms."""
        if self._sleep is not None:
            if seconds > 0 and not self.stopped:
                self._sleep(seconds)
            return self.stopped
        until = time.monotonic() + seconds
        while not self.stopped and (left := until - time.monotonic()) > 0:
            self._closed.wait(left if self._stop is None else min(left, _STOP_POLL_S))
        return self.stopped
