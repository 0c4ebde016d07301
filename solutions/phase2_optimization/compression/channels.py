"""Structured pruning: whole channels are taken out of the network, and a smaller dense network is left.

Any runtime is faster with fewer channels, without a special kernel: with a share s of them gone, most layers keep
(1 - s)^2 of their multiply-accumulates. Filters are judged by their
norm (Li et al. 2017, "Pruning Filters for Efficient ConvNets") or by the scale of the BatchNorm behind them (Liu et al.
2017, "Network Slimming"). The network is worse afterwards, often useless, until it has been trained on for a while.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.compression.channel_trace import Dependencies, trace_channels

Importance = Literal["l1", "l2", "bn"]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ChannelPruning:
    """What to remove.

    Attributes:
        share: 0..1 (exclusive), of the channels.
        scope: "group" takes the share from each group of channels that depend on the same weights; "global" compares
            all groups, each channel measured by the mean of its group, and takes more where channels matter less.
        importance: "l1" or "l2" norm of the weights that make a channel, or "bn", the scale of its BatchNorm.
        round_to: groups keep a multiple of this many channels, rounded up, where they have as many. Vector units work
            on 8 (AVX2, NEON) or 16 (AVX512) channels at once, and a group of 17 costs what one of 32 does.
    """

    share: float
    scope: Literal["group", "global"] = "group"
    importance: Importance = "l2"
    round_to: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ConfigError(f"share must lie in [0, 1), got {self.share}")
        if self.scope not in ("group", "global"):
            raise ConfigError(f"scope must be group or global, got {self.scope}")
        if self.importance not in ("l1", "l2", "bn"):
            raise ConfigError(f"importance must be l1, l2 or bn, got {self.importance}")
        if self.round_to < 1:
            raise ConfigError(f"round_to must be >= 1, got {self.round_to}")


@dataclass(frozen=True, slots=True)
class Pruned:
    """The smaller network and what was done to it.

    Attributes:
        module: a new module; the one it was made from is as it was.
        channels: channels made by each convolution and linear layer that lost some: (before, after) by its weight.
        parameters: their number (before, after).
        barriers: operators that kept channels from being removed, with how often they occur.
    """

    module: nn.Module
    channels: dict[str, tuple[int, int]]
    parameters: tuple[int, int]
    barriers: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """All but the module, ready for JSON."""
        return {"channels": self.channels, "parameters": self.parameters, "barriers": self.barriers}


def prune_channels(module: nn.Module, example: tuple[torch.Tensor, ...], settings: ChannelPruning) -> Pruned:
    """A copy of the module without its least important channels.

    Args:
        module: any network that torch.export captures; its mode (eval or train) is that of the copy.
        example: inputs, by whose shapes it is followed.
        settings: how much, and by which measure.

    Raises:
        ModelLoadError: the network cannot be captured.
        ConfigError: nothing can be removed, or its code has sizes written into it that no longer fit.
    """
    dependencies = trace_channels(copy.deepcopy(module).eval(), example)
    scores = channel_scores(module, dependencies, settings.importance)
    return remove_units(module, example, dependencies, choose_units(dependencies, scores, settings))


def channel_scores(module: nn.Module, dependencies: Dependencies, importance: Importance) -> Floats:
    """How much each unit of channels matters: its norm over all weights that make it, or the sum of its scales.

    Raises:
        ConfigError: "bn" for a network without normalisation that can be followed.
    """
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    scores = np.zeros(1 + max((int(units.max()) for units in dependencies.axes.values() if len(units)), default=0))
    judged = dependencies.norms if importance == "bn" else dependencies.makers
    if not judged:
        raise ConfigError("no channel can be judged: the network has no convolution, or for bn no BatchNorm, to follow")
    power = 2 if importance == "l2" else 1
    for name, axis in judged:
        weight = tensors[name].detach().double().movedim(axis, 0).flatten(1 if tensors[name].ndim > 1 else 0)
        sizes = weight.abs().pow(power).reshape(len(weight), -1).sum(1).cpu().numpy()
        np.add.at(scores, dependencies.axes[name, axis], sizes)
    return scores ** (1 / power)


def groups_of(dependencies: Dependencies) -> list[Ints]:
    """Units that may be removed, gathered into those that depend on the same axes of the same weights."""
    touched: dict[int, list[Any]] = defaultdict(list)
    for axis, units in sorted(dependencies.axes.items()):
        for unit in np.unique(units[units > 0]).tolist():
            touched[unit].append(axis)
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for unit, axes in sorted(touched.items()):
        if dependencies.makers.intersection(axes):
            groups[tuple(axes)].append(unit)
    return [np.array(units) for units in groups.values()]


def choose_units(dependencies: Dependencies, scores: Floats, settings: ChannelPruning) -> Ints:
    """The units to remove: the least important, one of each group always staying."""
    groups = groups_of(dependencies)
    relative = [scores[units] / max(float(scores[units].mean()), 1e-30) for units in groups]
    limit = np.inf
    if settings.scope == "global" and groups:
        everything = np.sort(np.concatenate(relative))
        limit = everything[min(math.floor(settings.share * len(everything)), len(everything) - 1)]
    removed = [np.zeros(0, np.int64)]
    for units, own in zip(groups, relative, strict=True):
        count = len(units)
        keep = int((own >= limit).sum()) if settings.scope == "global" else count - math.floor(settings.share * count)
        keep = min(count, -(-max(keep, 1) // settings.round_to) * settings.round_to)
        removed.append(units[np.argsort(own, kind="stable")[: count - keep]])
    return np.sort(np.concatenate(removed))


def remove_units(
    module: nn.Module, example: tuple[torch.Tensor, ...], dependencies: Dependencies, units: Ints
) -> Pruned:
    """A copy of the module without these units, proven to run and to answer in the same shapes.

    Raises:
        ConfigError: the module's code has sizes written into it that no longer fit.
    """
    made = copy.deepcopy(module)
    before = sum(parameter.numel() for parameter in made.parameters())
    channels = {}
    for (name, axis), owners in dependencies.axes.items():
        keep = ~np.isin(owners, units)
        if keep.all():
            continue
        path, _, attribute = name.rpartition(".")
        _replace(made.get_submodule(path), attribute, axis, torch.from_numpy(np.flatnonzero(keep)))
        if (name, axis) in dependencies.makers:
            channels[name] = (len(keep), int(keep.sum()))
    after = sum(parameter.numel() for parameter in made.parameters())
    _check_runs(module, made, example)
    return Pruned(made, channels, (before, after), dependencies.barriers)


def _replace(layer: nn.Module, attribute: str, axis: int, keep: torch.Tensor) -> None:
    """Keep these indices of one axis, and let the layer's own numbers follow."""
    old = getattr(layer, attribute)
    new = old.detach().index_select(axis, keep.to(old.device))
    if isinstance(old, nn.Parameter):
        new = nn.Parameter(new, requires_grad=old.requires_grad)
    setattr(layer, attribute, new)
    if attribute != "weight":
        return
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        if axis == 0 and layer.groups > 1:  # whole groups went
            layer.groups = layer.groups * new.shape[0] // old.shape[0]
        layer.out_channels, layer.in_channels = new.shape[0], new.shape[1] * layer.groups
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = new.shape
    elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        layer.num_features = new.shape[0]
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = new.shape[0]


@torch.inference_mode()
def _check_runs(module: nn.Module, made: nn.Module, example: tuple[torch.Tensor, ...]) -> None:
    want = [tuple(value.shape) for value in _tensors(copy.deepcopy(module).eval()(*example))]
    try:
        got = [tuple(value.shape) for value in _tensors(copy.deepcopy(made).eval()(*example))]
    except RuntimeError as error:  # what torch raises for shapes that do not fit
        raise ConfigError(
            f"the pruned network does not run ({str(error).partition(chr(10))[0]}): its code has a size written into "
            "it. Use x.shape or flatten in place of numbers, or leave this network as it is."
        ) from error
    if got != want:
        raise ConfigError(f"the pruned network answers in shapes {got} in place of {want}: its code changes sizes")


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [each for part in (value.values() if isinstance(value, dict) else value) for each in _tensors(part)]
