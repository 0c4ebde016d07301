"""A torch network taken apart by running it once: its steps in order, and what its largest layers compute and move."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from solutions.core.classroom.values import Step
from solutions.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What one inference of a network consists of.

    Attributes:
        steps: in the order in which they run, the input first.
        outputs: names of the steps whose tensors are handed to the caller.
        work: operations and bytes of each convolution and linear layer, by its path in the network.
    """

    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    work: dict[str, tuple[int, int]]


def take_apart(module: nn.Module, picture: torch.Tensor) -> Anatomy:
    """The anatomy of a network for this input; every step is counted as writing memory of its own.

    Raises:
        ConfigError: torch.fx cannot follow the network (branches that depend on values).
    """
    try:
        graph = torch.fx.symbolic_trace(module)
    except Exception as error:  # whatever the network's own code raises for a symbol instead of a tensor
        raise ConfigError(f"torch.fx cannot follow {type(module).__name__}: try resnet50") from error
    watch = _Watch(graph)
    with torch.inference_mode():
        watch.run(picture)
    return Anatomy(tuple(watch.steps), tuple(watch.outputs), watch.work)


class _Watch(torch.fx.Interpreter):
    """Runs a traced network node by node and writes down what each node makes."""

    def __init__(self, graph: torch.fx.GraphModule) -> None:
        super().__init__(graph)
        self.steps: list[Step] = []
        self.outputs: list[str] = []
        self.work: dict[str, tuple[int, int]] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        result = super().run_node(n)
        reads = tuple(node.name for node in n.all_input_nodes)
        if n.op == "output":
            self.outputs += reads
        elif isinstance(result, torch.Tensor) and n.op != "get_attr":
            self.steps.append(Step(n.name, reads, result.nbytes))
            if n.op == "call_module":
                layer = self.fetch_attr(str(n.target))
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    # per output value one multiplication and one addition for each weight that leads to it
                    flops = 2 * result.numel() * math.prod(layer.weight.shape[1:])
                    read = sum(self.env[node].nbytes for node in n.all_input_nodes)
                    moved = read + result.nbytes + sum(weight.nbytes for weight in layer.parameters())
                    before = self.work.get(str(n.target), (0, 0))
                    self.work[str(n.target)] = (before[0] + flops, before[1] + moved)
        return result
