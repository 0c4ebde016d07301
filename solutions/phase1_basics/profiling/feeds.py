"""Inputs to profile a model with: random numbers in the sizes that the model was made for, any batch that it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.tensors import Model, TensorSpec

DEFAULT_SIDE = 224  # of a free height or width of which the model says nothing
_FREE = 32  # any other free axis, such as the length of a sequence


def sample_feeds(model: Model, *, batch: int = 1, seed: int = 0) -> dict[str, np.ndarray]:
    """One random array per input: numbers in 0..1 (integers and bools from 0 and 1).

    A free first axis becomes `batch`; a free height or width what the model's metadata say ("input_hw"), or 224.

    Args:
        model: a loaded model.
        batch: its first axis, where that is free.
        seed: the same seed gives the same arrays.
    """
    if batch < 1:
        raise ConfigError(f"batch must be >= 1, got {batch}")
    random = np.random.default_rng(seed)
    input_hw = _input_hw(getattr(model, "metadata", None) or {})
    feeds: dict[str, np.ndarray] = {}
    for spec in model.inputs:
        shape = _filled(spec, batch, input_hw)
        dtype = np.dtype(spec.dtype)
        feeds[spec.name] = (random.random(shape) if dtype.kind == "f" else random.integers(0, 2, shape)).astype(dtype)
    return feeds


def has_free_batch(model: Model) -> bool:
    """True when every input takes any number of rows."""
    return all(spec.shape and spec.shape[0] is None for spec in model.inputs)


def fixed_batch(model: Model) -> int:
    """The rows that a model without a free batch takes; 1 where its inputs have no axes."""
    first = model.inputs[0].shape
    return first[0] if first and first[0] is not None else 1


def usable_batches(model: Model, wanted: Sequence[int]) -> tuple[tuple[int, ...], str]:
    """The batch sizes to measure, ascending, and a sentence where they are not those that were wanted.

    Raises:
        ConfigError: a size below 1.
    """
    if any(size < 1 for size in wanted):
        raise ConfigError(f"batch sizes must be >= 1, got {', '.join(map(str, wanted))}")
    if has_free_batch(model):
        return tuple(sorted(set(wanted))), ""
    size = fixed_batch(model)
    return (size,), f"{model.name} takes a batch of {size} only, so only that is measured"


def _filled(spec: TensorSpec, batch: int, input_hw: tuple[int, int] | None) -> list[int]:
    shape: list[int] = []
    picture = len(spec.shape) == 4
    height_axis = 1 if picture and spec.shape[3] in (1, 3) and spec.shape[1] not in (1, 3) else 2
    for axis, size in enumerate(spec.shape):
        if size is not None:
            shape.append(size)
        elif axis == 0:
            shape.append(batch)
        elif picture and axis in (height_axis, height_axis + 1):
            shape.append(input_hw[axis - height_axis] if input_hw else DEFAULT_SIDE)
        else:
            shape.append(_FREE)
    return shape


def _input_hw(facts: Mapping[str, str]) -> tuple[int, int] | None:
    try:
        height, width = (int(side) for side in facts["input_hw"].split(","))
    except (KeyError, ValueError):  # profiling needs no more than a plausible size
        return None
    return height, width
