"""The runtimes that `load_model` knows: which kind of content each one loads, and how.

A runtime joins with one `register` call. Its module is imported only when a file of its kind is loaded, so an absent
optional package costs nothing until it is wanted.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from solutions.core.errors import ConfigError
from solutions.core.optional import available
from solutions.core.tensors import Model


@dataclass(frozen=True, slots=True)
class Runtime:
    """How models of one kind of content are loaded.

    Attributes:
        kind: the content it loads, a `Content.kind` such as "onnx".
        title: what people call it, e.g. "ONNX Runtime".
        module: dotted name of the module that holds the loader.
        loader: name of its function `(path, *, device, threads, **runtime_options) -> Model`.
        needs: import name of the package it stands on.
        extra: the extra of this project that brings that package; empty for what everyone has.
    """

    kind: str
    title: str
    module: str
    loader: str
    needs: str
    extra: str = ""

    @property
    def install(self) -> str:
        """The command that brings what it needs."""
        return f'pip install "ml-inference[{self.extra}]"' if self.extra else f"pip install {self.needs}"

    @property
    def is_available(self) -> bool:
        """True when the package it stands on can be found."""
        return available(self.needs)

    def load(self) -> Callable[..., Model]:
        """The loader function; importing it may raise BackendUnavailable."""
        function: Callable[..., Model] = getattr(importlib.import_module(self.module), self.loader)
        return function


_RUNTIMES: dict[str, Runtime] = {}


def register(runtime: Runtime) -> None:
    """Add a runtime; registering the same one again changes nothing.

    Raises:
        ConfigError: another runtime already loads this kind.
    """
    known = _RUNTIMES.setdefault(runtime.kind, runtime)
    if known != runtime:
        raise ConfigError(f"{runtime.kind} files are already loaded by {known.title}")


def runtimes() -> dict[str, Runtime]:
    """All registered runtimes by the kind of content they load."""
    return dict(_RUNTIMES)


def _register_own() -> None:
    here = "solutions.phase1_basics.runtimes"
    register(Runtime("onnx", "ONNX Runtime", f"{here}.onnx", "load_onnx", "onnxruntime"))
    for kind, module, loader in (
        ("torch-weights", "torch_weights", "load_saved"),
        ("torch-legacy", "torch_weights", "load_saved"),
        ("safetensors", "torch_weights", "load_safetensors"),
        ("pickle", "torch_weights", "load_pickle"),
        ("torchscript", "torch_script", "load_torchscript"),
        ("torch-export", "torch_export", "load_exported"),
    ):
        register(Runtime(kind, "PyTorch", f"{here}.{module}", loader, "torch"))
    for kind in ("tf-saved-model", "keras", "keras-h5", "tf-graph"):
        register(Runtime(kind, "TensorFlow", f"{here}.tensorflow", "load_tensorflow", "tensorflow", "tensorflow"))
    register(Runtime("tflite", "LiteRT", f"{here}.tflite", "load_tflite", "ai_edge_litert", "tflite"))
    register(Runtime("openvino", "OpenVINO", f"{here}.openvino", "load_openvino", "openvino", "openvino"))


_register_own()
