"""Every way to make a network smaller, side by side: size, accuracy, latency, and whether it was worth it.

    python benchmarks/compare_quantization.py
    python benchmarks/compare_quantization.py --target templates --html quantization.html
    python benchmarks/compare_quantization.py --model resnet18.onnx --data pictures --json resnet18.json

FP32, FP16, BF16, static INT8 with each observer, dynamic INT8, INT8 after training for it, on ONNX Runtime and on
OpenVINO. Each is interleaved with the float model in its own runtime, and judged on the same samples in the same run:
the embedded models on labelled streets that nothing has seen before, other models by their agreement with the float
one on pictures of yours. --target adds the row of the functions that exercises 2.1 to 2.8 ask for.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that a plain file finds its neighbours

from benchmarks.comparison.learner import Learner
from benchmarks.comparison.page import (
    accuracy_plot,
    add_report_options,
    columns_of,
    drop_text,
    head_section,
    headlines,
    not_run_section,
    speedup_text,
    steady_ms,
    write_record,
)
from benchmarks.comparison.rows import Bench, NotRun, Row
from benchmarks.comparison.source import Source, add_source_options, open_source, task_of
from benchmarks.comparison.tasks import Task
from benchmarks.comparison.ways import all_ways
from solutions.core.classroom.quantize_script import Toolbox, quantized
from solutions.core.classroom.values import Comparison
from solutions.core.errors import ConfigError
from solutions.core.hardware.profile import detect
from solutions.core.measure.metrics import PairedRatio
from solutions.core.measure.report import render_table
from solutions.core.measure.report_html import Section, write_html
from solutions.core.scripts import EXIT_FAILED, EXIT_OK, run
from solutions.phase2_optimization.quantization.gate import GateConfig

SCHEMA = "ml-inference/compare-quantization/1"
COLUMNS = ("what", "runtime", "KB", "accuracy %", "points lost", "p50 ms", "p99 ms", "speed-up", "verdict")
_MAX_DROP, _MIN_SPEEDUP = 0.01, 1.2
_CODED_OPS = ("Conv", "Gemm")  # whose weights the classroom's graph edit can code
_SHARE = 0.9999  # of the activations that is not clipped, as in the template's script
_CALIBRATED_ON = 32  # pictures: the classroom keeps every activation of them


def compare(
    source: Source,
    task: Task,
    learner: Learner,
    bounds: GateConfig,
    *,
    train: bool = False,
    qat_steps: int | None = None,
) -> tuple[list[Row], list[NotRun]]:
    """A row for each way that runs here, and a sentence for each that does not."""
    rows: list[Row] = []
    not_run: list[NotRun] = []
    own = (
        f"int8 static, exercises ({learner.title})",
        lambda: by_learner(source.graph, task, learner),
        lambda before, after, ratio: verdict_of_learner(learner, bounds, before, after, ratio),
    )
    ways = all_ways(source.graph, source.name, task, threads=bounds.threads, train=train, qat_steps=qat_steps, own=own)
    with tempfile.TemporaryDirectory(prefix="quantization-") as folder:
        bench = Bench(task, Path(folder), bounds)
        try:
            for way in ways:
                print(f"  {way.runtime}: {way.name}", file=sys.stderr)
                found = bench.run(way)
                if isinstance(found, Row):
                    rows.append(found)
                else:
                    not_run.append(found)
        finally:
            bench.close()
    return rows, not_run


def by_learner(graph: Path, task: Task, learner: Learner) -> onnx.ModelProto:
    """The model quantized by the functions of exercises 2.1 to 2.8.

    Raises:
        ConfigError: one of them is missing or fails, or the graph is not of the kind that they are for.
    """
    model = onnx.load(graph)
    stored = {tensor.name for tensor in model.graph.initializer}
    weighted = {node.op_type for node in model.graph.node if len(node.input) > 1 and node.input[1] in stored}
    odd = sorted(weighted & {"MatMul", "ConvTranspose", "LSTM", "GRU"})
    if len(task.timed) != 1 or odd:
        why = f"this one has weights in {', '.join(odd)}" if odd else f"this one has {len(task.timed)} inputs"
        raise ConfigError(f"the exercises code graphs of {' and '.join(_CODED_OPS)} with one input; {why}")
    if not task.calibration:
        raise ConfigError("static int8 needs samples to calibrate with: --data FOLDER")
    batches = [next(iter(feeds.values())) for feeds in task.calibration[:_CALIBRATED_ON]]
    tools = Toolbox(**{field.name: learner.function(field.name) for field in fields(Toolbox)})
    return learner.ask(lambda: quantized(model, batches, tools, share=_SHARE))


def verdict_of_learner(
    learner: Learner, bounds: GateConfig, before: np.ndarray, after: np.ndarray, ratio: PairedRatio
) -> str:
    """What the gate of exercise 2.8 says of the same figures, or why it says nothing."""
    time = Comparison(ratio.ratio, ratio.low, ratio.high, "inconclusive")
    bars = {"max_drop": bounds.max_drop, "min_speedup": bounds.min_speedup}
    try:
        verdict = learner.ask(lambda: learner.function("gate")(before, after, time, **bars))
    except ConfigError as error:
        return str(error)
    return f"the gate of exercise 2.8 says: {verdict}"


def render(rows: Sequence[Row], not_run: Sequence[NotRun], lines: Sequence[str]) -> None:
    """Print what came of it."""
    for line in lines:
        print(line)
    render_table("quantization", COLUMNS, _cells(rows))
    for row in rows:
        if row.note:
            print(f"{row.name}: {row.note}")
    for each in not_run:
        print(f"not run: {each.sentence}")


def sections(rows: Sequence[Row], not_run: Sequence[NotRun], lines: Sequence[str], metric: str) -> list[Section]:
    """The page."""
    points: dict[str, dict[str, tuple[float, float]]] = {}
    baselines = {row.runtime: row.latency.p50 for row in rows if row.ratio is None}
    for row in rows:
        place = (steady_ms(baselines[row.runtime], row.ratio), row.value)
        points.setdefault(row.runtime, {})[row.name] = place
    cells = _cells(rows)
    text = "The speed-up is against float32 in the same runtime, interleaved with it."
    notes = [f"{row.name}: {row.note}" for row in rows if row.note]
    worth = columns_of(COLUMNS, cells, ("what", "runtime", "KB", "accuracy %", "points lost"))
    speed = columns_of(COLUMNS, cells, ("what", "runtime", "p50 ms", "p99 ms", "speed-up", "verdict"))
    return [
        head_section(lines),
        Section("Accuracy against latency", plots=[accuracy_plot(metric, points)]),
        Section("Size and accuracy", "In brackets the 95 % interval of the paired bootstrap.", **worth),
        Section("Latency and verdict", "\n".join([text, *notes]), **speed),
        *not_run_section(not_run),
    ]


def _cells(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    return [
        (
            row.name, row.runtime, row.size_bytes / 1e3, 100 * row.value, drop_text(row.drop), row.latency.p50,
            row.latency.p99, speedup_text(row.ratio), row.verdict,
        )
        for row in rows
    ]  # fmt: skip


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Compare the ways to quantize a model: size, accuracy, latency, speed-up. About a minute for "
        "the default model on one core; --qat adds some six the first time.",
        epilog="Exit code 1: bounds were given and no way met both, or the functions of --target made no model.",
    )
    add_source_options(parser)
    add_report_options(parser, exercises="2.1 to 2.8", schema=SCHEMA)
    parser.add_argument("--max-drop", type=float, metavar="SHARE", help=f"accuracy that may be lost ({_MAX_DROP})")
    parser.add_argument("--min-speedup", type=float, metavar="X", help=f"times as fast as float ({_MIN_SPEEDUP})")
    parser.add_argument("--qat", action="store_true", help="train the model for integers too (kept in the cache)")
    parser.add_argument("--qat-steps", type=int, metavar="N", help="of that training (default: the recipe's)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, compare, render."""
    args = parse_args(argv)
    asked = args.max_drop is not None or args.min_speedup is not None
    bounds = GateConfig(
        _MAX_DROP if args.max_drop is None else args.max_drop,
        _MIN_SPEEDUP if args.min_speedup is None else args.min_speedup,
        rounds=args.rounds,
        threads=args.threads,
    )
    learner = Learner(args.target)
    with tempfile.TemporaryDirectory(prefix="compare-") as workshop:
        source = open_source(args, Path(workshop))
        task = task_of(source, args, needs_data=True)
        train = args.qat or args.qat_steps is not None
        rows, not_run = compare(source, task, learner, bounds, train=train, qat_steps=args.qat_steps)
    lost, gained = f"at most {100 * bounds.max_drop:g} points lost", f"at least x{bounds.min_speedup:g}"
    lines = headlines(source, task, args, f"accepted: {lost} and {gained}, beyond noise")
    print(detect().describe())
    render(rows, not_run, lines)
    if args.json:
        write_record(args.json, SCHEMA, args, task.metric, rows, not_run)
    if args.html:
        write_html(args.html, f"{source.name}, quantized", sections(rows, not_run, lines, task.metric))
    learner_failed = any("exercises" in each.name for each in not_run)
    return EXIT_FAILED if learner_failed or (asked and not any(row.accepted for row in rows)) else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
