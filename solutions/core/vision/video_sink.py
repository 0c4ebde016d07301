"""An H.264 MP4 file, written frame by frame, that plays whatever happens to its writer.

While it grows the file is a fragmented MP4, so what a killed process or a full disk leaves behind plays up to the last
whole fragment; closing turns it into an ordinary MP4 with one index.
"""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from solutions.core.errors import ConfigError, VideoError
from solutions.core.vision.video_decode import SCALER_OPTIONS

_MAX_DENOMINATOR = 1001
_BUFFER_BYTES = 1 << 20
_FRAGMENT_S = 2


class VideoSink:
    """Writes BGR frames of one size to an H.264 yuv420p MP4 at a constant rate.

    H.264 in yuv420p wants even sizes: an odd one is padded by repeating the last row or column. `crf` is the quality
    (lower is better and larger, 18 to 28 is usual), `preset` buys a smaller file with encoding time, `threads` is what
    the encoder may use.

    Args:
        path: the file; an existing one is replaced.
        size_hw: height and width of every frame in pixels.
        fps: frames per second; 29.97 and Fraction(30000, 1001) are kept exactly.
    Raises:
        ConfigError: a setting out of range.
        VideoError: the file cannot be created, or this build of PyAV has no H.264 encoder.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        size_hw: tuple[int, int],
        fps: Fraction | float,
        crf: int = 23,
        preset: str = "veryfast",
        threads: int = 1,
    ) -> None:
        height, width = size_hw
        if min(size_hw) < 1:
            raise ConfigError(f"size_hw must be >= 1 pixel each way, got {size_hw}")
        if not 0 < fps <= 1000:
            raise ConfigError(f"fps must be in (0, 1000], got {fps}")
        self.path = Path(path)
        self.size_hw = (height, width)
        self.fps = Fraction(fps).limit_denominator(_MAX_DENOMINATOR)
        self.frames = 0
        self._padding = ((0, height % 2), (0, width % 2), (0, 0))
        self._reformatter = VideoReformatter()
        self._file: IO[bytes] | None = None
        try:
            self._file = open(self.path, "wb", buffering=0)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise self._failure("cannot be created", error) from error
        try:
            gop = max(1, round(_FRAGMENT_S * self.fps))  # a fragment ends where the next keyframe begins
            flags = {"movflags": "frag_keyframe+hybrid_fragmented"}
            self._container = av.open(self._file, "w", "mp4", container_options=flags, buffer_size=_BUFFER_BYTES)
            stream = self._container.add_stream("libx264", rate=self.fps)
            stream.width, stream.height = width + width % 2, height + height % 2
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": str(crf), "preset": preset, "threads": str(threads), "g": str(gop)}
            self._stream = stream
        except (av.FFmpegError, ValueError) as error:
            self._file.close()
            raise VideoError(f"{self.path} cannot be encoded: this build of PyAV has no libx264 ({error}).") from error

    def write(self, pixels: np.ndarray) -> None:
        """Append one frame, uint8 HxWx3 in BGR order.

        Raises:
            VideoError: the frame has another size or type, the sink is closed, or the disk is full; the file is then
                closed and plays up to there.
        """
        if self._file is None:
            raise VideoError(f"{self.path} is closed: nothing more can be written to it.")
        if pixels.shape != (*self.size_hw, 3) or pixels.dtype != np.uint8:
            want = f"uint8 {(*self.size_hw, 3)}"
            raise VideoError(f"{self.path} takes frames of {want}, got {pixels.dtype} {pixels.shape}.")
        even = np.pad(pixels, self._padding, mode="edge") if any(map(any, self._padding)) else pixels
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="bgr24")
        picture = self._reformatter.reformat(frame, format="yuv420p", **SCALER_OPTIONS)
        picture.pts, picture.time_base = self.frames, 1 / self.fps
        try:
            self._container.mux(self._stream.encode(picture))
        except (av.FFmpegError, OSError) as error:
            self._abandon()
            raise self._failure(f"cannot be written past frame {self.frames}", error) from error
        self.frames += 1

    def close(self) -> None:
        """Write what the encoder still holds and the index; may be called twice. Without a frame no file is left.

        Raises:
            VideoError: the disk is full.
        """
        if self._file is None:
            return
        try:
            if self.frames:
                self._container.mux(self._stream.encode())
                self._container.close()
                self._file.close()
            elif self.path.is_file():  # and no device
                self.path.unlink()
        except (av.FFmpegError, OSError) as error:
            raise self._failure("cannot be finished", error) from error
        finally:
            self._abandon()

    def _abandon(self) -> None:
        """Let go of the file without writing to it; after this the container has nothing to write to."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()
            with contextlib.suppress(av.FFmpegError, OSError, ValueError):
                self._container.close()

    def _failure(self, what: str, error: Exception) -> VideoError:
        reason = getattr(error, "strerror", None) or str(error)
        return VideoError(f"{self.path} {what}: {reason.lower()}. Choose another place or make room.")

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(VideoError) if error is not None else contextlib.nullcontext():
            self.close()  # the error of the body is the one to see
