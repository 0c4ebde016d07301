"""The script around the compilation exercises: they take a classifier from torch to a planned ONNX graph."""

from __future__ import annotations

import argparse
import copy
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
from solutions.core.classroom.graph_values import Life, Node
from solutions.core.classroom.models import model_file, open_module
from solutions.core.errors import ConfigError
from solutions.core.scripts import EXIT_OK

Array = npt.NDArray[Any]
_INPUT = (1, 3, 224, 224)


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The functions that the exercises ask for, as the learner wrote them."""

    export_dynamic: Callable[[nn.Module, torch.Tensor, Path], None]
    fold_batchnorm: Callable[[nn.Conv2d, nn.BatchNorm2d], nn.Conv2d]
    simplify: Callable[..., tuple[list[Node], dict[str, Array]]]
    pack_arena: Callable[..., dict[str, int]]


def compile_script(argv: Sequence[str] | None, tools: Toolbox) -> int:
    """Exit code 0, after the model in `--model` was folded, exported, simplified and its memory planned.

    Raises:
        CourseError: the model cannot be used.
    """
    args = _parse_args(argv)
    model, picture = open_module(model_file(args.model), args.arch), torch.rand(_INPUT)
    folded, pairs = _fold(model, tools)
    with torch.inference_mode():
        before, after = model(picture), folded(picture)
    print(f"{pairs} batch norms folded; logits at most {float((before - after).abs().max()):.2g} off")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(args.out) if args.out else Path(folder) / "model.onnx"
        if not path.parent.is_dir():
            raise ConfigError(f"{path.parent} is no folder: make it, or choose another --out")
        tools.export_dynamic(folded, picture, path)
        graph = onnx.load(path).graph
        print(f"exported: {path.stat().st_size / 1e6:.1f} MB, {len(graph.node)} nodes; {_parity(folded, path)}")
    _simplify(graph, tools)
    _plan(take_apart(folded, picture), tools)
    return EXIT_OK


def _parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Take a classifier of torchvision from torch to a planned ONNX graph.")
    parser.add_argument("--model", required=True, metavar="FILE", help="a torch state dict (.pth)")
    parser.add_argument("--arch", help="torchvision's name of the network (default: the file's name)")
    parser.add_argument("--out", metavar="FILE", help="where to keep the ONNX file (default: it is thrown away)")
    return parser.parse_args(argv)


def _fold(model: nn.Module, tools: Toolbox) -> tuple[nn.Module, int]:
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


def _parity(model: nn.Module, path: Path) -> str:
    """How far ONNX Runtime is from torch, for a batch that was not the exporter's example."""
    import onnxruntime

    pictures = torch.rand(3, *_INPUT[1:])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: pictures.numpy()})[0]
    with torch.inference_mode():
        want = model(pictures).numpy()
    return f"batch 3 at most {np.abs(found - want).max():.2g} off"


def _simplify(graph: onnx.GraphProto, tools: Toolbox) -> None:
    """What folding and dropping leave of the graph; shape arithmetic is all that this script can compute."""
    ops: dict[str, Callable[..., Array]] = {"Add": np.add, "Mul": np.multiply, "Sub": np.subtract}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [Node(node.output[0], node.op_type, tuple(name for name in node.input if name)) for node in graph.node]
    kept, left = tools.simplify(nodes, [value.name for value in graph.output], constants, ops)
    verdict = "" if len(kept) < len(nodes) else "; the exporter had left nothing to fold"
    print(f"simplified: {len(nodes)} nodes to {len(kept)}, {len(constants)} constants to {len(left)}{verdict}")


def _plan(anatomy: Anatomy, tools: Toolbox) -> None:
    """Bytes of the planned arena against no plan and against the least that any plan needs."""
    last = {step.name: index for index, step in enumerate(anatomy.steps)}
    for index, step in enumerate(anatomy.steps):
        last.update(dict.fromkeys(step.reads, index))
    last.update(dict.fromkeys(anatomy.outputs, len(anatomy.steps) - 1))
    lives = [Life(step.name, step.bytes, index, last[step.name]) for index, step in enumerate(anatomy.steps)]
    places = tools.pack_arena(lives)
    arena = max(places[life.name] + life.bytes for life in lives)
    least = max(sum(life.bytes for life in lives if life.first <= now <= life.last) for now in range(len(lives)))
    total = sum(life.bytes for life in lives)
    print(f"arena: {arena / 1e6:.2f} MB; no plan: {total / 1e6:.2f} MB; any plan: at least {least / 1e6:.2f} MB")
