"""Exercises 2.1 to 2.8: a network in 8-bit integers, and whether that was worth it.

    python phase2_optimization/template_quantization.py

Write the eight functions marked TODO, from top to bottom, with any imports you like; the rest is given. The values that
they take and hand back (Code, Node, with INTEGER_OPS and PASSING_OPS, in graph_values.py; Comparison in values.py) are
in solutions/core/classroom/. `grade check 2.1` checks one, `grade hint 2.1` helps. The script quantizes the embedded
classifier with your functions and prints accuracy against speed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from solutions.core.classroom.graph_values import Code, Node
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
    # TODO 2.1 (about 7 lines). Stuck? `grade hint 2.1`
    raise NotImplementedError("exercise 2.1 choose_code: phase2_optimization/template_quantization.py")


def quantize(values: np.ndarray, scales: np.ndarray, zero_points: np.ndarray, axis: int, dtype: str) -> np.ndarray:
    """The codes of the values as an array of `dtype` ("int8" or "uint8"), one scale and zero point per index of `axis`.

    code = round(value / scale) + zero point, where ties go to the even number, and what lies beyond the least or the
    greatest number of `dtype` becomes that number.

    Checked: every axis, also counted from the end; ties on either side of 0; values that are far too large, infinity
    included, stop at the end and do not wrap around; both types; the values themselves stay as they were.
    """
    # TODO 2.2 (about 5 lines). Stuck? `grade hint 2.2`
    raise NotImplementedError("exercise 2.2 quantize: phase2_optimization/template_quantization.py")


def percentile_limit(batches: Iterable[np.ndarray], share: float, *, bins: int = 2048) -> float:
    """The magnitude that `share` (above 0, at most 1) of all values in the batches do not exceed, read in one pass.

    Exact to 2 * (largest magnitude) / bins. Memory does not grow with the number of batches: a histogram of magnitudes
    over [0, top) whose top doubles, and whose bins are merged in pairs, when a larger value comes. `bins` is even.

    Checked: against the sorted values; growing, shrinking and equal batches, zeros first, negative values; a generator,
    read once; memory; no values, or a share outside its bounds, raise ValueError.
    """
    # TODO 2.3 (about 17 lines). Stuck? `grade hint 2.3`
    raise NotImplementedError("exercise 2.3 percentile_limit: phase2_optimization/template_quantization.py")


def least_error_limit(values: np.ndarray, *, most: int = 127, steps: int = 100) -> float:
    """Where to clip: of the limits k / steps * (largest magnitude), k = 1..steps, the one with the least squared error.

    The error is that of codes -most..most with the scale limit / most: rounding inside the limit, clipping beyond it.
    0.0 where all values are 0.

    Checked: against every candidate, for 8 and for 4 bits; an outlier that is worth clipping, and one that is not;
    negative values; no values raise ValueError.
    """
    # TODO 2.4 (about 9 lines). Stuck? `grade hint 2.4`
    raise NotImplementedError("exercise 2.4 least_error_limit: phase2_optimization/template_quantization.py")


def fake_quantize(values: torch.Tensor, code: Code) -> torch.Tensor:
    """The values after a round trip through their codes, with the straight-through gradient of training with codes.

    Forward: scale * (q - zero_point), q the rounded value / scale + zero_point kept within least..most. Backward:
    rounding counts as the identity, so the gradient passes where the rounded code lies within least..most, both
    included, and is 0 where it was clipped.

    Checked: forward to float32 rounding; the gradient inside, at the ends, beyond them; incoming gradients are passed
    on and not replaced; the values and their gradient are float32 of the same shape.
    """
    # TODO 2.5 (about 14 lines). Stuck? `grade hint 2.5`
    raise NotImplementedError("exercise 2.5 fake_quantize: phase2_optimization/template_quantization.py")


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
    # TODO 2.6 (about 6 lines). Stuck? `grade hint 2.6`
    raise NotImplementedError("exercise 2.6 integer_linear: phase2_optimization/template_quantization.py")


def place_codes(nodes: Sequence[Node]) -> dict[str, str]:
    """Which tensors of a graph get a quantize-dequantize pair: each one's name, and the name of whose range it takes.

    - What an op of INTEGER_OPS reads gets a pair, except the third input of a Conv: a bias is int32, in the scale of
      the sums. Everything else stays as it is, so a Relu after a Conv can be fused into it.
    - A tensor takes its own range, unless an op of PASSING_OPS made it: that moves codes and must not change them, so
      the tensor takes the range of what the op reads first, followed back through all such ops, and each tensor on
      this way gets a pair too, with the same range.

    Checked: chains, residuals, Conv with Relu, chains of passing ops, outputs, biases, no nodes; nodes run in order.
    """
    # TODO 2.7 (about 11 lines). Stuck? `grade hint 2.7`
    raise NotImplementedError("exercise 2.7 place_codes: phase2_optimization/template_quantization.py")


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
    # TODO 2.8 (about 7 lines). Stuck? `grade hint 2.8`
    raise NotImplementedError("exercise 2.8 gate: phase2_optimization/template_quantization.py")


# Given: the script around the exercises, in solutions/core/classroom/quantize_script.py.


def main(argv: Sequence[str] | None = None) -> int:
    """Quantize the embedded classifier, and print accuracy against speed."""
    tools = Toolbox(
        choose_code, quantize, percentile_limit, least_error_limit, fake_quantize, integer_linear, place_codes, gate
    )
    return quantize_script(argv, tools)


if __name__ == "__main__":
    raise SystemExit(run_template(main))
