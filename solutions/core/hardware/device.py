"""The value that describes a device: its datasheet, in the numbers that an estimate needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from solutions.core.errors import ConfigError

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device by its datasheet.

    Args:
        name: the key in the catalogue.
        title: as its vendor writes it.
        fp32: operations per second, dense; None when not supported. Likewise fp16 and int8.
        cores: CPU cores, CUDA cores on GPUs; None where the count means nothing.
        memory_bytes: memory that a model and its activations may fill.
        bandwidth: bytes per second to that memory; None where the vendor states none (then memory traffic is not
            estimated).
        link: bytes per second, one way, between the host and the device's memory; None where they share memory.
        weight_cache_bytes: weights that stay on the chip between inferences; those beyond cross the link every time.
            0 where weights live in the memory.
        tdp_w: thermal design power or the module's power budget, in watts; None where the vendor states none.
        runtimes: what runs models on it.
        achieved: fractions of the peak that real networks reach, pessimistic and optimistic. Our assumption, set
            around published benchmarks; no vendor states it.
        node_overhead_s: seconds to launch one graph node; 0 where a whole graph is one launch.
        source: name and address of the datasheet.
        note: halvings, derivations, variants.
    """

    name: str
    title: str
    fp32: float | None = None
    fp16: float | None = None
    int8: float | None = None
    cores: int | None = None
    memory_bytes: int
    bandwidth: float | None = None
    link: float | None = None
    weight_cache_bytes: int = 0
    tdp_w: float | None = None
    runtimes: tuple[str, ...]
    achieved: tuple[float, float]
    node_overhead_s: float = 0.0
    source: str
    note: str = ""

    def __post_init__(self) -> None:
        if not self.precisions:
            raise ConfigError(f"{self.name} needs a peak in at least one of {', '.join(PRECISIONS)}")
        rates = [self.fp32, self.fp16, self.int8, self.bandwidth, self.link]
        if any(rate is not None and rate <= 0 for rate in rates):
            raise ConfigError(f"rates of {self.name} must be above 0 or None, got {rates}")
        low, high = self.achieved
        if not 0 < low <= high <= 1:
            raise ConfigError(f"achieved of {self.name} must satisfy 0 < low <= high <= 1, got {self.achieved}")

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What the device computes in."""
        peaks = (self.fp32, self.fp16, self.int8)
        return tuple(name for name, peak in zip(PRECISIONS, peaks, strict=True) if peak is not None)

    def peak(self, precision: str) -> float:
        """Operations per second at that precision.

        Raises:
            ConfigError: the device does not compute in it.
        """
        peak = {"fp32": self.fp32, "fp16": self.fp16, "int8": self.int8}.get(precision)
        if peak is None:
            raise ConfigError(f"{self.title} does not compute in {precision!r}: choose {' or '.join(self.precisions)}")
        return peak

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)
