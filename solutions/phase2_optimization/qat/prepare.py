"""A torch module ready to be trained for int8: fake quantization where the exported graph will have its codes.

The places are not chosen here. The module is exported, the plan of static quantization (`qdq_plan`) is made for the
ONNX graph, and each coded tensor gets its coder behind the torch node that makes it: residual additions, concatenations
that share a scale, and the float tail come out as they do in post-training quantization. The first ranges are
calibrated the same way too, so an untrained model is the post-training one. What that puts back into float, because the
code of its input drowns it, is trained instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import fx, nn

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.qat.fake_quantize import RANGES, ActivationCoder, WeightCoder
from solutions.phase2_optimization.qat.layers import QatLayer
from solutions.phase2_optimization.qat.placement import Placement, place
from solutions.phase2_optimization.qat.trace import Sizes, export_traced, trace_layers
from solutions.phase2_optimization.quantization.qdq_graph import activation_params
from solutions.phase2_optimization.quantization.static_config import StaticConfig
from solutions.phase2_optimization.quantization.static_ranges import calibrated_ranges

Sample = torch.Tensor | tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True)
class QatConfig:
    """What is trained for.

    Attributes:
        static: target runtime, observer of the first ranges, tail, scales per channel or tensor: as in post-training
            quantization. Equalisation and bias correction are left to the training.
        ranges: "learned" (LSQ), "observed" (moving average of extremes), or "calibrated": only the weights train.
        weight_bits: 8, or 4 for weights of 15 codes. ONNX Runtime has no 4-bit convolution: they are stored in int8.
        keep_float: names of torch modules with weights that stay in float.
    """

    static: StaticConfig = field(default_factory=StaticConfig)
    ranges: str = "learned"
    weight_bits: int = 8
    keep_float: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.ranges not in RANGES:
            raise ConfigError(f"ranges must be one of {', '.join(RANGES)}, got {self.ranges}")
        if self.weight_bits not in (4, 8):
            raise ConfigError(f"weights have 8 or 4 bits, got {self.weight_bits}")
        if self.static.equalise or self.static.correct_bias:
            raise ConfigError("equalisation and bias correction change weights that training changes: leave them out")
        if self.static.keep_float:
            raise ConfigError("name what stays in float by its torch module: QatConfig.keep_float")


@dataclass(frozen=True, slots=True)
class QatModel:
    """A module with fake quantization, and what its export needs.

    Attributes:
        module: takes and gives what the original does; the parameters of its layers train.
        config: what it was prepared for.
        example: inputs with a batch of at least 2.
        inputs, outputs: names in the ONNX file.
        sizes: free axes of each input.
        facts: metadata of the file.
        coded: names of the layers with coded weights.
    """

    module: fx.GraphModule
    config: QatConfig
    example: tuple[torch.Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sizes: tuple[Sizes, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    coded: tuple[str, ...] = ()


def prepare_qat(
    module: nn.Module,
    samples: Sequence[Sample],
    *,
    inputs: Sequence[str] = ("input",),
    outputs: Sequence[str] = ("output",),
    sizes: Sequence[Sizes] | None = None,
    facts: Mapping[str, str] | None = None,
    config: QatConfig = QatConfig(),
) -> QatModel:
    """The module with fake quantization; the original is left unchanged.

    Args:
        module: a float network on the CPU whose forward `torch.fx` can trace; BatchNorm may be folded or not.
        samples: batches like what it will see, a tensor or a tuple for several inputs; they calibrate.
        inputs, outputs: names for the ONNX file.
        sizes: the free axes of each input, as `export_onnx` takes them; the batch by default.
        facts: metadata for the file.
        config: the choices.

    Raises:
        ConfigError: no samples, names that do not fit, a module that cannot be traced, nothing to quantize.
        ModelLoadError: torch cannot export it.
    """
    if not samples:
        raise ConfigError("preparing for int8 training needs at least one sample batch to calibrate with")
    batches = [sample if isinstance(sample, tuple) else (sample,) for sample in samples]
    example = tuple(torch.cat([x, x])[:2] for x in batches[0])  # a batch of 1 would be taken for a constant
    free = tuple(sizes) if sizes is not None else tuple({0: torch.export.Dim("batch")} for _ in inputs)
    graph = trace_layers(module, example)
    layers = {part.name for part in graph.modules() if isinstance(part, QatLayer)}
    unknown = set(config.keep_float) - layers
    if unknown:
        raise ConfigError(f"keep_float names {min(unknown)}, which is no convolution or Linear of the module")
    facts = dict(facts or {})
    model, tensors = export_traced(graph, example, inputs=inputs, outputs=outputs, sizes=free, facts=facts)
    placement = place(model, tensors, graph, config.static, config.keep_float)
    feeds = [{name: x.numpy() for name, x in zip(inputs, batch, strict=True)} for batch in batches]
    ranges = calibrated_ranges(
        placement.model, placement.plan.tensors, feeds[: config.static.max_samples], config.static
    )
    coders = _insert_coders(graph, placement, ranges, config)
    coded = [_code_layer(graph, name, placement, coders, config) for name in placement.layers]
    graph.recompile()
    return QatModel(graph, config, example, tuple(inputs), tuple(outputs), free, facts, tuple(coded))


def _insert_coders(
    graph: fx.GraphModule, placement: Placement, ranges: Mapping[str, tuple[float, float]], config: QatConfig
) -> dict[str, ActivationCoder]:
    """Put a coder behind every value that is coded; the tensor that stands for a scale -> its coder."""
    plan, scheme = placement.plan, placement.scheme
    params = activation_params(plan, ranges, scheme)
    nodes = {node.name: node for node in graph.graph.nodes}
    coders = {}
    for number, (root, members) in enumerate(placement.members.items()):
        spans = [np.clip(ranges[tensor], *plan.bounds.get(tensor, (-np.inf, np.inf))) for _, tensor in members]
        fed = any(nodes[maker].op == "placeholder" for maker, _ in members)
        coder = ActivationCoder(
            params[members[0][1]],
            [(float(low), float(high)) for low, high in spans],
            symmetric=scheme.symmetric,
            ranges="calibrated" if fed else config.ranges,  # pictures keep their whole range
        )
        coders[root] = coder
        name = f"coder{number}"
        graph.add_submodule(name, coder)
        for place_in_group, (maker, _) in enumerate(members):
            node = nodes[maker]
            readers = set(node.users)
            if not scheme.code_outputs:
                readers = {user for user in readers if user.name in placement.layers}
            with graph.graph.inserting_after(node):
                call = graph.graph.call_module(name, (node, place_in_group))
            node.replace_all_uses_with(call, delete_user_cb=readers.__contains__)
    return coders


def _code_layer(
    graph: fx.GraphModule,
    name: str,
    placement: Placement,
    coders: Mapping[str, ActivationCoder],
    config: QatConfig,
) -> str:
    """Let the layer code its weight; its original name."""
    node = next(node for node in graph.graph.nodes if node.name == name)
    layer = graph.get_submodule(node.target)
    if not isinstance(layer, QatLayer):
        raise TypeError(f"{name} is no layer")
    scheme = placement.scheme
    coder = WeightCoder(
        layer.folded_weight(),
        bits=config.weight_bits,
        per_channel=scheme.per_channel,
        reduce_range=scheme.reduce_range,
        ranges=config.ranges,
    )
    layer.code(coder, coders[placement.sources[name]] if scheme.code_bias else None)
    return layer.name
