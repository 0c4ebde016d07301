"""Whether two models answer alike: the worst difference on fresh inputs, against what rounding alone explains.

A tolerance picked by hand hides mistakes in easy networks and blames rounding in deep ones. Here it follows from the
graph. A sum of K products is rounded K times; the signs of these errors mix, so they add up to about sqrt(K) units of
the accumulator. What a layer stores costs a few units more: the result itself, the bias, a folded BatchNorm, the
residual sum. Each layer's error reaches the answer amplified like any other disturbance, and how much the network
amplifies is measured by disturbing its input. Layers err independently; adding them up linearly leaves room.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from solutions.core.errors import ConfigError
from solutions.core.tensors import Model
from solutions.phase1_basics.profiling.feeds import has_free_batch, sample_feeds

# Relative error of one rounding (half a unit in the last place): of sums, and of what is stored between layers.
UNITS = {
    "f64": (2.0**-53, 2.0**-53),
    "f32": (2.0**-24, 2.0**-24),
    "tf32": (2.0**-24, 2.0**-11),  # factors are cut to 11 bits, sums are not
    "f16": (2.0**-24, 2.0**-11),
    "bf16": (2.0**-24, 2.0**-8),
}
_STORED = 4  # roundings per layer besides those of the sum
_NUDGE = 2.0**-10  # size of the disturbance: far above rounding, far below the values themselves


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a candidate's answers lie from the reference's, at worst.

    Attributes:
        worst: largest |difference| over the largest |reference| of the same output; inf where shapes, NaNs or
            integers differ.
        tolerance: what `worst` may be.
        output: where the worst was found; empty when there was nothing to compare.
        absolute: the largest |difference| of that output.
        compared: sets of inputs that were compared.
        note: what is wrong where `worst` is inf.
    """

    worst: float
    tolerance: float
    output: str = ""
    absolute: float = 0.0
    compared: int = 1
    note: str = ""

    @property
    def agrees(self) -> bool:
        """True when the worst difference is within the tolerance."""
        return self.worst <= self.tolerance

    def describe(self) -> str:
        """One sentence for people.

        >>> Agreement(2e-7, 1e-5, "logits", 1e-6).describe()
        'agrees: off by at most 2.0e-07 of the largest value (logits), 1.0e-05 is explained by rounding'
        """
        if self.note:
            return f"differs: {self.note}"
        where = f" ({self.output})" if self.output else ""
        verdict = "agrees" if self.agrees else "differs"
        return (
            f"{verdict}: off by at most {self.worst:.1e} of the largest value{where}, "
            f"{self.tolerance:.1e} is explained by rounding"
        )

    def as_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON; an infinite worst becomes None."""
        return {
            "agrees": self.agrees,
            "worst": self.worst if math.isfinite(self.worst) else None,
            "tolerance": self.tolerance,
            "output": self.output,
            "absolute": self.absolute if math.isfinite(self.absolute) else None,
            "compared": self.compared,
            "note": self.note,
        }


def outputs_agree(
    reference: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray], *, tolerance: float = 2.0**-14
) -> Agreement:
    """How far `candidate` is from `reference`, output by output.

    Floats are compared relative to the largest reference value of their output, since a small logit beside a large one
    is as uncertain as the large one. Integers and bools must be equal; NaN and infinity must be in the same places.

    Args:
        reference: the answers to hold on to, by name.
        candidate: the answers to judge, with the same names.
        tolerance: see `rounding_tolerance`; the default is about 1000 roundings in float32.

    Raises:
        ConfigError: the names differ, so that there is nothing to compare.
    """
    if reference.keys() != candidate.keys():
        raise ConfigError(f"outputs {sorted(candidate)} cannot be compared with outputs {sorted(reference)}")
    found = Agreement(0.0, tolerance)
    for name, want in reference.items():
        each = _compare(name, np.asarray(want), np.asarray(candidate[name]), tolerance)
        if each.worst > found.worst or not found.output:
            found = each
    return found


def _compare(name: str, want: np.ndarray, got: np.ndarray, tolerance: float) -> Agreement:
    def differs(note: str) -> Agreement:
        return Agreement(math.inf, tolerance, name, math.inf, note=note)

    if want.shape != got.shape:
        return differs(f"{name} has the shape {list(got.shape)} in place of {list(want.shape)}")
    if want.dtype.kind not in "fc" or got.dtype.kind not in "fc":
        unequal = int(np.count_nonzero(want != got))
        return (
            differs(f"{name} differs in {unequal} of {want.size} integers")
            if unequal
            else Agreement(0, tolerance, name)
        )
    want64, got64 = want.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(want64)
    if not np.array_equal(finite, np.isfinite(got64)) or not np.array_equal(
        want64[~finite], got64[~finite], equal_nan=True
    ):
        return differs(f"{name} has NaN or infinity in other places")
    difference = float(np.abs(want64[finite] - got64[finite]).max(initial=0.0))
    largest = float(np.abs(want64[finite]).max(initial=0.0))
    if difference == 0:
        return Agreement(0.0, tolerance, name)
    # where the reference is zero throughout, there is nothing to be relative to: the values themselves must be tiny
    return Agreement(difference / (largest or 1.0), tolerance, name, difference)


def rounding_tolerance(
    graph: onnx.ModelProto | str | Path, *, precision: str = "f32", amplification: float = 1.0
) -> float:
    """The largest relative difference that rounding explains (see the module's head).

    Args:
        graph: the network; layers are counted and the lengths of their sums read off their weights.
        precision: a key of UNITS, the coarser of the two that are compared.
        amplification: see `measure_amplification`; at least 1 is taken.

    Raises:
        ConfigError: an unknown precision.
    """
    if precision not in UNITS:
        raise ConfigError(f"precision must be one of {', '.join(UNITS)}, got {precision}")
    summed, stored = UNITS[precision]
    lengths = sum_lengths(graph) or [1]
    total = sum(math.sqrt(length) * summed + _STORED * stored for length in lengths)
    return total * max(1.0, amplification)


def sum_lengths(graph: onnx.ModelProto | str | Path) -> list[int]:
    """Products per sum of every Conv, ConvTranspose, Gemm and MatMul with stored weights, in the graph's order."""
    proto = graph if isinstance(graph, onnx.ModelProto) else onnx.load(graph, load_external_data=False)
    sizes = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    for node in proto.graph.node:  # weights of a quantized graph arrive through a DequantizeLinear
        if node.op_type in ("DequantizeLinear", "Cast", "Identity") and node.input[0] in sizes:
            sizes[node.output[0]] = sizes[node.input[0]]
    found = []
    for node in proto.graph.node:
        weight = sizes.get(node.input[1]) if len(node.input) > 1 else None
        if not weight or node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        if node.op_type == "Conv":
            found.append(math.prod(weight[1:]))
        elif node.op_type == "ConvTranspose":
            found.append(weight[0] * math.prod(weight[2:]))
        else:
            transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
            found.append(weight[-1] if transposed else weight[-2] if len(weight) > 1 else weight[0])
    return found


def measure_amplification(model: Model, feeds: Mapping[str, np.ndarray], *, seed: int = 0) -> float:
    """How much larger than its cause a relative change of the answer is when every float input is off by a little."""
    random = np.random.default_rng(seed)
    nudged = {}
    for name, array in feeds.items():
        signs = random.choice(np.array([-1.0, 1.0]), array.shape)
        size = float(np.sqrt(np.mean(np.square(array, dtype=np.float64)))) if array.size else 0.0
        nudged[name] = (array + _NUDGE * size * signs).astype(array.dtype) if array.dtype.kind == "f" else array
    agreement = outputs_agree(model.predict(feeds), model.predict(nudged))
    return agreement.worst / _NUDGE if math.isfinite(agreement.worst) else 1.0


def check_parity(
    reference: Model,
    candidate: Model,
    *,
    graph: onnx.ModelProto | str | Path | None = None,
    precision: str = "f32",
    tolerance: float | None = None,
    batches: Sequence[int] = (1, 2, 3),
    seed: int = 1000,
) -> Agreement:
    """The worst difference of two models over fresh inputs of several batch sizes.

    Fresh means: neither the batch nor the values of the example that an export or a compiler has seen, so that what
    was frozen into the graph by mistake shows.

    Args:
        reference: trusted.
        candidate: judged; takes and gives the same names.
        graph: the network, for a derived tolerance.
        precision: see `rounding_tolerance`.
        tolerance: instead of the derived one.
        batches: of a free first axis; a model with a fixed one is fed that, as often.
        seed: the first of the seeds.

    Raises:
        ConfigError: neither a graph nor a tolerance, or names that differ, or inputs that a model refuses.
    """
    if tolerance is None and graph is None:
        raise ConfigError("check_parity needs the graph to derive a tolerance from, or a tolerance")
    free = has_free_batch(reference) and has_free_batch(candidate)
    worst: Agreement | None = None
    for index, batch in enumerate(batches):
        rows = batch if free else _rows(candidate, reference)
        feeds = sample_feeds(reference, batch=rows, seed=seed + index)
        if tolerance is None and graph is not None:
            amplified = measure_amplification(reference, feeds, seed=seed)
            tolerance = rounding_tolerance(graph, precision=precision, amplification=amplified)
        each = outputs_agree(reference.predict(feeds), candidate.predict(feeds), tolerance=tolerance or 0.0)
        if worst is None or each.worst > worst.worst:
            worst = each
    if worst is None:
        raise ConfigError("check_parity needs at least one batch size, got none")
    return Agreement(worst.worst, worst.tolerance, worst.output, worst.absolute, len(batches), worst.note)


def _rows(*models: Model) -> int:
    for model in models:
        first = model.inputs[0].shape
        if first and first[0] is not None:
            return first[0]
    return 1
