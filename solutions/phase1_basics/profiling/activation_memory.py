"""The most memory that an ONNX graph's activations need at once, by liveness: a tensor lives from maker to last user.

Three numbers side by side: every activation kept (what training needs, and the naive sum), liveness (what a runtime
with a perfect allocator needs), and how much of the first the second saves. Weights are counted apart: they stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

from solutions.core.hardware import op_costs
from solutions.core.hardware.model_cost import dense_bytes, shaped_graph, static_shape


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer of `bytes` that is made at step `born` and last used at step `last` (the same unit, born <= last)."""

    name: str
    bytes: int
    born: int
    last: int


@dataclass(frozen=True, slots=True)
class ActivationMemory:
    """Bytes of activations of one inference.

    `peak_bytes` is the most that is alive at once, inputs and outputs included; `at` names the layer that runs then.
    `naive_bytes` is the sum of all. `unknown` counts tensors whose size cannot be known from the file.
    """

    peak_bytes: int
    naive_bytes: int
    weight_bytes: int
    at: str
    tensors: int
    method: str
    unknown: int = 0

    @property
    def saved(self) -> float:
        """The fraction of the naive sum that never has to exist at once."""
        return 1 - self.peak_bytes / self.naive_bytes if self.naive_bytes else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {**asdict(self), "saved": self.saved}


def peak_by_liveness(lifetimes: Sequence[Lifetime]) -> tuple[int, int]:
    """The most bytes alive at one step, and the first step at which they are; (0, 0) for nothing.

    A buffer is alive at its last step too: a layer needs its inputs while it writes its outputs.

    >>> peak_by_liveness([Lifetime("a", 4, 0, 1), Lifetime("b", 8, 1, 2), Lifetime("c", 4, 2, 2)])
    (12, 1)
    """
    change: dict[int, int] = {}
    for life in lifetimes:
        change[life.born] = change.get(life.born, 0) + life.bytes
        change[life.last + 1] = change.get(life.last + 1, 0) - life.bytes
    alive = peak = at = 0
    for step in sorted(change):
        alive += change[step]
        if alive > peak:
            peak, at = alive, step
    return peak, at


def onnx_activation_memory(
    model: str | Path | onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]
) -> ActivationMemory:
    """The activations of an ONNX graph run node by node in the file's order, without writing over an input.

    Args:
        model: a file or the model itself.
        shapes: of the inputs.

    Raises:
        ModelLoadError: no readable model.
        ConfigError: shapes that do not fit.
    """
    graph = shaped_graph(model, shapes)
    lifetimes, unknown = onnx_lifetimes(graph)
    peak, step = peak_by_liveness(lifetimes)
    node = graph.node[min(max(step, 0), len(graph.node) - 1)] if graph.node else None
    return ActivationMemory(
        peak_bytes=peak,
        naive_bytes=sum(life.bytes for life in lifetimes),
        weight_bytes=sum(dense_bytes(tuple(t.dims), t.data_type) for t in graph.initializer),
        at=(node.name or node.op_type) if node is not None else "",
        tensors=len(lifetimes),
        method="liveness over the ONNX graph with inferred shapes",
        unknown=unknown,
    )


def onnx_lifetimes(graph: onnx.GraphProto) -> tuple[list[Lifetime], int]:
    """The buffers of a graph whose shapes are known, steps being node indices, and how many have no known size.

    Nodes that only rename memory (Reshape, Identity, ...) make no buffer: they keep that of their input alive.
    """
    weights = {tensor.name for tensor in graph.initializer}
    last_step = len(graph.node) - 1
    sizes = {
        value.name: dense_bytes(shape, value.type.tensor_type.elem_type)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if (shape := static_shape(value)) is not None
    }
    buffer = {value.name: value.name for value in graph.input if value.name not in weights}
    born = dict.fromkeys(buffer.values(), 0)
    last = dict.fromkeys(buffer.values(), 0)
    unknown = 0
    for step, node in enumerate(graph.node):
        for name in node.input:
            if name in buffer:
                last[buffer[name]] = step
        if node.op_type == "Constant" or all(name in weights for name in node.input if name):
            weights.update(node.output)  # computed once, before the first inference
            continue
        source = node.input[0] if node.input else ""
        for name in filter(None, node.output):
            if node.op_type in op_costs.VIEWS and source in buffer:
                buffer[name] = buffer[source]
                continue
            buffer[name] = name
            born[name] = last[name] = step
            unknown += name not in sizes
    for value in graph.output:
        if value.name in buffer:
            last[buffer[value.name]] = last_step
    return [Lifetime(name, sizes.get(name, 0), born[name], last[name]) for name in born], unknown
