"""The detector's file in the precision asked for; with "auto", in the one that measurements choose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from solutions.phase4_production.video_analysis.calibration import CalibrationPictures
from solutions.phase4_production.video_analysis.detector import load_detector
from solutions.phase4_production.video_analysis.precision import choose_precision
from solutions.phase4_production.video_analysis.precision_files import fp16_file, int8_file

_FP16_PICTURES = 8  # they only have to show about how large activations get


def detector_in(
    precision: str,
    path: Path,
    pictures: Callable[[], CalibrationPictures] | None,
    notes: list[str],
    *,
    threads: int | None = None,
    **settings: Any,
) -> tuple[Path, str]:
    """The file to run, and what it computes in: "fp32", "fp16" or "int8".

    Int8 is a candidate of "auto" everywhere, fp16 where the detector runs on a GPU.

    Args:
        precision: "fp32", "fp16", "int8" or "auto".
        path: the float32 file.
        pictures: asked for those to calibrate with and to judge on; fp16 can do with None.
        notes: sentences for the user are added.
        threads: of the runtime, as it will run.
        settings: of the detector, as it will run.

    Raises:
        ConfigError, ModelLoadError, VideoError: as `calibration_pictures`, `int8_file` and `choose_precision`.
    """
    if precision == "fp32":
        return path, "fp32"
    shown = pictures() if pictures is not None else CalibrationPictures([], [])
    plain = load_detector(path, threads=threads, **settings)

    def blob(frame: np.ndarray) -> np.ndarray:
        return plain.preprocess(frame).blob

    candidates = {"fp32": path}
    try:
        on_gpu = plain.model.device.startswith("cuda")
        if precision == "fp16" or on_gpu:
            candidates["fp16"] = fp16_file(path, shown.learnt[:_FP16_PICTURES], preprocess=blob)
        if precision != "fp16":
            candidates["int8"] = int8_file(path, shown.learnt, preprocess=blob)
    finally:
        plain.close()
    if precision == "fp16" and not on_gpu:
        notes.append("fp16 is made for GPUs and accelerators: on this CPU the runtime casts back to fp32.")
    if precision != "auto":
        return candidates[precision], precision
    choice = choose_precision(candidates, shown.judged, threads=threads or 1, **settings)
    notes.append(choice.reason)
    return choice.path, choice.name
