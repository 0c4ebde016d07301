"""Timings behind the figures of phase 2's guidelines, each a ratio of two programs that took turns, on one thread.

All of it depends on the machine and on what else runs there meanwhile: rerun it on a quiet one before quoting.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from benchmarks.guidelines.phase2.graphs import OPTIMISED, raw_export
from benchmarks.guidelines.phase2.networks import (
    CLASSIFIER,
    COMPILATION,
    DETECTOR,
    PICTURE,
    QUANTIZATION,
    QUICK,
    untrained,
)
from solutions.core.classroom.compile_script import fold
from solutions.core.classroom.graph_values import Node
from solutions.core.classroom.quantize_script import quantized
from solutions.core.measure.profiling import measure_pair
from solutions.core.zoo.external import external_model
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics.profiling.roofline import torch_threads
from solutions.phase1_basics.runtimes.onnx import GraphLevel, OnnxModel
from solutions.phase2_optimization.compilation.optimizer import OptimizerConfig, optimize
from solutions.phase2_optimization.quantization.fusion_check import check_fusion
from solutions.phase2_optimization.quantization.half import convert_half
from solutions.phase2_optimization.quantization.static import StaticConfig, quantize_static

ROUNDS = 30
FOLDED = ("resnet18", "mobilenet_v3_small")
JUDGED = {  # input of one inference; detectors and classifier take bytes as floats, the others numbers around 0
    CLASSIFIER: (1, 3, 48, 48),
    DETECTOR: (1, 3, 256, 448),
    "resnet18": PICTURE,
    "mobilenet_v3_small": PICTURE,
}

Array = np.ndarray[Any, Any]


def placement() -> dict[str, Any]:
    """ResNet-18 with pairs where the exercise puts them, and on every output as well, against float32."""
    source = external_model("resnet18", random=True)
    pictures = _pictures("resnet18", 3)
    rows = []
    with tempfile.TemporaryDirectory(prefix="placement-") as folder:
        for title, tools in (
            ("what integer ops read", QUICK),
            ("every output too", replace(QUICK, place_codes=_everywhere)),
        ):
            path = Path(folder) / "net.onnx"
            onnx.save(quantized(onnx.load(source), pictures[:2], tools, share=0.9999), path)
            fused = check_fusion(path)
            rows.append(
                {
                    "pairs": title,
                    "integer": fused.integer,
                    "float": fused.float,
                    **_against(source, path, pictures[2], inner=1),
                }
            )
    return {"model": "resnet18", "rows": rows}


def _everywhere(nodes: list[Node]) -> dict[str, str]:
    placed = QUANTIZATION.place_codes(nodes)
    return {**placed, **{node.name: node.name for node in nodes if node.name not in placed}}


def verdicts() -> list[dict[str, Any]]:
    """How fast int8 and float16 are, and how large, against float32 on ONNX Runtime's CPU."""
    rows = []
    for name in JUDGED:
        source = embedded(name).onnx if name in (CLASSIFIER, DETECTOR) else external_model(name, random=True)
        pictures = _pictures(name, 5)
        with tempfile.TemporaryDirectory(prefix="verdicts-") as folder:
            int8, half = Path(folder) / "int8.onnx", Path(folder) / "half.onnx"
            feeds = [{_input(source): picture} for picture in pictures[:4]]
            quantize_static(source, int8, feeds, StaticConfig(observer="minmax"))
            # random weights make activations vanish, and a network that was checked with them would stay in float
            convert_half(source, half, feeds=None if name in FOLDED else feeds)
            row: dict[str, Any] = {"model": name, "bytes": source.stat().st_size}
            for kind, path in (("int8", int8), ("float16", half)):
                inner = 1 if name in FOLDED else 4
                row[kind] = {"bytes": path.stat().st_size, **_against(source, path, pictures[4], inner=inner)}
        rows.append(row)
    return rows


def folding() -> list[dict[str, Any]]:
    """Networks in PyTorch with and without their batch norms."""
    rows = []
    with torch_threads(1), torch.inference_mode():
        for name in FOLDED:
            network = untrained(name)
            folded, pairs = fold(network, COMPILATION)
            picture = torch.rand(PICTURE)
            ratio = _ratio(partial(network, picture), partial(folded, picture))
            rows.append({"model": name, "folded": pairs, **ratio})
    return rows


def simplified() -> list[dict[str, Any]]:
    """Graphs after all passes against the same before, with ONNX Runtime's own optimiser off and on."""
    rows = []
    levels: tuple[GraphLevel, ...] = ("none", "all")
    for name in OPTIMISED:
        with tempfile.TemporaryDirectory(prefix="simplified-") as folder:
            before, after = Path(folder) / "raw.onnx", Path(folder) / "small.onnx"
            onnx.save(optimize(raw_export(name, before), OptimizerConfig(verify=False)).model, after)
            picture = _pictures(name, 1)[0]
            row: dict[str, Any] = {"model": name}
            for level in levels:
                row[level] = _against(before, after, picture, inner=1, level=level)
            rows.append(row)
    return rows


def _against(a: Path, b: Path, picture: Array, *, inner: int, level: GraphLevel = "all") -> dict[str, float]:
    """Time of b over that of a, with its interval."""
    models = [OnnxModel(path, device="cpu", threads=1, graph_level=level) for path in (a, b)]
    try:
        calls = [partial(model.predict, {model.inputs[0].name: picture}) for model in models]
        return _ratio(*calls, inner=inner)
    finally:
        for model in models:
            model.close()


def _ratio(a: Callable[[], object], b: Callable[[], object], *, inner: int = 1) -> dict[str, float]:
    found = measure_pair(a, b, rounds=ROUNDS, inner=inner).ratio
    return {"ratio": found.ratio, "low": found.low, "high": found.high}


def _pictures(name: str, count: int) -> list[Array]:
    dice = np.random.default_rng(3)
    shape = JUDGED.get(name, PICTURE)
    if name in (CLASSIFIER, DETECTOR):
        return [dice.integers(0, 256, shape).astype(np.float32) for _ in range(count)]
    return [dice.standard_normal(shape, np.float32) for _ in range(count)]


def _input(path: Path) -> str:
    return str(onnx.load(path, load_external_data=False).graph.input[0].name)
