"""Keras models, .keras and HDF5: the layers become a `Program`; layers that carry code are refused unless trusted."""

from __future__ import annotations

import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from solutions.core.errors import ModelLoadError
from solutions.core.optional import require
from solutions.phase1_basics.runtimes.feeds import image_layout, one_line
from solutions.phase1_basics.runtimes.tensorflow_import import INSTALL, import_keras, import_tensorflow
from solutions.phase1_basics.runtimes.tensorflow_program import Program, plain_name, spec_of

_HDF5 = b"\x89HDF\r\n\x1a\n"
_CODE = ("Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")  # they hold or fetch a program
_LARGEST_CONFIG = 256 << 20  # a zip can promise terabytes; the largest real configurations have a few megabytes


def keras_model(path: Path, *, trust_pickle: bool = False) -> Program:
    """The Keras model in a .keras or HDF5 file, in inference mode (no dropout, stored BatchNorm statistics).

    Args:
        path: the file.
        trust_pickle: allow layers that carry code, such as Lambda. Loading them runs what their author wrote.

    Raises:
        ModelLoadError: not a whole Keras model, weights only, without fixed inputs, made of classes that are not here,
            or with layers that carry code and are not trusted.
    """
    tf, keras = import_tensorflow(), import_keras()
    with path.open("rb") as handle:
        is_hdf5 = handle.read(len(_HDF5)) == _HDF5
    config = _hdf5_config(path) if is_hdf5 else _zip_config(path)
    code = sorted(set(_classes(config)) & set(_CODE))
    if code and not trust_pickle:
        raise ModelLoadError(_refusal(path, ", ".join(code)))
    model = _load(keras, path, is_hdf5, safe_mode=not code)
    if not getattr(model, "inputs", None):
        raise ModelLoadError(
            f"{path} holds a Keras model whose inputs are not fixed. Where its code is at hand, call it once and "
            "export it: model.export(folder)."
        )
    inputs = tuple(spec_of(path, plain_name(tensor.name), _Symbolic(tf, tensor)) for tensor in model.inputs)

    @tf.function(input_signature=[tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs])  # type: ignore[untyped-decorator]
    def run(*tensors: Any) -> Sequence[Any]:
        given = keras.tree.pack_sequence_as(model.input, list(tensors)) if len(tensors) > 1 else tensors[0]
        return list(keras.tree.flatten(model(given, training=False)))

    try:
        function = run.get_concrete_function()
    except Exception as error:  # whatever a layer raises while it is traced
        raise ModelLoadError(f"{path} loads, and its layers cannot run: {one_line(error)}") from error
    names = _output_names(model, len(function.structured_outputs))
    outputs = tuple(
        spec_of(path, name, tensor) for name, tensor in zip(names, function.structured_outputs, strict=True)
    )

    def call(arrays: Sequence[np.ndarray]) -> Sequence[Any]:
        answer: Sequence[Any] = function(*(tf.constant(array) for array in arrays))
        return answer

    call.owner = model  # type: ignore[attr-defined]  # the concrete function does not keep its variables alive
    return Program(inputs, outputs, call, {"keras": str(model.name), **image_layout(inputs)})


class _Symbolic:
    """A Keras tensor, which has a tuple and a string, as `spec_of` wants it."""

    def __init__(self, tf: Any, tensor: Any) -> None:
        self.shape = tf.TensorShape(tensor.shape)
        self.dtype = tensor.dtype


def _load(keras: Any, path: Path, is_hdf5: bool, *, safe_mode: bool) -> Any:
    suffix = ".h5" if is_hdf5 else ".keras"
    try:
        with tempfile.TemporaryDirectory() as folder:
            named = Path(folder) / f"model{suffix}"  # Keras goes by the suffix, we go by the content
            named.symlink_to(path.resolve())
            return keras.saving.load_model(named, compile=False, safe_mode=safe_mode)
    except Exception as error:  # Keras raises ValueError, TypeError, KeyError, OSError, and what its layers raise
        said = str(error)
        if "safe_mode" in said or "unsafe" in said:
            raise ModelLoadError(_refusal(path, "found by Keras")) from error
        if "Could not locate" in said or "Unknown layer" in said:
            raise ModelLoadError(
                f"{path} uses layers that are not part of Keras: {one_line(error, limit=120)} "
                "Where their code is at hand, export the model as a SavedModel: model.export(folder)."
            ) from error
        raise ModelLoadError(f"Keras cannot load {path}: {one_line(error)}") from error


def _refusal(path: Path, what: str) -> str:
    return (
        f"{path} carries code that runs when it is loaded ({what}); refused. Ask for a file without such layers, or, "
        "only if you trust its author, load it with trust_pickle=True (--trust-pickle)."
    )


def _output_names(model: Any, count: int) -> list[str]:
    """Names of the layers that give the outputs, as far as they tell them apart."""
    names = [plain_name(str(name)) for name in getattr(model, "output_names", None) or ()]
    if len(names) == count and len(set(names)) == count:
        return names
    return [f"output_{index}" for index in range(count)]


def _zip_config(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > _LARGEST_CONFIG:
                raise ModelLoadError(f"{path} holds a configuration of absurd size; refused. Do not trust this file.")
            config = json.loads(archive.read("config.json"))
            with archive.open("model.weights.h5") as weights:
                _check_hdf5(path, weights)
            return config
    except KeyError as error:
        raise ModelLoadError(f"{path} is no Keras file: {one_line(error)}") from error
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise ModelLoadError(
            f"{path} is a damaged Keras file: {one_line(error)}. Download or save it again."
        ) from error


def _hdf5_config(path: Path) -> Any:
    try:
        with path.open("rb") as handle:
            config = _check_hdf5(path, handle).get("model_config")
    except (OSError, EOFError, ValueError, KeyError, RuntimeError) as error:
        raise ModelLoadError(f"{path} is a damaged HDF5 file: {one_line(error)}. Download or save it again.") from error
    if config is None:
        raise ModelLoadError(
            f"{path} holds weights without an architecture (save_weights). Save all of it: model.save(file.keras)."
        )
    try:
        return json.loads(config)
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelLoadError(f"{path} holds a damaged Keras configuration: {one_line(error)}") from error


def _check_hdf5(path: Path, handle: IO[bytes]) -> dict[str, Any]:
    """The attributes of an HDF5 file, after making sure that all its data lie in it.

    HDF5 may link to other files, so a model from a stranger could otherwise read any file into its weights.
    """
    h5py = require("h5py", why="a Keras model", install=INSTALL)
    with h5py.File(handle, "r") as file:
        groups = [file["/"]]
        seen = set()
        while groups:
            group = groups.pop()
            for name in group:
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    raise ModelLoadError(f"{path} links to data in another file; refused. Do not trust this file.")
                child = group.get(name)
                if isinstance(child, h5py.Dataset) and (child.external or child.is_virtual):
                    raise ModelLoadError(f"{path} keeps data in another file; refused. Do not trust this file.")
                if isinstance(child, h5py.Group) and child.id not in seen:
                    seen.add(child.id)
                    groups.append(child)
        return dict(file.attrs)


def _classes(config: Any) -> Iterator[str]:
    """Every class that a configuration names, at any depth."""
    open_parts = [config]
    while open_parts:
        part = open_parts.pop()
        if isinstance(part, dict):
            name = part.get("class_name")
            if isinstance(name, str):
                yield name.rpartition(">")[2]  # "package>Class" is how registered classes are written
            open_parts.extend(part.values())
        elif isinstance(part, list):
            open_parts.extend(part)
