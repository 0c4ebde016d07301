"""Samples for calibration and judgement from a folder: pictures as the model takes them, or arrays in .npz files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.tensors import Model
from solutions.phase1_basics.prediction.image_files import image_paths, read_image
from solutions.phase1_basics.prediction.preprocessing import PIXEL_FORMATS, Preprocessing
from solutions.phase1_basics.prediction.resizing import Resize
from solutions.phase2_optimization.quantization.running import Feeds

_DETECTOR_HEADS = ("grid",)  # our own detectors take whole frames as bytes


def folder_samples(
    model: Model, folder: str | Path, *, most: int = 128, pixels: str | None = None, resize: str | None = None
) -> tuple[list[dict[str, np.ndarray]], tuple[str, ...]]:
    """At most `most` samples by file name, one row each, and what had to be assumed about pictures, in words.

    Args:
        model: a loaded model, which says what it takes.
        folder: pictures; or .npz files with one array per input, for models that take something else.
        most: evenly spread over the folder where it holds more.
        pixels: a name of `PIXEL_FORMATS`, where the model does not tell.
        resize: "crop", "stretch" or "letterbox", likewise.

    Raises:
        ConfigError: no such folder, nothing usable in it, or arrays that do not fit.
        ImageError: a picture cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder: give one with pictures or .npz files like what the model will see")
    arrays = _spread(sorted(folder.glob("*.npz")), most)
    if arrays:
        return [_stored(path, model) for path in arrays], ()
    facts = getattr(model, "metadata", {}) or {}
    if facts.get("head") in _DETECTOR_HEADS:
        pixels, resize = pixels or "raw-bgr", resize or "letterbox"
    if pixels is not None and pixels not in PIXEL_FORMATS:
        raise ConfigError(f"pixels must be one of {', '.join(PIXEL_FORMATS)}, got {pixels}")
    preparation = Preprocessing.of(
        model,
        pixels=PIXEL_FORMATS[pixels] if pixels else None,
        resize=Resize(resize) if resize else None,  # type: ignore[arg-type]
    )
    paths = _spread(image_paths([folder]), most)
    return [{preparation.input_name: preparation.batch([read_image(path)])} for path in paths], preparation.assumed


def halves(samples: Sequence[Feeds]) -> tuple[list[Feeds], list[Feeds]]:
    """Every second sample to calibrate with, and the others to judge by: a model is not judged on what it was fit to.

    Raises:
        ConfigError: fewer than two.
    """
    if len(samples) < 2:
        raise ConfigError(f"calibration and judgement need at least 2 samples, got {len(samples)}: add some")
    return list(samples[::2]), list(samples[1::2])


def _spread(paths: Sequence[Path], most: int) -> list[Path]:
    if most < 1:
        raise ConfigError(f"the number of samples must be at least 1, got {most}")
    if len(paths) <= most:
        return list(paths)
    return [paths[place] for place in np.linspace(0, len(paths) - 1, most).round().astype(int)]


def _stored(path: Path, model: Model) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            feeds = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"{path} is no readable .npz file: {error}") from error
    wanted = {spec.name: spec for spec in model.inputs}
    if feeds.keys() != wanted.keys():
        raise ConfigError(f"{path} holds {', '.join(sorted(feeds))}, and the model takes {', '.join(sorted(wanted))}")
    for name, spec in wanted.items():
        spec.check(feeds[name])
    return feeds
