"""One network in several formats, at several batch sizes: torch eager against ONNX Runtime, OpenVINO and LiteRT.

    python -m solutions.phase1_basics.benchmarks.formats_and_batches --json formats.json
    python solutions/phase1_basics/benchmarks/formats_and_batches.py --models resnet50 --batch 1,8 --threads 1

Every format is interleaved with torch eager, its outputs are compared in the same run, and what cannot run here is
said. Weights of torchvision's models are random unless --trained: right for timing, and nothing is downloaded.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solutions.core.errors import ConfigError, CourseError
from solutions.core.hardware.profile import detect, usable_cores
from solutions.core.measure.profiling import Clock
from solutions.core.measure.report import host_record, render_table, versions_record
from solutions.core.scripts import EXIT_OK, run, write_json
from solutions.core.tensors import Model
from solutions.core.zoo.formats import write_model
from solutions.core.zoo.registry import embedded_names
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.profiling.device_comparison import RunPoint, compare_models
from solutions.phase1_basics.profiling.feeds import sample_feeds, usable_batches
from solutions.phase1_basics.profiling.tables import threads_text
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase1_basics.runtimes.openvino import load_openvino

SCHEMA = "ml-inference/formats-and-batches/1"
MODELS = ("resnet50", "mobilenet_v3_small", *embedded_names())
QUICK_MODELS = ("street-classifier",)
TORCH, ORT, OPENVINO, LITERT = "torch eager", "ONNX Runtime", "OpenVINO", "LiteRT"


@dataclass(frozen=True, slots=True)
class Settings:
    """What is run: models by name, batch sizes, threads of every format, rounds of each interleaved pair.

    `tflite` maps a model's name to a .tflite file of it, which nothing here can make from a torch module.
    """

    models: tuple[str, ...] = MODELS
    batches: tuple[int, ...] = (1, 2, 4, 8)
    threads: int = 1
    rounds: int = 30
    trained: bool = False
    tflite: Mapping[str, Path] | None = None

    def __post_init__(self) -> None:
        if not self.models or not self.batches or min(*self.batches, self.threads, self.rounds) < 1:
            raise ConfigError("models, batches, threads and rounds must be given, and numbers be at least 1")


@dataclass(frozen=True, slots=True)
class Row:
    """One format of one model at one batch size."""

    model: str
    batch: int
    point: RunPoint

    @property
    def rows_per_s(self) -> float:
        """Rows per second at the median latency."""
        return self.batch / self.point.latency.p50 * 1e3 if self.point.latency.p50 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        point = self.point.as_dict()
        return {"model": self.model, "batch": self.batch, "rows_per_second": self.rows_per_s, **point}


def benchmark(settings: Settings, *, clock: Clock = time.perf_counter) -> tuple[list[Row], list[str]]:
    """The rows, and one sentence for each thing that could not be measured here."""
    rows: list[Row] = []
    missing: list[str] = []
    for name in settings.models:
        try:
            with formats_of(name, settings, missing) as models:
                first = next(iter(models.values()))
                batches, note = usable_batches(first, settings.batches)
                missing += [note] if note else []
                for batch in batches:
                    feeds = sample_feeds(first, batch=batch)
                    points = compare_models(models, feeds, rounds=settings.rounds, clock=clock)
                    rows += [Row(name, batch, point) for point in points]
        except CourseError as error:
            missing.append(f"{name}: {error}")
    return rows, missing


@contextmanager
def formats_of(name: str, settings: Settings, missing: list[str]) -> Iterator[dict[str, Model]]:
    """The network in every format that runs here, torch eager first; a sentence is added for each that does not.

    No runtime's threads spin while they wait, or the idle ones would rob the one being timed.
    """
    threads = settings.threads
    random = not settings.trained and name not in embedded_names()
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="formats-") as folder:
        weights, graph = Path(folder) / f"{name}.pth", Path(folder) / f"{name}.onnx"
        write_model(name, weights, random=random)
        models: dict[str, Model] = {TORCH: load_model(weights, device="cpu", threads=threads, arch=name)}
        write_model(name, graph, random=random)
        makers: dict[str, Callable[[], Model]] = {
            ORT: lambda: OnnxModel(graph, device="cpu", threads=threads, spinning=False),
            OPENVINO: lambda: load_openvino(graph, device="cpu", threads=threads),
        }
        if (file := (settings.tflite or {}).get(name)) is not None:
            makers[LITERT] = lambda: load_model(file, device="cpu", threads=threads)
        else:
            missing.append(f"{name} in {LITERT}: no file of it; give one with --tflite {name}=FILE")
        for title, make in makers.items():
            try:
                models[title] = make()
            except CourseError as error:
                missing.append(f"{name} in {title}: {error}")
        for model in models.values():
            stack.callback(model.close)
        yield models


def record(settings: Settings, rows: Sequence[Row], missing: Sequence[str]) -> dict[str, Any]:
    """The report, ready for JSON."""
    return {
        "schema": SCHEMA,
        "host": host_record(),
        "versions": versions_record(),
        "settings": {
            "models": list(settings.models),
            "batches": list(settings.batches),
            "threads": settings.threads,
            "rounds": settings.rounds,
            "weights": "trained" if settings.trained else "random, but for the embedded models",
        },
        "rows": [row.as_dict() for row in rows],
        "not_measured": list(missing),
    }


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compare formats and batch sizes, interleaved with torch eager.")
    parser.add_argument("--models", default=",".join(MODELS), metavar="NAME,NAME", help="default: %(default)s")
    parser.add_argument("--batch", default="1,2,4,8", metavar="N,N", help="batch sizes (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of every format (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=30, help="of each pair (default: %(default)s)")
    parser.add_argument("--trained", action="store_true", help="torchvision's trained weights (downloaded once)")
    parser.add_argument("--tflite", action="append", default=[], metavar="NAME=FILE", help="a .tflite file of a model")
    parser.add_argument("--quick", action="store_true", help="the smallest model, batches 1 and 2, three rounds")
    parser.add_argument("--json", metavar="FILE", help="write host, versions and every row")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, print."""
    args = parse_args(argv)
    settings = _settings(args)
    rows, missing = benchmark(settings)
    print(f"{detect().describe()}; {threads_text(settings.threads)}, {settings.rounds} interleaved rounds")
    columns = ("model", "batch", "format", "p50 ms", "p99 ms", "rows / s", "time over torch eager", "output difference")
    cells = [
        (
            row.model, row.batch, row.point.title, row.point.latency.p50, row.point.latency.p99, row.rows_per_s,
            str(row.point.ratio) if row.point.ratio else "baseline", row.point.difference,
        )
        for row in rows
    ]  # fmt: skip
    if cells:
        render_table("Formats and batch sizes", columns, cells)
    for sentence in missing:
        print(f"not measured: {sentence}")
    if args.json:
        write_json(args.json, record(settings, rows, missing))
    if not rows:
        raise ConfigError("nothing could be measured; the reasons are above")
    return EXIT_OK


def _settings(args: argparse.Namespace) -> Settings:
    if args.quick:
        return Settings(QUICK_MODELS, (1, 2), 1, 3)
    try:
        batches = tuple(int(size) for size in args.batch.split(","))
        tflite = {name: Path(file) for name, file in (pair.split("=", 1) for pair in args.tflite)}
    except ValueError as error:
        raise ConfigError(f"--batch takes numbers like 1,2,4 and --tflite takes NAME=FILE: {error}") from error
    models = tuple(filter(None, args.models.split(",")))
    return Settings(models, batches, args.threads, args.rounds, args.trained, tflite)


if __name__ == "__main__":
    raise SystemExit(run(main))
