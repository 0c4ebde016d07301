"""Tables for people and records for machines: on what a number was measured, with which versions."""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import IO, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from solutions.core.errors import ConfigError
from solutions.core.hardware.profile import HardwareProfile, detect

Cell = str | int | float | bool | None

# Distributions whose version can change a measurement; those that are not installed are left out of a record.
PACKAGES = (
    "ml-inference",
    "torch",
    "torchvision",
    "torchao",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxscript",
    "openvino",
    "nncf",
    "tensorrt",
    "triton",
    "tensorflow",
    "tensorflow-cpu",
    "ai-edge-litert",
    "coremltools",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "av",
    "ray",
    "fastapi",
    "uvicorn",
)


def host_record(profile: HardwareProfile | None = None) -> dict[str, Any]:
    """The machine as far as it can change a number, ready for JSON; its name and its user are not part of it."""
    profile = profile if profile is not None else detect()
    return {
        "cpu": profile.cpu_model,
        "isa": list(profile.isa),
        "usable_cores": profile.usable_cores,
        "logical_cores": profile.logical_cores,
        "cpu_quota_cores": profile.cpu_quota,
        "memory_bytes": profile.memory_bytes,
        "memory_limit_bytes": profile.memory_limit_bytes,
        "board": profile.board,
        "gpus": [gpu.name for gpu in profile.gpus],
        "accelerators": list(profile.accelerators),
        "hottest_c": profile.hottest_c,
        "os": f"{platform.system()} {platform.release()}",
        "machine": profile.machine,
        "python": platform.python_version(),
    }


def versions_record(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Distribution -> version of those that are installed. None is imported."""
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def format_cell(value: Cell) -> str:
    """A value as tables show it: floats to two decimals, fewer from 100 on, more below 1; None as "-".

    >>> [format_cell(value) for value in (0.01234, 7.0, 1234.56, 12, None, True)]
    ['0.0123', '7.00', '1235', '12', '-', 'yes']
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        size = abs(value)
        if size >= 1:
            return f"{value:.{2 if size < 99.995 else 1 if size < 999.95 else 0}f}"
        return f"{value:.3g}" if value else "0"
    return str(value)


def render_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, file: IO[str] | None = None
) -> None:
    """Print a table to stdout, or to `file`.

    Numbers stand on the right. Nothing is ever cut off: a table wider than the terminal runs over its edge, and into a
    pipe or a file it goes as plain text, without colour.

    Raises:
        ConfigError: a row whose length differs from that of the columns.
    """
    body = [list(row) for row in rows]
    for row in body:
        if len(row) != len(columns):
            raise ConfigError(f"table {title!r} has {len(columns)} columns, got a row of {len(row)}: {row}")
    table = Table(title=Text(title, style="bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int | float | None) for row in body)
        table.add_column(Text(column), justify="right" if numeric and body else "left", no_wrap=True)
    for row in body:
        table.add_row(*(Text(format_cell(value)) for value in row))
    console = Console(file=file if file is not None else sys.stdout, highlight=False)
    widest = console.options.update(width=100_000)
    needed = max(Measurement.get(console, widest, table).maximum, len(title))
    console.width = max(console.width, needed) if console.is_terminal else needed
    console.print(table)
