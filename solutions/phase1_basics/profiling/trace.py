"""A profile as a trace that ui.perfetto.dev and chrome://tracing open: the Trace Event Format, complete events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solutions.core.scripts import write_json
from solutions.phase1_basics.profiling.layer_table import Span


@dataclass(frozen=True, slots=True)
class Track:
    """One row of the trace; its spans are moved so that the first begins at `offset_s`."""

    title: str
    spans: Sequence[Span]
    offset_s: float = 0.0


def trace_events(process: str, tracks: Iterable[Track]) -> dict[str, Any]:
    """The trace, ready for JSON: microseconds, one process, one thread per track.

    >>> trace = trace_events("net", [Track("layers", [Span("conv", "Conv2d", 5.0, 0.002)])])
    >>> trace["traceEvents"][-1]["ts"], trace["traceEvents"][-1]["dur"]
    (0.0, 2000.0)
    """
    events: list[dict[str, Any]] = [_name("process_name", process, 0)]
    for thread, track in enumerate(tracks, start=1):
        events.append(_name("thread_name", track.title, thread))
        begin = min((span.start_s for span in track.spans), default=0.0)
        events += [
            {
                "name": span.name,
                "cat": span.kind,
                "ph": "X",
                "ts": round((span.start_s - begin + track.offset_s) * 1e6, 3),
                "dur": round(span.seconds * 1e6, 3),
                "pid": 1,
                "tid": thread,
                "args": {"kind": span.kind},
            }
            for span in track.spans
        ]
    return {"displayTimeUnit": "ms", "traceEvents": events}


def in_a_row(durations: Iterable[tuple[str, str, float]]) -> tuple[Span, ...]:
    """Spans (name, kind, seconds) laid end to end, for what was timed one after another."""
    spans: list[Span] = []
    at = 0.0
    for name, kind, seconds in durations:
        spans.append(Span(name, kind, at, seconds))
        at += seconds
    return tuple(spans)


def write_trace(path: str | Path, process: str, tracks: Iterable[Track]) -> None:
    """Write the trace, whole or not at all.

    Raises:
        ConfigError: the folder is missing or cannot be written.
    """
    write_json(path, trace_events(process, tracks))


def _name(kind: str, title: str, thread: int) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": 1, "tid": thread, "args": {"name": title}}
