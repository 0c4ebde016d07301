"""The frame of both benchmarks: where results go, what their tables say, the page with accuracy against latency."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from benchmarks.comparison.rows import NotRun
from benchmarks.comparison.source import Source
from benchmarks.comparison.tasks import Task
from solutions.core.hardware.profile import detect
from solutions.core.measure.metrics import PairedRatio
from solutions.core.measure.report import Cell, host_record, versions_record
from solutions.core.measure.report_html import Plot, Section
from solutions.core.measure.report_svg import Point, scatter
from solutions.core.scripts import write_json
from solutions.phase2_optimization.quantization.judges import Drop


class _Measured(Protocol):
    def as_dict(self) -> dict[str, Any]: ...


def speedup_text(ratio: PairedRatio | None) -> str:
    """How many times as fast, with its interval.

    >>> speedup_text(PairedRatio(0.5, 0.4, 0.625, rounds=30))
    'x2.00 [1.60, 2.50]'
    """
    return "-" if ratio is None else f"x{ratio.speedup:.2f} [{1 / ratio.high:.2f}, {1 / ratio.low:.2f}]"


def drop_text(drop: Drop | None) -> str:
    """Points of 100 lost, with their interval.

    >>> drop_text(Drop(0.0123, -0.001, 0.02, 200))
    '1.23 [-0.10, 2.00]'
    """
    return "-" if drop is None else f"{drop.mean * 100:.2f} [{drop.low * 100:.2f}, {drop.high * 100:.2f}]"


def steady_ms(baseline_ms: float, ratio: PairedRatio | None) -> float:
    """Where a plot shows a latency: the baseline's times the ratio, which a busy machine changes much less.

    >>> steady_ms(8.0, PairedRatio(0.5, 0.4, 0.6, rounds=30)), steady_ms(8.0, None)
    (4.0, 8.0)
    """
    return baseline_ms if ratio is None else baseline_ms * ratio.ratio


def accuracy_plot(metric: str, points: Mapping[str, Mapping[str, Point]]) -> Plot:
    """Accuracy in percent over milliseconds: runtime -> name -> (ms, accuracy in 0..1)."""
    percent = {
        runtime: {name.replace(" static,", ""): (x, 100 * y) for name, (x, y) in named.items()}
        for runtime, named in points.items()
    }
    return scatter(
        "Up and to the left is better",
        "latency, ms: the baseline's p50 times the interleaved ratio",
        f"{metric}, %",
        percent,
    )


def head_section(text: Sequence[str]) -> Section:
    """The page's first section: on what this was measured."""
    return Section("What was measured", "\n".join(filter(None, (detect().describe(), *text))))


def not_run_section(not_run: Sequence[NotRun]) -> list[Section]:
    """The page's last section; none where everything ran."""
    return [Section("Not run here", "\n".join(each.sentence for each in not_run))] if not_run else []


def columns_of(columns: Sequence[str], rows: Sequence[Sequence[Cell]], wanted: Sequence[str]) -> dict[str, Any]:
    """Some columns of a table, as `Section` takes them: a page is not wide enough for all."""
    places = [columns.index(name) for name in wanted]
    return {"columns": wanted, "rows": [[row[place] for place in places] for row in rows]}


def add_report_options(parser: argparse.ArgumentParser, *, exercises: str, schema: str) -> None:
    """Whose functions get a row, and where the result goes."""
    parser.add_argument(
        "--target", default="solutions", metavar="templates|solutions|PATH",
        help=f"whose exercises {exercises} make a row of their own (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help=f"write host, versions and every row (schema {schema})")
    parser.add_argument("--html", metavar="FILE", help="write one page with the accuracy-against-latency plot")


def headlines(source: Source, task: Task, args: argparse.Namespace, *bounds: str) -> list[str]:
    """What has to be known before any figure is read, a sentence each."""
    rows = len(next(iter(task.timed.values())))
    return [
        f"{source.name}: batch {rows}, {args.threads} thread(s), {args.rounds} rounds, interleaved with the baseline",
        f"accuracy: {task.metric}, over {len(task.judged)} inputs",
        *bounds,
        *(["the weights are random (--trained takes torchvision's)"] if source.random else []),
        *filter(None, [task.note]),
    ]


def write_record(
    path: str, schema: str, args: argparse.Namespace, metric: str, rows: Sequence[_Measured], not_run: Sequence[NotRun]
) -> None:
    """The JSON record: host, versions, the arguments, and every row.

    Raises:
        ConfigError: it cannot be written.
    """
    settings = {name: value for name, value in vars(args).items() if name not in ("json", "html")}
    head = {"schema": schema, "host": host_record(), "versions": versions_record(), "settings": settings}
    found = {"metric": metric, "rows": [each.as_dict() for each in rows]}
    write_json(path, head | found | {"not_run": [each.as_dict() for each in not_run]})
