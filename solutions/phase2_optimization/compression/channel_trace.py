"""Walk through a PyTorch network, operator by operator, and write down which channels depend on each other.

The network is captured by torch.export, so what is seen is what runs: residual sums in `forward`, functional calls,
modules that are used twice. An operator that is not known here stops the labels: what enters it and what leaves it
stays as it is, and it is named in the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from solutions.core.errors import ModelLoadError
from solutions.phase2_optimization.compilation.quiet import quiet_torch
from solutions.phase2_optimization.compression.channel_ties import Axis, Ints, Ledger, Marked, fixed

Args = Mapping[str, Any]
Rule = Callable[[Ledger, Marked, Args, tuple[int, ...]], Marked | None]
"""From the first input, all arguments by name and the shape that comes out: the result, or None where it cannot say."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What depends on what in one network.

    Attributes:
        axes: for each axis of a parameter or buffer that can shrink, the unit of each index; unit 0 stays.
        makers: the axes among them at which channels are made.
        norms: the axes among them that hold the scales of normalisations.
        barriers: operators that were not followed, by name, with how often they occur.
    """

    axes: dict[Axis, Ints]
    makers: frozenset[Axis]
    norms: frozenset[Axis]
    barriers: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A parameter, buffer or constant as an operator's argument."""

    name: str
    shape: tuple[int, ...]


def trace_channels(module: nn.Module, example: tuple[torch.Tensor, ...]) -> Dependencies:
    """The dependencies between the channels of `module`, found with the shapes of `example`.

    Raises:
        ModelLoadError: torch.export cannot capture the network.
    """
    try:
        with quiet_torch():
            program = torch.export.export(module, example)
    except Exception as error:  # torch's exporter raises dozens of kinds of its own
        first = str(error).strip().partition("\n")[0]
        raise ModelLoadError(
            f"torch.export cannot capture the network, so its channels cannot be followed: {first}"
        ) from error
    signature = program.graph_signature
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    ledger = Ledger()
    values: dict[fx.Node, Any] = {}
    barriers: dict[str, int] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            shape = _shape(node)
            values[node] = _Parameter(names[node.name], shape) if node.name in names else fixed(shape)
        elif node.op == "call_function":
            values[node] = _follow(ledger, node, values, barriers)
        elif node.op == "output":
            ledger.fix(*(values[each] for each in node.all_input_nodes if isinstance(values[each], Marked)))
    units = ledger.units()
    axes = {axis: units[labels] for axis, labels in ledger.bindings.items()}
    return Dependencies(axes, frozenset(ledger.makers), frozenset(ledger.norms), barriers)


def _follow(ledger: Ledger, node: fx.Node, values: dict[fx.Node, Any], barriers: dict[str, int]) -> Any:
    """What comes out of the node: marked activations, or something that carries none."""
    target: Any = node.target
    name = str(target).removeprefix("aten.").partition(".")[0].rstrip("_")
    touched = [values[each] for each in node.all_input_nodes]
    with_weights = any(isinstance(value, _Parameter) for value in touched)
    rule = (RULES_WITH_WEIGHTS if with_weights else RULES).get(name)
    if rule is not None:
        named = dict(zip((item.name for item in target._schema.arguments), node.args, strict=False)) | node.kwargs
        arguments = {key: _resolved(given, values) for key, given in named.items()}
        first = next(iter(arguments.values()))
        out = rule(ledger, first, arguments, _shape(node))
        if out is not None:
            return out
    for value in touched:
        if isinstance(value, Marked):
            if value.labels.any():
                barriers[name] = barriers.get(name, 0) + 1
            ledger.fix(value)
        elif isinstance(value, _Parameter):  # where another operator lets it shrink, this one forbids it
            for axis, size in enumerate(value.shape):
                ledger.bind(value.name, axis, np.zeros(size, np.int64))
    made = node.meta.get("val")
    return fixed(tuple(made.shape)) if isinstance(made, torch.Tensor) else made


def _resolved(given: Any, values: Mapping[fx.Node, Any]) -> Any:
    if isinstance(given, fx.Node):
        return values[given]
    return [_resolved(item, values) for item in given] if isinstance(given, list | tuple) else given


def _shape(node: fx.Node) -> tuple[int, ...]:
    made = node.meta.get("val")
    return tuple(int(size) for size in made.shape) if isinstance(made, torch.Tensor) else ()


# -- rules -----------------------------------------------------------------------------------------------------------


def _same(ledger: Ledger, x: Marked, args: Args, shape: tuple[int, ...]) -> Marked | None:
    return x


def _meet(ledger: Ledger, x: Marked, args: Args, shape: tuple[int, ...]) -> Marked | None:
    return ledger.combine(shape, *(value for value in args.values() if isinstance(value, Marked)))


def _resample(ledger: Ledger, x: Marked, args: Args, shape: tuple[int, ...]) -> Marked | None:
    return ledger.resample(x, shape)


def _reduce(ledger: Ledger, x: Marked, args: Args, shape: tuple[int, ...]) -> Marked | None:
    axes = args.get("dim")
    return ledger.reduce(x, shape, [axes] if isinstance(axes, int) else axes) if axes else None


def _join(ledger: Ledger, x: Any, args: Args, shape: tuple[int, ...]) -> Marked | None:
    return ledger.join(x, args.get("dim", 0))


def _reshape(ledger: Ledger, x: Marked, args: Args, shape: tuple[int, ...]) -> Marked | None:
    return ledger.reshape(x, shape)


def _permute(ledger: Ledger, x: Marked, args: Args, shape: tuple[int, ...]) -> Marked | None:
    return ledger.permute(x, args["dims"])


def _transpose(ledger: Ledger, x: Marked, args: Args, shape: tuple[int, ...]) -> Marked | None:
    order = list(range(len(shape)))
    a, b = args["dim0"], args["dim1"]
    order[a], order[b] = order[b], order[a]
    return ledger.permute(x, order)


def _convolve(ledger: Ledger, x: Marked, args: Args, shape: tuple[int, ...]) -> Marked | None:
    weight, bias = args["weight"], args.get("bias")
    if not isinstance(x, Marked) or not isinstance(weight, _Parameter) or len(x.shape) != len(weight.shape):
        return None  # a computed weight, or an input without a batch
    return ledger.convolve(x, shape, weight.name, bias.name if bias else None, groups=args.get("groups", 1))


def _multiply(ledger: Ledger, x: Marked, args: Args, shape: tuple[int, ...]) -> Marked | None:
    weight, bias = args["weight"], args.get("bias")
    if not isinstance(x, Marked) or not isinstance(weight, _Parameter):
        return None
    return ledger.multiply(x, shape, weight.name, bias.name if bias else None)


def _normalise(ledger: Ledger, x: Marked, args: Args, shape: tuple[int, ...]) -> Marked | None:
    found = [args.get(key) for key in ("weight", "bias", "running_mean", "running_var")]
    parameters = [each.name for each in found if isinstance(each, _Parameter)]
    if isinstance(found[0], _Parameter):
        ledger.norms.add((found[0].name, 0))
    return ledger.per_channel(x, *parameters)


def _slope(ledger: Ledger, x: Marked, args: Args, shape: tuple[int, ...]) -> Marked | None:
    weight = args["weight"]
    return x if weight.shape == (1,) else ledger.per_channel(x, weight.name)


def _each(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = {
    **_each("relu hardtanh clamp hardswish hardsigmoid sigmoid silu mish gelu elu leaky_relu tanh softplus", _same),
    **_each("exp neg abs sqrt square dropout feature_dropout contiguous clone detach alias to _to_copy", _same),
    **_each("add sub mul div maximum minimum rsub pow", _meet),
    **_each("max_pool1d max_pool2d avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d", _resample),
    **_each(
        "adaptive_max_pool2d pad constant_pad_nd reflection_pad2d upsample_nearest1d upsample_nearest2d", _resample
    ),
    **_each("upsample_bilinear2d slice", _resample),
    **_each("mean amax amin sum", _reduce),
    **_each("cat concat", _join),
    **_each("flatten view reshape _unsafe_view squeeze unsqueeze", _reshape),
    "permute": _permute,
    "transpose": _transpose,
}
RULES_WITH_WEIGHTS: dict[str, Rule] = {
    **_each("conv1d conv2d conv3d", _convolve),
    "linear": _multiply,
    "batch_norm": _normalise,
    "prelu": _slope,
}
"""Operators with parameters; any other that reads one is not followed."""
