"""Where a traced module has its codes: the plan of static quantization, told in nodes of the torch graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import onnx
from onnx import NodeProto
from torch import fx

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.qat.layers import QatLayer
from solutions.phase2_optimization.quantization.graph_edits import Wiring
from solutions.phase2_optimization.quantization.qdq_plan import CARRIERS, WEIGHTED, QdqPlan, data_inputs
from solutions.phase2_optimization.quantization.qdq_scheme import QdqScheme
from solutions.phase2_optimization.quantization.static import draft_static, plan_model
from solutions.phase2_optimization.quantization.static_config import StaticConfig


@dataclass(frozen=True, slots=True)
class Placement:
    """Codes of one model.

    Attributes:
        model: the exported float model, prepared and rewritten.
        plan: of `model`.
        scheme: of the target.
        layers: torch node of each layer with coded weights -> its ONNX node.
        sources: torch node of each such layer -> the tensor that stands for the scale of what it reads.
        members: tensor that stands for a scale -> (torch node, its tensor) of all values coded with it.
    """

    model: onnx.ModelProto
    plan: QdqPlan
    scheme: QdqScheme
    layers: Mapping[str, str]
    sources: Mapping[str, str]
    members: Mapping[str, tuple[tuple[str, str], ...]]


def place(
    model: onnx.ModelProto,
    tensors: Mapping[str, str],
    graph: fx.GraphModule,
    config: StaticConfig,
    keep_float: Collection[str],
) -> Placement:
    """The codes of a traced module.

    What torch cannot code alike stays in float: layers that are no modules (a functional convolution, an attention's
    product), and sums or products with constant arrays.

    Args:
        model, tensors: from `export_traced`.
        graph: the traced module.
        config: of static quantization.
        keep_float: original names of layers that stay in float.

    Raises:
        ConfigError: nothing is left to quantize.
    """
    if not any(node.op_type in WEIGHTED for node in model.graph.node):
        raise ConfigError("the module has no convolution or Linear that can be quantized: keep it in float")
    draft = draft_static(model, config)
    model, scheme = draft.model, draft.scheme
    wiring = Wiring(model.graph)
    nodes = {node.name: node for node in model.graph.node}
    layers = {}
    for node in graph.graph.nodes:
        if node.op == "call_module" and isinstance(layer := graph.get_submodule(node.target), QatLayer):
            maker = wiring.makers.get(tensors.get(node.name, ""))
            if maker is not None and layer.name not in keep_float:
                layers[maker.name] = node.name
    owners: dict[str, str] = {}
    for place_node in graph.graph.nodes:  # of nodes that give the same tensor, the first makes it
        owners.setdefault(tensors.get(place_node.name, ""), place_node.name)

    kept = {node.name for node in model.graph.node if _with_constant_array(node, wiring)}
    while True:
        plan = plan_model(model, replace(draft.config, keep_float=tuple(sorted(kept))))
        known = {plan.shares[name] for name in plan.tensors if name in owners}
        strange = {name for name in plan.weighted if name not in layers}
        strange |= {
            name
            for name in plan.workers
            if any(plan.shares.get(part) not in (*known, None) for part in _coded(nodes[name], wiring))
        }
        if not strange - kept:
            break
        kept |= strange
    if not plan.weighted:
        raise ConfigError("the module has no convolution or Linear that can be quantized: keep it in float")
    members: dict[str, list[tuple[str, str]]] = {}
    wanted = plan.tensors
    if not scheme.code_outputs:
        wanted = tuple(dict.fromkeys(data_inputs(nodes[name])[0] for name in plan.weighted))
    for name in wanted:
        if name in owners and not (scheme.code_outputs and _carried(wiring.makers.get(name), plan, owners)):
            members.setdefault(plan.shares[name], []).append((owners[name], name))
    return Placement(
        model,
        plan,
        scheme,
        {layers[name]: name for name in plan.weighted},
        {layers[name]: plan.shares[data_inputs(nodes[name])[0]] for name in plan.weighted},
        {root: tuple(pairs) for root, pairs in members.items()},
    )


def _with_constant_array(node: NodeProto, wiring: Wiring) -> bool:
    if node.op_type not in ("Add", "Mul", "Concat"):
        return False
    return any(name in wiring.constants and wiring.value(name).size > 1 for name in data_inputs(node))


def _coded(node: NodeProto, wiring: Wiring) -> list[str]:
    """What a worker reads and gives; behind a layer it may be a Relu that gives it."""
    after = wiring.only_user(node.output[0])
    fused = list(after.output) if after is not None and after.op_type in ("Relu", "Clip") else []
    return [*data_inputs(node), *node.output, *fused]


def _carried(maker: NodeProto | None, plan: QdqPlan, owners: Mapping[str, str]) -> bool:
    """True for a tensor that comes from coded ones without arithmetic, so that it is on its codes already."""
    if maker is None or maker.name not in plan.workers or maker.op_type not in (*CARRIERS, "Concat"):
        return False
    return all(
        name in owners and plan.shares.get(name) == plan.shares.get(maker.output[0]) for name in data_inputs(maker)
    )
