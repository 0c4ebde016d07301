"""Times of a torch module's layers, by forward hooks on the modules that call no other module.

Two passes: one that is not timed finds those leaves, their shapes and costs; the other is timed. What no module owns
(`x + y`, `F.relu`) shows up as time between the layers, which is itself a finding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from solutions.core.errors import ConfigError
from solutions.core.measure.metrics import LatencySummary
from solutions.core.measure.profiling import Clock, Synchronize
from solutions.phase1_basics.profiling.layer_costs import module_cost
from solutions.phase1_basics.profiling.layer_table import Layer, LayerCost, LayerPass, Span


@dataclass(slots=True)
class Leaf:
    """A module that called no other module, and the cost of each of its calls in one inference."""

    module: nn.Module
    costs: list[LayerCost] = field(default_factory=list)

    def total(self) -> LayerCost:
        """The cost of all calls together; FLOPs are unknown as soon as one call's are."""
        flops = [cost.flops for cost in self.costs]
        known = None if None in flops else sum(f for f in flops if f is not None)
        return LayerCost(known, sum(cost.bytes for cost in self.costs))


def profile_torch_layers(
    module: nn.Module,
    inputs: Sequence[torch.Tensor],
    *,
    runs: int = 10,
    warmup: int = 2,
    synchronize: Synchronize | None = None,
    clock: Clock = time.perf_counter,
) -> LayerPass:
    """The layers of `module` in the order in which they first run, each with its median time per inference.

    Args:
        module: in eval mode; any hooks of its own stay.
        inputs: positional arguments, on the module's device.
        runs: timed inferences.
        warmup: inferences before them.
        synchronize: waits for the device around every layer; without it a GPU's layers are timed up to their launch.
        clock: seconds, monotonic.

    Raises:
        ConfigError: a count out of range, or a module none of whose parts can be seen (TorchScript, exported
            programs: they run as one).
    """
    if runs < 1 or warmup < 0:
        raise ConfigError(f"a layer pass needs runs >= 1 and warmup >= 0, got {runs} and {warmup}")
    leaves = find_leaves(module, inputs)
    wait = synchronize or _nothing
    spans: list[Span] = []
    seconds: dict[str, list[float]] = {name: [] for name in leaves}
    outside: list[float] = []
    with torch.inference_mode(), timing_hooks({name: leaf.module for name, leaf in leaves.items()}, spans, wait, clock):
        for _ in range(warmup):
            module(*inputs)
        for _ in range(runs):
            spans.clear()
            wait()
            start = clock()
            module(*inputs)
            wait()
            total = clock() - start
            run: dict[str, float] = dict.fromkeys(leaves, 0.0)
            for span in spans:
                run[span.name] += span.seconds
            outside.append(max(0.0, total - sum(run.values())))
            for name, spent in run.items():
                seconds[name].append(spent)
    layers = tuple(
        Layer(
            name=name,
            kind=type(leaf.module).__name__,
            calls=len(leaf.costs),
            ms=LatencySummary.of(seconds[name]).p50,
            cost=leaf.total(),
        )
        for name, leaf in leaves.items()
    )
    return LayerPass(layers, runs, LatencySummary.of(outside).p50, tuple(spans))


def find_leaves(module: nn.Module, inputs: Sequence[torch.Tensor]) -> dict[str, Leaf]:
    """The modules that run without calling another one, by path, in the order of their first call.

    Not the same as modules without children: attention calls no child of its own, so it is one layer here.

    Raises:
        ConfigError: none was seen.
    """
    leaves: dict[str, Leaf] = {}
    inner_calls: list[int] = []  # of each module that is running now, the outermost first
    handles = []

    def enter(_module: nn.Module, _inputs: Any) -> None:
        if inner_calls:
            inner_calls[-1] += 1
        inner_calls.append(0)

    def leave(name: str) -> Callable[..., None]:
        def hook(called: nn.Module, arguments: Any, outputs: Any) -> None:
            if not inner_calls.pop() and not (called is module and _is_one_piece(called)):
                cost = module_cost(called, arguments, outputs)
                leaves.setdefault(name or type(called).__name__, Leaf(called)).costs.append(cost)

        return hook

    for name, part in module.named_modules():
        if not isinstance(part, torch.jit.ScriptModule):  # their hooks are never called
            handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave(name))]
    try:
        with torch.inference_mode():
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    if not leaves:
        raise ConfigError(
            f"no layer of {type(module).__name__} can be seen from outside: it runs as one piece. "
            "Per-layer times need the eager nn.Module, or its ONNX export."
        )
    return leaves


@contextmanager
def timing_hooks(modules: dict[str, nn.Module], spans: list[Span], wait: Synchronize, clock: Clock) -> Iterator[None]:
    """While the block runs, every call of these modules appends a span with its name."""
    starts: list[float] = []

    def enter(_module: nn.Module, _inputs: Any) -> None:
        wait()
        starts.append(clock())

    def leave(name: str, kind: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, _outputs: Any) -> None:
            wait()
            start = starts.pop()
            spans.append(Span(name, kind, start, clock() - start))

        return hook

    handles = []
    for name, module in modules.items():
        handles += [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave(name, type(module).__name__)),
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_one_piece(root: nn.Module) -> bool:
    """True for a whole model that calls no modules: a program, unlike the single nn.Linear that is its own layer."""
    return not type(root).__module__.startswith("torch.nn.")


def _nothing() -> None:
    """Waits for nothing: a CPU call has finished when it returns."""
