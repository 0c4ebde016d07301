"""What every TensorFlow file becomes: a function with named, typed inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from solutions.core.errors import ModelLoadError
from solutions.core.tensors import TensorSpec

_DTYPES = frozenset(
    ["bool", "float16", "float32", "float64", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))]
)


@dataclass(frozen=True, slots=True)
class Program:
    """A loaded graph.

    Attributes:
        inputs: in the order in which `call` takes its arrays.
        outputs: in the order in which `call` returns its tensors.
        call: one array per input -> one tensor per output.
        metadata: facts about the file, for people.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    call: Callable[[Sequence[np.ndarray]], Sequence[Any]]
    metadata: dict[str, str] = field(default_factory=dict)


def spec_of(path: Path, name: str, tensor: Any) -> TensorSpec:
    """The `TensorSpec` of anything of TensorFlow's that has a shape and a dtype.

    Raises:
        ModelLoadError: the dtype is not numeric or bool (strings, resources), or the number of axes is unknown.
    """
    dtype = getattr(tensor.dtype, "name", tensor.dtype)
    if dtype not in _DTYPES:
        raise ModelLoadError(f"{path}: {name} is a {dtype} tensor; only numeric and bool tensors can be used here.")
    if tensor.shape.rank is None:
        raise ModelLoadError(
            f"{path}: the number of axes of {name} is unknown. Export the model with a fixed number of axes."
        )
    return TensorSpec(name, tuple(tensor.shape.as_list()), dtype)


def plain_name(name: str) -> str:
    """A tensor's name as people write it: the first output of an operator goes by the operator's name.

    >>> plain_name("probs:0"), plain_name("split:1")
    ('probs', 'split:1')
    """
    return name.removesuffix(":0")
