"""Experiments on quantization behind the figures of phase 2's guidelines; each returns values for JSON.

Nothing is timed here: the same versions give the same numbers on every machine, but for the rounding of sums.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from benchmarks.guidelines.phase2.networks import (
    CLASSIFIER,
    DETECTOR,
    QUANTIZATION,
    batches,
    crops,
    decibels,
    graph,
)
from solutions.core.classroom.graph_values import Code
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.quantization.observers import OBSERVERS
from solutions.phase2_optimization.quantization.static import StaticConfig, quantize_static

HEAD = "head.conv.weight"  # the layer of the detector whose channels differ most
SHARES = (0.99, 0.999, 0.9999)
CUT = "percentile:99"  # an observer that cuts far too much, for comparison
STEPS = 300

Array = np.ndarray[Any, Any]


def channel_scales() -> dict[str, Any]:
    """How well the weights of a trained detector survive one scale per tensor, and a scale per output channel."""
    layers, channels = [], []
    for tensor in graph(DETECTOR).graph.initializer:
        weight = numpy_helper.to_array(tensor)
        if weight.ndim != 4:
            continue
        rows = weight.reshape(len(weight), -1)
        largest = np.abs(rows).max(axis=1)
        one, own = _round_trip(rows, np.full(len(rows), largest.max())), _round_trip(rows, largest)
        layers.append(
            {
                "layer": tensor.name.removesuffix(".weight"),
                "spread": float(largest.max() / largest.min()),
                "one_db": decibels(rows, one),
                "own_db": decibels(rows, own),
            }
        )
        if tensor.name == HEAD:
            channels = [
                {"largest": float(size), "one_db": decibels(row, a), "own_db": decibels(row, b)}
                for size, row, a, b in zip(largest, rows, one, own, strict=True)
            ]
    return {"model": DETECTOR, "layer": HEAD.removesuffix(".weight"), "channels": channels, "layers": layers}


def streaming() -> dict[str, Any]:
    """Percentiles of an activation of the classifier, streamed and by sorting all of it."""
    name = next(node.output[0] for node in graph(CLASSIFIER).graph.node if node.op_type == "Relu")
    parts = [_inside(name, batch) for batch in batches(crops(held_out=False).pictures)]
    magnitudes = np.sort(np.abs(np.concatenate([part.ravel() for part in parts])))
    rows = []
    for share in SHARES:
        exact = float(magnitudes[int(np.ceil(share * len(magnitudes))) - 1])
        rows.append({"share": share, "sorted": exact, "streamed": QUANTIZATION.percentile_limit(iter(parts), share)})
    return {
        "model": CLASSIFIER,
        "values": len(magnitudes),
        "largest": float(magnitudes[-1]),
        "rows": rows,
        "kept_bytes": magnitudes.nbytes,
        "histogram_bytes": 2048 * 8,
    }


def clipping() -> dict[str, Any]:
    """The squared error of clipping at any limit, for values with long tails and three numbers of bits."""
    values = np.random.default_rng(4).laplace(size=20_000)
    largest = float(np.abs(values).max())
    curves = []
    for bits in (8, 6, 4):
        most = 2 ** (bits - 1) - 1
        points = []
        for part in np.arange(3, 101, 1) / 100:
            scale = part * largest / most
            error = np.square(np.clip(np.rint(values / scale), -most, most) * scale - values).sum()
            points.append((float(part), float(np.sqrt(error / np.square(values).sum()))))
        best = QUANTIZATION.least_error_limit(values, most=most) / largest
        curves.append({"bits": bits, "points": points, "best": best, "at_best": dict(points)[round(best, 2)]})
    return {"values": len(values), "curves": curves}


def observers() -> dict[str, Any]:
    """Accuracy of the int8 classifier by how its ranges were found, and how far its logits are off."""
    learnt, unseen = crops(held_out=False), crops(held_out=True)
    feeds = [{"crops": batch} for batch in batches(learnt.pictures)]
    want = _answers(embedded(CLASSIFIER).onnx, unseen.pictures)
    rows = [{"observer": "float32", "right": _right(want, unseen.classes)}]
    with tempfile.TemporaryDirectory(prefix="observers-") as folder:
        for observer in (*OBSERVERS, CUT):
            path = Path(folder) / "int8.onnx"
            quantize_static(embedded(CLASSIFIER).onnx, path, feeds, StaticConfig(observer=observer))
            found = _answers(path, unseen.pictures)
            rows.append({"observer": observer, "right": _right(found, unseen.classes), "db": decibels(want, found)})
    return {"model": CLASSIFIER, "crops": len(unseen.classes), "calibrated_with": len(learnt.classes), "rows": rows}


def training() -> dict[str, Any]:
    """The classifier's last layer with weights of a few codes: rounded, and trained with them in place."""
    model = graph(CLASSIFIER)
    head = next(node for node in model.graph.node if node.op_type == "Gemm")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    learnt, unseen = crops(held_out=False), crops(held_out=True)
    features = [torch.from_numpy(_inside(head.input[0], found.pictures)) for found in (learnt, unseen)]
    weight, bias = (torch.from_numpy(stored[name].copy()) for name in head.input[1:])
    labels = torch.from_numpy(unseen.classes)

    def right(weights: torch.Tensor, biases: torch.Tensor) -> float:
        return float(((features[1] @ weights.T + biases).argmax(dim=1) == labels).float().mean())

    rows = []
    for most in (7, 3, 1):
        largest = Code(float(weight.abs().max()) / most, 0, -most, most)
        code = Code(QUANTIZATION.least_error_limit(weight.numpy(), most=most) / most, 0, -most, most)
        trained, shift = _trained(features[0], torch.from_numpy(learnt.classes), weight, bias, code)
        rows.append(
            {
                "codes": 2 * most + 1,
                "largest": right(QUANTIZATION.fake_quantize(weight, largest), bias),
                "least_error": right(QUANTIZATION.fake_quantize(weight, code), bias),
                "trained": right(QUANTIZATION.fake_quantize(trained, code), shift),
            }
        )
    return {
        "model": CLASSIFIER,
        "weights": weight.numel(),
        "steps": STEPS,
        "learnt_from": len(learnt.classes),
        "crops": len(labels),
        "float": right(weight, bias),
        "rows": rows,
    }


def _trained(
    features: torch.Tensor, classes: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, code: Code
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias after some steps in which the forward pass sees the coded weight."""
    weights, biases = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    adam = torch.optim.Adam([weights, biases], lr=1e-3)
    for _ in range(STEPS):
        logits = features @ QUANTIZATION.fake_quantize(weights, code).T + biases
        adam.zero_grad()
        torch.nn.functional.cross_entropy(logits, classes).backward()  # type: ignore[no-untyped-call]
        adam.step()
    return weights.detach(), biases.detach()


def _round_trip(rows: Array, largest: Array) -> Array:
    scales = (largest / 127).astype(np.float32)
    codes = QUANTIZATION.quantize(rows, scales, np.zeros(len(rows), np.int32), 0, "int8")
    return codes * scales[:, None]


def _inside(name: str, pictures: Array) -> Array:
    """A tensor inside of the classifier, for these pictures."""
    watched = graph(CLASSIFIER)
    watched.graph.output.append(helper.make_empty_tensor_value_info(name))
    with tempfile.TemporaryDirectory(prefix="inside-") as folder:
        path = Path(folder) / "watched.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(watched), path)
        return _answers(path, pictures, name)


def _answers(path: Path, pictures: Array, output: str = "classes") -> Array:
    model = OnnxModel(path, device="cpu", threads=1)
    try:
        return model.predict({model.inputs[0].name: pictures})[output]
    finally:
        model.close()


def _right(logits: Array, classes: Array) -> float:
    return float((logits.argmax(axis=1) == classes).mean())
