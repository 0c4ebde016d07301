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
    """

    kind: str
    title: str
    module: str
    loader: str
    needs: str

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


register(Runtime("onnx", "ONNX Runtime", "solutions.phase1_basics.runtimes.onnx", "load_onnx", "onnxruntime"))
