"""What this machine can do at best, measured, and for each layer which of the two roofs is above it.

A layer with I operations per byte reaches at most min(peak, I x bandwidth) operations per second (Williams, Waterman
and Patterson, 2009). Left of the ridge, peak / bandwidth, memory holds it back; right of it, the arithmetic units do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from solutions.core.errors import ConfigError
from solutions.core.hardware.profile import usable_cores
from solutions.core.measure.profiling import Clock, measure, synchronize_for
from solutions.phase1_basics.profiling.layer_table import Layer, LayerPass

Bound = Literal["compute", "memory", "unknown"]

MATRIX_SIZES = (256, 512, 1024)  # large enough to be arithmetic, small enough to take milliseconds
STREAM_BYTES = 64_000_000  # of each of three arrays; together well beyond the caches of a desktop or server core


@dataclass(frozen=True, slots=True)
class Roofs:
    """Operations and bytes per second that this machine reached with `threads` threads on `device`, in float32."""

    flops_per_s: float
    bytes_per_s: float
    threads: int
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.flops_per_s <= 0 or self.bytes_per_s <= 0:
            raise ConfigError(f"roofs must be above 0, got {self.flops_per_s} and {self.bytes_per_s}")

    @property
    def ridge(self) -> float:
        """Operations per byte at which the two roofs meet."""
        return self.flops_per_s / self.bytes_per_s

    def at(self, intensity: float) -> float:
        """The most operations per second at that intensity.

        >>> Roofs(100.0, 10.0, threads=1).at(2.0), Roofs(100.0, 10.0, threads=1).at(50.0)
        (20.0, 100.0)
        """
        return min(self.flops_per_s, intensity * self.bytes_per_s)

    def as_dict(self) -> dict[str, Any]:
        """The fields by name and the ridge, ready for JSON."""
        return {**asdict(self), "ridge_flops_per_byte": self.ridge}


@dataclass(frozen=True, slots=True)
class RooflinePoint:
    """A layer under the roofs.

    `of_roof` is the fraction of what its roof allows. A memory-bound layer above 1 found its data in a cache; one far
    below 1 under either roof is held back by something else: launches, layout changes, too little work for the threads.
    """

    layer: Layer
    bound: Bound
    of_roof: float | None

    def as_dict(self) -> dict[str, Any]:
        """The verdict, ready for JSON."""
        return {"name": self.layer.name, "bound": self.bound, "of_roof": self.of_roof}


def place(layer: Layer, roofs: Roofs) -> RooflinePoint:
    """The verdict on one layer; "unknown" where its operations or bytes are."""
    intensity, reached = layer.cost.intensity, layer.gflops_per_s
    if intensity is None:
        return RooflinePoint(layer, "unknown", None)
    bound: Bound = "compute" if intensity >= roofs.ridge else "memory"
    if not layer.ms:
        return RooflinePoint(layer, bound, None)
    if not intensity or reached is None:  # a layer that only moves: its roof is the bandwidth
        return RooflinePoint(layer, "memory", layer.cost.bytes / (layer.ms / 1e3) / roofs.bytes_per_s)
    return RooflinePoint(layer, bound, reached * 1e9 / roofs.at(intensity))


def place_all(layers: LayerPass, roofs: Roofs) -> tuple[RooflinePoint, ...]:
    """The verdicts on all layers, in their order."""
    return tuple(place(layer, roofs) for layer in layers.layers)


def shares_by_bound(points: Sequence[RooflinePoint]) -> dict[str, float]:
    """The part of the layers' time that is compute-bound, memory-bound and unknown; they add up to 1."""
    total = sum(point.layer.ms for point in points)
    shares = dict.fromkeys(("compute", "memory", "unknown"), 0.0)
    for point in points:
        shares[point.bound] += point.layer.ms / total if total else 0.0
    return shares


def measure_roofs(
    *,
    threads: int | None = None,
    device: str = "cpu",
    repeats: int = 10,
    matrix_sizes: Sequence[int] = MATRIX_SIZES,
    stream_bytes: int = STREAM_BYTES,
    clock: Clock = time.perf_counter,
) -> Roofs:
    """The roofs of this machine: the best of some matrix products, and of c = a + b over large arrays.

    The best and not the median: a roof is what can be reached. Bytes are those of a, b and c; a cache that reads c
    before it writes it moves a third more, which no program can avoid.

    Args:
        threads: for both; default the usable cores.
        device: "cpu", "cuda", ...
        repeats: timed calls of each.
        matrix_sizes: sides of the square matrices.
        stream_bytes: of each array.
        clock: seconds, monotonic.

    Raises:
        ConfigError: nothing to measure with.
    """
    if not matrix_sizes or min(matrix_sizes) < 1 or stream_bytes < 4:
        raise ConfigError(f"roofs need matrices and arrays, got sizes {tuple(matrix_sizes)} and {stream_bytes} bytes")
    wait = synchronize_for(device)
    threads = threads or usable_cores()
    with torch.inference_mode(), torch_threads(threads):
        flops = 0.0
        for side in matrix_sizes:
            a, b = torch.rand(side, side, device=device), torch.rand(side, side, device=device)
            c = torch.empty_like(a)
            found = measure(
                lambda a=a, b=b, c=c: torch.mm(a, b, out=c),  # type: ignore[misc]
                warmup=2, repeats=repeats, synchronize=wait, clock=clock,
            )  # fmt: skip
            flops = max(flops, 2 * side**3 / _seconds(found.summary.min))
        count = stream_bytes // 4
        x, y = torch.rand(count, device=device), torch.rand(count, device=device)
        z = torch.empty_like(x)
        found = measure(lambda: torch.add(x, y, out=z), warmup=2, repeats=repeats, synchronize=wait, clock=clock)
        bandwidth = 3 * 4 * count / _seconds(found.summary.min)
    return Roofs(flops, bandwidth, threads, device)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """A block in which torch uses this many threads per operator; the setting before it comes back."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(ms: float) -> float:
    if ms <= 0:
        raise ConfigError("the work was faster than the clock can tell: measure roofs with larger matrices and arrays")
    return ms / 1e3
