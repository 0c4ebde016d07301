"""ONNX Runtime's own static quantization, as the yardstick: QDQ, U8 activations, S8 weights per channel."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx

from solutions.phase2_optimization.quantization.preparation import OPSET, raise_opset
from solutions.phase2_optimization.quantization.running import Feeds
from solutions.phase2_optimization.quantization.static import needs_reduced_range


def stock_int8(source: Path, out: Path, feeds: Sequence[Feeds], method: str, percentile: float = 99.99) -> Path:
    """`out`, written by `onnxruntime.quantization.quantize_static` after its own preparation.

    Args:
        source: a float32 ONNX file of any opset; it is raised to the one that ours needs, too.
        out: where to write; files beside it are used on the way.
        feeds: calibration samples.
        method: "MinMax", "Percentile" or "Entropy".
        percentile: of "Percentile".
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quant_pre_process, quantize_static

    raised, prepared = out.with_name(f"raised-{out.name}"), out.with_name(f"prepared-{out.name}")
    onnx.save(raise_opset(onnx.load(source), OPSET, str(source)), raised)
    # A stride of 1 keeps the activations of one sample in memory at a time, in spite of its name with every method.
    options: dict[str, float] = {"CalibStridedMinMax": 1}
    if method == "Percentile":
        options["CalibPercentile"] = percentile
    with _quiet():
        quant_pre_process(raised, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            out,
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=needs_reduced_range(),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[method],
            extra_options=options,
        )
    return out


class _Reader:
    """Calibration samples as ONNX Runtime asks for them: a window of them, one after another, then None."""

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._feeds = feeds
        self._rest: Iterator[Feeds] = iter(feeds)

    def __len__(self) -> int:
        return len(self._feeds)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Begin a window."""
        self._rest = iter(self._feeds[start_index:end_index])

    def get_next(self) -> Feeds | None:
        """The next feeds, or None at the end of the window."""
        return next(self._rest, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime's quantizer from printing a line per sample."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.root.setLevel(level)
