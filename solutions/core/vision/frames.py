"""What a source hands out: one picture with its identity and its times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from solutions.core.vision.scenes import SceneTruth


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame. It keeps `stream_id` and `index` from capture to sink.

    `pixels` is uint8 HxWx3 in BGR order, C-contiguous; treat it as read-only. `index` counts from 0 and also counts
    frames that were lost, so a gap in it is a gap in the video. `pts_s` is the presentation time in seconds from the
    start of the stream; `captured_at_s` is when its packet was in hand, on the clock of the source
    (`time.perf_counter` unless injected): latency is measured from there. `decode_s` is what decoding, scaling and
    colour conversion took. `truth` is known only for synthetic scenes. `scaled` is the whole picture once more, in the
    size that `FrameSource.also_scale` asked for, where the decoder could give it; a model that wants that size need not
    scale `pixels`.
    """

    stream_id: str
    index: int
    pts_s: float
    captured_at_s: float
    pixels: np.ndarray
    decode_s: float = 0.0
    truth: SceneTruth | None = None
    scaled: np.ndarray | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]
