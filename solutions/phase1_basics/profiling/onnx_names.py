"""Which nodes of an ONNX file a kernel of the optimised graph stands for, and which torch module each came from.

ONNX Runtime fuses and renames before it runs: a convolution with its ReLU may be reported as "relu_1_nchwc". Its names
still hold a node or tensor of the file, from which the rest follows. Torch's exporter keeps the state dict's names of
the weights ("layer1.0.conv1.weight"), so a node with weights is known by its module; one without is known where the
file has kept the exporter's scopes.
"""

from __future__ import annotations

import ast
import re

import onnx

_SCOPES = "pkg.torch.onnx.name_scopes"  # metadata of each node in torch.onnx.export(dynamo=True), a list as text
_LAYOUT_SUFFIX = re.compile(r"(_nchwc|_nhwc|_token_\d+)+$")
_FUSION_PREFIX = re.compile(r"^(Nhwc|Nchwc|Fused|QLinear|Q)+")
_DERIVED = ("QuantizeLinear", "DequantizeLinear", "Cast", "Identity", "Transpose")  # of a weight: still that weight


class GraphNames:
    """The nodes of a graph as its kernels' names are looked up in it.

    Args:
        graph: of the file as it was written, functions inlined.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes = list(graph.node)
        self.names = [node.name or f"{node.op_type}_{index}" for index, node in enumerate(self.nodes)]
        self._index = {name: index for index, name in enumerate(self.names)}
        self._producer = {tensor: index for index, node in enumerate(self.nodes) for tensor in node.output if tensor}
        self._takers: dict[str, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for tensor in node.input:
                self._takers.setdefault(tensor, []).append(index)
        self._root = {tensor.name: tensor.name for tensor in graph.initializer}
        for node in self.nodes:
            if node.op_type in _DERIVED and node.input and node.input[0] in self._root:
                self._root[node.output[0]] = self._root[node.input[0]]

    def layer_name(self, index: int) -> str:
        """The path of the module that node came from, or the node's own name where the file does not tell."""
        node = self.nodes[index]
        if path := self._weights_path(index):
            return path
        if node.op_type == "MatMul":  # a transposed weight has lost its name, the bias that is added next has not
            takers = self._takers.get(node.output[0], [])
            if len(takers) == 1 and self.nodes[takers[0]].op_type == "Add" and (path := self._weights_path(takers[0])):
                return path
        scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "")
        parts = _as_list(scopes)
        # ['', 'layer1', 'layer1.0', 'layer1.0.relu', 'relu']: the last is the function, the one before its module
        return parts[-2] if len(parts) >= 2 and parts[-2] else self.names[index]

    def find(self, kernel: str, op: str) -> int | None:
        """The node of the file that a kernel stands for: of several fused ones, the one that does the work.

        Args:
            kernel: its name in the profile, without "_kernel_time".
            op: its operator, perhaps of the runtime's own (FusedConv, QLinearConv).
        """
        plain = _LAYOUT_SUFFIX.sub("", kernel)
        for name in (kernel, plain, plain.removeprefix("fused ")):
            index = self._index.get(name, self._producer.get(name))
            if index is not None:
                return self._worker(index, _FUSION_PREFIX.sub("", op))
        return None

    def owners(self, anchors: set[int]) -> dict[int, int]:
        """For each node of the file, the anchor whose kernel did its work; nodes that none can have done are left out.

        What was fused away belongs to the kernel that makes its input, or else to the one that takes its output.
        """
        owner: dict[int, int] = {}
        for index, node in enumerate(self.nodes):
            if index in anchors:
                owner[index] = index
                continue
            before = [owner[p] for t in node.input if (p := self._producer.get(t)) is not None and p in owner]
            if before:
                owner[index] = max(before)
        for index in reversed(range(len(self.nodes))):
            for tensor in self.nodes[index].input:
                producer = self._producer.get(tensor)
                if producer is not None and producer not in owner and index in owner:
                    owner[producer] = owner[index]
        return owner

    def _weights_path(self, index: int) -> str:
        """What stands before the last dot in the name of the node's first stored weight; "" without one."""
        paths = (self._root.get(tensor, "").rpartition(".")[0] for tensor in self.nodes[index].input)
        return next(filter(None, paths), "")

    def _worker(self, index: int, op: str) -> int:
        """From the last of some fused nodes back along first inputs to the nearest with this operator, or the last."""
        at: int | None = index
        while at is not None:
            if self.nodes[at].op_type == op:
                return at
            first = self.nodes[at].input[0] if self.nodes[at].input else ""
            at = self._producer.get(first)
        return index


def _as_list(text: str) -> list[str]:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return []
    return [str(item) for item in value] if isinstance(value, list) else []
