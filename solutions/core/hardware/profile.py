"""The machine that a number was measured on, as far as it can change the number."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from solutions.core.hardware.cgroups import cpu_quota, memory_limit_bytes, usable_cores
from solutions.core.hardware.cpu import Sysctl, read_cpu, run_sysctl
from solutions.core.hardware.devices import Gpu, ThermalZone, find_accelerators, find_board, find_gpus, thermal_zones

__all__ = ["Gpu", "HardwareProfile", "ThermalZone", "detect", "usable_cores"]


@dataclass(frozen=True, slots=True)
class HardwareProfile:
    """What is here. Unknown is "", None or an empty tuple, never a guess.

    `logical_cores` and `memory_bytes` are the machine's; `usable_cores`, `cpu_quota` (cores) and `memory_limit_bytes`
    are this process's share (see `cgroups`). `isa` holds names from `cpu.ISA_FLAGS`.
    """

    system: str
    machine: str
    cpu_model: str
    isa: tuple[str, ...]
    logical_cores: int
    usable_cores: int
    cpu_quota: float | None
    memory_bytes: int | None
    memory_limit_bytes: int | None
    board: str
    gpus: tuple[Gpu, ...]
    accelerators: tuple[str, ...]
    thermal: tuple[ThermalZone, ...]

    @property
    def hottest_c(self) -> float | None:
        """The highest temperature in degrees Celsius, or None without a sensor."""
        return max((zone.celsius for zone in self.thermal), default=None)

    def has(self, isa: str) -> bool:
        """True when the instruction set is here.

        >>> detect(Path("/no/such/root"), system="Linux").has("AVX2")
        False
        """
        return isa in self.isa

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)

    def describe(self) -> str:
        """One line for people, e.g. "AMD EPYC, 2 of 2 cores (AVX2 FMA ...), 8.3 GB, no GPU"."""
        memory = min(filter(None, (self.memory_bytes, self.memory_limit_bytes)), default=None)
        parts = [
            *([self.board] if self.board else []),
            self.cpu_model or self.machine or "unknown CPU",
            f"{self.usable_cores} of {self.logical_cores} cores ({' '.join(self.isa) or 'ISA unknown'})",
            *([f"{memory / 1e9:.1f} GB"] if memory else []),
            *([gpu.name for gpu in self.gpus] or ["no GPU"]),
            *self.accelerators,
        ]
        return ", ".join(parts)


def detect(
    root: Path = Path("/"),
    *,
    affinity: int | None = None,
    system: str | None = None,
    sysctl: Sysctl = run_sysctl,
) -> HardwareProfile:
    """The profile of this machine; never raises, reads a few dozen small files.

    Args:
        root: of the file system that holds proc, sys and dev. Another root describes the machine it was copied from,
            but for `machine`, which is this interpreter's.
        affinity: cores this process may run on; its own mask unless given.
        system: "Linux" or "Darwin"; this one unless given. sysctl is asked on Darwin only.
        sysctl: name -> value, or None.
    """
    system = system if system is not None else platform.system()
    ask = sysctl if system == "Darwin" else None
    cpu = read_cpu(root, ask)
    return HardwareProfile(
        system=system,
        machine=platform.machine(),
        cpu_model=cpu.model,
        isa=cpu.isa,
        logical_cores=cpu.logical_cores or os.cpu_count() or 1,
        usable_cores=usable_cores(root, affinity),
        cpu_quota=cpu_quota(root),
        memory_bytes=_memory_bytes(root, ask),
        memory_limit_bytes=memory_limit_bytes(root),
        board=find_board(root),
        gpus=find_gpus(root),
        accelerators=find_accelerators(root),
        thermal=thermal_zones(root),
    )


def _memory_bytes(root: Path, sysctl: Sysctl | None) -> int | None:
    try:
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    size = sysctl("hw.memsize") if sysctl is not None else None
    return int(size) if size and size.isdigit() else None
