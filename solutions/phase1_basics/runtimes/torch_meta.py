"""Modules on the meta device: all names and shapes, no memory and no time for random weights."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

Shapes = Mapping[str, tuple[int, ...]]

_FACTORIES = (torch.empty, torch.zeros, torch.ones)


class _ParametersOnMeta(TorchFunctionMode):
    """Uninitialised and constant tensors get no memory; computed ones (Swin's index tables, RegNet's widths) are real.

    `torch.device("meta")` would put those there too, and a network that reads a number out of one fails.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        if func in _FACTORIES:
            options["device"] = "meta"
        return func(*args, **options)


@contextmanager
def on_meta() -> Iterator[None]:
    """Nothing comes back; modules made inside the block have parameters without memory."""
    with warnings.catch_warnings(), _ParametersOnMeta():
        warnings.simplefilter("ignore")  # about initial values, which nobody will see
        yield


def module_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes of the module's state dict by name."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def fill(module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Put the weights into `module`, in its dtypes: half-precision files compute in float32. Nothing comes back.

    Raises:
        RuntimeError, ValueError: names or shapes do not fit.
    """
    wanted = module.state_dict()
    full: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name, tensor in state.items():
        into = wanted.get(name)
        # clone: neither a view into a larger tensor nor a mapped file may outlive the loading
        full[name] = tensor.detach().to(into.dtype if into is not None else tensor.dtype).contiguous().clone()
    for name in wanted.keys() - full.keys():
        if name.endswith("num_batches_tracked"):
            full[name] = torch.tensor(0)
    full._metadata = getattr(wanted, "_metadata", {})  # type: ignore[attr-defined]  # names are the newest version's
    module.load_state_dict(full, assign=True)
    module.requires_grad_(False)
