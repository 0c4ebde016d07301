"""Write an ONNX model whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import onnx

from solutions.core.errors import ConfigError, ModelLoadError


def save_model(model: onnx.ModelProto, out: str | Path) -> Path:
    """The path written; a crash or a full disk leaves what was there as it was. Missing folders are made.

    Raises:
        ConfigError: the place cannot be written.
        ModelLoadError: the model is too large for one file.
    """
    out = Path(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".making-") as workshop:
            made = Path(workshop) / out.name
            onnx.save(model, str(made))
            os.replace(made, out)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror or error}. Choose another place.") from error
    except Exception as error:  # protobuf's EncodeError is another class in each of its implementations
        raise ModelLoadError(f"{out} was not written: {error}. An ONNX file holds at most 2 GB.") from error
    return out
