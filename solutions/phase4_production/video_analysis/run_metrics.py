"""The figures of a run, gathered frame by frame in constant memory, and the report they become.

The report is a contract, described in ../README.md under "The JSON report"; `SCHEMA` changes when it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from solutions.core.measure.histogram import LatencyHistogram
from solutions.core.measure.latency import LatencySummary
from solutions.core.measure.memory import peak_rss_mb
from solutions.core.vision.frames import Frame
from solutions.phase4_production.video_analysis.results import FrameResult

SCHEMA = "ml-inference/edge-report/1"
STAGES = ("decode", "preprocess", "detect", "track", "classify", "sink")


class RunMetrics:
    """Counts and latency histograms of one run."""

    def __init__(self) -> None:
        self.finished = 0
        self.latency = LatencyHistogram()
        self.own = LatencyHistogram()
        self.stages = {name: LatencyHistogram() for name in STAGES}
        self.started_at_s: float | None = None
        self.ended_at_s = 0.0

    def add(self, frame: Frame, result: FrameResult, *, sink_s: float, now_s: float) -> None:
        """Count one frame that went all the way. `now_s` is when its sinks were done."""
        if self.started_at_s is None:
            self.started_at_s = frame.captured_at_s
        self.ended_at_s = now_s
        self.finished += 1
        times = result.times
        self.latency.record(result.latency_s)
        self.own.record(times.own_s)
        for name, seconds in (
            ("decode", frame.decode_s),
            ("preprocess", times.preprocess_s),
            ("detect", times.detect_s),
            ("track", times.track_s),
            ("classify", times.classify_s),
            ("sink", sink_s),
        ):
            self.stages[name].record(seconds)

    @property
    def fps(self) -> float:
        """Frames per second from the first capture to the last sink; 0 before the first frame."""
        if self.started_at_s is None or self.ended_at_s <= self.started_at_s:
            return 0.0
        return self.finished / (self.ended_at_s - self.started_at_s)

    def summaries(self) -> RunSummary | None:
        """All figures so far, None before the first frame."""
        if not self.finished:
            return None
        return RunSummary(
            self.fps,
            self.latency.summary(),
            self.own.summary(),
            {name: histogram.summary() for name, histogram in self.stages.items()},
            peak_rss_mb(),
        )


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Frames per second, milliseconds from capture to result, of our own code, and by stage; peak memory in MB."""

    fps: float
    latency: LatencySummary
    own: LatencySummary
    stages: dict[str, LatencySummary]
    peak_rss_mb: float


def report(
    summary: RunSummary | None,
    *,
    facts: dict[str, Any],
    frames: dict[str, Any],
    accuracy: dict[str, float] | None,
    estimates: dict[str, Any] | None,
) -> dict[str, Any]:
    """The JSON report. `facts` are command, host, versions, model and source."""
    filled: dict[str, Any] = {"schema": SCHEMA, **facts, "frames": frames}
    if summary is not None:
        filled |= {
            "fps": summary.fps,
            "latency_ms": summary.latency.as_dict(),
            "own_code_ms": summary.own.as_dict(),
            "stages": {name: stage.as_dict() for name, stage in summary.stages.items()},
            "memory": {"peak_rss_mb": summary.peak_rss_mb},
        }
    if accuracy is not None:
        filled["accuracy"] = accuracy
    if estimates is not None:
        filled["estimates"] = estimates
    return filled
