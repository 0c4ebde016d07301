"""Exercises 2.9 to 2.14 solved: from a torch network to a smaller graph, a plan for its memory, and right engines.

    python solutions/phase2_optimization/template_solutions/compilation.py --model resnet18.pth

The same file as `phase2_optimization/template_compilation.py`, filled in. The full versions are in
`solutions/phase2_optimization/compilation/`: `export.py` (2.9), `memory_plan.py` (2.12), `parity.py` (2.13),
`tensorrt_engine.py` and `tensorrt_record.py` (2.14), and in `passes/` `fold_batchnorm.py` (2.10), `fold_constants.py`
and `remove_dead.py` (2.11).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
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
    was_training = model.training
    model.eval()
    try:
        program = torch.onnx.export(
            model,
            (torch.cat([picture, picture]),),
            dynamo=True,
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    finally:
        model.train(was_training)
    onnx.save(program.model_proto, path)  # type: ignore[union-attr]


def fold_batchnorm(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that computes what `bn` in eval mode makes of the answers of `conv`.

    In eval mode a batch norm is y = (x - running_mean) / sqrt(running_var + eps) * weight + bias per channel: a factor
    and a term, which go into the convolution's weight and bias. Without `affine` it has no weight (1) and no bias (0).

    Checked: parity with and without a bias, grouped and strided, with any eps, without affine; stride, padding,
    dilation and groups are kept; conv and bn stay as they were.
    """
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError("a batch norm without running statistics computes something else for every batch")
    with torch.no_grad():
        factor = torch.rsqrt(bn.running_var + bn.eps)
        if bn.weight is not None:
            factor = factor * bn.weight
        term = -bn.running_mean * factor
        if bn.bias is not None:
            term = term + bn.bias
        if conv.bias is not None:
            term = term + conv.bias * factor
        folded = copy.deepcopy(conv)
        folded.weight = nn.Parameter(conv.weight * factor.reshape(-1, 1, 1, 1))
        folded.bias = nn.Parameter(term)
    return folded


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
    needed = set(outputs)
    alive = []
    for node in reversed(nodes):
        if node.name in needed:
            needed.update(node.reads)
            alive.append(node)
    known, kept = dict(constants), []
    for node in reversed(alive):
        if node.reads and node.op in ops and all(name in known for name in node.reads):
            known[node.name] = ops[node.op](*(known[name] for name in node.reads))
        else:
            kept.append(node)
    wanted = {*outputs, *(name for node in kept for name in node.reads)}
    return kept, {name: values for name, values in known.items() if name in wanted}


def pack_arena(lives: Sequence[Life], *, align: int = 64) -> dict[str, int]:
    """Where each tensor begins in one block of memory, by name: tensors that live at the same time never overlap.

    Largest first (of equals the one that lives first, then the one that comes first in `lives`), each takes the lowest
    place, a multiple of `align`, where it overlaps with no tensor that was placed before and lives at one of its steps.

    Checked: no overlap; every place is aligned; the block is as small as this rule makes it, and memory of a tensor
    that is dead is used again; gaps are used; tensors of 0 bytes; no tensors.
    """
    places: dict[str, int] = {}
    placed: list[Life] = []
    for life in sorted(lives, key=lambda one: (-one.bytes, one.first)):
        place = 0
        rivals = [other for other in placed if other.first <= life.last and life.first <= other.last]
        for other in sorted(rivals, key=lambda one: places[one.name]):
            if place + life.bytes <= places[other.name]:
                break
            end = places[other.name] + other.bytes
            place = max(place, -(-end // align) * align)
        places[life.name] = place
        placed.append(life)
    return places


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

    def compare(batch: int) -> Parity:
        fresh = draw(batch)
        want, got = reference(fresh.copy()), candidate(fresh.copy())
        if got.shape != want.shape or got.dtype != want.dtype:
            return Parity(False, math.inf, batch, ())
        far = np.abs(got.astype(np.float64) - want.astype(np.float64))
        far[~np.isfinite(far)] = math.inf
        place = tuple(int(index) for index in np.unravel_index(far.argmax(), far.shape))
        worst = float(far[place])
        if math.isfinite(worst):
            worst /= float(np.abs(want).max()) or 1.0
        return Parity(worst <= explained, worst, batch, place)

    explained = sum(math.sqrt(length) + 4 for length in lengths) * unit
    return max((compare(batch) for batch in batches), key=lambda each: each.worst)


def engine_for(wish: Wish, stored: list[Engine], build: Callable[[Wish], Engine], *, room: int = 8) -> Engine:
    """An engine that serves the wish: of those in `stored` that fit the one used last, or else a new one, build(wish).

    An engine fits where model, precision, device and version are those of the wish, and the shape has as many axes as
    `least` and `most` and lies between them, both included, on every axis. If a new one does not fit, ValueError.

    `stored` is kept in the order of use: what is handed back stands at its end, and what stands first is dropped until
    at most `room` are left. Any other engine stays: it fits another wish, or another machine that shares the store.

    Checked: how often `build` is called; both ends of every axis; each part of what must be the same; what is dropped;
    a build that fails leaves `stored` as it was.
    """

    def fits(engine: Engine) -> bool:
        same = all(getattr(engine, part) == getattr(wish, part) for part in ("model", "precision", "device", "version"))
        return (
            same
            and len(engine.least) == len(wish.shape)
            and all(low <= size <= high for low, size, high in zip(engine.least, wish.shape, engine.most, strict=True))
        )

    engine = next((one for one in reversed(stored) if fits(one)), None)
    if engine is None:
        engine = build(wish)
        if not fits(engine):
            raise ValueError(
                f"an engine was built from {engine.least} to {engine.most}, and {wish.shape} was asked for"
            )
    else:
        stored.remove(engine)
    stored.append(engine)
    del stored[:-room]
    return engine


# Given: the script around the exercises, in solutions/core/classroom/compile_script.py.


def main(argv: Sequence[str] | None = None) -> int:
    """Fold a network's batch norms, export it, simplify the graph, plan its memory, and print what each step saved."""
    tools = Toolbox(export_dynamic, fold_batchnorm, simplify, pack_arena, check_parity, engine_for)
    return compile_script(argv, tools)


if __name__ == "__main__":
    raise SystemExit(run_template(main))
