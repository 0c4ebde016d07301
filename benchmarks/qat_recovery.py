"""What training for int8 wins back on the embedded models, beside post-training quantization and torchao's PT2E.

    python benchmarks/qat_recovery.py --json benchmarks/results/qat_recovery.json
    python benchmarks/qat_recovery.py --models street-small --no-torchao

Judged on streets that neither training nor calibration has seen, each model against its float file on the same
pictures; timed interleaved in ONNX Runtime on one thread. With 8-bit weights post-training quantization loses so little
that hardly anything is left to win; with 4-bit weights (codes -7 .. 7, stored in int8, since ONNX Runtime has no 4-bit
convolution) it loses, and training wins back.

On a quiet core: some 6 minutes a model, half of them for torchao, and once 2 more to render the streets. Trained models
are kept in the cache. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that a plain file finds its neighbours

from benchmarks.bars import Bar, render_bars, speedup
from benchmarks.comparison.street_tasks import street_task
from benchmarks.comparison.tasks import Judgement, Task, runner
from benchmarks.qat_yardstick import torchao_file
from solutions.core.errors import BackendUnavailable, ConfigError
from solutions.core.measure.profiling import measure_pair
from solutions.core.measure.report import host_record, versions_record
from solutions.core.scripts import EXIT_FAILED, EXIT_OK, run, write_json
from solutions.core.zoo.registry import embedded, embedded_names
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.qat.embedded import (
    EmbeddedRecipe,
    embedded_task,
    prepare_embedded,
    recipe_for,
    trained_file,
    with_steps,
)
from solutions.phase2_optimization.qat.export import export_qat
from solutions.phase2_optimization.qat.prepare import QatConfig
from solutions.phase2_optimization.quantization.fusion_check import check_fusion
from solutions.phase2_optimization.quantization.saving import save_model
from solutions.phase2_optimization.quantization.static import StaticConfig, quantize_static

SCHEMA = "ml-inference/qat-recovery/1"
STATIC_POINTS, TRAINED_POINTS = 0.5, 0.2
FOUR_BIT_SHARE = 0.5  # of what 4-bit weights lose without training, this much may be left
_CROPS = 8  # timed at once
_FOUR_BIT_RATE = 3e-4  # coarser weights have further to go


@dataclass(frozen=True, slots=True)
class Bench:
    """One model's float file and work, and how to compare another file with it."""

    name: str
    task: Task
    exact: OnnxModel
    judged: Judgement
    rounds: int

    def lost(self, way: str, path: Path, *, at_most: float | None) -> Bar:
        """Points that the file at `path` loses."""
        model = OnnxModel(path, device="cpu", threads=1, spinning=False)
        try:
            drop = self.judged.drop(self.task.judge(runner(model)))
        finally:
            model.close()
        points = [100 * value for value in (drop.mean, drop.low, drop.high)]
        figure = f"{way}: points of {self.task.metric} lost"
        return Bar(self.name, figure, points[0], at_most=at_most, low=points[1], high=points[2])

    def faster(self, way: str, path: Path) -> Bar:
        """How many times as fast as float it is."""
        model = OnnxModel(path, device="cpu", threads=1, spinning=False)
        try:
            ratio = measure_pair(
                lambda: self.exact.predict(self.task.timed),
                lambda: model.predict(self.task.timed),
                rounds=self.rounds,
                inner=4,
            ).ratio
        finally:
            model.close()
        return speedup(self.name, ratio, figure=f"{way}: speed-up")


def model_bars(
    name: str, recipe: EmbeddedRecipe, folder: Path, *, pictures: int, rounds: int, torchao: bool
) -> Iterator[Bar]:
    """All figures of one model; files that are not kept go to `folder`."""
    task = street_task(name, pictures=pictures, batch=_CROPS)
    exact = OnnxModel(embedded(name).onnx, device="cpu", threads=1, spinning=False)
    try:
        bench = Bench(name, task, exact, task.judge(runner(exact)), rounds)
        yield Bar(name, f"float: {task.metric}, points", 100 * bench.judged.value)
        static = folder / "static.onnx"
        quantize_static(embedded(name).onnx, static, task.calibration, StaticConfig())
        trained = trained_file(name, recipe)
        ways: list[tuple[str, Path, float | None]] = [
            ("post-training", static, STATIC_POINTS),
            ("trained", trained, TRAINED_POINTS),
        ]
        if torchao:
            ways.append(("torchao PT2E", torchao_file(name, recipe), None))
        for way, path, bound in ways:
            yield bench.lost(way, path, at_most=bound)
            yield bench.faster(way, path)
        yield Bar(name, "trained: layers left in float", check_fusion(trained).float, at_most=0)
        yield from _four_bit_bars(bench, recipe, folder)
    finally:
        exact.close()


def _four_bit_bars(bench: Bench, recipe: EmbeddedRecipe, folder: Path) -> Iterator[Bar]:
    schedule = replace(recipe.schedule, peak_rate=_FOUR_BIT_RATE)
    coarse = replace(recipe, config=QatConfig(weight_bits=4), schedule=schedule)
    untrained = folder / "four-bits.onnx"
    save_model(export_qat(prepare_embedded(bench.name, coarse, embedded_task(bench.name, coarse))), untrained)
    before = bench.lost("4-bit weights, post-training", untrained, at_most=None)
    yield before
    # Where nothing to speak of was lost there is nothing to win back.
    bound = FOUR_BIT_SHARE * before.value if before.value >= STATIC_POINTS else STATIC_POINTS
    yield bench.lost("4-bit weights, trained", trained_file(bench.name, coarse), at_most=bound)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=embedded_names(), help="only these (default: all)")
    parser.add_argument("--steps", type=int, help="of each training (default: the recipe's)")
    parser.add_argument("--pictures", type=int, default=600, help="to judge by (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=30, help="of the interleaved timing (default: %(default)s)")
    parser.add_argument("--no-torchao", action="store_true", help="leave the yardstick out")
    parser.add_argument("--json", metavar="FILE", help=f"write the figures (schema {SCHEMA})")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 when a bar is missed."""
    args = parse_args(argv)
    if args.rounds < 1 or args.pictures < 2:
        raise ConfigError("--rounds must be at least 1, and --pictures at least 2")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        bars, not_run = _measured(args)
    finally:
        torch.set_num_threads(threads)
    for reason in not_run:
        print(f"not run here: {reason}")
    if args.json:
        record = {"schema": SCHEMA, "host": host_record(), "versions": versions_record(), "not_run": not_run}
        write_json(args.json, record | {"figures": [bar.as_dict() for bar in bars]})
    return EXIT_OK if all(bar.held for bar in bars) else EXIT_FAILED


def _measured(args: argparse.Namespace) -> tuple[list[Bar], list[str]]:
    """All figures, and what could not be had here."""
    not_run: list[str] = []
    bars: list[Bar] = []
    for name in args.models or embedded_names():
        recipe = recipe_for(name) if args.steps is None else with_steps(recipe_for(name), args.steps)
        settings = {"pictures": args.pictures, "rounds": args.rounds}
        with tempfile.TemporaryDirectory(prefix="qat-") as folder:
            try:
                found = list(model_bars(name, recipe, Path(folder), torchao=not args.no_torchao, **settings))
            except BackendUnavailable as error:
                not_run = [f"torchao: {error}"]
                found = list(model_bars(name, recipe, Path(folder), torchao=False, **settings))
        render_bars(f"{name}, one thread", found)
        bars += found
    return bars, not_run


if __name__ == "__main__":
    raise SystemExit(run(main))
