"""Exercises 2.9 to 2.14: from a torch network to a smaller graph, a plan for its memory, and engines that are right.

    python phase2_optimization/template_compilation.py --model resnet18.pth

Write the six functions marked TODO, from top to bottom, with any imports you like; the rest is given. The values that
they take and hand back (Node, Life, Parity, Wish, Engine) are in solutions/core/classroom/graph_values.py. `grade check
2.9` checks one, `grade hint 2.9` helps; without a model file the script says how to make one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from solutions.core.classroom.compile_script import Toolbox, compile_script
from solutions.core.classroom.graph_values import Engine, Life, Node, Parity, Wish
from solutions.core.classroom.start import run_template


def export_dynamic(model: nn.Module, picture: torch.Tensor, path: Path) -> None:
    """Write the network to one ONNX file with the input "x" and the output "y" that takes any batch.

    `picture` is an example of the input, float32 [1, ...]; the other sizes stay as in it. Use torch.onnx.export with
    dynamo=True: it traces with an example, and takes a batch of 1 for a constant.

    Checked: ONNX Runtime agrees with the network in eval mode for batches of 1, 2 and 5; the network's own mode
    (training or eval) is as it was, afterwards; everything is in the one file, weights included; the names.
    """
    # TODO 2.9 (about 15 lines). Stuck? `grade hint 2.9`
    raise NotImplementedError("exercise 2.9 export_dynamic: phase2_optimization/template_compilation.py")


def fold_batchnorm(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that computes what `bn` in eval mode makes of the answers of `conv`.

    In eval mode a batch norm is y = (x - running_mean) / sqrt(running_var + eps) * weight + bias per channel: a factor
    and a term, which go into the convolution's weight and bias. Without `affine` it has no weight (1) and no bias (0).

    Checked: parity with and without a bias, grouped and strided, with any eps, without affine; stride, padding,
    dilation and groups are kept; conv and bn stay as they were.
    """
    # TODO 2.10 (about 15 lines). Stuck? `grade hint 2.10`
    raise NotImplementedError("exercise 2.10 fold_batchnorm: phase2_optimization/template_compilation.py")


def simplify(
    nodes: Sequence[Node],
    outputs: Collection[str],
    constants: Mapping[str, np.ndarray],
    ops: Mapping[str, Callable[..., np.ndarray]],
) -> tuple[list[Node], dict[str, np.ndarray]]:
    """The nodes that are still needed, in their order, and the constants that they read, after folding.

    A node that reads something, and nothing but constants, is computed now, as ops[node.op](*what it reads): it becomes
    a constant, and so on. One whose op is not in `ops` is kept. Then what no output needs, directly or through other
    nodes, is dropped, nodes and constants alike. An output that became a constant is among the constants.

    Checked: chains, branches, dead ends, a node that reads nothing (it may be random), unknown ops, outputs that
    are constants; nothing is computed that nobody needs; the mapping that came in stays as it was.
    """
    # TODO 2.11 (about 14 lines). Stuck? `grade hint 2.11`
    raise NotImplementedError("exercise 2.11 simplify: phase2_optimization/template_compilation.py")


def pack_arena(lives: Sequence[Life], *, align: int = 64) -> dict[str, int]:
    """Where each tensor begins in one block of memory, by name: tensors that live at the same time never overlap.

    Largest first (of equals the one that lives first, then the one that comes first in `lives`), each takes the lowest
    place, a multiple of `align`, where it overlaps with no tensor that was placed before and lives at one of its steps.

    Checked: no overlap; every place is aligned; the block is as small as this rule makes it, and memory of a tensor
    that is dead is used again; gaps are used; tensors of 0 bytes; no tensors.
    """
    # TODO 2.12 (about 13 lines). Stuck? `grade hint 2.12`
    raise NotImplementedError("exercise 2.12 pack_arena: phase2_optimization/template_compilation.py")


def check_parity(
    reference: Callable[[np.ndarray], np.ndarray],
    candidate: Callable[[np.ndarray], np.ndarray],
    draw: Callable[[int], np.ndarray],
    lengths: Sequence[int],
    *,
    batches: Sequence[int] = (1, 2, 5),
    unit: float = 2.0**-24,
) -> Parity:
    """The candidate's worst difference from the reference on fresh inputs, and whether rounding explains it.

    One new input per batch size, draw(batch), of which both get a copy of their own. A difference is the largest
    |got - want| over the largest |want| (over 1.0 if all of `want` is 0). It is inf, at no cell, where shape or dtype
    differ, and inf, at the first such cell, where got - want is not finite. The worst one counts, of equals the first.
    Rounding explains the sum of (sqrt(length) + 4) * unit over `lengths`, the products per sum of each layer.

    Checked: the verdict on either side of the bound; batch and cell; NaN, zeros, other shapes and types; errors that
    only one batch size or the first input does not show; float16; no batches raise ValueError.
    """
    # TODO 2.13 (about 14 lines). Stuck? `grade hint 2.13`
    raise NotImplementedError("exercise 2.13 check_parity: phase2_optimization/template_compilation.py")


def engine_for(wish: Wish, stored: list[Engine], build: Callable[[Wish], Engine], *, room: int = 8) -> Engine:
    """An engine that serves the wish: of those in `stored` that fit the one used last, or else a new one, build(wish).

    An engine fits where model, precision, device and version are those of the wish, and the shape has as many axes as
    `least` and `most` and lies between them, both included, on every axis. If a new one does not fit, ValueError.

    `stored` is kept in the order of use: what is handed back stands at its end, and what stands first is dropped until
    at most `room` are left. Any other engine stays: it fits another wish, or another machine that shares the store.

    Checked: how often `build` is called; both ends of every axis; each part of what must be the same; what is dropped;
    a build that fails leaves `stored` as it was.
    """
    # TODO 2.14 (about 15 lines). Stuck? `grade hint 2.14`
    raise NotImplementedError("exercise 2.14 engine_for: phase2_optimization/template_compilation.py")


# Given: the script around the exercises, in solutions/core/classroom/compile_script.py.


def main(argv: Sequence[str] | None = None) -> int:
    """Fold a network's batch norms, export it, simplify the graph, plan its memory, and print what each step saved."""
    tools = Toolbox(export_dynamic, fold_batchnorm, simplify, pack_arena, check_parity, engine_for)
    return compile_script(argv, tools)


if __name__ == "__main__":
    raise SystemExit(run_template(main))
