"""The most memory that a torch module's activations need at once, by watching its tensors live and die."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from solutions.phase1_basics.profiling.activation_memory import ActivationMemory
from solutions.phase1_basics.profiling.layer_costs import tensors_in


def torch_activation_memory(module: nn.Module, inputs: Sequence[torch.Tensor]) -> ActivationMemory:
    """The activations of one eager inference, by watching the tensors that torch functions return until they die.

    Work space inside a kernel is not seen. Python frees a tensor when its last name goes, so a module that keeps one
    in a variable keeps it alive here as well.
    """
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    watch = _TensorWatch(weights)
    for tensor in inputs:
        watch.see(tensor, "input")
    collecting = gc.isenabled()
    gc.disable()  # a collection in the middle would make the peak depend on chance
    try:
        with torch.inference_mode(), watch:
            outputs = module(*inputs)
        del outputs
    finally:
        if collecting:
            gc.enable()
    return ActivationMemory(
        peak_bytes=watch.peak,
        naive_bytes=watch.total,
        weight_bytes=sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers())),
        at=watch.at,
        tensors=watch.tensors,
        method="tensors alive while the torch module runs",
    )


class _TensorWatch(TorchFunctionMode):
    """Counts the bytes behind living tensors; tensors that share memory count once."""

    def __init__(self, weights: set[int]) -> None:
        super().__init__()
        self._weights = weights
        self._users: dict[int, int] = {}  # address of a storage -> living tensors on it
        self._known: set[int] = set()  # id of a living tensor
        self.alive = self.peak = self.total = self.tensors = 0
        self.at = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for tensor in tensors_in(outputs):
            self.see(tensor, getattr(func, "__name__", str(func)))
        return outputs

    def see(self, tensor: torch.Tensor, maker: str) -> None:
        """Count the tensor's memory until the tensor is gone."""
        storage = tensor.untyped_storage()
        address, size = storage.data_ptr(), storage.nbytes()
        if address in self._weights or id(tensor) in self._known:
            return
        self._known.add(id(tensor))
        if self._users.setdefault(address, 0) == 0:
            self.alive += size
            self.total += size
            self.tensors += 1
            if self.alive > self.peak:
                self.peak, self.at = self.alive, maker
        self._users[address] += 1
        weakref.finalize(tensor, self._gone, id(tensor), address, size).atexit = False

    def _gone(self, identity: int, address: int, size: int) -> None:
        self._known.discard(identity)
        self._users[address] -= 1
        if self._users[address] == 0:
            self.alive -= size
