"""A torch module as a graph whose layers can be coded, and the ONNX model of it with every torch node's tensor known.

Where a QDQ graph has codes is decided on ONNX, by the plan that static quantization uses too. To put fake quantization
at the same places in torch one must know which tensor of the one is which value of the other. Names do not tell, but
outputs do: the graph is exported with every value as an output of its own.
"""

from __future__ import annotations

import copy
import operator
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import fx, nn

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.zoo.export import export_onnx
from solutions.phase2_optimization.compilation.onnx_errors import explain_export_error
from solutions.phase2_optimization.compilation.quiet import quiet_torch
from solutions.phase2_optimization.qat.fake_quantize import ActivationCoder
from solutions.phase2_optimization.qat.layers import LAYERS, NORMS, QatLayer

_TAG = "value__"
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_OUT_OF_PLACE = {operator.iadd: operator.add, operator.imul: operator.mul, operator.isub: operator.sub}
Sizes = dict[int, torch.export.Dim]


def trace_layers(module: nn.Module, example: Sequence[torch.Tensor]) -> fx.GraphModule:
    """A copy of the module as a graph, every layer with weights and its BatchNorm one `QatLayer`, nothing in place.

    Dropout drops nothing.

    Raises:
        ConfigError: Python decides on values in `forward`, so that one graph cannot stand for it.
    """
    own = copy.deepcopy(module).eval()
    for part in own.modules():
        if getattr(part, "inplace", False):
            part.inplace = False  # type: ignore[assignment]
        if isinstance(part, _DROPOUTS):
            part.p = 0.0  # the noise would drown the rounding that is to be learnt
    try:
        graph = fx.symbolic_trace(own)
    except Exception as error:  # whatever the module's own code raises when it meets a proxy
        raise ConfigError(
            f"{type(module).__name__} cannot be traced: {str(error).strip().splitlines()[0]}. Training for int8 needs "
            "a forward without Python branches on values; wrap the part that has them"
        ) from error
    for node in graph.graph.nodes:
        node.target = _OUT_OF_PLACE.get(node.target, node.target)
        if node.kwargs.get("inplace"):
            node.kwargs = {**node.kwargs, "inplace": False}
        if node.op == "call_method" and node.target.endswith("_") and not node.target.endswith("__"):
            node.target = node.target[:-1]
    _Shapes(graph).run(*example)
    _merge_layers(graph)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


def without_coders(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy without fake quantization of activations; names of nodes stay."""
    plain = copy.deepcopy(graph)
    for node in list(plain.graph.nodes):
        if node.op == "call_module" and isinstance(plain.get_submodule(node.target), ActivationCoder):
            node.replace_all_uses_with(node.args[0])
            plain.graph.erase_node(node)
    plain.delete_all_unused_submodules()
    plain.recompile()
    return plain


def export_traced(
    graph: fx.GraphModule,
    example: Sequence[torch.Tensor],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    sizes: Sequence[Sizes],
    facts: Mapping[str, str],
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The float ONNX model of a graph without coders, its layers folded, and node name -> tensor name.

    Args:
        graph: from `trace_layers` or `without_coders`; left unchanged.
        example: inputs with a batch of at least 2.
        inputs, outputs: names in the ONNX model.
        sizes: the free axes of each input.
        facts: metadata for the file.

    Raises:
        ConfigError: as many names as inputs and outputs are needed, and outputs must be tensors.
        ModelLoadError: torch cannot export it.
    """
    plain = copy.deepcopy(graph).eval()
    for node in plain.graph.nodes:
        if node.op == "call_module" and isinstance(layer := plain.get_submodule(node.target), QatLayer):
            plain.set_submodule(node.target, layer.export()[0])
    returned = _returned(plain, outputs)
    fed = [node.name for node in plain.graph.nodes if node.op == "placeholder"]
    if len(fed) != len(inputs) or len(fed) != len(example):
        raise ConfigError(f"the module has {len(fed)} inputs, got {len(inputs)} names and {len(example)} examples")
    _Shapes(plain).run(*example)
    watched = [
        node
        for node in plain.graph.nodes
        if node.op.startswith("call") and node.meta.get("shape") is not None and node not in returned
    ]
    end = next(node for node in plain.graph.nodes if node.op == "output")
    end.args = ((*returned, *watched),)
    plain.recompile()
    try:
        with tempfile.TemporaryDirectory() as folder, quiet_torch():
            path = Path(folder) / "tagged.onnx"
            names = [*outputs, *(f"{_TAG}{node.name}" for node in watched)]
            export_onnx(plain, tuple(example), path, inputs=inputs, outputs=names, sizes=tuple(sizes), facts=facts)
            proto = onnx.load(path)
    except (ConfigError, ModelLoadError):
        raise
    except Exception as error:  # torch's exporter raises dozens of kinds of its own
        raise ModelLoadError(f"the module cannot be exported to ONNX: {explain_export_error(error)}.") from error
    kept = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in proto.graph.output]
    del proto.graph.output[:]
    proto.graph.output.extend(value for value in kept if not value.name.startswith(_TAG))
    proto.graph.value_info.extend(value for value in kept if value.name.startswith(_TAG))
    copies = {node.output[0]: node.input[0] for node in proto.graph.node if node.op_type == "Identity"}
    tensors = dict(zip(fed, inputs, strict=True))
    tensors.update({node.name: name for node, name in zip(returned, outputs, strict=True)})
    for node in watched:
        name = f"{_TAG}{node.name}"
        while name in copies:
            name = copies[name]
        tensors[node.name] = name
    return proto, tensors


def _returned(graph: fx.GraphModule, outputs: Sequence[str]) -> list[fx.Node]:
    found: list[fx.Node] = []
    end = next(node for node in graph.graph.nodes if node.op == "output")
    fx.map_arg(end.args, lambda node: found.append(node) or node)  # type: ignore[func-returns-value]
    if len(found) != len(outputs):
        raise ConfigError(f"the module has {len(found)} outputs, got {len(outputs)} names: {', '.join(outputs)}")
    if len(set(found)) != len(found) or any(node.op == "placeholder" for node in found):
        raise ConfigError("every output must be a tensor of its own, made by the module")
    return found


def _merge_layers(graph: fx.GraphModule) -> None:
    """Put a `QatLayer` in the place of each layer, and of the BatchNorm that alone reads it."""
    for number, node in enumerate(list(graph.graph.nodes)):
        if node.op != "call_module" or not isinstance(layer := graph.get_submodule(node.target), LAYERS):
            continue
        norm = None
        after = next(iter(node.users), None)
        if len(node.users) == 1 and after is not None and after.op == "call_module":
            candidate = graph.get_submodule(after.target)
            plain = not isinstance(layer, nn.Linear) or len(node.meta.get("shape") or ()) == 2
            if isinstance(candidate, NORMS) and candidate.running_var is not None and plain:
                norm = candidate
        name = f"layer{number}_{node.target.replace('.', '_')}"
        graph.add_submodule(name, QatLayer(layer, norm, name=node.target))
        node.target = name
        if norm is not None and after is not None:
            after.replace_all_uses_with(node)
            graph.graph.erase_node(after)


class _Shapes(fx.Interpreter):
    """Notes the shape of every float tensor that a node gives, as `node.meta["shape"]`."""

    def run_node(self, n: fx.Node) -> Any:
        with torch.no_grad():
            value = super().run_node(n)
        is_float = isinstance(value, torch.Tensor) and value.is_floating_point()
        n.meta["shape"] = tuple(value.shape) if is_float else None
        return value
