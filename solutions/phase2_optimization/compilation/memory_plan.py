"""Where each activation lies in one arena: offsets so that tensors that live at the same time never overlap.

Finding the smallest arena is NP-hard (dynamic storage allocation), but liveness gives a bound from below that no plan
can beat, so a heuristic can tell how good it is. Ours places tensors one after the other into the tightest gap that
their neighbours in time leave, in several orders, and keeps the best plan:

* by size, largest first: the large ones nest in each other's place before the small ones chop it up;
* by lifetime, and by size times lifetime: what stays long goes to the bottom;
* by birth: as an allocator at run time meets them.

Where none reaches the bound, a few hundred shuffles of the best order that move up what ended highest are tried.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from solutions.core import scripts
from solutions.core.errors import ConfigError
from solutions.core.hardware.model_cost import shaped_graph
from solutions.core.measure.report import render_table
from solutions.phase1_basics.model_loader import parse_shape
from solutions.phase1_basics.profiling.activation_memory import Lifetime, onnx_lifetimes, peak_by_liveness

ALIGNMENT = 64
"""Bytes: a cache line, and the width of an AVX-512 register."""

_ATTEMPTS = 200
_ORDERS = {
    "size": lambda life: (-life.bytes, life.born),
    "lifetime": lambda life: (life.born - life.last, -life.bytes),
    "area": lambda life: (-life.bytes * (life.last - life.born + 1), life.born),
    "birth": lambda life: (life.born, -life.bytes),
}


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Offsets in bytes by tensor name, and what they amount to.

    Attributes:
        offsets: where each tensor begins; aligned. A view (a Reshape) lies where its source does and is not named.
        arena_bytes: the size of the arena.
        naive_bytes: the sum of all tensors, each in a place of its own.
        bound_bytes: the most that is alive at once, sizes rounded up to the alignment: no plan is smaller.
        order: which order of placing won.
        unknown: tensors whose size the file does not tell; they are not in the plan.
    """

    offsets: Mapping[str, int]
    arena_bytes: int
    naive_bytes: int
    bound_bytes: int
    order: str
    unknown: int = 0

    @property
    def overhead(self) -> float:
        """Arena over bound; 1.0 is optimal."""
        return self.arena_bytes / self.bound_bytes if self.bound_bytes else 1.0

    @property
    def saved(self) -> float:
        """The fraction of the naive sum that is not needed."""
        return 1 - self.arena_bytes / self.naive_bytes if self.naive_bytes else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The figures without the offsets, ready for JSON."""
        return {
            "arena_bytes": self.arena_bytes,
            "naive_bytes": self.naive_bytes,
            "bound_bytes": self.bound_bytes,
            "overhead": self.overhead,
            "saved": self.saved,
            "tensors": len(self.offsets),
            "order": self.order,
            "unknown": self.unknown,
        }


def plan_memory(
    model: str | Path | onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], *, alignment: int = ALIGNMENT
) -> MemoryPlan:
    """The plan for the activations of an ONNX graph, its inputs and outputs included, weights not.

    Args:
        model: a file or the model itself.
        shapes: of the inputs; those that the file fixes may be left out.
        alignment: bytes; every tensor begins at a multiple.

    Raises:
        ModelLoadError: no readable model.
        ConfigError: shapes that do not fit, or an alignment that is no power of two.
    """
    lifetimes, unknown = onnx_lifetimes(shaped_graph(model, shapes))
    return plan_lifetimes([life for life in lifetimes if life.bytes], alignment=alignment, unknown=unknown)


def plan_lifetimes(lifetimes: Sequence[Lifetime], *, alignment: int = ALIGNMENT, unknown: int = 0) -> MemoryPlan:
    """The plan for buffers whose lifetimes are known; arguments and errors as `plan_memory`.

    >>> plan = plan_lifetimes([Lifetime("a", 64, 0, 1), Lifetime("b", 128, 1, 2), Lifetime("c", 64, 2, 3)])
    >>> dict(plan.offsets), plan.arena_bytes, plan.naive_bytes
    ({'b': 0, 'a': 128, 'c': 128}, 192, 256)
    """
    if alignment < 1 or alignment & (alignment - 1):
        raise ConfigError(f"alignment must be a power of two, got {alignment}")
    rounded = [Lifetime(life.name, -(-life.bytes // alignment) * alignment, life.born, life.last) for life in lifetimes]
    bound, _ = peak_by_liveness(rounded)
    tried = []
    for order, key in _ORDERS.items():
        placed = sorted(rounded, key=key)
        offsets, size = place(placed)
        tried.append((size, order, offsets, placed))
    best = min(tried, key=lambda plan: plan[0])
    if best[0] > bound:
        best = _improved(best, bound)
    size, order, offsets, _ = best
    return MemoryPlan(offsets, size, sum(life.bytes for life in lifetimes), bound, order, unknown)


def place(lifetimes: Sequence[Lifetime]) -> tuple[dict[str, int], int]:
    """Offsets from placing the buffers in this order, each into its tightest gap, and the size of the arena.

    The gaps are those between the buffers placed so far that live at the same time; where none is large enough, the
    place is above the highest of them. Takes time with the square of the number of buffers.
    """
    offsets: dict[str, int] = {}
    placed: list[tuple[int, int, Lifetime]] = []  # (begin, end, buffer)
    arena = 0
    for life in lifetimes:
        neighbours = sorted(
            (begin, end) for begin, end, other in placed if other.born <= life.last and life.born <= other.last
        )
        best, tightest, top = None, 0, 0
        for begin, end in neighbours:
            gap = begin - top
            if gap >= life.bytes and (best is None or gap < tightest):
                best, tightest = top, gap
            top = max(top, end)
        offset = top if best is None else best
        offsets[life.name] = offset
        placed.append((offset, offset + life.bytes, life))
        arena = max(arena, offset + life.bytes)
    return offsets, arena


def _improved(
    best: tuple[int, str, dict[str, int], list[Lifetime]], bound: int
) -> tuple[int, str, dict[str, int], list[Lifetime]]:
    """The best of some more orders, each the best so far with one of the buffers that reach the top put earlier."""
    draw = random.Random(0)
    for _ in range(_ATTEMPTS):
        size, _, offsets, order = best
        highest = [index for index, life in enumerate(order) if offsets[life.name] + life.bytes == size]
        index = draw.choice(highest)
        tried = list(order)
        tried.insert(draw.randrange(index + 1), tried.pop(index))
        moved, found = place(tried)
        if found <= size:
            best = found, "search", moved, tried
        if found == bound:
            break
    return best


def main(argv: Sequence[str] | None = None) -> int:
    """Plan the activations of a file and print what it saves."""
    parser = argparse.ArgumentParser(description="Pack a model's activations into one arena.")
    parser.add_argument("model", help="an ONNX file")
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=1,3,224,224", help="fix a free input")
    parser.add_argument("--alignment", type=int, default=ALIGNMENT, help="bytes")
    parser.add_argument("--json", help="write the figures here")
    args = parser.parse_args(argv)
    shapes: dict[str, tuple[int, ...]] = {}
    for text in args.shape:
        name, _, sizes = text.rpartition("=")
        parsed = parse_shape(sizes)
        if not name or None in parsed:
            raise ConfigError(f"--shape wants NAME=1,3,224,224 with numbers only, got {text}")
        shapes[name] = tuple(size for size in parsed if size is not None)
    plan = plan_memory(args.model, shapes, alignment=args.alignment)
    rows = [
        ("arena", plan.arena_bytes / 1e6),
        ("lower bound (alive at once)", plan.bound_bytes / 1e6),
        ("every tensor on its own", plan.naive_bytes / 1e6),
    ]
    render_table(f"{len(plan.offsets)} activations, order {plan.order}", ("what", "MB"), rows)
    print(f"arena / bound {plan.overhead:.3f}; {plan.saved:.0%} of the naive sum saved")
    if plan.unknown:
        print(f"{plan.unknown} tensors have no known size and are not in the plan")
    if args.json:
        scripts.write_json(args.json, plan.as_dict())
    return scripts.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(scripts.run(main))
