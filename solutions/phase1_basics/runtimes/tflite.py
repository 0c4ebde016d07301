"""TensorFlow Lite files on LiteRT."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError, PipelineStopped
from solutions.core.hardware.profile import usable_cores
from solutions.core.optional import require
from solutions.core.tensors import TensorSpec
from solutions.phase1_basics.runtimes.feeds import check_settings, checked_feeds, image_layout, one_line, sizes
from solutions.phase1_basics.runtimes.quiet import without_greetings

INSTALL = 'pip install "ml-inference[tflite]"'
_DEFAULT_SIGNATURE = "serving_default"


class TfliteModel:
    """A .tflite file in a LiteRT interpreter on the CPU; satisfies `Model`, and tells `metadata` and `quantization`.

    `quantization` maps the names of inputs and outputs that are stored as integers to (scale, zero_point): the real
    number is scale * (code - zero_point). The specs keep the stored dtype, so that nothing is converted behind one's
    back. A file whose sizes are free accepts any batch; each change of size costs one new memory plan.

    Args:
        path: the file. It is read into memory, so that a later change on disk cannot crash the process.
        threads: threads inside one operator; default the usable cores.
        signature: which of the file's signatures; default "serving_default", the only one, or none where it has none.

    Raises:
        ModelLoadError: not a usable TensorFlow Lite model.
        ConfigError: a setting is unknown or out of range.
        BackendUnavailable: LiteRT is not installed.
    """

    format = "tflite"
    device = "cpu"

    def __init__(self, path: str | Path, *, threads: int | None = None, signature: str | None = None) -> None:
        path = Path(path)
        self.name = path.stem
        self.threads = threads or usable_cores()
        interpreter = _interpreter(path, self.threads)
        signatures = sorted(interpreter.get_signature_list())
        key = _choose(path, signatures, signature)
        self._call: _Signature | _Bare | None = _Bare(interpreter) if key is None else _Signature(interpreter, key)
        self.inputs = tuple(_spec(path, name, tensor) for name, tensor in self._call.inputs.items())
        self.outputs = tuple(_spec(path, name, tensor) for name, tensor in self._call.outputs.items())
        self.quantization = _quantization({**self._call.inputs, **self._call.outputs})
        facts = {"signature": key, "signatures": ", ".join(signatures)} if key is not None else {}
        self.metadata = {**facts, **image_layout(self.inputs)}

    def predict(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name for one array per input, in the dtypes of the file.

        Raises:
            ConfigError: an input is missing, unknown, or of the wrong shape or dtype, or the graph refuses the sizes.
            PipelineStopped: the model was closed.
        """
        if self._call is None:
            raise PipelineStopped(f"{self.name} was closed: load it again to predict")
        arrays = checked_feeds(self.name, self.inputs, feeds)
        try:
            return self._call(arrays)
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"{self.name} cannot run with {sizes(self.inputs, arrays)}: {one_line(error)}") from error

    def close(self) -> None:
        """Free the interpreter; predict raises afterwards. May be called twice."""
        self._call = None


def load_tflite(path: Path, *, device: str = "auto", threads: int | None = None, **options: Any) -> TfliteModel:
    """A `TfliteModel`; what the registry calls. `options` may hold `signature`.

    Raises:
        ConfigError: a setting that LiteRT does not have, besides what TfliteModel raises.
        BackendUnavailable: a device other than the CPU.
    """
    check_settings("TensorFlow Lite", threads, options, ("signature",))
    if device.partition(":")[0] in ("cuda", "gpu", "npu", "tpu"):
        raise BackendUnavailable(f"TensorFlow Lite models run on the CPU here, not on {device}. Use --device cpu.")
    if device not in ("auto", "cpu"):
        raise ConfigError(f"device must be auto or cpu for TensorFlow Lite models, got {device}")
    return TfliteModel(path, threads=threads, **options)


class _Signature:
    """Inference by a signature's own names; LiteRT keeps the memory plan while the sizes stay the same."""

    def __init__(self, interpreter: Any, key: str) -> None:
        self._runner = interpreter.get_signature_runner(key)
        self.inputs: dict[str, Any] = self._runner.get_input_details()
        self.outputs: dict[str, Any] = self._runner.get_output_details()

    def __call__(self, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
        answer: dict[str, np.ndarray] = self._runner(**dict(zip(self.inputs, arrays, strict=True)))
        return answer


class _Bare:
    """Inference by tensor index, for files without signatures."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self.inputs: dict[str, Any] = _by_name(interpreter.get_input_details())
        self.outputs: dict[str, Any] = _by_name(interpreter.get_output_details())
        self._shapes = [tuple(tensor["shape"]) for tensor in self.inputs.values()]

    def __call__(self, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
        shapes = [array.shape for array in arrays]
        indices = [tensor["index"] for tensor in self.inputs.values()]
        if shapes != self._shapes:
            self._shapes = []  # until the new plan stands, no size is known to fit
            for index, shape in zip(indices, shapes, strict=True):
                self._interpreter.resize_tensor_input(index, shape)
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        for index, array in zip(indices, arrays, strict=True):
            self._interpreter.set_tensor(index, array)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(tensor["index"]) for name, tensor in self.outputs.items()}


def _interpreter(path: Path, threads: int) -> Any:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelLoadError(f"{path} does not exist.") from None
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read: {error.strerror or error}.") from error
    if content[4:8] != b"TFL3":
        raise ModelLoadError(f"{path} is not a TensorFlow Lite model.")
    litert = require("ai_edge_litert.interpreter", why="a TensorFlow Lite model", install=INSTALL)
    try:
        with without_greetings():
            interpreter = litert.Interpreter(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError, UnicodeDecodeError) as error:
        if "Select TensorFlow op" in str(error) or "custom op" in str(error):
            raise ModelLoadError(
                f"{path} uses operators that LiteRT lacks ({_operators(error)}). Convert it to built-in operators, "
                "without SELECT_TF_OPS and allow_custom_ops, or load the original in TensorFlow."
            ) from error
        raise ModelLoadError(
            f"LiteRT cannot load {path}: {one_line(error)} If the file is truncated or damaged, convert it again."
        ) from error
    return interpreter


def _operators(error: Exception) -> str:
    """The operators that an error of LiteRT names: "Node number 0 (FlexCholesky) failed to prepare."."""
    return ", ".join(re.findall(r"Node number \d+ \((\w+)\)", str(error))) or "custom operators"


def _choose(path: Path, keys: list[str], wanted: str | None) -> str | None:
    if wanted is not None and wanted not in keys:
        raise ConfigError(f"{path} has no signature {wanted}; it has {', '.join(keys) or 'none'}")
    if wanted is not None or not keys:
        return wanted
    if _DEFAULT_SIGNATURE in keys or len(keys) == 1:
        return _DEFAULT_SIGNATURE if _DEFAULT_SIGNATURE in keys else keys[0]
    raise ConfigError(f"{path} has the signatures {', '.join(keys)}: choose one with signature=")


def _by_name(tensors: list[dict[str, Any]]) -> dict[str, Any]:
    """Tensors under plain names, made different where a converter gave two the same."""
    named: dict[str, Any] = {}
    for tensor in tensors:
        name = tensor["name"].removesuffix(":0").removeprefix("serving_default_") or "tensor"
        named[name if name not in named else f"{name}_{tensor['index']}"] = tensor
    return named


def _spec(path: Path, name: str, tensor: Mapping[str, Any]) -> TensorSpec:
    dtype = np.dtype(tensor["dtype"])
    if dtype.kind not in "biuf":
        raise ModelLoadError(f"{path}: {name} is a {dtype} tensor; only numeric and bool tensors can be used here.")
    shape = tensor["shape_signature"] if len(tensor["shape_signature"]) else tensor["shape"]
    return TensorSpec(name, tuple(None if size < 0 else int(size) for size in shape), dtype.name)


def _quantization(tensors: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[float, int]]:
    """(scale, zero_point) of every tensor that has one pair for all its elements."""
    found = {}
    for name, tensor in tensors.items():
        parameters = tensor["quantization_parameters"]
        if len(parameters["scales"]) == 1 and np.dtype(tensor["dtype"]).kind in "iu":
            found[name] = (float(parameters["scales"][0]), int(parameters["zero_points"][0]))
    return found
