"""The knobs of the tracker, and the settings of the two papers it follows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import isnan

from solutions.core.errors import ConfigError
from solutions.phase4_production.video_analysis.kalman import MotionModel, height_motion, sort_motion


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """How detections become tracks. Start from `sort()`, `byte()` or `pipeline()` and change what you must.

    Attributes:
        motion: how boxes are coded and how far detections and motion are trusted.
        high_score: detections from here up take part in the first matching. Lower finds more objects and more ghosts.
        low_score: detections between this and `high_score` may only continue a track that was seen in the run before.
            It carries tracks through occlusion and blur, and costs a second matching; equal to `high_score` is off.
        new_score: score an unmatched detection needs to begin a track. Higher starts fewer false tracks, and true ones
            later.
        match_iou: overlap that a first match must exceed. Lower follows faster motion and mixes up neighbours sooner.
        low_match_iou: the same for detections of low score.
        new_match_iou: the same for the second sighting of a new object (only if `confirm`).
        fuse_score: multiply the overlap by the score of the detection in the first matching and for new objects, so
            that of two candidates the surer one wins.
        min_hits: matches after the first sighting before a track is reported. Each suppresses short false tracks and
            delays every true one by a detection run; in the first `min_hits` runs of a stream nothing is held back.
        max_misses: detection runs a track survives unseen. More bridges longer occlusions, and lets a stale track
            catch a newcomer.
        confirm: True (ByteTrack): a new track must be seen again in the very next run or is forgotten, and is reported
            ever after. False (SORT): every miss starts its count towards `min_hits` anew.
        max_coast: frames in a row without detection (None) that cost nothing. Tracks are predicted and reported through
            them; each further one counts as a miss. At least the detector interval minus one.
        class_aware: True lets a track match detections of its first class only, so a car never becomes a pedestrian;
            a detector that wavers between two classes then makes two tracks. False ignores classes when matching, and
            a track bears the class of its last detection.
    """

    motion: MotionModel = field(default_factory=height_motion)
    high_score: float = 0.6
    low_score: float = 0.1
    new_score: float = 0.7
    match_iou: float = 0.1
    low_match_iou: float = 0.5
    new_match_iou: float = 0.3
    fuse_score: bool = True
    min_hits: int = 1
    max_misses: int = 30
    confirm: bool = True
    max_coast: int = 30
    class_aware: bool = False

    def __post_init__(self) -> None:
        for name in ("high_score", "low_score", "new_score"):
            if isnan(getattr(self, name)):
                raise ConfigError(f"{name} must be a number, got nan")
        if self.low_score > self.high_score:
            raise ConfigError(f"low_score {self.low_score} must not exceed high_score {self.high_score}")
        if self.new_score < self.high_score:
            raise ConfigError(f"new_score {self.new_score} must not be below high_score {self.high_score}")
        for name in ("match_iou", "low_match_iou", "new_match_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        for name in ("min_hits", "max_misses", "max_coast"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be >= 0, got {getattr(self, name)}")

    @property
    def one_matching(self) -> bool:
        """True when all tracks and detections meet in a single matching, as in SORT."""
        return not self.confirm and self.low_score == self.high_score

    @staticmethod
    def sort(
        *, max_age: int = 1, min_hits: int = 3, iou: float = 0.3, min_score: float = 0.0, class_aware: bool = False
    ) -> TrackerConfig:
        """SORT as published (Bewley et al., "Simple Online and Realtime Tracking", 2016): overlap and nothing else."""
        return TrackerConfig(
            motion=sort_motion(),
            high_score=min_score,
            low_score=min_score,
            new_score=min_score,
            match_iou=iou,
            fuse_score=False,
            min_hits=min_hits,
            max_misses=max_age,
            confirm=False,
            class_aware=class_aware,
        )

    @staticmethod
    def byte(
        *, high: float = 0.6, low: float = 0.1, match: float = 0.9, buffer: int = 30, class_aware: bool = False
    ) -> TrackerConfig:
        """ByteTrack as published (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box").

        `match` is the reference's threshold on the cost 1 - IoU * score: 0.9 in its MOT17 runs, 0.8 in its demo. New
        tracks need `high` + 0.1; `buffer` is how many detection runs a lost track waits. The reference code deletes
        the younger of a seen and a lost track that overlap by 0.85. The paper has no such step and neither has this: on
        MOT17-09 it costs 1.6 points of IDF1, on MOT17-13 it changes nothing.
        """
        return TrackerConfig(
            high_score=high,
            low_score=low,
            new_score=high + 0.1,
            match_iou=1 - match,
            max_misses=buffer,
            class_aware=class_aware,
        )

    @staticmethod
    def pipeline(*, high: float = 0.6, buffer: int = 30) -> TrackerConfig:
        """What `video_analysis` runs: ByteTrack that trusts boxes twice as much, and keeps classes apart.

        The trust follows a moving camera and quick turns better, see `benchmarks/tracker_accuracy.py`.
        """
        return replace(
            TrackerConfig.byte(high=high, buffer=buffer, class_aware=True), motion=height_motion(box_trust=2)
        )
