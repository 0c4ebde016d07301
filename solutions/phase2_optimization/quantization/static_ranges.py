"""The ranges of static quantization: an observer's, but for inputs, for bytes, and in front of a SiLU."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np
import onnx

from solutions.phase2_optimization.quantization.calibration import collect_ranges
from solutions.phase2_optimization.quantization.qdq_plan import silu_inputs
from solutions.phase2_optimization.quantization.static_config import StaticConfig


def calibrated_ranges(
    model: onnx.ModelProto,
    tensors: Collection[str],
    feeds: Iterable[Mapping[str, np.ndarray]],
    config: StaticConfig,
) -> dict[str, tuple[float, float]]:
    """The range of each tensor of a prepared model: the observer's, but for inputs and in front of SiLU.

    Inputs keep their full range, because pictures have no outliers. Bytes, whole numbers of 0 to 255, get just that
    range, so their codes are the bytes themselves. What only a SiLU reads is cut at `silu_floor`.
    Raises as `calibration.collect_ranges`.
    """
    watched = _Watched(feeds)
    ranges = collect_ranges(model, tensors, watched, config.observer, config.threads)
    ranges.update({name: span for name, span in watched.ranges.items() if name in ranges})
    ranges.update(dict.fromkeys(watched.bytes & ranges.keys(), (0.0, 255.0)))
    for name in silu_inputs(model) & ranges.keys() if config.silu_floor else ():
        low, high = ranges[name]
        ranges[name] = (max(low, -config.silu_floor), max(high, -config.silu_floor))
    return ranges


class _Watched:
    """Samples whose float inputs have their full ranges noted as they pass, and which of them are bytes so far."""

    def __init__(self, feeds: Iterable[Mapping[str, np.ndarray]]) -> None:
        self._feeds = feeds
        self.ranges: dict[str, tuple[float, float]] = {}
        self.bytes: set[str] = set()

    def __iter__(self) -> Iterator[Mapping[str, np.ndarray]]:
        for sample in self._feeds:
            for name, array in sample.items():
                if array.dtype.kind == "f" and array.size:
                    first = name not in self.ranges
                    low, high = self.ranges.get(name, (np.inf, -np.inf))
                    low, high = min(low, float(array.min())), max(high, float(array.max()))
                    self.ranges[name] = low, high
                    whole = low >= 0 and high <= 255 and high > 1 and np.array_equal(array, np.rint(array))
                    if whole and first:
                        self.bytes.add(name)
                    elif not whole:
                        self.bytes.discard(name)
            yield sample
