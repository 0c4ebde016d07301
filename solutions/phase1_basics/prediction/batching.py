"""Any number of rows through a model with any batch size, and the answers in order.

A model with a fixed batch of B gets exactly B rows a call: the last call is filled up, and what it says about the
filling is thrown away. A model with a free batch gets at most `max_batch` rows a call, so memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.tensors import Model, TensorSpec

MAX_BATCH = 32


@dataclass(frozen=True, slots=True)
class BatchedOutputs:
    """What came out, and what it took.

    Attributes:
        outputs: one array per output, N rows each, row i belonging to row i of the input.
        calls: how often the model ran.
        padded_rows: rows computed for nothing, to fill a fixed batch.
    """

    outputs: dict[str, np.ndarray]
    calls: int
    padded_rows: int


def predict_in_batches(
    model: Model, feeds: Mapping[str, np.ndarray], *, max_batch: int = MAX_BATCH, whole: Collection[str] = ()
) -> BatchedOutputs:
    """The outputs for all rows, whatever batch the model wants.

    Args:
        model: a loaded model whose rows do not influence each other; every output has one row per input row.
        feeds: one array per input, each with N rows; N may be 0.
        max_batch: the most rows a free batch gets; a fixed batch goes by its own size.
        whole: inputs that are no batch (a threshold, a size), given to every call as they are.

    Raises:
        ConfigError: inputs of different lengths or with different fixed batches, or an output that has not one row per
            input row.
    """
    batched = {name: array for name, array in feeds.items() if name not in whole}
    rows = _common_rows(batched, model.name)
    fixed = fixed_batch(model, whole=whole)
    size = rows_per_call(model, max_batch=max_batch, whole=whole)
    parts: dict[str, list[np.ndarray]] = {spec.name: [] for spec in model.outputs}
    calls = padded = 0
    for start in range(0, rows, size):
        count = min(size, rows - start)
        missing = size - count if fixed is not None else 0
        now = {name: _filled(array[start : start + count], missing) for name, array in batched.items()}
        answers = model.predict({**{name: feeds[name] for name in feeds if name in whole}, **now})
        calls += 1
        padded += missing
        for name, answer in answers.items():
            if answer.ndim == 0 or len(answer) != count + missing:
                raise ConfigError(
                    f"{model.name} answered {count + missing} rows with {name} {list(answer.shape)}: it has not one "
                    "row per input row and cannot be put together from several calls"
                )
            parts[name].append(answer[:count])
    outputs = {spec.name: _joined(parts[spec.name], spec) for spec in model.outputs}
    return BatchedOutputs(outputs, calls, padded)


def fixed_batch(model: Model, *, whole: Collection[str] = ()) -> int | None:
    """The one batch size that the model takes, or None where it is free.

    Raises:
        ConfigError: its inputs disagree, or it has none that could be a batch.
    """
    sizes = {}
    for spec in model.inputs:
        if spec.name in whole:
            continue
        if not spec.shape or spec.shape[0] == 0:
            raise ConfigError(f"{spec.name} of {model.name} is {spec.describe()}, no batch; name it in `whole`")
        sizes[spec.name] = spec.shape[0]
    if not sizes:
        raise ConfigError(f"{model.name} has no input that takes a batch")
    found = {size for size in sizes.values() if size is not None}
    if len(found) > 1:
        told = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ConfigError(f"the inputs of {model.name} have different batches ({told}); name what is none in `whole`")
    return found.pop() if found else None


def rows_per_call(model: Model, *, max_batch: int = MAX_BATCH, whole: Collection[str] = ()) -> int:
    """Rows that one call takes: the fixed batch, else `max_batch`.

    Raises:
        ConfigError: as `fixed_batch`; max_batch < 1.
    """
    if max_batch < 1:
        raise ConfigError(f"max_batch must be at least 1, got {max_batch}")
    return fixed_batch(model, whole=whole) or max_batch


def _common_rows(batched: Mapping[str, np.ndarray], name: str) -> int:
    if not batched:
        raise ConfigError(f"{name} was given no batch at all")
    lengths = {key: len(array) if array.ndim else None for key, array in batched.items()}
    if len(set(lengths.values())) > 1 or None in lengths.values():
        raise ConfigError(f"{name} needs the same number of rows in every input, got {lengths}")
    return next(len(array) for array in batched.values())


def _filled(rows: np.ndarray, missing: int) -> np.ndarray:
    """The rows, the last one repeated: unlike zeros it is a value the model knows, and cannot divide by zero."""
    return rows if missing == 0 else np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])


def _joined(parts: list[np.ndarray], spec: TensorSpec) -> np.ndarray:
    if not parts:  # no rows, no calls: free sizes are unknown and become 0
        return np.empty((0, *(size or 0 for size in spec.shape[1:])), spec.dtype)
    return np.concatenate(parts) if len(parts) > 1 else np.ascontiguousarray(parts[0])
