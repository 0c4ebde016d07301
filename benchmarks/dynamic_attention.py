"""Dynamic int8 on a real attention model: a sentence encoder in float and in integers, judged by what it is for.

    python benchmarks/dynamic_attention.py --json out.json

48 sentences, written for this benchmark, are 24 pairs that say the same in other words. The score is how often the
nearest of the other 47 sentences is the right one. Latency is that of ONNX Runtime on one thread, interleaved. ONNX
Runtime's own quantize_dynamic stands beside. It takes about a minute and needs `make yardsticks`.

Exit code 1 when int8 finds fewer pairs by more than one, or is not faster at 128 tokens.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # so that a plain file finds its neighbours

from benchmarks.minilm import WORDS, WordPiece, export_encoder, load_encoder, model_folder
from solutions.core.measure.profiling import measure_pair
from solutions.core.measure.report import host_record, render_table, versions_record
from solutions.core.scripts import EXIT_FAILED, EXIT_OK, run, write_json
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.quantization.dynamic import quantize_dynamic

SHAPES = ((1, 16), (1, 128), (8, 32))  # (batch, tokens)
ALLOWED_PAIRS = 1

PAIRS = (
    ("The camera lost its connection.", "We no longer receive any pictures from the device."),
    ("A red bus stops at the corner.", "At the crossing, a scarlet coach comes to a halt."),
    ("Two people cross the street.", "A couple of pedestrians walk to the other side of the road."),
    ("The model is too slow for this processor.", "This chip cannot run the network fast enough."),
    ("Training took all night.", "It needed many hours until dawn to fit the weights."),
    ("The disk is full.", "There is no space left to store files."),
    ("She plays the violin beautifully.", "Her fiddle playing is lovely."),
    ("It will rain tomorrow.", "The forecast for the next day is wet."),
    ("He forgot his keys at home.", "His keys are still lying in the house."),
    ("The soup needs more salt.", "This broth tastes bland, season it."),
    ("Our train was half an hour late.", "The railway service was delayed by thirty minutes."),
    ("The cat sleeps on the sofa.", "A kitten is napping on the couch."),
    ("Prices of houses have doubled.", "Homes cost twice as much as before."),
    ("The doctor told him to rest.", "His physician ordered him to stay in bed."),
    ("They won the match in the last minute.", "The team scored the deciding goal just before the end."),
    ("I cannot open this file.", "The document refuses to load on my computer."),
    ("The bridge is closed for repairs.", "Nobody may drive over the river crossing while it is being mended."),
    ("Coffee keeps me awake.", "I cannot sleep after drinking espresso."),
    ("The museum is free on Sundays.", "You need no ticket for the exhibition at the weekend."),
    ("Bees make honey.", "Honey is produced by small flying insects in hives."),
    ("The battery lasts two days.", "You must charge it every forty-eight hours."),
    ("She speaks four languages.", "She is fluent in several tongues."),
    ("The street lamps come on at dusk.", "When it gets dark the road is lit."),
    ("He repaired the bicycle himself.", "Without help, he fixed his bike."),
)


def encode(model: OnnxModel, tokens: np.ndarray) -> np.ndarray:
    """Unit vectors [N, 384], one sentence at a time: padding would take part in the ranges of dynamic int8."""
    rows = [row[row != 0][None] for row in tokens]
    return np.concatenate([model.predict({"tokens": row})["vectors"] for row in rows])


def pairs_found(vectors: np.ndarray) -> int:
    """How many of the sentences have the other half of their pair for a nearest neighbour."""
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -np.inf)
    partner = np.arange(len(vectors)) ^ 1
    return int((likeness.argmax(1) == partner).sum())


def compare(rounds: int) -> dict[str, Any]:
    """The record: for float, our int8 and the stock one bytes, pairs, likeness to float, and latency ratios."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as stock_dynamic

    folder = model_folder()
    tokens = WordPiece(folder / "vocab.txt")([text for pair in PAIRS for text in pair])
    with tempfile.TemporaryDirectory(prefix="minilm-") as workshop:
        paths = {name: Path(workshop) / f"{name}.onnx" for name in ("float", "int8", "stock")}
        export_encoder(load_encoder(folder), paths["float"])
        report = quantize_dynamic(paths["float"], paths["int8"])
        stock_dynamic(paths["float"], paths["stock"], per_channel=True, weight_type=QuantType.QInt8)
        models = {name: OnnxModel(path, device="cpu", threads=1) for name, path in paths.items()}
        exact = encode(models["float"], tokens)
        rows: dict[str, Any] = {}
        for name, model in models.items():
            vectors = encode(model, tokens)
            rows[name] = {
                "bytes": paths[name].stat().st_size,
                "pairs": pairs_found(vectors),
                "least_likeness": float((vectors * exact).sum(1).min()),
                "latency": {} if name == "float" else _latencies(models["float"], model, rounds),
            }
        for model in models.values():
            model.close()
    return {
        "schema": "ml-inference/dynamic-attention/1",
        "host": host_record(),
        "versions": versions_record(),
        "sentences": len(tokens),
        "layers_in_int8": len(report.quantized),
        "models": rows,
    }


def _latencies(exact: OnnxModel, model: OnnxModel, rounds: int) -> dict[str, Any]:
    found = {}
    for batch, length in SHAPES:
        feeds = {"tokens": np.random.default_rng(0).integers(1000, WORDS, (batch, length))}
        pair = measure_pair(partial(exact.predict, feeds), partial(model.predict, feeds), rounds=rounds)
        found[f"{batch}x{length}"] = pair.as_dict()
    return found


def passes(record: dict[str, Any]) -> bool:
    """True when int8 finds the pairs and is faster at 128 tokens beyond doubt."""
    ours, exact = record["models"]["int8"], record["models"]["float"]
    faster = ours["latency"]["1x128"]["ratio_b_over_a"]["high"] < 1
    return bool(faster and exact["pairs"] - ours["pairs"] <= ALLOWED_PAIRS)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="of each latency ratio (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the record")
    args = parser.parse_args(argv)
    record = compare(args.rounds)
    rows = []
    for name, one in record["models"].items():
        ratios = [pair["ratio_b_over_a"]["ratio"] for pair in one["latency"].values()] or [1.0] * len(SHAPES)
        found = f"{one['pairs']} of {record['sentences']}"
        rows.append((name, one["bytes"] / 1e6, found, one["least_likeness"], *(1 / ratio for ratio in ratios)))
    speeds = (f"{batch} x {length} tokens" for batch, length in SHAPES)
    render_table("Sentence encoder, speed-up over float", ("model", "MB", "pairs", "least cosine", *speeds), rows)
    if args.json:
        write_json(args.json, record)
    return EXIT_OK if passes(record) else EXIT_FAILED


if __name__ == "__main__":
    raise SystemExit(run(main))
