"""What the tracker benchmarks share: sequences with truth, our tracker as a function, and that of PyPI `trackers`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.optional import require
from solutions.core.vision.detection import Detections
from solutions.core.vision.mot import read_detections, read_seqinfo, read_truth
from solutions.core.vision.tracks import Tracks
from solutions.phase4_production.video_analysis.tracker import Tracker
from solutions.phase4_production.video_analysis.tracker_config import TrackerConfig

MOT15 = ("TUD-Campus", "ETH-Sunnyday", "ETH-Pedcross2", "ADL-Rundle-8", "Venice-2", "KITTI-17")
MOT17 = ("MOT17-09", "MOT17-13")

Track = Callable[[Sequence[Detections]], list[Tracks]]
"""Tracks a sequence with a new tracker."""


@dataclass(frozen=True, slots=True)
class Sequence2D:
    """Name, truth and detections of one sequence, by frame."""

    name: str
    truth: list[Tracks]
    detections: list[Detections]


def sequences(folder: str | None, names: Sequence[str]) -> list[Sequence2D]:
    """The named sequences below `folder`, by default $MLI_DATA; of MOT17 the second half, unseen by the detector.

    Raises:
        ConfigError: no folder is named, or a sequence is not in it.
    """
    root = folder or os.environ.get("MLI_DATA")
    if not root:
        raise ConfigError(
            "MLI_DATA is not set: let it name the folder that holds mot/MOT15 and mot/MOT17, or give --data."
        )
    found = []
    for name in names:
        place = Path(root, "mot", "MOT17" if name in MOT17 else "MOT15", name)
        files = sorted((place / "det").glob("*.txt"))
        if not files:
            raise ConfigError(f"{place} holds no detections (det/*.txt). Name another folder with --data.")
        frames = read_seqinfo(place / "seqinfo.ini").frames
        part = slice(frames // 2 + 1 if name in MOT17 else 0, frames)
        truth = read_truth(place / "gt" / "gt.txt", frames=frames)[part]
        found.append(Sequence2D(name, truth, read_detections(files[0], frames=frames)[part]))
    return found


def ours(config: TrackerConfig) -> Track:
    """Our tracker."""

    def track(detections: Sequence[Detections]) -> list[Tracks]:
        tracker = Tracker(config)
        return [tracker.update_one(one) for one in detections]

    return track


def their_tracker(name: str) -> Callable[[], Any]:
    """A maker of `trackers`' SORT or ByteTrack, the latter with the thresholds of the paper.

    Raises:
        BackendUnavailable: `trackers` is not installed.
    """
    library = require("trackers", why="the comparison", install="pip install trackers")
    if name == "SORT":
        return lambda: library.SORTTracker()
    return lambda: library.ByteTrackTracker(
        lost_track_buffer=30,
        track_activation_threshold=0.7,
        minimum_consecutive_frames=2,
        minimum_iou_threshold=0.1,
        high_conf_det_threshold=0.6,
    )


def as_supervision(detections: Sequence[Detections]) -> list[Any]:
    """The same detections in the type that `trackers` takes."""
    supervision = require("supervision", why="the comparison", install="pip install trackers")
    return [supervision.Detections(xyxy=d.boxes, confidence=d.scores, class_id=d.class_ids) for d in detections]


def theirs(name: str, *, min_score: float = 0.0) -> Track:
    """A tracker of `trackers`, fed with the detections from `min_score` up; objects without an id are left out."""
    make = their_tracker(name)

    def track(detections: Sequence[Detections]) -> list[Tracks]:
        tracker = make()
        results = []
        for one in as_supervision([d[d.scores > min_score] for d in detections]):
            found = tracker.update(one)
            named = found.tracker_id >= 0
            ids = found.tracker_id[named].astype(np.int64)
            results.append(Tracks(ids, found.xyxy[named], found.confidence[named], found.class_id[named]))
        return results

    return track
