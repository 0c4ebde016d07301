"""The text files of MOTChallenge: what is true, what was detected, what a tracker found.

One row per box, comma-separated: `frame, id, x, y, w, h, conf, ...`, frames counted from 1, x y the top left corner in
pixels (Leal-Taixe et al., "MOTChallenge 2015", https://motchallenge.net/instructions). In truth `conf` is 0 for boxes
that are not judged. Column 8 of 9 is the class in MOT16 and later (and in our own scenes); MOT15 has 10 columns and no
class.
"""

from __future__ import annotations

import configparser
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from solutions.core.errors import ConfigError, VideoError
from solutions.core.vision.detection import Detections
from solutions.core.vision.tracks import Tracks

_FRAME, _ID, _CONF, _CLASS = 0, 1, 6, 7
_MAX_FRAME = 10_000_000  # four days at 30 frames/s: a larger number is a damaged file and would fill the memory


@dataclass(frozen=True, slots=True)
class SequenceInfo:
    """What `seqinfo.ini` says of a sequence: its name, length in frames, rate in frames/s, height and width."""

    name: str
    frames: int
    fps: float
    size_hw: tuple[int, int]


def read_seqinfo(path: str | Path) -> SequenceInfo:
    """The facts in a `seqinfo.ini`.

    Raises:
        VideoError: the file cannot be read, or a key is missing or not a number.
    """
    parser = configparser.ConfigParser()
    try:
        parser.read_string(_text(path))
        section = parser["Sequence"]
        size_hw = int(section["imHeight"]), int(section["imWidth"])
        return SequenceInfo(section["name"], int(section["seqLength"]), float(section["frameRate"]), size_hw)
    except (configparser.Error, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise VideoError(f"{path} is not a seqinfo.ini of MOTChallenge: {reason}.") from error


def read_truth(path: str | Path, *, frames: int | None = None) -> list[Tracks]:
    """The true boxes of each frame, place 0 for frame 1; `scores` is the file's conf, so 0 marks boxes not judged.

    Args:
        path: a `gt.txt`.
        frames: how many frames to return; later rows are left out, and frames without rows come back empty. By default
            the last frame named in the file is the last one returned.

    Raises:
        VideoError: the file cannot be read, or a row is damaged (the sentence names file and line).
    """
    return _tracks(_rows(path), frames)


def read_results(path: str | Path, *, frames: int | None = None) -> list[Tracks]:
    """What a tracker wrote, by `write_results` or in another result file of MOTChallenge; arguments as `read_truth`."""
    return _tracks(_rows(path), frames)


def read_detections(path: str | Path, *, frames: int | None = None, class_id: int = 0) -> list[Detections]:
    """The detections of each frame; ids in the file are not read. Arguments and errors as in `read_truth`.

    Args:
        path: a `det.txt`.
        frames: how many frames to return.
        class_id: class given to every box, since these files do not hold one.
    """
    rows = _rows(path)
    rows[:, _CLASS] = class_id
    return [Detections(part.boxes, part.scores, part.class_ids) for part in _tracks(rows, frames)]


def write_results(target: str | Path | TextIO, results: Iterable[Tracks]) -> int:
    """The number of rows written: `frame,id,x,y,w,h,conf,-1,-1,-1`, the first of `results` as frame 1.

    Raises:
        VideoError: the file cannot be written.
    """
    if not isinstance(target, (str, Path)):
        return _write(target, results)
    try:
        with open(target, "w", encoding="utf-8") as handle:
            return _write(handle, results)
    except OSError as error:
        raise VideoError(f"{target} cannot be written: {error.strerror or error}. Choose another place.") from error


def result_rows(frame: int, tracks: Tracks) -> list[str]:
    """The rows of one frame, each ended by a newline; `frame` counts from 1."""
    return [
        f"{frame},{track_id},{x1:.3f},{y1:.3f},{x2 - x1:.3f},{y2 - y1:.3f},{score:.4f},-1,-1,-1\n"
        for track_id, (x1, y1, x2, y2), score in zip(
            tracks.ids.tolist(), tracks.boxes.tolist(), tracks.scores.tolist(), strict=True
        )
    ]


def _write(handle: TextIO, results: Iterable[Tracks]) -> int:
    count = 0
    for frame, tracks in enumerate(results, start=1):
        handle.writelines(result_rows(frame, tracks))
        count += len(tracks)
    return count


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise VideoError(f"{path} cannot be read: {reason}.") from error


def _rows(path: str | Path) -> np.ndarray:
    """float64 [N, 8]: frame, id, x, y, w, h, conf, class, in the order of the file."""
    rows = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            rows.append(_row(line, f"{path} line {number}"))
    return np.array(rows, np.float64).reshape(-1, 8)


def _row(line: str, place: str) -> list[float]:
    try:
        values = [float(cell) for cell in line.split(",")]
    except ValueError as error:
        raise VideoError(f"{place} holds something that is not a number: {line.strip()[:80]!r}.") from error
    if len(values) < 7:
        raise VideoError(f"{place} has {len(values)} columns, 7 or more are needed: frame,id,x,y,w,h,conf.")
    if not np.isfinite(values).all():
        raise VideoError(f"{place} holds NaN or infinity: {line.strip()[:80]!r}.")
    if not 1 <= values[_FRAME] <= _MAX_FRAME or values[_FRAME] != int(values[_FRAME]):
        raise VideoError(f"{place} names frame {values[_FRAME]:g}; frames are whole numbers from 1.")
    # Ten columns are MOT15's, which ends in a place in the world or in -1, -1, -1.
    return [*values[:7], values[_CLASS] if len(values) in (8, 9) else -1.0]


def _tracks(rows: np.ndarray, frames: int | None) -> list[Tracks]:
    """Rows cut into frames, each in the order of the file."""
    if frames is not None and frames < 0:
        raise ConfigError(f"frames must be >= 0, got {frames}")
    rows = rows[np.argsort(rows[:, _FRAME], kind="stable")]
    length = frames if frames is not None else int(rows[-1, _FRAME]) if len(rows) else 0
    boxes = rows[:, 2:6].copy()
    boxes[:, 2:] += boxes[:, :2]
    whole = Tracks(
        rows[:, _ID].astype(np.int64),
        boxes.astype(np.float32),
        rows[:, _CONF].astype(np.float32),
        rows[:, _CLASS].astype(np.int64),
    )
    edges = np.searchsorted(rows[:, _FRAME], np.arange(1, length + 2)).tolist()
    return [whole[slice(start, stop)] for start, stop in itertools.pairwise(edges)]
