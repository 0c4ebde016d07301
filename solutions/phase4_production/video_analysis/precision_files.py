"""A detector's file in int8 or float16, made by Phase 2's quantizer and found again by the content of all it came from.

Static int8 stores weights in 8 bits and fixes the range of every activation from a few dozen real pictures. For
detectors two things decide what is left of the accuracy, both measured on YOLOX-nano:

- How scores move. A tracker has fixed thresholds and feels every shift. On vtest.avi ranges by percentile give MOTA 80,
  by entropy 66, and AP50 tells them apart by 0.2 points only (fp32: MOTA 78.5): false alarms that stand still at the
  picture's edge pass the threshold or do not.
- Boxes and scores need ranges of their own. What joins them, behind the last layers with weights, stays in float
  (`StaticConfig.tail`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import onnx

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.zoo.registry import cache_folder
from solutions.phase1_basics.runtimes.onnx import read_checked
from solutions.phase2_optimization.compilation import passes
from solutions.phase2_optimization.quantization import half, static
from solutions.phase2_optimization.quantization.static_config import StaticConfig
from solutions.phase4_production.video_analysis.derived import derived_model

Preprocess = Callable[[np.ndarray], np.ndarray]
# 20 to 50 pictures are enough, and time grows with them (YOLOX-nano: 0.4 s each).
DEFAULT = StaticConfig(observer="percentile:99.99", max_samples=40)


def int8_file(
    model_path: str | Path,
    calibration: Iterable[np.ndarray],
    cache_dir: str | Path | None = None,
    config: StaticConfig = DEFAULT,
    *,
    preprocess: Preprocess | None = None,
) -> Path:
    """The int8 file of a model with one input. The same call again only looks it up.

    Whether it is faster and accurate enough is for `precision.choose_precision` to measure.

    Args:
        model_path: a float32 ONNX file.
        calibration: arrays as the model takes them, or anything that `preprocess` turns into such; pictures of the
            kind the detector will see. Only the first `max_samples` are taken.
        cache_dir: default `int8` in the course's cache folder.
        config: ranges, types and exceptions.
        preprocess: e.g. `lambda frame: detector.preprocess(frame).blob`.

    Raises:
        ConfigError: no calibration picture, or one that does not fit; the folder cannot be written.
        ModelLoadError: the model cannot be read, or is quantized already.
    """
    source = Path(model_path)
    feeds = _feeds(source, islice(calibration, config.max_samples), preprocess)
    if not feeds:
        raise ConfigError("int8 calibration needs at least one picture, got none")

    def make(target: Path) -> None:
        static.quantize_static(source, target, feeds, config)

    # What this processor needs decides like the settings do: a cache may be shared between machines.
    settings = f"{config}{static.needs_reduced_range() if config.reduce_range is None else ''}"
    return _derived(source, "int8", cache_dir, settings, feeds, make)


def fp16_file(
    model_path: str | Path,
    calibration: Iterable[np.ndarray] = (),
    cache_dir: str | Path | None = None,
    *,
    preprocess: Preprocess | None = None,
) -> Path:
    """The model with float16 weights and arithmetic, inputs and outputs still float32; half the size.

    Made for GPUs and accelerators. On a CPU ONNX Runtime casts everything back to float32: no gain in speed.
    With pictures to run it on, layers whose activations float16 cannot hold stay in float32. Arguments are those of
    `int8_file`, and so are the errors.
    """
    source = Path(model_path)
    feeds = _feeds(source, calibration, preprocess)

    def make(target: Path) -> None:
        half.convert_half(source, target, half.HalfConfig(), feeds or None)

    return _derived(source, "fp16", cache_dir, str(half.HalfConfig()), feeds, make)


def _feeds(source: Path, pictures: Iterable[np.ndarray], preprocess: Preprocess | None) -> list[dict[str, np.ndarray]]:
    graph = read_checked(source).graph
    stored = {tensor.name for tensor in graph.initializer}  # old exporters list these as inputs too
    names = [value.name for value in graph.input if value.name not in stored]
    if len(names) != 1:
        raise ModelLoadError(f"{source} has {len(names)} inputs; only models with one can be calibrated here.")
    return [{names[0]: preprocess(picture) if preprocess else picture} for picture in pictures]


def _derived(
    source: Path,
    tag: str,
    cache_dir: str | Path | None,
    settings: str,
    feeds: list[dict[str, np.ndarray]],
    make: Callable[[Path], None],
) -> Path:
    arrays = (np.ascontiguousarray(array).tobytes() for feed in feeds for array in feed.values())
    folder = Path(cache_dir) if cache_dir is not None else cache_folder() / tag
    parts = (_recipe(), settings.encode(), *arrays)
    return derived_model(source, onnx.load(source), tag, folder, parts=parts, make=make)


def _recipe() -> bytes:
    """A hash of the sources that quantize: with another quantizer the file is made anew."""
    digest = hashlib.sha256()
    for package in (Path(static.__file__).parent, Path(str(passes.__file__)).parent):
        for source in sorted(package.glob("*.py")):
            digest.update(source.read_bytes())
    return digest.digest()
