"""TensorFlow files on TensorFlow: SavedModel folders, .keras and HDF5 of Keras, frozen graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError, PipelineStopped
from solutions.phase1_basics.runtimes.feeds import check_settings, checked_feeds, one_line, sizes
from solutions.phase1_basics.runtimes.tensorflow_graph import frozen_graph
from solutions.phase1_basics.runtimes.tensorflow_import import import_tensorflow, use_threads
from solutions.phase1_basics.runtimes.tensorflow_keras import keras_model
from solutions.phase1_basics.runtimes.tensorflow_program import Program
from solutions.phase1_basics.runtimes.tensorflow_saved_model import saved_model

_OPENERS: dict[
    str, tuple[Callable[..., Program], tuple[str, ...]]
] = {  # format -> how it is opened, and the options that it takes
    "tf-saved-model": (saved_model, ("signature",)),
    "keras": (keras_model, ("trust_pickle",)),
    "keras-h5": (keras_model, ("trust_pickle",)),
    "tf-graph": (frozen_graph, ("outputs",)),
}


class TensorFlowModel:
    """A TensorFlow program on the CPU; satisfies `Model`, and also tells the file's `metadata` and its `threads`.

    `threads` holds what TensorFlow really uses; see `use_threads` for why that may differ from what was asked.
    """

    device = "cpu"

    def __init__(self, name: str, format: str, program: Program, threads: int) -> None:
        self.name = name
        self.format = format
        self.threads = threads
        self.inputs = program.inputs
        self.outputs = program.outputs
        self.metadata = dict(program.metadata)
        self._program: Program | None = program

    def predict(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name for one array per input.

        Raises:
            ConfigError: an input is missing, unknown, or of the wrong shape or dtype, or the graph refuses the sizes.
            PipelineStopped: the model was closed.
        """
        if self._program is None:
            raise PipelineStopped(f"{self.name} was closed: load it again to predict")
        arrays = checked_feeds(self.name, self.inputs, feeds)
        try:
            with import_tensorflow().device("/CPU:0"):
                tensors = self._program.call(arrays)
        except Exception as error:  # TensorFlow's OpErrors share no base with its ValueErrors
            raise ConfigError(f"{self.name} cannot run with {sizes(self.inputs, arrays)}: {one_line(error)}") from error
        return {
            spec.name: np.asarray(tensor.numpy(), order="C") for spec, tensor in zip(self.outputs, tensors, strict=True)
        }

    def close(self) -> None:
        """Let go of graph and weights; predict raises afterwards. May be called twice."""
        self._program = None


def load_tensorflow(path: Path, *, device: str = "auto", threads: int | None = None, **options: Any) -> TensorFlowModel:
    """A `TensorFlowModel`; what the registry calls.

    Args:
        path: a SavedModel folder, a .keras or HDF5 file of Keras, or a frozen GraphDef, told apart by content.
        device: "auto" or "cpu"; these models run on the CPU here.
        threads: threads inside one operator, one setting per process: see `use_threads`.
        options: `signature` for a SavedModel, `trust_pickle` for Keras, `outputs` for a frozen graph.

    Raises:
        ModelLoadError: not a usable model; the sentence says why.
        BackendUnavailable: TensorFlow or the device is not here.
        ConfigError: a setting is unknown or out of range.
    """
    path = Path(path)
    format = _format(path)
    opener, known = _OPENERS[format]
    check_settings(f"TensorFlow ({format})", threads, options, known)
    if device.partition(":")[0] in ("cuda", "gpu"):
        raise BackendUnavailable(
            f"TensorFlow models run on the CPU here, not on {device}. For a GPU, convert the model to ONNX (tf2onnx)."
        )
    if device not in ("auto", "cpu"):
        raise ConfigError(f"device must be auto or cpu for TensorFlow models, got {device}")
    threads_used = use_threads(threads)
    if path.name == "saved_model.pb":
        path = path.parent
    with import_tensorflow().device("/CPU:0"):
        program = opener(path, **options)
    return TensorFlowModel(path.stem, format, program, threads_used)


def _format(path: Path) -> str:
    if path.is_dir() or path.name == "saved_model.pb":
        return "tf-saved-model"
    try:
        with path.open("rb") as handle:
            head = handle.read(8)
    except FileNotFoundError:
        raise ModelLoadError(f"{path} does not exist.") from None
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read: {error.strerror or error}.") from error
    if head.startswith(b"\x89HDF"):
        return "keras-h5"
    return "keras" if head.startswith(b"PK\x03\x04") else "tf-graph"
