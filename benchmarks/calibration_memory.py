"""Does the memory of calibration grow with the number of pictures? Each observer from few to many, ours and the stock.

Every measurement is a process of its own that calibrates all activations of a small convolutional net on pictures made
as they are asked for; what counts is how far its resident memory rises above where it stood before the first picture.

    python -m benchmarks.calibration_memory --samples 32 512 --json benchmarks/results/calibration_memory.json

Exit code 1 when the memory of one of our observers differs by more than 10% between the first and the last number.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from solutions.core.errors import CourseError
from solutions.core.measure.memory import peak_rss_during
from solutions.core.measure.report import host_record
from solutions.core.scripts import EXIT_FAILED, EXIT_OK, run, write_json
from solutions.phase2_optimization.quantization.calibration import collect_ranges
from solutions.phase2_optimization.quantization.observers import OBSERVERS

PICTURE = (1, 3, 96, 96)
CHANNELS, LAYERS = 16, 6
ALLOWED = 0.10
STOCK = {"stock minmax": "MinMax", "stock percentile": "Percentile", "stock entropy": "Entropy"}
STOCK_MOST = 128  # the stock calibrators that keep everything would need gigabytes for more


def net() -> onnx.ModelProto:
    """Six 3x3 convolutions with ReLU, 16 channels of 96 x 96: 7 MB of activations per picture."""
    rng = np.random.default_rng(0)
    nodes, weights, last, channels = [], [], "x", PICTURE[1]
    for layer in range(LAYERS):
        weight = rng.normal(scale=(2 / channels / 9) ** 0.5, size=(CHANNELS, channels, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{layer}"))
        nodes.append(helper.make_node("Conv", [last, f"w{layer}"], [f"c{layer}"], pads=[1] * 4, name=f"conv{layer}"))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"], name=f"relu{layer}"))
        last, channels = f"r{layer}", CHANNELS
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, PICTURE)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, CHANNELS, *PICTURE[2:]])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def pictures(count: int) -> Iterator[dict[str, np.ndarray]]:
    """Feeds made one at a time, of slowly growing contrast: ranges go on widening until the last."""
    rng = np.random.default_rng(1)
    for number in range(count):
        yield {"x": rng.normal(scale=1 + number / count, size=PICTURE).astype(np.float32)}


def peak_growth_mb(observer: str, samples: int) -> float:
    """Megabytes that a fresh process needs more for calibrating with `observer` than it held before.

    Raises:
        CourseError: the process failed; with the last line it said.
    """
    command = [sys.executable, "-m", "benchmarks.calibration_memory", "--child", observer, "--samples", str(samples)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=1800)
    if done.returncode:
        raise CourseError(f"calibration with {observer} failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return float(done.stdout.split()[-1])


def _child(observer: str, samples: int) -> None:
    model = net()
    work: Callable[[int], object]
    if observer in STOCK:
        work = partial(_stock, model, STOCK[observer])
    else:
        tensors = ["x", *(output for node in model.graph.node for output in node.output)]
        work = partial(_ours, model, tensors, observer)
    with peak_rss_during() as memory:
        work(samples)
    print(memory.growth_mb)


def _ours(model: onnx.ModelProto, tensors: list[str], observer: str, samples: int) -> None:
    collect_ranges(model, tensors, pictures(samples), observer)


def _stock(model: onnx.ModelProto, method: str, samples: int) -> None:
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
        """The pictures as ONNX Runtime asks for them."""

        def __init__(self) -> None:
            self._rest = pictures(samples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            """The next feeds, or None."""
            return next(self._rest, None)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(
            path, augmented_model_path=str(Path(folder) / "a.onnx"), calibrate_method=CalibrationMethod[method]
        )
        calibrator.collect_data(Reader())
        calibrator.compute_data()


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; the exit code says whether ours stayed flat."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[32, 512], help="numbers of pictures, ascending")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        _child(options.child, options.samples[0])
        return EXIT_OK
    rows: dict[str, dict[int, float]] = {}
    print("MB above the start".ljust(20), *(f"{count:>9}" for count in options.samples), "   last/first")
    for name in [*OBSERVERS, *STOCK]:
        counts = [count for count in options.samples if name not in STOCK or count <= STOCK_MOST]
        rows[name] = {count: peak_growth_mb(name, count) for count in counts}
        cells = [f"{rows[name][count]:9.1f}" if count in rows[name] else "        -" for count in options.samples]
        print(name.ljust(20), *cells, f"{_ratio(rows[name]):12.3f}", flush=True)
    flat = all(abs(_ratio(rows[name]) - 1) <= ALLOWED for name in OBSERVERS)
    print(f"ours within {ALLOWED:.0%}: {'yes' if flat else 'NO'}")
    if options.json:
        result: dict[str, Any] = {"host": host_record(), "growth_mb": rows, "allowed": ALLOWED, "flat": flat}
        write_json(options.json, result)
    return EXIT_OK if flat else EXIT_FAILED


def _ratio(row: dict[int, float]) -> float:
    return row[max(row)] / row[min(row)] if row else float("nan")


if __name__ == "__main__":
    sys.exit(run(main))
