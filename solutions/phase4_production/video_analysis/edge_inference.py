"""Analyse a video on an edge device: detect, track and classify, frame by frame, with honest numbers at the end.

python edge_inference.py                                             an embedded street scene
python edge_inference.py --video test.mp4 --device jetson            a file, as a Jetson would run it
python edge_inference.py --video rtsp://camera/1 --detector yolox_nano.onnx --events events.jsonl
python edge_inference.py --video test.avi --detector yolox_nano.onnx --truth gt.txt --json report.json
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2

from solutions.core.errors import ConfigError
from solutions.core.hardware.profile import HardwareProfile, detect
from solutions.core.measure.report import host_record, render_table, versions_record
from solutions.core.scripts import EXIT_CANNOT_RUN, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, run, write_json
from solutions.core.vision.video import FrameSource, open_source
from solutions.core.zoo.registry import TIERS
from solutions.phase4_production.video_analysis.accuracy import AccuracyLog, file_truth, scene_truth
from solutions.phase4_production.video_analysis.edge_run import EdgeRun, run_edge, stop_on_signals
from solutions.phase4_production.video_analysis.edge_setup import EdgeConfig, Ready, prepare
from solutions.phase4_production.video_analysis.heads import HEADS
from solutions.phase4_production.video_analysis.run_metrics import RunMetrics, RunSummary, report
from solutions.phase4_production.video_analysis.sinks import AnnotatedVideo, EventLog, MotResults, ResultSink

DEFAULT_VIDEO = "scenes:7@640x360"
SCENE_FRAMES = 300  # a scene has no end of its own


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument_group("source").add_argument
    add("--video", default=DEFAULT_VIDEO, help="file, camera index, rtsp:// or http:// URL, scenes:SEED[@WIDTHxHEIGHT]")
    add("--realtime", action="store_true", help="pace a file or scene like a camera; late frames are dropped, counted")
    add("--loop", action="store_true", help="start a file over at its end")
    add("--max-frames", type=int, help=f"stop after so many (scenes: {SCENE_FRAMES})")
    add("--timeout", type=float, default=10.0, help="seconds a live source may be silent (default %(default)s)")
    add = parser.add_argument_group("models").add_argument
    add("--device", default="auto", help="auto, cpu, or the device to imitate: jetson, raspberrypi4, coral, ...")
    add("--detector", default="auto", help="ONNX file, ssdlite320, or street (the embedded family: synthetic scenes)")
    add("--head", choices=sorted(HEADS), help="how to read the detector's output, where the graph does not tell")
    add("--tier", choices=TIERS, help="size of the embedded detector")
    add("--precision", choices=("auto", "fp32", "fp16", "int8"), help="auto measures int8 against fp32 on this machine")
    add("--calibration", metavar="PLACE", help="folder of pictures or video that int8 is calibrated with")
    add("--runtime", choices=("auto", "onnxruntime"), default="auto", help="what runs the models")
    add("--threads", type=int, help="threads of runtime and OpenCV (default: the usable cores)")
    add("--classifier", default="auto", help="ONNX file or torchvision name; auto, none")
    add("--classes", help="keep only these classes, comma-separated")
    add("--score", type=float, help="score from which a detection may begin a track")
    add("--detect-every", type=int, metavar="N", help="run the detector on every N-th frame, predict in between")
    add("--motion-gate", action="store_true", help="skip the detector on still frames")
    add = parser.add_argument_group("results").add_argument
    add("--output", metavar="MP4", help="annotated video")
    add("--events", metavar="JSONL", help="one JSON object per frame")
    add("--mot-output", metavar="TXT", help="tracks as MOTChallenge rows")
    add("--truth", metavar="TXT", help="MOTChallenge truth to be judged by (scenes know theirs)")
    add("--json", metavar="FILE", help="the report; its fields are described in solutions/phase4_production/README.md")
    add("--max-p99-ms", type=float, help="exit with 1 when capture to result takes longer at the 99th percentile")
    add("--quiet", action="store_true", help="no progress line")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, render."""
    args = parse_args(argv)
    config = EdgeConfig(
        device=args.device,
        detector=args.detector,
        head=args.head,
        tier=args.tier,
        precision=args.precision,
        threads=args.threads,
        detect_every=args.detect_every,
        motion_gate=args.motion_gate,
        score=args.score,
        classes=tuple(args.classes.split(",")) if args.classes else None,
        classifier=args.classifier,
        calibration=args.calibration,
    )
    if args.threads:
        cv2.setNumThreads(args.threads)
    hardware = detect()
    stop = threading.Event()
    with stop_on_signals(stop), contextlib.ExitStack() as opened:
        source = opened.enter_context(_open(args, stop))
        ready = prepare(config, source.info, hardware)
        opened.callback(ready.pipeline.close)
        source.also_scale(ready.pipeline.picture_hw(source.info.size_hw))
        accuracy = _accuracy(args.truth, source, ready)
        sinks: list[ResultSink] = []
        for make in _sinks(args, source, ready):
            sinks.append(make())
            opened.callback(sinks[-1].close)
        print(f"{source.info.spec}: {_describe(source)}; {ready.facts['name']} {ready.facts['precision']}", flush=True)
        for note in ready.notes:
            print(f"note: {note}", flush=True)
        progress = _progress_line(args.max_frames or source.info.frames) if _wants_progress(args) else lambda m: None
        finished = run_edge(source, ready.pipeline, sinks, accuracy=accuracy, stop=stop, progress=progress)
    if _wants_progress(args):
        print(file=sys.stderr)
    summary = finished.metrics.summaries()
    scores = accuracy.scores() if accuracy else None
    _render(finished, summary, scores)
    if args.json:
        write_json(args.json, _report(argv, args, hardware, source, ready, finished, summary, scores))
    return _exit_code(finished, summary, args.max_p99_ms)


def _open(args: argparse.Namespace, stop: threading.Event) -> FrameSource:
    frames = args.max_frames
    if frames is None and args.video.startswith("scenes:"):
        frames = SCENE_FRAMES
    return open_source(
        args.video,
        realtime=args.realtime,
        loop=args.loop,
        max_frames=frames,
        timeout_s=args.timeout,
        stop=stop,
    )


def _accuracy(truth_path: str | None, source: FrameSource, ready: Ready) -> AccuracyLog | None:
    if truth_path is not None:
        return AccuracyLog(file_truth(truth_path, ready.labels))
    return AccuracyLog(scene_truth(ready.labels)) if source.info.kind == "scenes" and ready.facts["tier"] else None


def _sinks(args: argparse.Namespace, source: FrameSource, ready: Ready) -> list[Callable[[], ResultSink]]:
    info, makers = source.info, list[Callable[[], ResultSink]]()
    if args.output:
        makers.append(lambda: AnnotatedVideo(args.output, size_hw=info.size_hw, fps=info.fps, labels=ready.labels))
    if args.events:
        makers.append(lambda: EventLog(args.events, labels=ready.labels))
    if args.mot_output:
        makers.append(lambda: MotResults(args.mot_output))
    return makers


def _describe(source: FrameSource) -> str:
    info = source.info
    return f"{info.size_hw[1]}x{info.size_hw[0]} at {info.fps:.4g} frames/s, {info.codec}"


def _wants_progress(args: argparse.Namespace) -> bool:
    return sys.stderr.isatty() and not args.quiet


def _progress_line(frames: int | None) -> Callable[[RunMetrics], None]:
    """A line on stderr, renewed twice a second."""
    last = [0.0]

    def show(metrics: RunMetrics) -> None:
        now = time.perf_counter()
        if now - last[0] < 0.5:
            return
        last[0] = now
        total = f"/{frames}" if frames else ""
        p99 = metrics.latency.percentile(99) * 1e3
        print(f"\r{metrics.finished}{total} frames  {metrics.fps:.1f} FPS  p99 {p99:.1f} ms ", end="", file=sys.stderr)

    return show


def _render(finished: EdgeRun, summary: RunSummary | None, scores: dict[str, float] | None) -> None:
    frames = finished.frames
    drops = ", ".join(f"{name} {count}" for name, count in frames["dropped"].items()) or "none"
    if summary is not None:
        rows = [
            (name, stage.p50, stage.p95, stage.p99, stage.max)
            for name, stage in (
                *summary.stages.items(),
                ("our own code", summary.own),
                ("capture to result", summary.latency),
            )
        ]
        render_table("milliseconds per frame", ("stage", "p50", "p95", "p99", "max"), rows)
        print(
            f"{summary.fps:.1f} FPS end to end, p99 {summary.latency.p99:.1f} ms, "
            f"peak memory {summary.peak_rss_mb:.0f} MB"
        )
    print(
        f"frames: {frames['captured']} captured, {frames['finished']} finished, dropped: {drops}; "
        f"the detector looked at {frames['detected']}"
    )
    if scores is not None:
        told = ", ".join(
            f"{name.upper()} {value:.0f}" if name == "ids" else f"{name.upper()} {100 * value:.1f}"
            for name, value in scores.items()
        )
        print(f"accuracy against the truth: {told}")
    for error in finished.errors:
        print(f"error: {error}", file=sys.stderr)
    if finished.stopped:
        print("stopped as asked; files are complete up to here", file=sys.stderr)


def _report(
    argv: Sequence[str] | None,
    args: argparse.Namespace,
    hardware: HardwareProfile,
    source: FrameSource,
    ready: Ready,
    finished: EdgeRun,
    summary: RunSummary | None,
    scores: dict[str, float] | None,
) -> dict[str, Any]:
    info = source.info
    facts = {
        "command": ["edge_inference.py", *(argv if argv is not None else sys.argv[1:])],
        "host": host_record(hardware),
        "versions": versions_record(),
        "model": ready.facts,
        "source": {
            "spec": info.spec,
            "kind": info.kind,
            "size_hw": list(info.size_hw),
            "fps": info.fps,
            "codec": info.codec,
            "realtime": args.realtime,
        },
    }
    return report(summary, facts=facts, frames=finished.frames, accuracy=scores, estimates=ready.estimates)


def _exit_code(finished: EdgeRun, summary: RunSummary | None, max_p99_ms: float | None) -> int:
    if finished.errors:
        return EXIT_CANNOT_RUN
    if finished.stopped:
        return EXIT_INTERRUPTED
    if summary is None:
        raise ConfigError("the source ended before its first frame")
    if max_p99_ms is not None and summary.latency.p99 > max_p99_ms:
        print(f"p99 {summary.latency.p99:.1f} ms is over the bar of {max_p99_ms:g} ms", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
