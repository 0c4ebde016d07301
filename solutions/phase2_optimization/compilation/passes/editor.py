"""An ONNX graph that passes can ask and change: who makes a tensor, who uses it, what is constant, which shape it has.

A pass makes one `GraphEditor`, edits, and calls `commit()`. Three promises hold for every edit, whatever the pass:

* a tensor name keeps its value, so the shapes that the file records stay true;
* names of the graph's inputs and outputs never change: they are the model's contract;
* a tensor that a subgraph (the body of If, Loop or Scan) captures from outside counts as used, and is renamed in there
  too. What happens inside a subgraph is never changed otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from solutions.phase2_optimization.compilation.passes.subgraphs import all_names, has_subgraph, reads, rename_captured
from solutions.phase2_optimization.compilation.passes.subgraphs import subgraphs as subgraphs_of
from solutions.phase2_optimization.compilation.passes.tensor_types import Shape, infer_types


class GraphEditor:
    """The main graph of `model`, indexed. Edits are seen at once by every query, and by the model after `commit`."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.graph = model.graph
        self.opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 1)
        self.inputs = {value.name for value in self.graph.input}
        self.outputs = {value.name for value in self.graph.output}
        self.initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        self.nodes: list[onnx.NodeProto] = list(self.graph.node)
        self._instead: dict[int, list[onnx.NodeProto]] = {}
        self._added: list[onnx.NodeProto] = []  # keeps them alive: they are known by id
        self._names = set(all_names(self.graph))
        self._types = infer_types(model)  # now: a half-edited graph could not be inferred
        self._values: dict[str, NDArray[Any]] = {}
        self._makers: dict[str, onnx.NodeProto] = {}
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            self._link(node)

    # -- questions ---------------------------------------------------------------------------------------------------

    def find(self, *op_types: str) -> Iterator[onnx.NodeProto]:
        """The nodes of the standard domain of these types (all where none is named) that are still in the graph."""
        for node in [*self.nodes, *self._added]:
            if node.domain in ("", "ai.onnx") and (not op_types or node.op_type in op_types) and self.alive(node):
                yield node

    def alive(self, node: onnx.NodeProto) -> bool:
        """Whether no edit has removed the node."""
        return id(node) not in self._instead

    def maker(self, name: str, *op_types: str) -> onnx.NodeProto | None:
        """The standard node that makes the tensor, if it is of one of these types."""
        node = self._makers.get(name)
        if node is None or node.domain not in ("", "ai.onnx") or (op_types and node.op_type not in op_types):
            return None
        return node

    def users(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read the tensor, one entry per use, those that capture it in a subgraph included."""
        return list(self._users.get(name, ()))

    def private(self, name: str) -> bool:
        """Whether one use is all there is: such a tensor may vanish with its user."""
        users = self._users.get(name, ())
        return name not in self.outputs and len(users) == 1 and not has_subgraph(users[0])

    def constant(self, name: str) -> NDArray[Any] | None:
        """The value of a tensor that no caller can change, or None."""
        if name not in self._values:
            tensor = self.constant_tensor(name)
            if tensor is None:
                return None
            self._values[name] = numpy_helper.to_array(tensor)
        return self._values[name]

    def constant_tensor(self, name: str) -> onnx.TensorProto | None:
        """As `constant`, not decoded. An initializer that is an input as well is a default, hence no constant."""
        tensor = self.initializers.get(name)
        return tensor if tensor is not None and name not in self.inputs else None

    def shape(self, name: str) -> Shape | None:
        """The sizes of a tensor (a number, the name of a free size, or None), or None where the rank is unknown."""
        return self._type(name)[1]

    def static_shape(self, name: str) -> tuple[int, ...] | None:
        """The sizes where all are known numbers."""
        shape = self.shape(name)
        if shape is None:
            return None
        sizes = tuple(dim for dim in shape if isinstance(dim, int))
        return sizes if len(sizes) == len(shape) else None

    def dtype(self, name: str) -> int:
        """The ONNX element type, 0 where unknown."""
        return self._type(name)[0]

    # -- edits -------------------------------------------------------------------------------------------------------

    def replace(self, node: onnx.NodeProto, *new: onnx.NodeProto) -> None:
        """Put `new` in the place of `node`; what they read must be made before it."""
        self._instead[id(node)] = list(new)
        for name in node.output:
            if name and self._makers.get(name) is node:
                del self._makers[name]
        for name in reads(node):
            self._users[name] = [user for user in self._users[name] if user is not node]
        for item in new:
            self._added.append(item)
            self._names.update(item.output)
            self._link(item)

    def rewire(self, node: onnx.NodeProto, index: int, name: str) -> None:
        """Let input `index` of the node be `name`."""
        old = node.input[index]
        if old:
            self._users[old].remove(node)
        node.input[index] = name
        if name:
            self._users.setdefault(name, []).append(node)

    def redirect(self, old: str, new: str) -> None:
        """Let every reader of `old` read `new`, which has the same value; a graph output keeps its own maker."""
        for node in self._users.pop(old, []):
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = new
            for body in subgraphs_of(node):
                rename_captured(body, old, new)
            self._users.setdefault(new, []).append(node)

    def bypass(self, node: onnx.NodeProto) -> bool:
        """Remove a node whose first output equals its first input; False where both names are the model's contract."""
        source, output = node.input[0], node.output[0]
        if output in self.outputs:
            maker = self._makers.get(source)
            if maker is None or source in self.outputs or source in self.inputs:
                return False
            self.replace(node)
            self.redirect(source, output)
            position = list(maker.output).index(source)
            maker.output[position] = output
            self._makers[output] = maker
            del self._makers[source]
            return True
        self.replace(node)
        self.redirect(output, source)
        return True

    def add_constant(self, array: NDArray[Any], hint: str) -> str:
        """The name of a new initializer with this value."""
        return self.add_tensor(numpy_helper.from_array(np.ascontiguousarray(array)), hint)

    def add_tensor(self, tensor: onnx.TensorProto, hint: str) -> str:
        """As `add_constant`, of a tensor that is in ONNX's form already. A free `hint` becomes the name."""
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor)
        copy.name = hint if hint not in self._names else self.fresh(hint)
        self._names.add(copy.name)
        self.initializers[copy.name] = copy
        return copy.name

    def define(self, node: onnx.NodeProto, tensor: onnx.TensorProto) -> None:
        """Replace a node by what it computes: `tensor` becomes the initializer of its only output's name."""
        self.replace(node)
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor)
        copy.name = node.output[0]
        self.initializers[copy.name] = copy

    def forget(self, name: str) -> None:
        """Remove an initializer that nothing reads."""
        del self.initializers[name]

    def fresh(self, hint: str) -> str:
        """A tensor name that neither the graph nor a subgraph has."""
        count = 0
        while (name := f"{hint}_{count}") in self._names:
            count += 1
        self._names.add(name)
        return name

    def commit(self) -> None:
        """Write the edits to the model: nodes in their order, initializers, and only shapes of tensors that exist."""
        nodes = list(self._flattened(self.nodes))
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del self.graph.node[:]
        self.graph.node.extend(kept)
        known = {tensor.name for tensor in self.graph.initializer}
        for index in reversed(range(len(self.graph.initializer))):
            if self.graph.initializer[index].name not in self.initializers:
                del self.graph.initializer[index]
        self.graph.initializer.extend(t for name, t in self.initializers.items() if name not in known)
        made = {name for node in kept for name in node.output}
        shapes = [value for value in self.graph.value_info if value.name in made]
        del self.graph.value_info[:]
        self.graph.value_info.extend(shapes)

    # -- inner workings ----------------------------------------------------------------------------------------------

    def _flattened(self, nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
        for node in nodes:
            if self.alive(node):
                yield node
            else:
                yield from self._flattened(self._instead[id(node)])

    def _link(self, node: onnx.NodeProto) -> None:
        for name in node.output:
            if name:
                self._makers[name] = node
        for name in reads(node):
            self._users.setdefault(name, []).append(node)

    def _type(self, name: str) -> tuple[int, Shape | None]:
        tensor = self.initializers.get(name)
        if tensor is not None:
            return tensor.data_type, tuple(tensor.dims)
        return self._types.get(name, (0, None))
