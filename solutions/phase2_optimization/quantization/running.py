"""Run an ONNX model that is still in memory, and compare what two of them answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnxruntime

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.phase1_basics.runtimes.feeds import one_line

Feeds = Mapping[str, np.ndarray]
Predict = Callable[[Feeds], list[np.ndarray]]

_QUIET = 4  # ONNX Runtime's log severity "fatal"; what goes wrong arrives as an exception anyway
_CEILING_DB = 200.0  # of equal outputs, so that rankings and JSON hold no infinity


def predictor(model: onnx.ModelProto, threads: int = 1) -> Predict:
    """A function from feeds to the outputs, on the CPU, with all of ONNX Runtime's optimisation.

    Raises:
        ModelLoadError: ONNX Runtime cannot load the model. The function raises ConfigError for feeds that do not fit.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # protobuf refuses models over 2 GB, ONNX Runtime what it cannot run
        raise ModelLoadError(f"ONNX Runtime cannot load the model: {one_line(error)}") from error

    def predict(feeds: Feeds) -> list[np.ndarray]:
        try:
            return list(session.run(None, dict(feeds)))
        except Exception as error:  # ONNX Runtime's exceptions share no other base
            raise ConfigError(f"the model does not run on a sample: {one_line(error)}") from error

    return predict


def sqnr_db(want: list[list[np.ndarray]], got: list[list[np.ndarray]]) -> float:
    """Signal to noise in dB of the worst output, over all samples: 10 log10(sum of want^2 / sum of (want - got)^2).

    Args:
        want: for each sample the outputs that are taken for true.
        got: likewise those to judge. Outputs of integers are left out.

    >>> sqnr_db([[np.float32([3, 4])]], [[np.float32([3, 4.5])]])
    20.0
    """
    worst = _CEILING_DB
    for place, first in enumerate(want[0]):
        if first.dtype.kind != "f":
            continue
        signal = noise = 0.0
        for exact, close in zip(want, got, strict=True):
            wide = exact[place].astype(np.float64)
            signal += float((wide**2).sum())
            noise += float(((wide - close[place].astype(np.float64)) ** 2).sum())
        if noise > 0 or not np.isfinite(noise):
            ratio = 10 * np.log10(signal / noise) if np.isfinite(noise) and signal > 0 else -_CEILING_DB
            worst = min(worst, float(ratio))
    return worst
