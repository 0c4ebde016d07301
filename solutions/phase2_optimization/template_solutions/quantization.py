"""Exercises 2.1 to 2.8 solved: a network in 8-bit integers, and whether that was worth it.

    python solutions/phase2_optimization/template_solutions/quantization.py

The same file as `phase2_optimization/template_quantization.py`, filled in. The full versions are in
`solutions/phase2_optimization/quantization/`: `affine.py` (2.1, 2.2), `range_histogram.py` and `observers.py` (2.3),
`range_search.py` (2.4), `integer_ops.py` and `fixed_point.py` (2.6), `qdq_plan.py` and `qdq_graph.py` (2.7), `gate.py`
(2.8).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from solutions.core.classroom.graph_values import INTEGER_OPS, PASSING_OPS, Code, Node
from solutions.core.classroom.quantize_script import Toolbox, quantize_script
from solutions.core.classroom.start import run_template
from solutions.core.classroom.values import Comparison, Verdict


def choose_code(low: float, high: float, *, symmetric: bool = False) -> Code:
    """The code that spreads [low, high], widened where it must be to hold 0.0, over 8 bits.

    Asymmetric: codes 0..255, scale = width / 255, the zero point the rounded code of 0.0. Symmetric: codes -127..127,
    zero point 0, scale = largest magnitude / 127. Where the range is nothing but 0.0 the scale is 1.0.

    Checked: 0.0 has an exact code for every range; inside the range a value comes back within half a step; no step is
    wider than needed; constant ranges; low > high and bounds that are not finite raise ValueError.
    """
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(f"a range needs finite low <= high, got {low} and {high}")
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        return Code(max(-low, high) / 127 or 1.0, 0, -127, 127)
    scale = (high - low) / 255 or 1.0
    return Code(scale, round(-low / scale), 0, 255)


def quantize(values: np.ndarray, scales: np.ndarray, zero_points: np.ndarray, axis: int, dtype: str) -> np.ndarray:
    """The codes of the values as an array of `dtype` ("int8" or "uint8"), one scale and zero point per index of `axis`.

    code = round(value / scale) + zero point, where ties go to the even number, and what lies beyond the least or the
    greatest number of `dtype` becomes that number.

    Checked: every axis, also counted from the end; ties on either side of 0; values that are far too large, infinity
    included, stop at the end and do not wrap around; both types; the values themselves stay as they were.
    """
    shape = [1] * values.ndim
    shape[axis] = -1
    real = np.rint(values / np.reshape(scales, shape)) + np.reshape(zero_points, shape)
    codes: np.ndarray = np.clip(real, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
    return codes


def percentile_limit(batches: Iterable[np.ndarray], share: float, *, bins: int = 2048) -> float:
    """The magnitude that `share` (above 0, at most 1) of all values in the batches do not exceed, read in one pass.

    Exact to 2 * (largest magnitude) / bins. Memory does not grow with the number of batches: a histogram of magnitudes
    over [0, top) whose top doubles, and whose bins are merged in pairs, when a larger value comes. `bins` is even.

    Checked: against the sorted values; growing, shrinking and equal batches, zeros first, negative values; a generator,
    read once; memory; no values, or a share outside its bounds, raise ValueError.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    counts, top, largest = np.zeros(bins, np.int64), 0.0, 0.0
    for batch in batches:
        if not batch.size:
            continue
        magnitudes = np.abs(batch.astype(np.float64))
        largest = max(largest, float(magnitudes.max()))
        top = top or largest
        while top < largest:
            counts = np.concatenate([counts.reshape(-1, 2).sum(axis=1), np.zeros(bins // 2, np.int64)])
            top *= 2
        counts += np.histogram(magnitudes, bins, (0.0, top or 1.0))[0]
    if not counts.sum():
        raise ValueError("there are no values to take a percentile of")
    rank = math.ceil(share * counts.sum())
    return min(largest, float(np.searchsorted(counts.cumsum(), rank) + 1) * top / bins)


def least_error_limit(values: np.ndarray, *, most: int = 127, steps: int = 100) -> float:
    """Where to clip: of the limits k / steps * (largest magnitude), k = 1..steps, the one with the least squared error.

    The error is that of codes -most..most with the scale limit / most: rounding inside the limit, clipping beyond it.
    0.0 where all values are 0.

    Checked: against every candidate, for 8 and for 4 bits; an outlier that is worth clipping, and one that is not;
    negative values; no values raise ValueError.
    """
    if not values.size:
        raise ValueError("there are no values to clip")
    real = values.astype(np.float64)
    largest = float(np.abs(real).max())

    def error(limit: float) -> float:
        scale = limit / most
        return float(np.square(np.clip(np.rint(real / scale), -most, most) * scale - real).sum())

    limits = [k / steps * largest for k in range(1, steps + 1)]
    return min(limits, key=error) if largest else 0.0


def fake_quantize(values: torch.Tensor, code: Code) -> torch.Tensor:
    """The values after a round trip through their codes, with the straight-through gradient of training with codes.

    Forward: scale * (q - zero_point), q the rounded value / scale + zero_point kept within least..most. Backward:
    rounding counts as the identity, so the gradient passes where the rounded code lies within least..most, both
    included, and is 0 where it was clipped.

    Checked: forward to float32 rounding; the gradient inside, at the ends, beyond them; incoming gradients are passed
    on and not replaced; the values and their gradient are float32 of the same shape.
    """

    class RoundTrip(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
            rounded = torch.round(values / code.scale) + code.zero_point
            kept = rounded.clamp(code.least, code.most)
            ctx.save_for_backward(rounded == kept)
            return (kept - code.zero_point) * code.scale

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
            (inside,) = ctx.saved_tensors
            passed: torch.Tensor = gradients[0] * inside
            return passed

    made: torch.Tensor = RoundTrip.apply(values)
    return made


def integer_linear(
    x: np.ndarray, x_code: Code, weight: np.ndarray, scales: np.ndarray, bias: np.ndarray, y_code: Code
) -> np.ndarray:
    """y = x @ weight.T + bias in integers: uint8 [N, O] from uint8 x [N, I], int8 weight [O, I] and real bias [O].

    A row o of the weight stands for scales[o] * weight[o] (zero point 0). The sums are int32. The bias joins them as
    round(bias / (x scale * scales)), which is the scale of the sums. Then requantize, in float64: round(sum * x scale
    * scales / y scale) + y zero point, kept within y's least..most. Ties go to the even number.

    Checked: every number, against sums of Python's integers; rows so long that 16 bits overflow; zero points; scales
    that differ per row; saturation; ties.
    """
    unit = x_code.scale * np.asarray(scales, np.float64)
    sums = (x.astype(np.int32) - x_code.zero_point) @ weight.astype(np.int32).T
    sums += np.rint(bias / unit).astype(np.int32)
    real = np.rint(sums * (unit / y_code.scale)) + y_code.zero_point
    codes: np.ndarray = np.clip(real, y_code.least, y_code.most).astype(np.uint8)
    return codes


def place_codes(nodes: Sequence[Node]) -> dict[str, str]:
    """Which tensors of a graph get a quantize-dequantize pair: each one's name, and the name of whose range it takes.

    - What an op of INTEGER_OPS reads gets a pair, except the third input of a Conv: a bias is int32, in the scale of
      the sums. Everything else stays as it is, so a Relu after a Conv can be fused into it.
    - A tensor takes its own range, unless an op of PASSING_OPS made it: that moves codes and must not change them, so
      the tensor takes the range of what the op reads first, followed back through all such ops, and each tensor on
      this way gets a pair too, with the same range.

    Checked: chains, residuals, Conv with Relu, chains of passing ops, outputs, biases, no nodes; nodes run in order.
    """
    made_by = {node.name: node for node in nodes}
    placed: dict[str, str] = {}
    for node in nodes:
        if node.op not in INTEGER_OPS:
            continue
        for tensor in node.reads[:2]:
            way = [tensor]
            while way[-1] in made_by and made_by[way[-1]].op in PASSING_OPS:
                way.append(made_by[way[-1]].reads[0])
            placed.update(dict.fromkeys(way, way[-1]))
    return placed


def gate(
    before: np.ndarray, after: np.ndarray, time: Comparison, *, max_drop: float = 0.01, min_speedup: float = 1.2
) -> Verdict:
    """Whether a quantized model may replace the float one: only if it is good enough and faster, both beyond noise.

    `before` and `after` say for the same pictures whether each model was right; `time` compares the new model's time
    with the old one's. The drop is the mean of before - after, its interval +- 1.96 * (sample standard deviation of
    these differences) / sqrt(n). The interval of the speed-up is 1 / time.high to 1 / time.low. "pass" where both whole
    intervals meet their bars (<= max_drop, >= min_speedup), "fail" where one lies wholly beyond its bar, else
    "inconclusive".

    Checked: all nine combinations; pictures are paired; gains are no drop; a bar met exactly; fewer than 2 pictures, or
    two arrays of different length, raise ValueError.
    """
    if len(before) != len(after) or len(before) < 2:
        raise ValueError(f"at least 2 pictures, the same for both, are needed, got {len(before)} and {len(after)}")
    differences = before.astype(np.float64) - after.astype(np.float64)
    drop, margin = differences.mean(), 1.96 * differences.std(ddof=1) / math.sqrt(len(differences))
    if drop - margin > max_drop or 1 / time.low < min_speedup:
        return "fail"
    return "pass" if drop + margin <= max_drop and 1 / time.high >= min_speedup else "inconclusive"


# Given: the script around the exercises, in solutions/core/classroom/quantize_script.py.


def main(argv: Sequence[str] | None = None) -> int:
    """Quantize the embedded classifier, and print accuracy against speed."""
    tools = Toolbox(
        choose_code, quantize, percentile_limit, least_error_limit, fake_quantize, integer_linear, place_codes, gate
    )
    return quantize_script(argv, tools)


if __name__ == "__main__":
    raise SystemExit(run_template(main))
