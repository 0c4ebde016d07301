"""Accuracy against latency for every way to make a network smaller, on the embedded classifier and the small detector.

    python -m benchmarks.compression_curves --json benchmarks/results/compression_curves.json --html curves.html

Magnitude pruning, the 2:4 pattern and channel pruning (each as it is and trained on for a few minutes' worth of
batches), distillation with and without the teacher, and width, depth and resolution. Accuracy is that of the ONNX file
that is timed, on streets that no training saw; latency is the ratio to the embedded model from interleaved runs on ONNX
Runtime with one thread. Trained files stay in the cache folder, so a second run only measures.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from benchmarks.compression_page import COLUMNS, cells, ratio_of, sections, verdicts
from benchmarks.compression_variants import CHOICES, DETECTOR, SEEDS, Variant, Workshop
from solutions.core.errors import ConfigError
from solutions.core.hardware.model_cost import model_cost
from solutions.core.measure.profiling import measure_pair
from solutions.core.measure.report import host_record, render_table, versions_record
from solutions.core.measure.report_html import write_html
from solutions.core.scripts import EXIT_OK, run, write_json
from solutions.core.zoo.registry import CLASSIFIER, embedded
from solutions.core.zoo.train import score_classifier, score_detector
from solutions.core.zoo.training.dataset import HELD_OUT_IMAGES, HELD_OUT_SEED, INPUT_HW, StreetData
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.compression.magnitude import graph_weights, sparsity_of
from solutions.phase2_optimization.compression.scaling import CropScale

SCHEMA = "ml-inference/compression-curves/1"
PICTURES = 200  # held-out pictures that a detector is judged by
CROPS_AT_ONCE, PICTURES_AT_ONCE = 8, 1
MODELS = (CLASSIFIER, DETECTOR)


class OnnxNet(nn.Module):
    """An ONNX model where a module is expected: its outputs in their order, one alone as it is."""

    def __init__(self, model: OnnxModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> Any:
        """The outputs for float32 pixels."""
        found = self.model.predict({self.model.inputs[0].name: np.ascontiguousarray(x.numpy())})
        made = tuple(torch.from_numpy(array) for array in found.values())
        return made[0] if len(made) == 1 else made


class Judge:
    """Accuracy on held-out streets: share of crops with class and colour right, or AP50 of detections."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._crops = workshop.pictures(HELD_OUT_SEED, HELD_OUT_IMAGES, INPUT_HW)

    def accuracy(self, variant: Variant, model: OnnxModel) -> float:
        """0..1, higher is better."""
        net = OnnxNet(model)
        if variant.model == CLASSIFIER:
            scale = CropScale(side=variant.input_hw[0])
            small = scale.shrink(torch.from_numpy(self._crops.crops).float()).numpy()
            return score_classifier(net, replace(self._crops, crops=small))["both_accuracy"]
        return score_detector(net, self._pictures(variant.input_hw))["ap50"]

    def _pictures(self, hw: tuple[int, int]) -> StreetData:
        data = self._crops if hw == INPUT_HW else self._workshop.pictures(HELD_OUT_SEED, PICTURES, hw)
        return replace(data, images=data.images[:PICTURES], starts=data.starts[: PICTURES + 1])


def examine(variant: Variant, judge: Judge, rounds: int) -> dict[str, Any]:
    """One point: what the file holds, how well it sees, and its time over that of the embedded model."""
    path, base = variant.file(), embedded(variant.model)
    challenger, baseline = (OnnxModel(file, device="cpu", threads=1) for file in (path, base.onnx))
    batch = CROPS_AT_ONCE if variant.model == CLASSIFIER else PICTURES_AT_ONCE
    mine, theirs = (_pixels(model, batch, hw) for model, hw in ((challenger, variant.input_hw), (baseline, None)))
    inner = 5 if variant.model == CLASSIFIER else 1  # a batch of crops takes a millisecond
    pair = measure_pair(lambda: baseline.predict(theirs), lambda: challenger.predict(mine), rounds=rounds, inner=inner)
    accuracy = judge.accuracy(variant, challenger)
    weights = graph_weights(onnx.load(str(path)))
    shape = (1, 3, *variant.input_hw)
    challenger.close()
    baseline.close()
    return {
        "model": variant.model,
        "method": variant.method,
        "setting": variant.setting,
        "weights": sum(weight.size for weight in weights.values()),
        "zeros": sparsity_of(weights).total,
        "flops": model_cost(path, {challenger.inputs[0].name: shape}).flops,
        "file_bytes": path.stat().st_size,
        "zipped_bytes": len(zlib.compress(path.read_bytes(), 6)),
        "accuracy": accuracy,
        "latency": pair.as_dict(),
        **variant.facts,
    }


def _pixels(model: OnnxModel, batch: int, hw: tuple[int, int] | None) -> dict[str, np.ndarray]:
    if hw is None:
        sides = model.metadata["input_hw"].split(",")
        hw = (int(sides[0]), int(sides[1]))
    pixels = np.random.default_rng(0).random((batch, 3, *hw), np.float32) * 255
    return {model.inputs[0].name: pixels}


def main(argv: Sequence[str] | None = None) -> int:
    """Make, measure, print, write."""
    parser = argparse.ArgumentParser(
        description="Accuracy against latency of pruned, distilled and scaled networks.",
        epilog="About half an hour on one core the first time, rendering and training included; then about 4 minutes.",
    )
    parser.add_argument("--only", default=",".join(CHOICES), help="methods, by commas (default: %(default)s)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="(default: both)")
    parser.add_argument("--rounds", type=int, default=30, help="interleaved rounds per latency (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help=f"write the record (schema {SCHEMA})")
    parser.add_argument("--html", metavar="FILE", help="write a page with plots")
    args = parser.parse_args(argv)
    methods = tuple(args.only.split(","))
    if unknown := set(methods) - set(CHOICES):
        raise ConfigError(f"--only knows {', '.join(CHOICES)}, not {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    workshop = Workshop(say)
    judge = Judge(workshop)
    rows = []
    for variant in workshop.variants(methods):
        if variant.model not in args.models:
            continue
        rows.append(examine(variant, judge, args.rounds))
        say(f"{variant.model} {variant.method} {variant.setting}: {rows[-1]['accuracy']:.3f}, {ratio_of(rows[-1]):.2f}")
    for model in dict.fromkeys(row["model"] for row in rows):
        for method in methods:
            chosen = [cells(row) for row in rows if (row["model"], row["method"]) == (model, method)]
            render_table(f"{model}: {method}", COLUMNS, chosen)
    for sentence in verdicts(rows):
        print(sentence)
    if args.html:
        write_html(args.html, "Smaller networks: accuracy against latency", sections(rows))
    if args.json:
        record = {"schema": SCHEMA, "host": host_record(), "versions": versions_record(), "threads": 1}
        write_json(args.json, {**record, "seeds": SEEDS, "rows": rows, "verdicts": verdicts(rows)})
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run(main))
