"""What the experiments of phase 2 share: the answers to its exercises, networks, and crops of the street."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from solutions.core.classroom import compile_script, quantize_script
from solutions.core.classroom.crops import Crops, street_crops
from solutions.core.zoo.registry import embedded
from solutions.phase2_optimization.template_solutions import compilation, quantization

DETECTOR, CLASSIFIER = "street-medium", "street-classifier"
PICTURE = (1, 3, 224, 224)

QUANTIZATION = quantize_script.Toolbox(
    quantization.choose_code,
    quantization.quantize,
    quantization.percentile_limit,
    quantization.least_error_limit,
    quantization.fake_quantize,
    quantization.integer_linear,
    quantization.place_codes,
    quantization.gate,
)
COMPILATION = compile_script.Toolbox(
    compilation.export_dynamic,
    compilation.fold_batchnorm,
    compilation.simplify,
    compilation.pack_arena,
    compilation.check_parity,
    compilation.engine_for,
)
# Weights by their largest magnitude: where only time is measured, the search for a better limit is not needed.
QUICK = replace(QUANTIZATION, least_error_limit=lambda row: float(np.abs(row).max()))


def graph(name: str) -> onnx.ModelProto:
    """One of the embedded models."""
    return onnx.load(embedded(name).onnx)


def untrained(name: str) -> nn.Module:
    """A network of torchvision in eval mode, with the same random weights every time."""
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: nn.Module = torchvision.models.get_model(name, weights=None).eval()
    return network


@cache
def crops(*, held_out: bool) -> Crops:
    """256 crops to calibrate and to learn from, or 600 that no model was trained on."""
    return street_crops(600 if held_out else 256, held_out=held_out)


def batches(pictures: np.ndarray[Any, Any], size: int = 32) -> list[np.ndarray[Any, Any]]:
    """The pictures, `size` at a time."""
    return [pictures[start : start + size] for start in range(0, len(pictures), size)]


def decibels(want: np.ndarray[Any, Any], got: np.ndarray[Any, Any]) -> float:
    """Signal over noise: 10 log10 of the energy of `want` over that of the difference; 6.02 dB are one bit."""
    real = want.astype(np.float64)
    return float(10 * np.log10(np.square(real).sum() / np.square(got - real).sum()))
