"""ONNX files on ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime

from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError, PipelineStopped
from solutions.core.hardware.profile import usable_cores
from solutions.core.tensors import TensorSpec
from solutions.phase1_basics.runtimes.content import inside_folder

GraphLevel = Literal["none", "basic", "extended", "all"]

GRAPH_LEVELS = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_SILENT = 4  # ONNX Runtime's log severity "fatal"; what goes wrong arrives as an exception anyway


class OnnxModel:
    """An ONNX file in an ONNX Runtime session; satisfies `Model`, and also tells the file's `metadata` and `operators`.

    Args:
        path: an ONNX file. Weights outside it must lie in its folder.
        device: "cpu", "cuda" or "cuda:1", or "auto": CUDA where it works, else the CPU.
        threads: threads inside one operator; default the usable cores. With several models or processes on one
            machine, 1 each usually gives more.
        graph_level: how far ONNX Runtime may rewrite the graph.
        spinning: let idle threads burn CPU while they wait for work. It lowers latency on a machine of one's own and
            robs everyone else on a shared one. Without effect at one thread.

    Raises:
        ModelLoadError: not a usable ONNX model, or its outside weights are missing or lead out of its folder.
        BackendUnavailable: the device is not here.
        ConfigError: a setting is unknown or out of range.
    """

    format = "onnx"

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        graph_level: GraphLevel = "all",
        spinning: bool = True,
    ) -> None:
        path = Path(path)
        if graph_level not in GRAPH_LEVELS:
            raise ConfigError(f"graph_level must be one of {', '.join(GRAPH_LEVELS)}, got {graph_level}")
        if threads is not None and threads < 1:
            raise ConfigError(f"threads must be at least 1, got {threads}")
        proto = read_checked(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.inter_op_num_threads = 1
        options.graph_optimization_level = GRAPH_LEVELS[graph_level]
        options.log_severity_level = _SILENT
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
        self._session: onnxruntime.InferenceSession | None
        self._session, self.device = _open_session(path, options, device)
        self.name = path.stem
        self.threads = options.intra_op_num_threads
        self.inputs = tuple(_spec(node, path) for node in self._session.get_inputs())
        self.outputs = tuple(_spec(node, path) for node in self._session.get_outputs())
        self.metadata = {entry.key: entry.value for entry in proto.metadata_props}
        self.operators = frozenset(node.op_type for node in proto.graph.node)
        self._inputs = {spec.name: spec for spec in self.inputs}
        self._output_names = [spec.name for spec in self.outputs]

    def predict(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name for one array per input.

        Raises:
            ConfigError: an input is missing, unknown, or of the wrong shape or dtype, or the graph refuses the sizes.
            PipelineStopped: the model was closed.
        """
        session = self._session
        if session is None:
            raise PipelineStopped(f"{self.name} was closed: load it again to predict")
        if feeds.keys() != self._inputs.keys():
            raise ConfigError(f"{self.name} takes the inputs {sorted(self._inputs)}, got {sorted(feeds)}")
        for name, array in feeds.items():
            self._inputs[name].check(array)
        try:
            values = session.run(self._output_names, {name: np.ascontiguousarray(a) for name, a in feeds.items()})
        except Exception as error:  # ONNX Runtime's exceptions share no other base
            sizes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
            raise ConfigError(f"{self.name} cannot run with {sizes}: {_first_line(error)}") from error
        return dict(zip(self._output_names, values, strict=True))

    def close(self) -> None:
        """Free the session; predict raises afterwards. May be called twice."""
        self._session = None


def load_onnx(path: Path, *, device: str = "auto", threads: int | None = None, **runtime_options: Any) -> OnnxModel:
    """An `OnnxModel`; what the registry calls.

    Raises:
        ConfigError: a runtime option that ONNX Runtime does not have, besides what OnnxModel raises.
    """
    unknown = runtime_options.keys() - {"graph_level", "spinning"}
    if unknown:
        raise ConfigError(f"the ONNX runtime has the options graph_level and spinning, got {sorted(unknown)}")
    return OnnxModel(path, device=device, threads=threads, **runtime_options)


def read_checked(path: Path) -> onnx.ModelProto:
    """The graph without its outside weights, after making sure that those are whole and in the model's folder.

    A model may name any file as its weights, so one from a stranger could otherwise read /etc/passwd into a tensor.

    Raises:
        ModelLoadError: the file cannot be read, or weights are missing, too short, or elsewhere.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except FileNotFoundError:
        raise ModelLoadError(f"{path} does not exist.") from None
    except Exception as error:  # protobuf's DecodeError comes from a package we do not import
        raise ModelLoadError(f"{path} is not a readable ONNX model: {_first_line(error)}") from error
    real_folder = Path(os.path.realpath(path)).parent
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        facts = {entry.key: entry.value for entry in tensor.external_data}
        location = facts.get("location", "")
        if not location or not inside_folder(location, path.parent, real_folder):
            raise ModelLoadError(
                f"{path} wants its weights from {location!r}, outside its own folder; refused. Do not trust this file."
            )
        weights = path.parent / location
        if not weights.is_file():
            raise ModelLoadError(f"{path} keeps its weights in {location}, which is not beside it. Copy both files.")
        end = int(facts.get("offset", 0)) + int(facts.get("length", 0))
        if weights.stat().st_size < end:
            raise ModelLoadError(f"{weights} is truncated: {path.name} needs {end:,} bytes of it. Copy it again.")
    return model


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor of the model, those of subgraphs and local functions included."""
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes.extend(graph.node)
            continue
        for attribute in nodes.pop().attribute:
            yield from (attribute.t, *attribute.tensors)
            graphs.extend(attribute.graphs)
            if attribute.HasField("g"):
                graphs.append(attribute.g)


def _open_session(
    path: Path, options: onnxruntime.SessionOptions, device: str
) -> tuple[onnxruntime.InferenceSession, str]:
    """The session and the device it really runs on."""
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got {device}")
    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if kind == "cuda" and not has_cuda:
        raise BackendUnavailable(
            "device cuda needs onnxruntime-gpu in place of onnxruntime: "
            "pip uninstall onnxruntime && pip install onnxruntime-gpu. Or use --device cpu."
        )
    providers: list[Any] = ["CPUExecutionProvider"]
    if has_cuda and kind != "cpu":
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": index or "0"}))
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        raise ModelLoadError(f"ONNX Runtime cannot load {path}: {_first_line(error)}") from error
    on_cuda = session.get_providers()[0] == "CUDAExecutionProvider"
    if kind == "cuda" and not on_cuda:
        raise BackendUnavailable(f"device {device} does not start: no usable GPU, driver or cuDNN. Use --device cpu.")
    return session, f"cuda:{index or 0}" if on_cuda else "cpu"


def _spec(node: onnxruntime.NodeArg, path: Path) -> TensorSpec:
    if node.type not in _DTYPES:
        raise ModelLoadError(f"{path}: {node.name} is a {node.type}; only numeric and bool tensors can be used here.")
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in node.shape or ())
    return TensorSpec(node.name, shape, _DTYPES[node.type])


def _first_line(error: Exception) -> str:
    """The first line of an exception, at most 300 characters: ONNX Runtime likes to add whole graphs."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
