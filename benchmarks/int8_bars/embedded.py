"""The embedded detectors and classifier in int8: what is lost on streets that nothing has seen before."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bars import Bar, speedup
from benchmarks.comparison.street_tasks import street_task
from benchmarks.comparison.tasks import runner
from solutions.core.measure.profiling import measure_pair
from solutions.core.zoo.registry import embedded, embedded_names
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.quantization.fusion_check import check_fusion
from solutions.phase2_optimization.quantization.static import StaticConfig, quantize_static

MAX_POINTS = 0.5
_BATCH = 8  # crops that are timed at once


def embedded_bars(*, rounds: int, pictures: int) -> Iterator[Bar]:
    """Points of AP50 or accuracy lost, speed-up over float, layers left in float; for each model."""
    for name in embedded_names():
        with tempfile.TemporaryDirectory(prefix="embedded-") as folder:
            yield from embedded_bar(name, Path(folder), rounds=rounds, pictures=pictures)


def embedded_bar(name: str, folder: Path, *, rounds: int, pictures: int) -> Iterator[Bar]:
    """The same for one model; files go to `folder`."""
    task = street_task(name, pictures=pictures, batch=_BATCH)
    source, small = embedded(name).onnx, folder / "int8.onnx"
    quantize_static(source, small, task.calibration, StaticConfig())
    exact, close = (OnnxModel(path, device="cpu", threads=1, spinning=False) for path in (source, small))
    try:
        drop = task.judge(runner(exact)).drop(task.judge(runner(close)))
        ratio = measure_pair(
            lambda: exact.predict(task.timed), lambda: close.predict(task.timed), rounds=rounds, inner=4
        ).ratio
    finally:
        exact.close()
        close.close()
    figure = f"points of {task.metric} lost"
    points = [100 * value for value in (drop.mean, drop.low, drop.high)]
    yield Bar(name, figure, points[0], at_most=MAX_POINTS, low=points[1], high=points[2])
    yield speedup(name, ratio)
    yield Bar(name, "layers left in float", check_fusion(small).float, at_most=0)
