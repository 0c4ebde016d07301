"""The last step of every source: a picture becomes a Frame in the sizes asked for, and is counted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import av
import numpy as np

from solutions.core.errors import VideoError
from solutions.core.vision.frames import Frame
from solutions.core.vision.video_decode import Scaler
from solutions.core.vision.video_source import Ledger, SourceInfo

if TYPE_CHECKING:
    from solutions.core.vision.scenes import SceneTruth


class DeliveringSource:
    """The part of a FrameSource that keeps its books and hands out its frames."""

    def __init__(self, info: SourceInfo, stream_id: str) -> None:
        self._info = info
        self._stream_id = stream_id
        self._ledger = Ledger()
        self._full = Scaler(info.size_hw)
        self._small: Scaler | None = None

    @property
    def info(self) -> SourceInfo:
        """What the source announced."""
        return self._info

    @property
    def drops(self) -> dict[str, int]:
        """Frames lost so far, by name."""
        return self._ledger.drops

    @property
    def captured(self) -> int:
        """Frames that came in so far, the lost ones included."""
        return self._ledger.captured

    @property
    def yielded(self) -> int:
        """Frames handed out so far."""
        return self._ledger.yielded

    def also_scale(self, size_hw: tuple[int, int]) -> None:
        """Hand out decoded frames in this size too; nothing to do where they have it already."""
        self._small = None if tuple(size_hw) == self._info.size_hw else Scaler(size_hw)

    def _deliver(
        self,
        image: av.VideoFrame | np.ndarray,
        *,
        index: int,
        pts_s: float,
        captured_at_s: float,
        decode_s: float,
        truth: SceneTruth | None = None,
    ) -> Frame:
        """The frame, counted as yielded. An array is BGR in the announced size already.

        Raises:
            VideoError: the picture cannot be converted; it is counted as `decode_error`.
        """
        started = time.perf_counter()
        scaled = None
        try:
            if isinstance(image, np.ndarray):
                pixels = image
            else:
                pixels = self._full.bgr(image)
                scaled = None if self._small is None else self._small.bgr(image)
        except VideoError:
            self._ledger.drop("decode_error")
            raise
        self._ledger.deliver()
        decode_s += time.perf_counter() - started
        return Frame(self._stream_id, index, pts_s, captured_at_s, pixels, decode_s, truth, scaled)
