"""Small edits of ONNX graphs that every step of the quantizer needs: who makes a tensor, who uses it, fresh names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper

from solutions.core.errors import ModelLoadError


class Wiring:
    """Producers, users and constants of a graph as it stands now; make a new one after changing the graph.

    Attributes:
        makers: tensor -> the node that produces it.
        users: tensor -> the nodes that read it, one entry for each reading input, in graph order.
        constants: names of tensors whose values the file holds: initializers and outputs of Constant nodes.
        outputs: names of the graph's outputs.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.makers: dict[str, NodeProto] = {}
        self.users: dict[str, list[NodeProto]] = {}
        self._values: dict[str, onnx.TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs = {value.name for value in graph.output}
        for node in graph.node:
            for name in node.output:
                self.makers[name] = node
            for name in reads(node):
                self.users.setdefault(name, []).append(node)
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._values[node.output[0]] = node.attribute[0].t
        self.constants = frozenset(self._values)

    def value(self, name: str) -> np.ndarray:
        """The array behind a constant."""
        return np.asarray(numpy_helper.to_array(self._values[name]))

    def only_user(self, name: str) -> NodeProto | None:
        """The node that alone reads this tensor, or None: nobody, several, or the graph's caller does."""
        users = self.users.get(name, [])
        return users[0] if len(users) == 1 and name not in self.outputs else None


def attribute(node: NodeProto, name: str, default: object = None) -> object:
    """The value of an attribute, or `default`."""
    for item in node.attribute:
        if item.name == name:
            return onnx.helper.get_attribute_value(item)
    return default


def ints(node: NodeProto, name: str, default: Iterable[int]) -> tuple[int, ...]:
    """The value of an attribute that is a list of integers."""
    found = attribute(node, name)
    return tuple(found) if isinstance(found, list) else tuple(default)


def set_constant(graph: onnx.GraphProto, name: str, array: np.ndarray) -> None:
    """Store `array` as initializer `name`, in place of one of that name if there is one."""
    for held in graph.initializer:
        if held.name == name:
            held.CopyFrom(numpy_helper.from_array(np.array(array, order="C"), name))
            return
    add_constant(graph, name, array)


def add_constant(graph: onnx.GraphProto, name: str, array: np.ndarray) -> None:
    """Store `array` as initializer `name`, which must be a fresh name: none is looked for."""
    graph.initializer.append(numpy_helper.from_array(np.array(array, order="C"), name))


def fresh_name(taken: set[str], wish: str) -> str:
    """`wish`, or `wish_2`, `wish_3`... when it is taken; the answer is added to `taken`."""
    name, number = wish, 2
    while name in taken:
        name, number = f"{wish}_{number}", number + 1
    taken.add(name)
    return name


def tensor_names(graph: onnx.GraphProto) -> set[str]:
    """All names of tensors in use."""
    names = {value.name for value in (*graph.input, *graph.output)} | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        names.update(node.input)
        names.update(node.output)
    return names


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a name of its own; names that are unique already stay."""
    taken: set[str] = set()
    for number, node in enumerate(graph.node):
        node.name = fresh_name(taken, node.name or f"{node.op_type}_{number}")


def append_node(
    graph: onnx.GraphProto, taken: set[str], op: str, inputs: Iterable[str], wish: str, **attributes: Any
) -> str:
    """The name of the one output of a new node at the end of the graph: `wish`, or near it when that is taken."""
    output = fresh_name(taken, wish)
    graph.node.append(onnx.helper.make_node(op, list(inputs), [output], name=f"{op}_{output}", **attributes))
    return output


def set_attributes(node: NodeProto, **values: list[int]) -> None:
    """Set attributes that are lists of integers; the others stay."""
    kept = [item for item in node.attribute if item.name not in values]
    del node.attribute[:]
    node.attribute.extend([*kept, *(onnx.helper.make_attribute(key, value) for key, value in values.items())])


def reads(node: NodeProto) -> list[str]:
    """Every tensor that the node reads, those that the bodies of its branches and loops take from outside included."""
    names = [name for name in node.input if name]
    for item in node.attribute:
        for body in (
            (item.g, *item.graphs) if item.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) else ()
        ):
            names.extend(name for inner in body.node for name in reads(inner))
            names.extend(value.name for value in body.output)
    return names


def redirect(nodes: Iterable[NodeProto], names: Mapping[str, str]) -> None:
    """Let the nodes read `names[t]` wherever they read tensor t."""
    for node in nodes:
        for place, name in enumerate(node.input):
            if name in names:
                node.input[place] = names[name]


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Bring the nodes into an order in which every tensor is made before it is read.

    Raises:
        ModelLoadError: the graph has a cycle.
    """
    wiring = Wiring(graph)
    done: set[str] = set()
    order: list[NodeProto] = []
    for start in graph.node:
        stack = [(start, False)]
        open_nodes: set[str] = set()
        while stack:
            node, inputs_done = stack.pop()
            key = node.output[0] or node.name
            if key in done:
                continue
            if inputs_done:
                done.add(key)
                order.append(node)
                continue
            if key in open_nodes:
                raise ModelLoadError(f"the graph runs in a circle at node {key}: export the model anew.")
            open_nodes.add(key)
            stack.append((node, True))
            makers = [wiring.makers[name] for name in reads(node) if name in wiring.makers]
            stack.extend((maker, False) for maker in reversed(makers) if (maker.output[0] or maker.name) not in done)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in order]
    del graph.node[:]
    graph.node.extend(copies)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes that lead to no output, and constants that nobody reads."""
    wanted = {value.name for value in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(reads(node))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
    del graph.node[:]
    graph.node.extend(copies)
    held = [tensor for tensor in graph.initializer if tensor.name in wanted]
    if len(held) < len(graph.initializer):
        copies_held = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in held]
        del graph.initializer[:]
        graph.initializer.extend(copies_held)
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]  # old exporters list weights as inputs too
    if len(inputs) < len(graph.input):
        copies_in = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in inputs]
        del graph.input[:]
        graph.input.extend(copies_in)
