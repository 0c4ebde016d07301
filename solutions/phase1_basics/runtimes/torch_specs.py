"""What goes into a module and what comes out, found out where the file does not say it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.tensors import TensorSpec
from solutions.phase1_basics.runtimes.feeds import one_line

Shape = Sequence[int | None]
_FREE_SIZES = ((1, 64), (2, 96))  # batch and other free axes in the two probes; many networks halve a size five times


def named_inputs(names: Sequence[str], shape: Shape | Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Specs for a module with these arguments, from the one shape or the specs that a user gave.

    Raises:
        ConfigError: the module takes another number of inputs.
    """
    given = tuple(shape)
    specs = [spec for spec in given if isinstance(spec, TensorSpec)]
    if specs and len(specs) == len(given):
        return tuple(specs)
    if len(names) > 1:
        raise ConfigError(
            f"input_shape describes one input, and the module takes {', '.join(names)}: give a TensorSpec for each."
        )
    sizes = tuple(size for size in given if size is None or isinstance(size, int))
    return (TensorSpec(names[0] if names else "input", sizes),)


def argument_names(forward: Callable[..., Any]) -> tuple[str, ...]:
    """The positional arguments without a default of a module's `forward`."""
    return tuple(
        name
        for name, parameter in inspect.signature(forward).parameters.items()
        if parameter.default is parameter.empty and parameter.kind.name.startswith("POSITIONAL")
    )


def flatten_outputs(value: Any, name: str = "") -> list[tuple[str, torch.Tensor]]:
    """The tensors in what a module gave, by name: "output", "output0", a key of a dict, or "key.0" deeper down.

    >>> [name for name, _ in flatten_outputs({"boxes": torch.zeros(1), "heads": [torch.zeros(1)] * 2})]
    ['boxes', 'heads.0', 'heads.1']

    Raises:
        TypeError: there is something else than tensors.
    """
    if isinstance(value, torch.Tensor):
        return [(name or "output", value)]
    if isinstance(value, Mapping):
        parts = [(f"{name}.{key}" if name else str(key), part) for key, part in value.items()]
    elif dataclasses.is_dataclass(value):
        fields = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
        parts = [(f"{name}.{key}" if name else key, part) for key, part in fields if part is not None]
    elif isinstance(value, (tuple, list)):
        if len(value) == 1:
            return flatten_outputs(value[0], name)
        parts = [(f"{name}.{index}" if name else f"output{index}", part) for index, part in enumerate(value)]
    else:
        raise TypeError(f"it gives a {type(value).__name__}, and only tensors can be used here")
    return [leaf for part_name, part in parts for leaf in flatten_outputs(part, part_name)]


def probe_outputs(
    run: Callable[[list[torch.Tensor]], Any], inputs: Sequence[TensorSpec], device: torch.device
) -> tuple[TensorSpec, ...]:
    """The specs of what `run` gives, found by running it on zeros of two sizes: an axis that changes is free.

    Raises:
        RuntimeError: it fails on zeros of these shapes, or gives something else than tensors.
    """
    found: list[list[tuple[str, torch.Tensor]]] = []
    is_free = any(size is None for spec in inputs for size in spec.shape)
    for batch, other in _FREE_SIZES if is_free else _FREE_SIZES[:1]:
        zeros = []
        for spec in inputs:
            shape = [size if size is not None else (other if axis else batch) for axis, size in enumerate(spec.shape)]
            zeros.append(torch.zeros(shape, dtype=getattr(torch, spec.dtype), device=device))
        try:
            with torch.inference_mode():
                found.append(flatten_outputs(run(zeros)))
        except Exception as error:  # a module raises whatever it likes
            shapes = ", ".join(f"{spec.name} {list(zero.shape)}" for spec, zero in zip(inputs, zeros, strict=True))
            raise RuntimeError(f"fails on zeros of {shapes}: {one_line(error)}") from error
    first, last = found[0], found[-1]
    if [name for name, _ in first] != [name for name, _ in last]:
        raise RuntimeError("gives different outputs for different sizes")
    return tuple(
        TensorSpec(
            name,
            tuple(a if a == b else None for a, b in zip(one.shape, two.shape, strict=True)),
            numpy_dtype(one.dtype),
        )
        for (name, one), (_, two) in zip(first, last, strict=True)
    )


def probe_given(
    path: Path, run: Callable[[list[torch.Tensor]], Any], inputs: Sequence[TensorSpec], device: torch.device
) -> tuple[TensorSpec, ...]:
    """`probe_outputs` with the inputs that a user gave.

    Raises:
        ConfigError: the module does not take them.
    """
    try:
        return probe_outputs(run, inputs, device)
    except RuntimeError as error:
        raise ConfigError(f"{path} {error}. Give another input shape.") from error


def renamed(specs: Sequence[TensorSpec], names: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """`specs` under the names of other ones."""
    return tuple(TensorSpec(name.name, spec.shape, spec.dtype) for spec, name in zip(specs, names, strict=True))


def numpy_dtype(dtype: torch.dtype) -> str:
    """Name of the NumPy dtype that arrives on the host; float32 for the floats that NumPy lacks."""
    name = str(dtype).removeprefix("torch.")
    if dtype.is_floating_point and name not in ("float16", "float32", "float64"):
        return "float32"
    return name


def unknown_inputs(path: Path, what: str, names: Sequence[str]) -> ModelLoadError:
    """The error for a module that does not say what it takes."""
    takes = f"{', '.join(names)} of" if names else "inputs of"
    return ModelLoadError(
        f"{path} is {what} that takes {takes} shapes it does not tell. Say them: --input-shape ?,3,224,224 "
        "(input_shape=(None, 3, 224, 224))."
    )
