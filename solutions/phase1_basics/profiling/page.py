"""A profile as one self-contained HTML page: the tables of the terminal, with plots beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from solutions.core.hardware.profile import detect
from solutions.core.measure.report_html import Bars, Plot, Section, write_html
from solutions.phase1_basics.profiling.report import Layers, ProfileReport
from solutions.phase1_basics.profiling.roofline import RooflinePoint, Roofs
from solutions.phase1_basics.profiling.tables import tables, threads_text

Plots = list[Plot | Bars]


def write_page(path: str | Path, report: ProfileReport, *, top: int = 25) -> None:
    """Write the page, whole or not at all.

    Raises:
        ConfigError: the folder is missing or cannot be written.
    """
    write_html(path, f"Profile of {report.title}", sections(report, top=top))


def sections(report: ProfileReport, *, top: int = 25) -> list[Section]:
    """The page's sections in reading order."""
    plots = plots_by_table(report)
    first = Section(
        "What was measured",
        f"{report.title}, {threads_text(report.settings['threads'][0])}\nmachine: {detect().describe()}\n"
        "every number here was measured on this machine; what could not be is said",
        ("", "name", "shape"),
        [("in", each["name"], each["spec"]) for each in report.model["inputs"]]
        + [("out", each["name"], each["spec"]) for each in report.model["outputs"]],
    )
    return [
        first,
        *(
            Section(table.title, table.text, table.columns, table.rows, plots.get(table.title, []))
            for table in tables(report, top=top)
        ),
    ]


def plots_by_table(report: ProfileReport) -> dict[str, Plots]:
    """The plots that stand below each table, by its title."""
    samples_ms = [seconds * 1e3 for seconds in report.latency.samples_s]
    found: dict[str, Plots] = {"Latency in ms": [_distribution(samples_ms), _over_time(samples_ms)]}
    if len(report.batches) > 1:
        found["Batch size"] = [
            Plot("Throughput by batch size", "batch", "rows / s",
                 {"rows / s": [(p.batch, p.rows_per_s) for p in report.batches]}),
            Plot("Latency of a whole batch", "batch", "ms",
                 {"p50": [(p.batch, p.latency.p50) for p in report.batches],
                  "p99": [(p.batch, p.latency.p99) for p in report.batches]}),
        ]  # fmt: skip
    if len(report.threads) > 1:
        values = {threads_text(p.threads): p.latency.p50 for p in report.threads}
        found["Threads"] = [Bars("Median latency by threads", "ms", values)]
    if report.stages is not None:
        values = {name: latency.p50 for name, latency in report.stages.stages.items()}
        found["From the file to the answer"] = [Bars("Median of each stage", "ms", values)]
    if report.layers is not None:
        slowest = report.layers.found.slowest(12)
        found["Slowest layers"] = [
            Bars("The slowest layers", "ms per inference", _distinct([(layer.name, layer.ms) for layer in slowest])),
            Bars("Time by kind of layer", "ms per inference", dict(list(report.layers.found.by_kind().items())[:10])),
        ]
        if (plot := roofline_plot(report.layers)) is not None:
            found["Roofline"] = [plot]
    if len(report.comparison.points) > 1:
        values = {point.title: point.latency.p50 for point in report.comparison.points}
        found["Devices and runtimes"] = [Bars("Median latency", "ms", values)]
    return found


def roofline_plot(layers: Layers) -> Plot | None:
    """The layers under the measured roofs, on logarithmic axes; None where no layer has operations and a time."""
    groups: dict[str, list[tuple[float, float]]] = {"compute-bound": [], "memory-bound": []}
    for point in layers.points:
        if (place := _place(point)) is not None:
            groups[f"{point.bound}-bound"].append(place)
    placed = [place for group in groups.values() for place in group]
    if not placed:
        return None
    low = min(0.1, *(x for x, _ in placed))
    high = max(10 * layers.roofs.ridge, *(x for x, _ in placed))
    series: dict[str, Sequence[tuple[float, float]]] = {
        "roof": _roof(layers.roofs, low, high),
        **{name: group for name, group in groups.items() if group},
    }
    return Plot(
        "Roofline: each layer at its intensity, below what this machine allows there",
        "operations per byte", "GFLOP/s", series, kind="scatter", log_x=True, log_y=True, lines=("roof",),
    )  # fmt: skip


def _roof(roofs: Roofs, low: float, high: float) -> list[tuple[float, float]]:
    return [(x, roofs.at(x) / 1e9) for x in (low, roofs.ridge, high)]


def _place(point: RooflinePoint) -> tuple[float, float] | None:
    intensity, reached = point.layer.cost.intensity, point.layer.gflops_per_s
    return (intensity, reached) if intensity and reached else None


def _distribution(samples_ms: list[float]) -> Plot:
    """The cumulative distribution: the share of calls that were faster than each latency."""
    ordered = sorted(samples_ms)
    points = [(value, 100 * (rank + 1) / len(ordered)) for rank, value in enumerate(ordered)]
    return Plot("How many calls were faster than this", "ms", "% of calls", {"calls": points})


def _over_time(samples_ms: list[float]) -> Plot:
    points = [(float(index), value) for index, value in enumerate(samples_ms, start=1)]
    return Plot(
        "Latency call by call: a drift or steps would show here", "call", "ms", {"calls": points}, kind="scatter"
    )


def _distinct(values: list[tuple[str, float]]) -> dict[str, float]:
    """By name, in order, a number added where a name comes twice, and long names cut in the middle."""
    found: dict[str, float] = {}
    for name, value in values:
        short = name if len(name) <= 36 else f"{name[:14]}...{name[-19:]}"
        key, count = short, 2
        while key in found:
            key, count = f"{short} ({count})", count + 1
        found[key] = value if math.isfinite(value) else 0.0
    return found
