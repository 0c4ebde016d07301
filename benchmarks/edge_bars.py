"""The edge pipeline against its bars, on this machine: one core, one thread, end to end; and its detectors alone.

Runs `edge_inference.py` as a user does, several times, in a process tied to one core, and reports medians of the runs.
The synthetic scene needs nothing; the clip with real pedestrians (vtest.avi, YOLOX-nano) is found through MLI_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that a plain file finds its neighbours

from benchmarks.bars import Bar, render_bars
from solutions.core.errors import BackendUnavailable, ConfigError
from solutions.core.measure.metrics import LatencySummary
from solutions.core.measure.profiling import measure
from solutions.core.measure.report import host_record, versions_record
from solutions.core.scripts import EXIT_FAILED, EXIT_OK, run, write_json
from solutions.core.vision.scenes import StreetScene, write_clip
from solutions.core.zoo.registry import TIERS
from solutions.phase1_basics.model_loader import load_model

SCRIPT = Path(__file__).parents[1] / "solutions/phase4_production/video_analysis/edge_inference.py"
SCENE_SEED = 7


def edge_report(arguments: Sequence[str], *, core: int, folder: Path) -> dict[str, Any]:
    """The JSON report of one run on one core.

    Raises:
        ConfigError: the run failed; its last line is quoted.
    """
    target = folder / "report.json"
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), "--threads", "1", "--quiet", "--json", str(target), *arguments],
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if finished.returncode:
        last = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        raise ConfigError(f"{' '.join(arguments)} ended with {finished.returncode}: {last}")
    report: dict[str, Any] = json.loads(target.read_text())
    return report


def model_latency(tier: str, input_hw: tuple[int, int], core: int) -> LatencySummary:
    """Latencies of one embedded detector on one picture; ties the process that calls it to `core`, for good."""
    os.sched_setaffinity(0, {core})
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 3, *input_hw)).astype(np.float32)
    model = load_model(f"street-{tier}", device="cpu", threads=1)
    try:
        feeds = {model.inputs[0].name: pixels}
        return measure(lambda: model.predict(feeds), warmup=50, repeats=500, min_seconds=2.0).summary
    finally:
        model.close()


def model_bars(runs: int, core: int) -> list[Bar]:
    """The embedded detectors without the pipeline: every tier at its own size, the smallest at 192x320 too.

    Each run is a process of its own, so that the layout of its memory is drawn anew.
    """
    bars = []
    for tier, input_hw in (("small", (192, 320)), *((tier, (256, 448)) for tier in TIERS)):
        found = []
        for _ in range(runs):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                found.append(pool.submit(model_latency, tier, input_hw, core).result())
        case = f"model alone {input_hw[0]}x{input_hw[1]}, {tier}"
        bar_ms = 1.5 if input_hw == (192, 320) else None
        bars += [
            Bar(case, "p50 ms", statistics.median(one.p50 for one in found), at_most=bar_ms),
            Bar(case, "p99 ms", statistics.median(one.p99 for one in found)),
        ]
    return bars


def scene_bars(runs: int, core: int, folder: Path, tier: str) -> list[Bar]:
    """An MP4 of the synthetic street with its own truth."""
    clip, truth = folder / "scene.mp4", folder / "gt.txt"
    write_clip(StreetScene(SCENE_SEED), clip, truth, frames=600)
    arguments = ["--video", str(clip), "--detector", "street", "--tier", tier, "--truth", str(truth)]
    reports = [edge_report(arguments, core=core, folder=folder) for _ in range(runs)]
    case = f"scene 640x360, {tier}"
    return [
        Bar(case, "FPS", _median(reports, "fps"), at_least=200),
        Bar(case, "p99 ms", _median(reports, "latency_ms", "p99"), at_most=15),
        Bar(case, "own code p50 ms", _median(reports, "own_code_ms", "p50"), at_most=1.0),
        Bar(case, "HOTA", 100 * _median(reports, "accuracy", "hota"), at_least=65),
        Bar(case, "AP50", 100 * _median(reports, "accuracy", "ap50")),
    ]


def street_bars(runs: int, core: int, folder: Path, data: Path) -> list[Bar]:
    """Real pedestrians: vtest.avi is MOT15's PETS09-S2L1, frame for frame."""
    arguments = [
        *("--video", str(data / "videos/vtest.avi")),
        *("--detector", str(data / "models/yolox_nano.onnx")),
        *("--truth", str(data / "mot/MOT15/PETS09-S2L1/gt/gt.txt")),
    ]
    int8 = [*arguments, "--precision", "int8", "--calibration", str(data / "images/coco_val")]
    exact = [edge_report(arguments, core=core, folder=folder) for _ in range(runs)]
    small = [edge_report(int8, core=core, folder=folder) for _ in range(runs)]
    case = "vtest.avi, YOLOX-nano fp32"
    fp32_ap50 = 100 * _median(exact, "accuracy", "ap50")
    int8_ap50 = 100 * _median(small, "accuracy", "ap50")
    return [
        Bar(case, "FPS", _median(exact, "fps"), at_least=40),
        Bar(case, "p99 ms", _median(exact, "latency_ms", "p99"), at_most=50),
        Bar(case, "own code p50 ms", _median(exact, "own_code_ms", "p50"), at_most=1.0),
        Bar(case, "MOTA", 100 * _median(exact, "accuracy", "mota"), at_least=78),
        Bar(case, "IDF1", 100 * _median(exact, "accuracy", "idf1"), at_least=64),
        Bar(case, "HOTA", 100 * _median(exact, "accuracy", "hota"), at_least=50),
        Bar(case, "AP50", fp32_ap50),
        Bar("vtest.avi, YOLOX-nano int8", "AP50", int8_ap50, at_least=fp32_ap50 - 2),
        Bar("vtest.avi, YOLOX-nano int8", "FPS", _median(small, "fps")),
        Bar("vtest.avi, YOLOX-nano int8", "MOTA", 100 * _median(small, "accuracy", "mota"), at_least=76.8),
        Bar("vtest.avi, YOLOX-nano int8", "IDF1", 100 * _median(small, "accuracy", "idf1")),
        Bar("vtest.avi, YOLOX-nano int8", "HOTA", 100 * _median(small, "accuracy", "hota")),
    ]


def _median(reports: Sequence[dict[str, Any]], *keys: str) -> float:
    values = []
    for report in reports:
        value: Any = report
        for key in keys:
            value = value[key]
        values.append(float(value))
    return statistics.median(values)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs per case; medians are reported (default %(default)s)")
    parser.add_argument("--core", type=int, default=0, help="the core to run on (default %(default)s)")
    parser.add_argument("--tier", default="small", help="tier of the embedded detector (default %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases, print the figures, say which bars held."""
    args = parse_args(argv)
    if not hasattr(os, "sched_setaffinity"):
        raise BackendUnavailable("a process can be tied to one core on Linux only; run this benchmark there")
    if args.runs < 1:
        raise ConfigError(f"--runs must be at least 1, got {args.runs}")
    data = os.environ.get("MLI_DATA")
    with tempfile.TemporaryDirectory() as name:
        bars = model_bars(args.runs, args.core) + scene_bars(args.runs, args.core, Path(name), args.tier)
        if data:
            bars += street_bars(args.runs, args.core, Path(name), Path(data))
    render_bars(f"edge pipeline, one core, one thread, median of {args.runs} runs", bars)
    if not data:
        print("not run here: vtest.avi with YOLOX-nano (set MLI_DATA to the folder with the clips)")
    if args.json:
        record = {"host": host_record(), "versions": versions_record(), "runs": args.runs}
        write_json(args.json, record | {"figures": [bar.as_dict() for bar in bars]})
    return EXIT_OK if all(bar.held for bar in bars) else EXIT_FAILED


if __name__ == "__main__":
    raise SystemExit(run(main))
