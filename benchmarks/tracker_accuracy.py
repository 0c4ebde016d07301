"""How well the tracker follows people on MOT15 and MOT17, beside the published tables and PyPI `trackers`.

python benchmarks/tracker_accuracy.py --json benchmarks/results/tracker_accuracy.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that a plain file finds its neighbours

from benchmarks.tracker_yardsticks import MOT15, MOT17, Sequence2D, Track, ours, sequences, theirs
from solutions.core.measure.report import render_table, versions_record
from solutions.core.scripts import EXIT_FAILED, EXIT_OK, run, write_json
from solutions.core.vision.tracking_metrics import TrackingScore, combine, score
from solutions.phase4_production.video_analysis.tracker_config import TrackerConfig

COLUMNS = ("tracker", "sequence", "mota", "idf1", "hota", "deta", "assa", "motp", "fp", "fn", "ids", "frag")


def rows_of(tracker: str, track: Track, over: Sequence[Sequence2D], overall: str | None = None) -> list[dict[str, Any]]:
    """One row for each sequence, and one for all of them if `overall` gives it a name."""
    scores: dict[str, TrackingScore] = {one.name: score(one.truth, track(one.detections)) for one in over}
    if overall:
        scores[overall] = combine(list(scores.values()))
    return [{"tracker": tracker, "sequence": name, **one.as_dict()} for name, one in scores.items()]


def measure(data: str | None) -> tuple[list[dict[str, Any]], dict[str, bool]]:
    """All rows, and which bars they pass."""
    yardsticks = {
        "trackers SORT": theirs("SORT"),
        "trackers ByteTrack": theirs("ByteTrack"),
        "trackers ByteTrack, scores > 0.1": theirs("ByteTrack", min_score=0.1),
    }
    own = {
        "sort(max_age=30, min_score=0.6)": ours(TrackerConfig.sort(max_age=30, min_score=0.6)),
        "byte()": ours(TrackerConfig.byte()),
        "pipeline()": ours(TrackerConfig.pipeline()),
    }
    mot15, mot17 = sequences(data, MOT15), sequences(data, MOT17)
    rows = rows_of("sort()", ours(TrackerConfig.sort()), mot15, "MOT15, all six")
    published = rows[-1]
    for name, track in (own | yardsticks).items():
        rows += rows_of(name, track, mot17, "MOT17, both")
    for name in ("byte()", "pipeline()"):
        rows += rows_of(name, own[name], mot15, "MOT15, all six")[-1:]
    by_place = {(row["tracker"], row["sequence"]): row for row in rows}
    bars = {"sort() on MOT15: MOTA 34.0 +- 0.3": abs(published["mota"] - 34.0) <= 0.3}
    bars["sort() on MOT15: 274 +- 15 identity switches"] = abs(published["ids"] - 274) <= 15
    for sequence in MOT17:
        for column in ("hota", "idf1"):
            best = max(by_place[name, sequence][column] for name in yardsticks if "ByteTrack" in name)
            bar = f"pipeline() on {sequence}: {column} not below trackers ByteTrack ({best:.1f})"
            bars[bar] = by_place["pipeline()", sequence][column] >= best
    return rows, bars


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tracking accuracy on MOT15 and MOT17, ours beside PyPI trackers.")
    parser.add_argument("--data", metavar="FOLDER", help="holds mot/MOT15 and mot/MOT17; by default $MLI_DATA")
    parser.add_argument("--json", metavar="FILE", help="write rows, bars and versions there")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """0 if every bar is passed, else 1."""
    args = parse_args(argv)
    rows, bars = measure(args.data)
    table = [[row[column] for column in COLUMNS] for row in rows]
    render_table("Tracking accuracy (ratios in percent; MOT17: second half)", COLUMNS, table)
    render_table("Bars", ("bar", "passed"), list(bars.items()))
    if args.json:
        write_json(args.json, {"rows": rows, "bars": bars, "versions": versions_record(("numpy", "scipy", "trackers"))})
    return EXIT_OK if all(bars.values()) else EXIT_FAILED


if __name__ == "__main__":
    raise SystemExit(run(main))
