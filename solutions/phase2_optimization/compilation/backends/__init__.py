"""The backends that a model can be compiled for; each is one module, imported only when it is asked for.

Every one gives a `solutions.core.tensors.Model`, so that what measures, serves or compares never asks which it is.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from solutions.core.errors import ConfigError
from solutions.core.optional import available
from solutions.core.tensors import Model

_HERE = "solutions.phase2_optimization.compilation.backends"


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to compile.

    Attributes:
        name: what users type.
        title: what people call it.
        starts_from: "onnx" (a graph) or "torch" (a module).
        suffixes: of the file that `out` may name, the usual one first; empty where nothing can be written.
        needs: import names of which one must be present.
        extra: the extra of this project that brings it; empty for what everyone has.
        legacy: why it is not for new work; empty otherwise.
    """

    name: str
    title: str
    starts_from: str
    suffixes: tuple[str, ...]
    needs: tuple[str, ...]
    extra: str = ""
    legacy: str = ""

    @property
    def is_available(self) -> bool:
        """True when what it stands on can be found; a compiler or a GPU may still be missing."""
        return any(available(module) for module in self.needs)

    def compile(self) -> Callable[..., Model]:
        """Its function `(model, *, out, threads, **options) -> Model`."""
        function: Callable[..., Model] = importlib.import_module(f"{_HERE}.{self.name}").compile_here
        return function


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("onnxruntime", "ONNX Runtime", "onnx", (".onnx",), ("onnxruntime",)),
        Backend("openvino", "OpenVINO", "onnx", (".xml",), ("openvino",), "openvino"),
        Backend(
            "torchscript",
            "TorchScript",
            "torch",
            (".ts", ".torchscript", ".pt"),
            ("torch",),
            legacy="PyTorch has deprecated it: use torch.export, AOTInductor (aot) or ONNX for new work",
        ),
        Backend("inductor", "torch.compile", "torch", (), ("torch",)),
        Backend("aot", "AOTInductor", "torch", (".pt2",), ("torch",)),
        Backend("tensorrt", "TensorRT", "onnx", (".plan", ".engine"), ("tensorrt", "tensorrt_rtx"), "tensorrt"),
    )
}


def backend(name: str) -> Backend:
    """The backend of that name.

    Raises:
        ConfigError: the name is unknown.
    """
    if name not in BACKENDS:
        raise ConfigError(f"{name} is not a backend. Known: {', '.join(BACKENDS)}.")
    return BACKENDS[name]


def known_options(title: str, options: dict[str, Any], known: tuple[str, ...]) -> None:
    """Nothing comes back; refuse options that a backend does not have.

    Raises:
        ConfigError: naming what it has.
    """
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise ConfigError(f"{title} has the options {', '.join(known)}; got {', '.join(unknown)}")
