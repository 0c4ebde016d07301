"""How fast the tracker is: beside PyPI `trackers` on one stream, and on a hundred streams at once.

    python benchmarks/tracker_speed.py --json benchmarks/results/tracker_speed.json

Both sides get the same detections, each in its own type, made beforehand; runs are interleaved (a b b a).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that a plain file finds its neighbours

from benchmarks.tracker_yardsticks import MOT15, MOT17, Sequence2D, as_supervision, sequences, their_tracker
from solutions.core.measure.metrics import LatencySummary
from solutions.core.measure.profiling import measure_pair
from solutions.core.measure.report import host_record, render_table, versions_record
from solutions.core.scripts import EXIT_FAILED, EXIT_OK, run, write_json
from solutions.phase4_production.video_analysis.tracker import Tracker
from solutions.phase4_production.video_analysis.tracker_config import TrackerConfig

PRESETS = {"sort()": TrackerConfig.sort(), "byte()": TrackerConfig.byte(), "pipeline()": TrackerConfig.pipeline()}
STREAMS, SPEEDUP, UPDATE_MS, STREAM_P50_MS = 100, 3.0, 10.0, 0.3


def pass_over(make: Callable[[], Any], parts: Sequence[Sequence[Any]], method: str) -> None:
    """Track each part from its start with a new tracker."""
    for part in parts:
        update = getattr(make(), method)
        for one in part:
            update(one)


def compare(name: str, over: Sequence[Sequence2D], frames: int, rounds: int) -> list[dict[str, Any]]:
    """Each of our presets against each tracker of `trackers` on the first `frames` of each sequence."""
    parts = [one.detections[:frames] for one in over]
    translated = [as_supervision(part) for part in parts]
    count = sum(map(len, parts))
    rows = []
    for preset, config in PRESETS.items():
        own = partial(pass_over, partial(Tracker, config), parts, "update_one")
        for yardstick in ("SORT", "ByteTrack"):
            pair = measure_pair(
                partial(pass_over, their_tracker(yardstick), translated, "update"), own, rounds=rounds, warmup=1
            )
            low, high = 1 / pair.ratio.high, 1 / pair.ratio.low
            row = {"input": name, "ours": preset, "trackers": yardstick, "ours_ms": pair.b.p50 / count}
            row |= {"theirs_ms": pair.a.p50 / count, "speedup": pair.ratio.speedup, "low": low, "high": high}
            rows.append(row | {"verdict": pair.ratio.verdict(at_most=1 / SPEEDUP)})
    return rows


def latencies(over: Sequence[Sequence2D], streams: int, updates: int) -> list[dict[str, Any]]:
    """Latency of `update` with that many streams: the sequences in turn, each stream from another frame on."""
    rows = []
    for preset, config in PRESETS.items():
        tracker, samples = Tracker(config), []
        for k in range(-10, updates):  # the first ten are not counted
            parts = (over[stream % len(over)].detections for stream in range(streams))
            frames = {stream: part[(k + 37 * stream) % len(part)] for stream, part in enumerate(parts)}
            start = time.perf_counter()
            tracker.update(frames)
            samples.append(time.perf_counter() - start)
        summary = LatencySummary.of(samples[10:])
        bar = STREAM_P50_MS if streams == 1 else UPDATE_MS
        row: dict[str, Any] = {"streams": streams, "ours": preset, "p50_ms": summary.p50, "p99_ms": summary.p99}
        verdict = "pass" if summary.p50 <= bar else "fail"
        rows.append(row | {"p50_ms_per_stream": summary.p50 / streams, "bar_p50_ms": bar, "verdict": verdict})
    return rows


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tracking speed on one stream and on a hundred, beside PyPI trackers.")
    parser.add_argument("--data", metavar="FOLDER", help="holds mot/MOT15 and mot/MOT17; by default $MLI_DATA")
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds of each comparison (default 9)")
    parser.add_argument("--frames", type=int, default=900, help="at most so many frames a sequence (default 900)")
    parser.add_argument("--json", metavar="FILE", help="write rows, host and versions there")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """0 if no bar is missed, else 1; what stays inconclusive is not missed."""
    args = parse_args(argv)
    mot15, mot17 = sequences(args.data, MOT15), sequences(args.data, MOT17)
    ratios = compare("MOT15, six", mot15, args.frames, args.rounds) + compare(
        "MOT17, both", mot17, args.frames, args.rounds
    )
    times = latencies(mot15, 1, 500) + latencies(mot15, STREAMS, 200)
    for title, rows in ((f"One stream, bar x{SPEEDUP:g}", ratios), ("Latency of one update", times)):
        render_table(title, tuple(rows[0]), [tuple(row.values()) for row in rows])
    if args.json:
        record = {"ratios": ratios, "latencies": times, "host": host_record()}
        write_json(args.json, record | {"versions": versions_record(("numpy", "scipy", "trackers"))})
    return EXIT_FAILED if any(row["verdict"] == "fail" for row in ratios + times) else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
