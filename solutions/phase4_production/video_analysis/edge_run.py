"""The loop of an edge device: frame after frame through the pipeline and into the sinks, until something ends it."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from solutions.core.errors import CourseError
from solutions.core.vision.video import FrameSource
from solutions.phase4_production.video_analysis.accuracy import AccuracyLog
from solutions.phase4_production.video_analysis.model_pipeline import Pipeline
from solutions.phase4_production.video_analysis.run_metrics import RunMetrics
from solutions.phase4_production.video_analysis.sinks import ResultSink


@dataclass(slots=True)
class EdgeRun:
    """What a run came to. `errors` holds what ended it early; `stopped` that somebody asked it to end."""

    metrics: RunMetrics
    frames: dict[str, Any] = field(default_factory=dict)
    errors: list[CourseError] = field(default_factory=list)
    stopped: bool = False


def run_edge(
    source: FrameSource,
    pipeline: Pipeline,
    sinks: Sequence[ResultSink],
    *,
    accuracy: AccuracyLog | None = None,
    stop: threading.Event,
    progress: Callable[[RunMetrics], None] = lambda metrics: None,
    clock: Callable[[], float] = time.perf_counter,
) -> EdgeRun:
    """Run until the source ends, `stop` is set, or source, pipeline or a sink fails; then close all of them.

    A failure is not raised: what was measured until then is worth keeping. Every frame that the source captured is
    accounted for: finished, or dropped under a name (`unfinished` is the one that was in hand when the run broke).
    """
    run = EdgeRun(RunMetrics())
    with _closing([source, pipeline, *sinks], run.errors):
        try:
            for frame in source:
                result = pipeline.process(frame)
                sink_start = clock()
                for sink in sinks:
                    sink.write(frame, result)
                now = clock()
                if accuracy is not None:
                    accuracy.add(frame, result)
                run.metrics.add(frame, result, sink_s=now - sink_start, now_s=now)
                progress(run.metrics)
                if stop.is_set():
                    break
        except CourseError as error:
            run.errors.append(error)
    run.stopped = stop.is_set()
    dropped = {name: count for name, count in source.drops.items() if count}
    unfinished = source.yielded - run.metrics.finished
    if unfinished:
        dropped["unfinished"] = unfinished
    run.frames = {
        "captured": source.captured,
        "finished": run.metrics.finished,
        "dropped": dropped,
        "detected": pipeline.detected,
        "gated": pipeline.gated,
        "reconnects": source.reconnects,
    }
    return run


@contextlib.contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM set `stop` inside the block; a second Ctrl-C interrupts at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _closing(things: Sequence[Any], errors: list[CourseError]) -> Iterator[None]:
    """Close every one of `things` whatever happens to the others; their complaints go to `errors`."""
    try:
        yield
    finally:
        for thing in things:
            try:
                thing.close()
            except CourseError as error:
                errors.append(error)
