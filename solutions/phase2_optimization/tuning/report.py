"""The report of a tuning: a table with the Pareto front, what was not measured and why, a page with the plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from solutions.core.measure.report import Cell, render_table
from solutions.core.measure.report_html import Section, write_html
from solutions.core.measure.report_svg import Plot, Point, scatter
from solutions.phase2_optimization.tuning.candidates import Candidate
from solutions.phase2_optimization.tuning.outcome import CALLS_FOR_P99, Row
from solutions.phase2_optimization.tuning.record import Read

_PRECISION = {"fp32": "f32", "bf16": "bf16", "int8+bf16": "bf16", "fp16": "f16", "int8": "f32"}

_METRICS = {
    "agreement": "agreement with the float model on ONNX Runtime",
    "accuracy": "the share that is right",
    "score": "the score that was given",
}
_BUSY = 3.0  # p99 over p50 of the choice: on a quiet machine hardly above 1.5


def render(record: Mapping[str, Any], *, model: str, kept: str = "") -> None:
    """Print the record.

    Args:
        record: as `tuning_record` gives it.
        model: as the user named it, for the command that uses the choice.
        kept: where the model was written, if it was.
    """
    read = Read.of(record)
    for line in head(record):
        print(line)
    render_table(_table_title(record), _columns(record), _rows(read))
    for line in notes(record, read):
        print(line)
    print()
    print(f"choice: {record['choice']['sentence']}")
    if read.chosen and (command := use_it(read.chosen, model, kept)):
        print(f"use it: {command}")


def write_page(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write the record as one HTML page with the accuracy-against-latency plot.

    Raises:
        ConfigError: the place cannot be written.
    """
    read = Read.of(record)
    name = record["model"]["name"]
    sections = [
        Section("The choice", "\n".join([record["choice"]["sentence"], *head(record)])),
        Section(
            "Candidates",
            "ms is the winner's p50, and of the others what their paired ratio to it makes of it; p99 and calls are "
            "their own. The front holds what no other beats in latency, throughput, memory and accuracy at once.",
            _columns(record),
            _rows(read),
            plots=accuracy_plot(record, read),
        ),
    ]
    if record["int8_on_onnxruntime"]:
        sections.append(int8_section(record["int8_on_onnxruntime"]))
    sections.append(Section("What was not measured, or not to the end", "\n".join(notes(record, read))))
    write_html(path, f"How to run {name} here", sections)


def head(record: Mapping[str, Any]) -> list[str]:
    """On what it was measured, with what, and how long it took."""
    host, settings, samples = record["host"], record["settings"], record["samples"]
    wanted = settings["wanted"]
    promise = f", p99 within {settings['slo_ms']:g} ms" if settings["slo_ms"] else ""
    gpus = ", ".join(host["gpus"]) or "no GPU"
    untrained = " with random weights" if record["model"]["untrained"] else ""
    lines = [
        f"{record['model']['name']}{untrained}: batch {settings['batch']}, best {wanted['objective']}{promise}",
        f"measured {record['when']} on {host['cpu'] or host['machine']}, {host['usable_cores']} cores "
        f"({' '.join(host['isa'])}), {gpus}; chosen after {record['chosen_s']:.1f} s, "
        f"{record['seconds']:.1f} s with the figures for the front ({record['way']})",
        f"accuracy: {_METRICS[record['metric']]}, on {samples['origin']}",
    ]
    if record["bound"] is None:
        lines.append("accuracy is shown and not judged: random weights or noise say nothing about it")
    else:
        few = f"; {samples['judged']} samples without a difference cannot exclude {3 / samples['judged']:.3f}"
        lines.append(
            f"refused where the {record['metric']} may fall by more than {record['bound']:g}"
            f"{few if record['metric'] != 'score' and 3 / samples['judged'] > record['bound'] else ''}"
        )
    return lines


def notes(record: Mapping[str, Any], read: Read) -> list[str]:
    """Why each candidate is where it is, and how int8 did on ONNX Runtime."""
    lines = [f"{row.candidate.label}: {row.state}: {row.reason}" for row in read.rows if row.reason]
    lines += [f"{each.label}: not tried: {each.reason}" for each in read.missing]
    chosen = next((row.latency for row in read.rows if row.candidate == read.chosen and row.latency), None)
    if chosen and chosen.p99 > _BUSY * chosen.p50:
        lines.append(
            f"the machine was busy: the p99 of the choice is {chosen.p99 / chosen.p50:.1f} times its p50; what is near "
            "to it may be as good, and --fresh on a quiet machine tells"
        )
    if record["int8_on_onnxruntime"]:
        lines.append(record["int8_on_onnxruntime"]["sentence"])
    return lines


def use_it(candidate: Candidate, model: str, kept: str = "") -> str:
    """The command that compiles and checks the choice; "" where it needs a file that was not written.

    >>> use_it(Candidate("openvino", "bf16", 1, "latency"), "street-small")
    'compiler.py --model street-small --backend openvino --threads 1 --precision bf16 --hint latency'
    """
    runtime, made = candidate.runtime, candidate.precision.startswith("int8") or candidate.detail == "ours"
    made = made or (runtime == "onnxruntime" and candidate.precision == "fp16")
    if made and not kept:
        return "--out FILE writes the model that it loads"
    if runtime == "pytorch":
        return f"model_loader.py --model {model} --device cpu --threads {candidate.threads}"
    parts = [f"compiler.py --model {kept or model} --backend {runtime} --threads {candidate.threads}"]
    if runtime == "onnxruntime" and candidate.detail not in ("all", "ours"):
        parts.append(f"--level {candidate.detail}")
    if runtime == "openvino":
        parts.append(f"--precision {_PRECISION[candidate.precision]} --hint {candidate.detail}")
    return " ".join(parts)


def accuracy_plot(record: Mapping[str, Any], read: Read) -> list[Plot]:
    """Accuracy over p50, by runtime; nothing where no candidate was judged.

    The score in percent where it means something, else signal to noise in dB. Of each runtime and precision only the
    fastest is drawn: thread counts and graph levels change no answers.
    """
    means = record["bound"] is not None
    points: dict[str, dict[str, Point]] = {}
    drawn: set[tuple[str, str]] = set()
    for row in sorted(read.rows, key=lambda one: (one.candidate != read.chosen, one.typical_ms or 0.0)):
        kind = (row.candidate.runtime, row.candidate.precision)
        if row.typical_ms is None or row.accuracy is None or kind in drawn:
            continue
        drawn.add(kind)
        value = 100 * row.accuracy.score if means else min(row.accuracy.sqnr_db, 140.0)
        mark = " (chosen)" if row.candidate == read.chosen else " (front)" if row.candidate in read.front else ""
        name = row.candidate.label.removeprefix(row.candidate.runtime).strip() + mark
        points.setdefault(row.candidate.runtime, {})[name] = (row.typical_ms, value)
    label = f"{record['metric']}, %" if means else "signal to noise, dB"
    return [scatter("Accuracy against latency", "latency, ms", label, points)] if points else []


def int8_section(int8: Mapping[str, Any]) -> Section:
    """Float and int8 on ONNX Runtime, by groups of kernels."""
    rows = [(group, ms, int8["int8_ms"][group]) for group, ms in int8["float_ms"].items()]
    return Section("INT8 on ONNX Runtime", int8["sentence"], ("kernels", "float ms", "int8 ms"), rows)


def _table_title(record: Mapping[str, Any]) -> str:
    return "Candidates in the order of trial" if record["way"] == "race" else "All candidates, measured to the end"


def _columns(record: Mapping[str, Any]) -> tuple[str, ...]:
    score = f"{record['metric']} %"
    return (
        "candidate",
        "state",
        "ms",
        "p99 ms",
        "calls",
        "inputs/s",
        score,
        "SQNR dB",
        "peak MB",
        "file MB",
        "front",
    )


def _rows(read: Read) -> Sequence[Sequence[Cell]]:
    return [_row(row, row.candidate in read.front, row.candidate == read.chosen) for row in read.rows]


def _row(row: Row, on_front: bool, chosen: bool) -> tuple[Cell, ...]:
    latency, accuracy = row.latency, row.accuracy
    return (
        row.candidate.label,
        "chosen" if chosen else row.state,
        row.typical_ms,
        latency.p99 if latency and latency.n >= CALLS_FOR_P99 else None,
        latency.n if latency else None,
        row.per_second,
        100 * accuracy.score if accuracy else None,
        accuracy.sqnr_db if accuracy else None,
        row.peak_mb,
        row.size_bytes / 1e6 if row.size_bytes is not None else None,
        "yes" if on_front else "",
    )
