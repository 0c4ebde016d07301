"""The script around the compilation exercises: they take a classifier from torch to a planned ONNX graph."""

from __future__ import annotations

import argparse
import copy
import hashlib
import math
import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from solutions.core.classroom.anatomy import Anatomy, take_apart
from solutions.core.classroom.graph_values import Engine, Life, Node, Parity, Wish
from solutions.core.classroom.models import model_file, open_module
from solutions.core.errors import ConfigError
from solutions.core.scripts import EXIT_OK

Array = npt.NDArray[Any]
Run = Callable[[Array], Array]
_INPUT = (1, 3, 224, 224)
_WISHES = (1, 3, 4, 2, 1, 6, 8, 3)  # batch sizes, in the order in which they are asked for


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The functions that the exercises ask for, as the learner wrote them."""

    export_dynamic: Callable[[nn.Module, torch.Tensor, Path], None]
    fold_batchnorm: Callable[[nn.Conv2d, nn.BatchNorm2d], nn.Conv2d]
    simplify: Callable[..., tuple[list[Node], dict[str, Array]]]
    pack_arena: Callable[..., dict[str, int]]
    check_parity: Callable[..., Parity]
    engine_for: Callable[..., Engine]


def compile_script(argv: Sequence[str] | None, tools: Toolbox) -> int:
    """Exit code 0, after the model in `--model` was folded, exported, simplified and its memory planned.

    Raises:
        CourseError: the model cannot be used.
    """
    args = _parse_args(argv)
    model, picture = open_module(model_file(args.model), args.arch), torch.rand(_INPUT)
    folded, pairs = fold(model, tools)
    with torch.inference_mode():
        before, after = model(picture), folded(picture)
    print(f"{pairs} batch norms folded; logits at most {float((before - after).abs().max()):.2g} off")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(args.out) if args.out else Path(folder) / "model.onnx"
        if not path.parent.is_dir():
            raise ConfigError(f"{path.parent} is no folder: make it, or choose another --out")
        tools.export_dynamic(folded, picture, path)
        graph = onnx.load(path).graph
        print(f"exported: {path.stat().st_size / 1e6:.1f} MB, {len(graph.node)} nodes")
        _parity(folded, path, tools)
        _engines(path, tools)
    _simplify(graph, tools)
    _plan(take_apart(folded, picture), tools)
    return EXIT_OK


def _parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Take a classifier of torchvision from torch to a planned ONNX graph.")
    parser.add_argument("--model", required=True, metavar="FILE", help="a torch state dict (.pth)")
    parser.add_argument("--arch", help="torchvision's name of the network (default: the file's name)")
    parser.add_argument("--out", metavar="FILE", help="where to keep the ONNX file (default: it is thrown away)")
    return parser.parse_args(argv)


def fold(model: nn.Module, tools: Toolbox) -> tuple[nn.Module, int]:
    """A copy of the model with each batch norm that directly follows a convolution folded, and how many there were."""
    graph = torch.fx.symbolic_trace(copy.deepcopy(model).eval())
    parts, pairs = dict(graph.named_modules()), 0
    for node in list(graph.graph.nodes):
        source = node.args[0] if node.args and isinstance(node.args[0], torch.fx.Node) else None
        if node.op != "call_module" or source is None or source.op != "call_module" or len(source.users) != 1:
            continue
        conv, bn = parts[str(source.target)], parts[str(node.target)]
        if isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d):
            graph.add_submodule(str(source.target), tools.fold_batchnorm(conv, bn))
            node.replace_all_uses_with(source)
            graph.graph.erase_node(node)
            pairs += 1
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph.eval(), pairs


def _session(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pictures: np.asarray(session.run(None, {name: pictures})[0])


def _parity(model: nn.Module, path: Path, tools: Toolbox) -> None:
    """How far ONNX Runtime is from torch, against what rounding explains for the sums of this network."""

    def reference(pictures: Array) -> Array:
        with torch.inference_mode():
            answers: Array = model(torch.from_numpy(pictures)).numpy()
        return answers

    dice = np.random.default_rng(1)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    found = tools.check_parity(
        reference,
        _session(path),
        lambda batch: dice.random((batch, *_INPUT[1:]), dtype=np.float32),
        [math.prod(layer.weight.shape[1:]) for layer in layers],
    )
    verdict = "agrees with torch as far as rounding goes" if found.agrees else "differs from torch beyond rounding"
    print(
        f"ONNX Runtime {verdict}: {found.worst:.2g} of the largest value, in cell {found.place} of batch {found.batch}"
    )


def _engines(path: Path, tools: Toolbox) -> None:
    """How many engines a few requests need; ONNX Runtime stands for a compiler that wants to know the sizes ahead."""
    import onnxruntime

    model = hashlib.sha256(path.read_bytes()).hexdigest()
    stored: list[Engine] = []
    built: list[str] = []

    def build(wish: Wish) -> Engine:
        most = 1 << (wish.shape[0] - 1).bit_length()  # the next power of two, and from it down to its half
        least = (most // 2 + 1, *wish.shape[1:])
        built.append(f"{least[0]}..{most}")
        key = (wish.model, wish.precision, wish.device, wish.version)
        return Engine(*key, least, (most, *wish.shape[1:]), _session(path))

    for batch in _WISHES:
        wish = Wish(model, "f32", platform.machine(), onnxruntime.__version__, (batch, *_INPUT[1:]))
        tools.engine_for(wish, stored, build).plan(np.zeros(wish.shape, np.float32))
    print(f"engines: {len(_WISHES)} requests, {len(built)} builds, for the batch sizes {', '.join(built)}")


def _simplify(graph: onnx.GraphProto, tools: Toolbox) -> None:
    """What folding and dropping leave of the graph."""
    kept, left = _simplified(graph, tools)
    verdict = "" if len(kept) < len(graph.node) else "; the exporter had left nothing to fold"
    sizes = f"{len(graph.node)} nodes to {len(kept)}, {len(graph.initializer)} constants to {len(left)}"
    print(f"simplified: {sizes}{verdict}")


def simplified(model: onnx.ModelProto, tools: Toolbox) -> onnx.ModelProto:
    """The model with the nodes and constants that the learner's function leaves.

    Raises:
        ConfigError: a node makes several tensors, which the exercise has no word for.
    """
    several = next((node for node in model.graph.node if len(node.output) > 1), None)
    if several is not None:
        raise ConfigError(f"exercise 2.11 is for nodes that make one tensor, and {several.op_type} makes several")
    kept, left = _simplified(model.graph, tools)
    names = {node.name for node in kept}
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend(node for node in model.graph.node if node.output[0] in names)
    made.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in left.items())
    return made


def _simplified(graph: onnx.GraphProto, tools: Toolbox) -> tuple[list[Node], dict[str, Array]]:
    """The nodes and constants that are left; shape arithmetic is all that this script can compute."""
    ops: dict[str, Callable[..., Array]] = {"Add": np.add, "Mul": np.multiply, "Sub": np.subtract}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [Node(node.output[0], node.op_type, tuple(name for name in node.input if name)) for node in graph.node]
    return tools.simplify(nodes, [value.name for value in graph.output], constants, ops)


def _plan(anatomy: Anatomy, tools: Toolbox) -> None:
    """Bytes of the planned arena against no plan and against the least that any plan needs."""
    lives = lives_of(anatomy)
    places = tools.pack_arena(lives)
    arena = max(places[life.name] + life.bytes for life in lives)
    least = max(sum(life.bytes for life in lives if life.first <= now <= life.last) for now in range(len(lives)))
    total = sum(life.bytes for life in lives)
    print(f"arena: {arena / 1e6:.2f} MB; no plan: {total / 1e6:.2f} MB; any plan: at least {least / 1e6:.2f} MB")


def lives_of(anatomy: Anatomy) -> list[Life]:
    """When each tensor of a network must be in memory: from its step to the last one that reads it."""
    last = {step.name: index for index, step in enumerate(anatomy.steps)}
    for index, step in enumerate(anatomy.steps):
        last.update(dict.fromkeys(step.reads, index))
    last.update(dict.fromkeys(anatomy.outputs, len(anatomy.steps) - 1))
    return [Life(step.name, step.bytes, index, last[step.name]) for index, step in enumerate(anatomy.steps)]
