"""The two nouns that every runtime agrees on: what a tensor looks like, and what a loaded model can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from solutions.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and dtype of one model input or output.

    `shape` holds None where the size is free (a dynamic batch, height or width); `dtype` is a NumPy dtype name.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("a TensorSpec needs a name, got ''")
        if any(size is not None and size < 0 for size in self.shape):
            raise ConfigError(f"sizes of {self.name} must be >= 0 or None, got {self.shape}")
        np.dtype(self.dtype)  # an unknown name raises TypeError here and not in the first inference

    def accepts(self, array: np.ndarray) -> bool:
        """True when rank, fixed sizes and dtype fit.

        >>> TensorSpec("x", (None, 3)).accepts(np.zeros((5, 3), np.float32))
        True
        >>> TensorSpec("x", (None, 3)).accepts(np.zeros((5, 4), np.float32))
        False
        """
        return (
            array.dtype == np.dtype(self.dtype)
            and array.ndim == len(self.shape)
            and all(want is None or want == got for want, got in zip(self.shape, array.shape, strict=True))
        )

    def check(self, array: np.ndarray) -> None:
        """Refuse an array that does not fit.

        Raises:
            ConfigError: with the wanted and the given shape and dtype.
        """
        if not self.accepts(array):
            raise ConfigError(f"{self.name} wants {self.describe()}, got {array.dtype}{list(array.shape)}")

    def describe(self) -> str:
        """The spec as people write it, free sizes as '?'.

        >>> TensorSpec("x", (None, 3, 192, 320)).describe()
        'float32[?, 3, 192, 320]'
        """
        return f"{self.dtype}[{', '.join('?' if size is None else str(size) for size in self.shape)}]"


@runtime_checkable
class Model(Protocol):
    """A loaded model: the one interface of every runtime (torch, ONNX Runtime, OpenVINO, TensorRT, ...).

    `predict` takes and returns C-contiguous NumPy arrays on the host, by name. It is safe to call from one thread at a
    time. `close` frees what the runtime holds; it may be called twice, and predict after it raises PipelineStopped.
    """

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def format(self) -> str:
        """What it was loaded from: onnx, torch, ..."""

    @property
    def device(self) -> str:
        """Where it computes: cpu, cuda:0, ..."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Its inputs, in the file's order."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Its outputs, in the file's order."""

    def predict(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name for one array per input."""

    def close(self) -> None:
        """Free what the runtime holds."""
