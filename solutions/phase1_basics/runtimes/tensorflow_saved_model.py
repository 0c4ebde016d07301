"""TensorFlow SavedModel folders: one of their signatures becomes a `Program`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.optional import require
from solutions.phase1_basics.runtimes.feeds import image_layout, one_line
from solutions.phase1_basics.runtimes.tensorflow_import import INSTALL, import_tensorflow
from solutions.phase1_basics.runtimes.tensorflow_ops import node_name, reached, refuse_outside_world
from solutions.phase1_basics.runtimes.tensorflow_program import Program, spec_of

DEFAULT_SIGNATURE = "serving_default"
_OWN_SIGNATURES = ("__saved_model_init_op", "__saved_model_train_op")  # TensorFlow's book-keeping, nobody's inference
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")


def saved_model(path: Path, *, signature: str | None = None) -> Program:
    """One signature of the SavedModel in the folder `path`, under the signature's own names.

    Args:
        path: the folder that holds saved_model.pb.
        signature: its key; default "serving_default", or the only one there is.

    Raises:
        ModelLoadError: the folder is not a whole SavedModel, it has no signature that takes and gives numbers, or its
            graph would touch files when it is loaded or runs.
        ConfigError: there is no such signature.
    """
    tf = import_tensorflow()
    _check_graphs(path)
    try:
        loaded = tf.saved_model.load(str(path))
        functions = {key: loaded.signatures[key] for key in loaded.signatures if key not in _OWN_SIGNATURES}
    except Exception as error:  # TensorFlow raises its own, OSError, ValueError, KeyError, AttributeError and more
        raise ModelLoadError(f"{path} is not a whole SavedModel: {one_line(error)}") from error
    key = _choose(path, sorted(functions), signature)
    function = functions[key]
    arguments = function.structured_input_signature[1]
    results = function.structured_outputs
    names = list(results)

    def call(arrays: Sequence[np.ndarray]) -> Sequence[Any]:
        given = {name: tf.constant(array) for name, array in zip(arguments, arrays, strict=True)}
        answer = function(**given)
        return [answer[name] for name in names]

    # The function lives as long as the object that owns its variables: keep that as well.
    call.owner = loaded  # type: ignore[attr-defined]
    inputs = tuple(spec_of(path, name, tensor) for name, tensor in arguments.items())
    outputs = tuple(spec_of(path, name, results[name]) for name in names)
    facts = {"signature": key, "signatures": ", ".join(sorted(functions))}
    return Program(inputs, outputs, call, {**facts, **image_layout(inputs)})


def _choose(path: Path, keys: Sequence[str], wanted: str | None) -> str:
    if not keys:
        raise ModelLoadError(
            f"{path} has no signature, so nothing says what goes in and out. Export it with one: model.export(folder), "
            "or tf.saved_model.save(module, folder, signatures=...)."
        )
    if wanted is None:
        if DEFAULT_SIGNATURE in keys:
            return DEFAULT_SIGNATURE
        if len(keys) == 1:
            return keys[0]
        raise ConfigError(f"{path} has the signatures {', '.join(keys)}: choose one with signature=")
    if wanted not in keys:
        raise ConfigError(f"{path} has no signature {wanted}; it has {', '.join(keys)}")
    return wanted


def _check_graphs(path: Path) -> None:
    """Read the graphs as plain data and look at everything that loading or predicting would run."""
    schema = require("tensorflow.core.protobuf.saved_model_pb2", why="a TensorFlow model", install=INSTALL)
    proto = schema.SavedModel()
    try:
        proto.ParseFromString((path / "saved_model.pb").read_bytes())
    except OSError as error:
        raise ModelLoadError(f"{path / 'saved_model.pb'} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # protobuf's DecodeError comes from a package we do not import
        raise ModelLoadError(
            f"{path / 'saved_model.pb'} is damaged or truncated. Download or export the folder again."
        ) from error
    if not proto.meta_graphs:
        raise ModelLoadError(f"{path / 'saved_model.pb'} holds no graph: it is not a SavedModel.")
    for graph in proto.meta_graphs:
        operators = {node.op for node in reached(graph.graph_def, _roots(graph))}
        refuse_outside_world(path, operators)


def _roots(graph: Any) -> set[str]:
    """What runs on our behalf: signatures, initialisers and functions of objects; not what saves and restores."""
    names = {
        node_name(tensor.name)
        for signature in graph.signature_def.values()
        for tensor in (*signature.outputs.values(), *signature.inputs.values())
    }
    for collection in _INIT_COLLECTIONS:
        names.update(node_name(node) for node in graph.collection_def[collection].node_list.value)
    return names | set(graph.object_graph_def.concrete_functions)
