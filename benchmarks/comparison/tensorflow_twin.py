"""An ONNX network in TensorFlow: the same weights and operators, as a SavedModel or a .tflite file.

TensorFlow's convolutions on a CPU want channels last, so pictures and activations do too: whatever has four axes is
[N, H, W, C] inside, and outputs are turned back. The operators are those of plain convolutional networks
(`tensorflow_ops`); a graph with others is refused by name. Converters that know them all are packages of their own.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.comparison.tensorflow_ops import OPERATORS, Tensors
from solutions.core.errors import ConfigError, ModelLoadError
from solutions.phase1_basics.runtimes.feeds import one_line
from solutions.phase1_basics.runtimes.quiet import without_greetings
from solutions.phase1_basics.runtimes.tensorflow_import import import_tensorflow, use_threads


def write_saved_model(graph: Path, folder: Path, *, threads: int) -> Path:
    """The folder with the network as a SavedModel that takes any batch of the graph's sizes, channels last.

    Args:
        graph: an ONNX file with one input [N, C, H, W], of which only N may be free.
        folder: to be written.
        threads: of TensorFlow, if this process has not used it before.

    Raises:
        BackendUnavailable: TensorFlow is not installed.
        ConfigError: an operator or input that this conversion does not know.
        ModelLoadError: TensorFlow refuses the graph.
    """
    tf = import_tensorflow()
    use_threads(threads)
    model = onnx.load(graph)
    (name, shape), weights = _input(model), _weights(model)
    outputs = [value.name for value in model.graph.output]

    def call(pictures: Any) -> dict[str, Any]:
        tensors = Tensors(tf, weights)
        tensors.keep(name, pictures)
        for node in model.graph.node:
            operator = OPERATORS.get(node.op_type)
            if operator is None:
                known = ", ".join(sorted(OPERATORS))
                raise ConfigError(f"the conversion to TensorFlow does not know {node.op_type}; it knows {known}")
            facts = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
            tensors.keep(node.output[0], operator(tensors, node.input, facts))
        return {output: tensors.channels_first(output) for output in outputs}

    with _quiet():
        try:
            module = tf.Module()
            # the input's name is the one that callers use, so the function must have it
            specification = tf.TensorSpec([shape[0], *shape[2:], shape[1]], tf.float32, name=name)
            function = tf.function(call, input_signature=[specification], autograph=False)
            module.serve = function
            tf.saved_model.save(module, str(folder), signatures={"serving_default": function.get_concrete_function()})
        except ConfigError:
            raise
        except Exception as error:  # TensorFlow raises dozens of kinds of its own
            raise ModelLoadError(f"TensorFlow cannot take {graph.name}: {one_line(error)}") from error
    return folder


def write_tflite(saved_model: Path, out: Path, *, calibration: Sequence[Mapping[str, np.ndarray]] = ()) -> Path:
    """A .tflite file of a SavedModel that `write_saved_model` wrote; int8 inside where there are calibration inputs.

    Args:
        saved_model: the folder.
        out: the file to write.
        calibration: one array [N, C, H, W] by name each; they are turned to channels last.

    Raises:
        BackendUnavailable: TensorFlow, which brings the converter, is not installed.
        ModelLoadError: the converter refuses the network.
    """
    tf = import_tensorflow()
    with _quiet():
        try:
            converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
            if calibration:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                converter.representative_dataset = lambda: _rows(calibration)
            out.write_bytes(converter.convert())
        except Exception as error:  # the converter raises kinds of its own
            raise ModelLoadError(
                f"the converter to LiteRT cannot take {saved_model.name}: {one_line(error)}"
            ) from error
    return out


def _rows(calibration: Sequence[Mapping[str, np.ndarray]]) -> Iterator[list[np.ndarray]]:
    for feeds in calibration:
        (pictures,) = feeds.values()
        for picture in pictures:
            yield [np.ascontiguousarray(picture.transpose(1, 2, 0)[None])]


def _input(model: onnx.ModelProto) -> tuple[str, list[int | None]]:
    stored = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.input if value.name not in stored]
    axes = [axis for value in values for axis in value.type.tensor_type.shape.dim]
    if len(values) != 1 or len(axes) != 4 or not all(axis.dim_value for axis in axes[1:]):
        raise ConfigError("the conversion to TensorFlow takes networks with one input [N, C, H, W] of a fixed size")
    return values[0].name, [axis.dim_value or None for axis in axes]


def _weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with without_greetings(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside TensorFlow, which a user can do nothing about
        yield
