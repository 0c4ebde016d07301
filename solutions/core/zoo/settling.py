"""BatchNorm statistics for networks that nobody trained: those of the activations that their random weights make."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def settle_batch_norms(module: torch.nn.Module, batches: Iterable[tuple[torch.Tensor, ...]]) -> torch.nn.Module:
    """The module itself in eval mode, every BatchNorm with the mean and variance of what reached it.

    A fresh network has statistics of 0 and 1, which fit nothing: activations die out or explode from layer to layer
    (MobileNetV3's logits end at 1e-10), int8 has nothing to code, and denormal numbers spoil the times.

    Args:
        module: changed in place; only its BatchNorms are put into training mode meanwhile, so dropout stays off.
        batches: inputs of the module, one tuple per call; statistics are the plain mean over all of them.
    """
    import torch

    norms = [layer for layer in module.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean, not a decaying one
        norm.train()
    with torch.no_grad():
        for inputs in batches if norms else ():
            module(*inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return module.eval()
