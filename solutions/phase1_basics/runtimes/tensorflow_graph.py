"""Frozen TensorFlow graphs (GraphDef .pb), weights inside as constants: placeholders in, loose ends out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.phase1_basics.runtimes.feeds import image_layout, one_line
from solutions.phase1_basics.runtimes.tensorflow_import import import_tensorflow
from solutions.phase1_basics.runtimes.tensorflow_ops import node_name, reached, refuse_outside_world, variables_among
from solutions.phase1_basics.runtimes.tensorflow_program import Program, plain_name, spec_of

_NO_RESULTS = ("NoOp", "Assert", "Const", "Placeholder", "PlaceholderWithDefault")


def frozen_graph(path: Path, *, outputs: Sequence[str] | None = None) -> Program:
    """The frozen graph in `path`.

    Args:
        path: a serialized GraphDef. It says nothing about what goes in and out, so its placeholders without a default
            are the inputs, and the outputs are the nodes that nobody reads.
        outputs: names of the nodes to compute instead.

    Raises:
        ModelLoadError: not a GraphDef, with variables (not frozen), without inputs or outputs, with operators that this
            TensorFlow lacks or that touch files.
        ConfigError: `outputs` names a node that is not there.
    """
    tf = import_tensorflow()
    graph = _read(tf, path)
    ends = _outputs(path, graph, outputs)
    used = list(reached(graph, ends))
    operators = {node.op for node in used}
    refuse_outside_world(path, operators)
    variables = variables_among(operators)
    if variables:
        raise ModelLoadError(
            f"{path} is a training graph: its weights are variables ({', '.join(variables)}) kept in a checkpoint "
            "elsewhere. Freeze it first: convert_variables_to_constants_v2, or export a SavedModel."
        )
    used_names = {node.name for node in used}
    starts = [node.name for node in graph.node if node.op == "Placeholder" and node.name in used_names]
    if not starts:
        raise ModelLoadError(
            f"{path} has no input that its outputs depend on (no Placeholder): it computes a constant."
        )
    try:
        wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
        inside = wrapped.graph
        inputs_in = [inside.get_tensor_by_name(f"{name}:0") for name in starts]
        outputs_in = [tensor for name in ends for tensor in inside.get_operation_by_name(name).outputs]
        function = wrapped.prune(inputs_in, outputs_in)
    except Exception as error:  # ValueError for a bad graph, NotFoundError for an unknown operator, TypeError and more
        raise ModelLoadError(f"TensorFlow cannot use the graph in {path}: {one_line(error)}") from error
    if not outputs_in:
        raise ModelLoadError(f"{path} gives nothing back: none of {', '.join(ends[:4])} has a result.")
    inputs = tuple(spec_of(path, plain_name(tensor.name), tensor) for tensor in inputs_in)

    def call(arrays: Sequence[np.ndarray]) -> Sequence[Any]:
        answer: Sequence[Any] = function(*(tf.constant(array) for array in arrays))
        return answer

    call.owner = wrapped  # type: ignore[attr-defined]  # the pruned function does not keep its graph alive
    specs = tuple(spec_of(path, plain_name(tensor.name), tensor) for tensor in outputs_in)
    return Program(inputs, specs, call, image_layout(inputs))


def _read(tf: Any, path: Path) -> Any:
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # protobuf's DecodeError comes from a package we do not import
        raise ModelLoadError(
            f"{path} is no TensorFlow graph, or a truncated one. Download or export it again."
        ) from error
    if not any(node.op for node in graph.node):
        raise ModelLoadError(f"{path} holds no TensorFlow graph (GraphDef).")
    return graph


def _outputs(path: Path, graph: Any, wanted: Sequence[str] | None) -> list[str]:
    names = {node.name for node in graph.node}
    if wanted is not None:
        missing = [name for name in wanted if plain_name(name) not in names]
        if missing or not wanted:
            raise ConfigError(f"{path} has no node {', '.join(missing) or '(none named)'} to take as an output")
        return [plain_name(name) for name in wanted]
    read = {node_name(tensor) for node in graph.node for tensor in node.input}
    ends = [node.name for node in graph.node if node.name not in read and node.op not in _NO_RESULTS]
    if not ends:
        raise ModelLoadError(f"{path} has no output: every node's result is read by another. Name some with outputs=.")
    return ends
