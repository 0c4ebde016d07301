"""Our quantizer against its bars, and beside ONNX Runtime's: one thread, everything timed interleaved.

    python benchmarks/quantization_bars.py --json benchmarks/results/quantization_bars.json
    MLI_DATA=folder python benchmarks/quantization_bars.py --only yolox --gate

resnet: ResNet-18 and -50 with random weights and BatchNorm statistics of pictures, beside `quantize_static` with the
same pictures and the same kind of ranges. embedded: the models that come with the course, on streets that nothing has
seen. yolox: YOLOX-nano on two clips with pedestrians, found through MLI_DATA. calibration: whether the memory of
calibration grows with the number of pictures.

On a quiet core it takes about 3 minutes for resnet, 2 for embedded (and once 1 more to render the streets), 3 for yolox
(5 more with --gate) and 6 for calibration. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that a plain file finds its neighbours

from benchmarks.bars import Bar, render_bars
from benchmarks.calibration_memory import ALLOWED, peak_growth_mb
from benchmarks.int8_bars.embedded import embedded_bars
from benchmarks.int8_bars.resnets import resnet_bars
from benchmarks.int8_bars.yolox import gate_bars, yolox_bars
from solutions.core.errors import ConfigError
from solutions.core.measure.report import host_record, versions_record
from solutions.core.scripts import EXIT_FAILED, EXIT_OK, run, write_json
from solutions.phase2_optimization.quantization.observers import OBSERVERS

GROUPS = ("resnet", "embedded", "yolox", "calibration")
SCHEMA = "ml-inference/quantization-bars/1"
_FEW, _MANY = 32, 512  # pictures


def calibration_bars() -> Iterator[Bar]:
    """Memory for many pictures over memory for few, for each observer."""
    for observer in OBSERVERS:
        growth = peak_growth_mb(observer, _MANY) / peak_growth_mb(observer, _FEW)
        case, figure = f"calibration, {observer}", f"memory, {_MANY} over {_FEW} pictures"
        yield Bar(case, figure, growth, at_least=1 - ALLOWED, at_most=1 + ALLOWED)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=GROUPS, action="append", help="this group; may be given several times")
    parser.add_argument("--rounds", type=int, default=60, help="of each interleaved pair (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=16, help="resnet's calibration pictures (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=200, help="streets to judge by (default: %(default)s)")
    parser.add_argument("--step", type=int, default=1, help="every n-th frame of the clips (default: %(default)s)")
    parser.add_argument("--gate", action="store_true", help="yolox: also let accuracy control put layers back")
    parser.add_argument("--json", metavar="FILE", help=f"write the figures (schema {SCHEMA})")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 when a bar is missed."""
    args = parse_args(argv)
    if min(args.rounds, args.samples, args.step) < 1 or args.pictures < 2:
        raise ConfigError("--rounds, --samples and --step must be at least 1, and --pictures at least 2")
    groups = args.only or list(GROUPS)
    data = os.environ.get("MLI_DATA")
    measured: dict[str, Callable[[], Iterator[Bar]]] = {
        "resnet": lambda: resnet_bars(rounds=args.rounds, samples=args.samples),
        "embedded": lambda: embedded_bars(rounds=args.rounds, pictures=args.pictures),
        "calibration": calibration_bars,
    }
    if data:
        measured["yolox"] = lambda: yolox_bars(Path(data), rounds=args.rounds, step=args.step)
    bars: list[Bar] = []
    for group in groups:
        if group in measured:
            found = list(measured[group]())
            if group == "yolox" and args.gate:
                found += gate_bars(Path(str(data)), rounds=args.rounds, step=args.step)
            render_bars(f"{group}, one thread", found)
            bars += found
    not_run = [group for group in groups if group not in measured]
    if not_run:
        print("not run here: YOLOX-nano on real clips (set MLI_DATA to the folder with the clips)")
    if args.json:
        record = {"schema": SCHEMA, "host": host_record(), "versions": versions_record(), "not_run": not_run}
        write_json(args.json, record | {"figures": [bar.as_dict() for bar in bars]})
    return EXIT_OK if all(bar.held for bar in bars) else EXIT_FAILED


if __name__ == "__main__":
    raise SystemExit(run(main))
