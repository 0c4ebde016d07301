"""The values that the exercises on quantization and compilation take and hand back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

INTEGER_OPS = ("Conv", "MatMul", "Add")  # what runs in integers where its inputs have codes
PASSING_OPS = ("MaxPool", "Reshape", "Transpose")  # what moves codes about and makes no new values


@dataclass(frozen=True, slots=True)
class Code:
    """How real numbers become integers: real = scale * (code - zero_point), with least <= code <= most."""

    scale: float
    zero_point: int
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of a graph: it reads tensors in the order that its `op` wants and makes one, known by its `name`.

    A Conv reads its input, its weight and, if it has one, its bias.
    """

    name: str
    op: str
    reads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Life:
    """A tensor of `bytes` that must be in memory from step `first` to step `last`, both included."""

    name: str
    bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Parity:
    """How far one program's answers lie from another's at worst, and where.

    `worst` is relative to the largest magnitude of the answer that it was found in, and inf where shape or dtype
    differ or something is not finite. `batch` is the batch size of that answer, `place` the cell, () for no cell.
    """

    agrees: bool
    worst: float
    batch: int
    place: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to run: model (a hash of its file), precision, device, version of the compiler, shape of the input."""

    model: str
    precision: str
    device: str
    version: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Engine:
    """What a compiler made of a model: it takes shapes from `least` to `most`, both included on every axis."""

    model: str
    precision: str
    device: str
    version: str
    least: tuple[int, ...]
    most: tuple[int, ...]
    plan: Any = None
