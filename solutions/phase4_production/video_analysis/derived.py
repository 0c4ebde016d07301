"""Files made from a model file: made once, found again by the content of everything they were made from."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import onnx
import onnxruntime

from solutions.core.errors import ConfigError


def derived_model(
    source: Path,
    model: onnx.ModelProto,
    tag: str,
    folder: Path,
    *,
    parts: Iterable[bytes],
    make: Callable[[Path], None],
) -> Path:
    """`folder`/<name of source>-<tag>-<key>.onnx, made by `make(path)` unless it is there already.

    The key covers the model, `parts` and the version of ONNX Runtime. The file appears whole or not at all; two
    processes may make it at once, and what `make` leaves beside it is removed.

    Raises:
        ConfigError: the folder cannot be written; besides what `make` raises.
    """
    digest = hashlib.sha256(model.SerializeToString(deterministic=True))
    for part in (onnxruntime.__version__.encode(), *parts):
        digest.update(hashlib.sha256(part).digest())
    target = folder / f"{source.stem}-{tag}-{digest.hexdigest()[:16]}.onnx"
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as workshop:
            made = Path(workshop) / target.name
            make(made)
            os.replace(made, target)
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror or error}. Choose another folder.") from error
    return target
