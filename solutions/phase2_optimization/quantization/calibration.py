"""Calibration: a model runs over sample inputs, and an observer beside each tensor says the range of its values.

Samples stream through one at a time and nothing of them is kept but what the observers hold, so memory does not depend
on how many there are. The tensors asked for are made outputs of the graph, a group at a time when they are large.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.hardware.model_cost import dense_bytes, shaped_graph, static_shape
from solutions.phase1_basics.runtimes.feeds import one_line
from solutions.phase1_basics.runtimes.onnx import read_checked
from solutions.phase2_optimization.quantization.observers import Observer, make_observer

_GROUP_BYTES = 256 << 20  # activations held at once for one sample; beyond it the model runs again for the next group


def collect_ranges(
    model: onnx.ModelProto | str | Path,
    tensors: Iterable[str],
    feeds: Iterable[Mapping[str, np.ndarray]],
    observer: str = "minmax",
    threads: int = 1,
    *,
    group_bytes: int = _GROUP_BYTES,
) -> dict[str, tuple[float, float]]:
    """The (low, high) of each tensor over all samples, in the order asked for.

    Args:
        model: a float ONNX model, or its file. It is run as it is written, without graph optimisation, so that every
            name in it exists.
        tensors: names of graph inputs, outputs, intermediate results or initializers, each a float tensor.
        feeds: samples, input name -> array; read once, one at a time, and not kept.
        observer: a name that `make_observer` knows.
        threads: of ONNX Runtime.
        group_bytes: the most that the observed tensors of one sample may take at once. A model whose tensors need
            more is run once per group and sample.

    Raises:
        ConfigError: no sample, an unknown tensor or observer, inputs that do not fit, values without a range.
        ModelLoadError: ONNX Runtime cannot load the model.
    """
    proto = _loaded(model)
    observers = {name: make_observer(observer) for name in dict.fromkeys(tensors)}
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    inputs = {value.name for value in proto.graph.input} - stored.keys()
    made = {output for node in proto.graph.node for output in node.output if output}
    unknown = observers.keys() - stored.keys() - inputs - made
    if unknown:
        raise ConfigError(f"the model has no tensor {sorted(unknown)[0]!r}: name tensors of its main graph")
    for name in observers.keys() & stored.keys():
        _observe(observers[name], name, numpy_helper.to_array(stored[name]))

    wanted = [name for name in observers if name in made]
    sessions: list[tuple[onnxruntime.InferenceSession, list[str]]] = []
    samples = 0
    for feed in feeds:
        if not samples:
            sizes = _sizes(proto, {name: array.shape for name, array in feed.items()})
            sessions = [(_session(proto, group, threads), group) for group in _groups(wanted, sizes, group_bytes)]
        samples += 1
        for name in observers.keys() & inputs:
            if name not in feed:
                raise ConfigError(
                    f"sample {samples} lacks the input {name}; it has {', '.join(sorted(feed)) or 'none'}"
                )
            _observe(observers[name], name, feed[name])
        for session, group in sessions:
            _run(session, group, feed, observers, samples)
    if not samples:
        raise ConfigError("calibration needs at least one sample, got none")
    return {name: _range(observers[name], name) for name in observers}


def _run(
    session: onnxruntime.InferenceSession,
    group: Sequence[str],
    feed: Mapping[str, np.ndarray],
    observers: Mapping[str, Observer],
    sample: int,
) -> None:
    try:
        arrays = session.run(list(group), dict(feed))
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        raise ConfigError(f"the model does not run on calibration sample {sample}: {one_line(error)}") from error
    for name, array in zip(group, arrays, strict=True):
        _observe(observers[name], name, array)


def _observe(observer: Observer, name: str, array: np.ndarray) -> None:
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise ConfigError(f"{name} is no float tensor, so it has no range to calibrate; leave it out")
    try:
        observer.observe(array)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def _range(observer: Observer, name: str) -> tuple[float, float]:
    try:
        return observer.range()
    except ConfigError as error:  # every sample left it empty
        raise ConfigError(f"{name}: {error}") from error


def _groups(names: Sequence[str], sizes: Mapping[str, int], most: int) -> list[list[str]]:
    """The names in runs whose bytes stay within `most`; a larger tensor gets a run of its own."""
    groups: list[list[str]] = []
    room = 0
    for name in names:
        size = sizes.get(name, 0)
        if not groups or size > room:
            groups.append([])
            room = most
        groups[-1].append(name)
        room -= size
    return groups


def _sizes(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Bytes of each tensor as far as shape inference tells; empty when it fails, for then all go in one group."""
    try:
        graph = shaped_graph(model, shapes)
    except (ConfigError, ModelLoadError):
        return {}
    sizes: dict[str, int] = {}
    for value in [*graph.value_info, *graph.output]:
        shape = static_shape(value)
        if shape is not None:
            sizes[value.name] = dense_bytes(shape, value.type.tensor_type.elem_type)
    return sizes


def _session(model: onnx.ModelProto, group: Sequence[str], threads: int) -> onnxruntime.InferenceSession:
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    # The observed tensors are the only outputs: no other result has to be kept until the run ends.
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in group)  # the type is inferred
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # plans are kept for each size of input, and pictures have many
    try:
        return onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # protobuf refuses models over 2 GB, ONNX Runtime what it cannot run
        raise ModelLoadError(f"ONNX Runtime cannot load the model for calibration: {one_line(error)}") from error


def _loaded(model: onnx.ModelProto | str | Path) -> onnx.ModelProto:
    if isinstance(model, onnx.ModelProto):
        return model
    read_checked(Path(model))
    return onnx.load(model)
