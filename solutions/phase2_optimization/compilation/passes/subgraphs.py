"""Nodes and the graphs inside them: what a body of If, Loop or Scan defines, and what it takes from outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from onnx import helper


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute."""
    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The bodies that hang at the node's attributes, not those inside them."""
    for item in node.attribute:
        if item.HasField("g"):
            yield item.g
        yield from item.graphs


def has_subgraph(node: onnx.NodeProto) -> bool:
    """Whether the node is a control-flow node."""
    return next(subgraphs(node), None) is not None


def captured(body: onnx.GraphProto) -> set[str]:
    """The names that a subgraph takes from outside."""
    own = defined(body)
    wanted = {value.name for value in body.output}
    for node in body.node:
        wanted.update(reads(node))
    return wanted - own


def defined(body: onnx.GraphProto) -> set[str]:
    """The tensors that a graph makes or is given."""
    own = {value.name for value in (*body.input, *body.initializer)}
    own.update(tensor.values.name for tensor in body.sparse_initializer)
    return own | {name for node in body.node for name in node.output}


def reads(node: onnx.NodeProto) -> list[str]:
    """The tensors a node needs, one entry per use; those of its subgraphs once each."""
    names = [name for name in node.input if name]
    for body in subgraphs(node):
        names.extend(name for name in captured(body) if name)
    return names


def rename_captured(body: onnx.GraphProto, old: str, new: str) -> None:
    """Let a subgraph, and those inside it, read `new` where they took `old` from outside."""
    if old in defined(body):  # the body has its own tensor of that name
        return
    for node in body.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
        for inner in subgraphs(node):
            rename_captured(inner, old, new)
    for value in body.output:
        if value.name == old:
            value.name = new


def all_names(graph: onnx.GraphProto) -> Iterator[str]:
    """The tensor names of a graph and of the subgraphs in it."""
    yield from (value.name for value in (*graph.input, *graph.output, *graph.value_info))
    yield from defined(graph)
    for node in graph.node:
        for body in subgraphs(node):
            yield from all_names(body)
