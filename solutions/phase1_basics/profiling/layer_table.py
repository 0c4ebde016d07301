"""What a per-layer pass found, whatever the runtime: one row per layer, and the span of each on a time line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from solutions.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took `seconds` from `start_s` on, on the clock of its pass."""

    name: str
    kind: str
    start_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What one layer computes and moves in one inference; `flops` is None where nobody can count them."""

    flops: int | None
    bytes: int

    @property
    def intensity(self) -> float | None:
        """Operations per byte, the horizontal axis of the roofline; None where either is unknown or nothing moves."""
        return self.flops / self.bytes if self.flops is not None and self.bytes else None


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its time per inference, all of its `calls` together, and its cost where known.

    `name` is the module's path ("layer1.0.conv1") in both torch and ONNX passes where the graph tells it; `node` is
    what the runtime itself calls the kernel ("" where that is the same thing).
    """

    name: str
    kind: str
    calls: int
    ms: float
    cost: LayerCost
    node: str = ""

    @property
    def gflops_per_s(self) -> float | None:
        """10^9 operations per second that the layer reached."""
        return self.cost.flops / self.ms / 1e6 if self.cost.flops is not None and self.ms > 0 else None


@dataclass(frozen=True, slots=True)
class LayerPass:
    """A per-layer pass: layers in the order of execution, medians over `runs` inferences.

    `outside_ms` is what of an inference lay between the layers: functions that no module owns, the interpreter, the
    runtime's own work. The instruments slow the pass down: read layers as shares of it.
    """

    layers: tuple[Layer, ...]
    runs: int
    outside_ms: float
    timeline: tuple[Span, ...]

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise ConfigError(f"a layer pass needs at least one run, got {self.runs}")

    @property
    def total_ms(self) -> float:
        """An inference of this pass: what the medians of the layers and of the time between them add up to."""
        return sum(layer.ms for layer in self.layers) + self.outside_ms

    def share(self, layer: Layer) -> float:
        """The layer's fraction of the whole inference.

        >>> conv = Layer("conv", "Conv2d", 1, 3.0, LayerCost(None, 0))
        >>> LayerPass((conv,), runs=1, outside_ms=1.0, timeline=()).share(conv)
        0.75
        """
        total = self.total_ms
        return layer.ms / total if total > 0 else 0.0

    def slowest(self, count: int) -> tuple[Layer, ...]:
        """The layers that take the most time, slowest first."""
        return tuple(sorted(self.layers, key=lambda layer: -layer.ms)[:count])

    def by_kind(self) -> dict[str, float]:
        """Milliseconds per kind of layer, the largest first."""
        sums: dict[str, float] = {}
        for layer in self.layers:
            sums[layer.kind] = sums.get(layer.kind, 0.0) + layer.ms
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    def as_dict(self) -> dict[str, Any]:
        """Rows and totals, ready for JSON; the time line is left to the trace."""
        return {
            "runs": self.runs,
            "total_ms": self.total_ms,
            "outside_ms": self.outside_ms,
            "layers": [
                {
                    "name": layer.name,
                    "node": layer.node,
                    "kind": layer.kind,
                    "calls": layer.calls,
                    "ms": layer.ms,
                    "share": self.share(layer),
                    "flops": layer.cost.flops,
                    "bytes": layer.cost.bytes,
                    "intensity": layer.cost.intensity,
                    "gflops_per_s": layer.gflops_per_s,
                }
                for layer in self.layers
            ],
        }


def matched(a: LayerPass, b: LayerPass) -> tuple[tuple[str, float, float], ...]:
    """Layers that both passes know by name: (name, ms in a, ms in b), in the order of a.

    A runtime that fuses a convolution with its activation has both under the convolution's name.
    """
    others = _sums(b.layers)
    return tuple((name, ms, others[name]) for name, ms in _sums(a.layers).items() if name in others)


def _sums(layers: Sequence[Layer]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for layer in layers:
        sums[layer.name] = sums.get(layer.name, 0.0) + layer.ms
    return sums


def spans_as_dicts(spans: Sequence[Span]) -> list[dict[str, Any]]:
    """The spans by field, ready for JSON."""
    return [asdict(span) for span in spans]
