"""One network in every format: PyTorch, TorchScript, ONNX Runtime, OpenVINO, TensorFlow, LiteRT, TensorRT.

    python benchmarks/benchmark_formats.py
    python benchmarks/benchmark_formats.py --only eager,onnxruntime,tensorrt --model resnet18
    python benchmarks/benchmark_formats.py --target templates --html formats.html --json formats.json

Every format is made here from the same weights, interleaved with the first one that runs (PyTorch eager), and compared
with it in the same run: answers against what rounding explains for this network, and the figure that the network is
for. What is not installed, or cannot run here, is listed with the reason. --target adds the ONNX file that the
functions of exercises 2.9 to 2.11 make.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import onnx
import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that a plain file finds its neighbours

from benchmarks.comparison.fixed_sizes import fix_sizes
from benchmarks.comparison.format_rows import FormatBench, FormatRow
from benchmarks.comparison.formats import Formats
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
from benchmarks.comparison.rows import NotRun
from benchmarks.comparison.source import Source, add_source_options, open_source, task_of
from benchmarks.comparison.tasks import Task
from solutions.core.classroom.compile_script import Toolbox, fold, simplified
from solutions.core.errors import ConfigError
from solutions.core.hardware.profile import detect
from solutions.core.measure.report import render_table
from solutions.core.measure.report_html import Section, write_html
from solutions.core.scripts import EXIT_FAILED, EXIT_OK, run
from solutions.phase1_basics.runtimes.torch_model import TorchModel
from solutions.phase2_optimization.compilation.source import eager_module
from solutions.phase2_optimization.quantization.saving import save_model

SCHEMA = "ml-inference/benchmark-formats/1"
KEYS = (
    "eager", "compiled", "aot", "torchscript", "onnxruntime", "onnxruntime-int8", "own", "openvino", "openvino-bf16",
    "openvino-int8", "tensorflow", "litert", "litert-int8", "tensorrt",
)  # fmt: skip
COLUMNS = (
    "format", "KB", "made in s", "p50 ms", "p99 ms", "speed-up", "difference", "by rounding", "accuracy %",
    "points lost", "note",
)  # fmt: skip


def compare(
    source: Source, task: Task, learner: Learner, folder: Path, *, only: Sequence[str], rounds: int, threads: int
) -> tuple[list[FormatRow], list[NotRun]]:
    """A row for each format that runs here, and a sentence for each that does not.

    Raises:
        ModelLoadError: the graph does not take the task's inputs.
    """
    graph = fix_sizes(source.graph, task.timed, folder / "network.onnx")
    outputs = [value.name for value in onnx.load(graph, load_external_data=False).graph.output]
    own = (f"ONNX by exercises ({learner.title})", lambda model, out: by_learner(model, task, learner, out))
    rows: list[FormatRow] = []
    not_run: list[NotRun] = []
    bench = FormatBench(task, graph, outputs, rounds=rounds)
    with Formats(source, graph, task, folder, threads=threads, own=own) as formats:
        try:
            for each in formats.all():
                if each.key not in only:
                    continue
                print(f"  {each.title}", file=sys.stderr)
                found = bench.run(each)
                if isinstance(found, FormatRow):
                    rows.append(found)
                else:
                    not_run.append(found)
        finally:
            bench.close()
    return rows, not_run


def by_learner(model: TorchModel, task: Task, learner: Learner, out: Path) -> Path:
    """The ONNX file that the functions of exercises 2.9 to 2.11 make: batch norms folded, exported, simplified.

    Raises:
        ConfigError: one of them is missing or fails, or the network has several inputs.
    """
    if len(task.timed) != 1:
        raise ConfigError(f"the exercises export networks with one input, and this one has {len(task.timed)}")
    tools = Toolbox(**{field.name: learner.function(field.name) for field in fields(Toolbox)})
    picture = torch.from_numpy(next(iter(task.timed.values()))[:1])

    def work() -> onnx.ModelProto:
        folded, _ = fold(eager_module(model), tools)
        tools.export_dynamic(folded, picture, out)
        return simplified(onnx.load(out), tools)

    return save_model(learner.ask(work), out)


def render(rows: Sequence[FormatRow], not_run: Sequence[NotRun], lines: Sequence[str]) -> None:
    """Print what came of it."""
    for line in lines:
        print(line)
    if rows:
        render_table("formats", COLUMNS, _cells(rows))
    for each in not_run:
        print(f"not run: {each.sentence}")


def sections(rows: Sequence[FormatRow], not_run: Sequence[NotRun], lines: Sequence[str], metric: str) -> list[Section]:
    """The page."""
    points: dict[str, dict[str, tuple[float, float]]] = {}
    for row in rows:
        runtime, label = _short(row.title)
        points.setdefault(runtime, {})[label] = (steady_ms(rows[0].latency.p50, row.ratio), row.value)
    text = (
        "Difference: the largest one of an output from the baseline's, relative to its largest value; beside it what "
        "rounding explains in this network. In brackets the 95 % interval of the paired bootstrap."
    )
    cells = _cells(rows)
    answers = ("format", "KB", "difference", "by rounding", "accuracy %", "points lost")
    speed = columns_of(COLUMNS, cells, ("format", "made in s", "p50 ms", "p99 ms", "speed-up", "note"))
    return [
        head_section(lines),
        Section("Accuracy against latency", plots=[accuracy_plot(metric, points)]),
        Section("Files and answers", text, **columns_of(COLUMNS, cells, answers)),
        Section("Latency", "The speed-up is against the baseline, interleaved with it.", **speed),
        *not_run_section(not_run),
    ]


def _short(title: str) -> tuple[str, str]:
    """The runtime, which the plot's colours tell, and what is left of the title to write beside a dot.

    >>> _short("ONNX Runtime int8"), _short("OpenVINO"), _short("TorchScript")
    (('ONNX Runtime', 'int8'), ('OpenVINO', 'float32'), ('PyTorch', 'TorchScript'))
    """
    for runtime in ("PyTorch", "ONNX Runtime", "OpenVINO", "TensorFlow", "LiteRT", "TensorRT"):
        if title.startswith(runtime):
            return runtime, title.removeprefix(runtime).strip() or "float32"
    return ("PyTorch", title) if title == "TorchScript" else ("ONNX Runtime", "exercises")


def _cells(rows: Sequence[FormatRow]) -> list[tuple[Any, ...]]:
    return [
        (
            row.title, row.size_bytes / 1e3 if row.size_bytes else None, row.made_s, row.latency.p50, row.latency.p99,
            speedup_text(row.ratio), _power(row.difference), _power(row.tolerance), 100 * row.value,
            drop_text(row.drop), row.note if row.agrees else f"{row.note} DIFFERS".strip(),
        )
        for row in rows
    ]  # fmt: skip


def _power(value: float | None) -> str:
    return "-" if value is None else f"{value:.0e}"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Compare one network in every format that runs here. About three minutes for the default model on "
        "one core, two of them for torch.compile and AOTInductor; --only leaves out what you do not need.",
        epilog="Exit code 1: a format answers differently beyond rounding, or the functions of --target made no file.",
    )
    add_source_options(parser)
    add_report_options(parser, exercises="2.9 to 2.11", schema=SCHEMA)
    parser.add_argument("--only", metavar="NAME,NAME", default=",".join(KEYS), help="of %(default)s")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, compare, render."""
    args = parse_args(argv)
    only = [name.strip() for name in args.only.split(",")]
    if unknown := [name for name in only if name not in KEYS]:
        raise ConfigError(f"--only takes {', '.join(KEYS)}; got {unknown[0] or 'an empty name'}")
    learner = Learner(args.target)
    with tempfile.TemporaryDirectory(prefix="formats-") as workshop:
        source = open_source(args, Path(workshop))
        task = task_of(source, args, needs_data=False)
        rows, not_run = compare(
            source, task, learner, Path(workshop), only=only, rounds=args.rounds, threads=args.threads
        )
    lines = headlines(source, task, args)
    print(detect().describe())
    render(rows, not_run, lines)
    if args.json:
        write_record(args.json, SCHEMA, args, task.metric, rows, not_run)
    if not rows:
        raise ConfigError("no format could be run; the reasons are above")
    if args.html:
        write_html(args.html, f"{source.name} in every format", sections(rows, not_run, lines, task.metric))
    wrong = not all(row.agrees for row in rows) or any("exercises" in each.name for each in not_run)
    return EXIT_FAILED if wrong else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
