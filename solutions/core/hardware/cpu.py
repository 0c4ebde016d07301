"""What the processor is and which instructions matter to inference: from /proc/cpuinfo, or sysctl on macOS."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Our name of each instruction set -> the flags that announce it in /proc/cpuinfo ("flags" on x86, "Features" on ARM).
ISA_FLAGS: dict[str, tuple[str, ...]] = {
    "AVX2": ("avx2",),
    "FMA": ("fma",),
    "AVX512F": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "BF16": ("avx512_bf16", "bf16"),
    "AMX": ("amx_tile",),
    "NEON": ("asimd", "neon"),
    "FP16": ("asimdhp", "avx512_fp16"),
    "DOTPROD": ("asimddp",),
    "I8MM": ("i8mm",),
    "SVE": ("sve",),
}

_SYSCTL_FLAGS = {
    "hw.optional.avx2_0": "AVX2",
    "hw.optional.fma": "FMA",
    "hw.optional.avx512f": "AVX512F",
    "hw.optional.neon": "NEON",
    "hw.optional.arm.FEAT_FP16": "FP16",
    "hw.optional.arm.FEAT_DotProd": "DOTPROD",
    "hw.optional.arm.FEAT_I8MM": "I8MM",
    "hw.optional.arm.FEAT_BF16": "BF16",
}

# "CPU part" of ARM Ltd. cores (implementer 0x41), as lscpu knows them
_ARM_PARTS = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD49: "Neoverse-N2",
    0xD4F: "Neoverse-V2",
}

Sysctl = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Cpu:
    """Model name ("" when unknown), instruction sets in the order of `ISA_FLAGS`, logical cores (0 when unknown)."""

    model: str = ""
    isa: tuple[str, ...] = ()
    logical_cores: int = 0


def read_cpu(root: Path, sysctl: Sysctl | None = None) -> Cpu:
    """The processor, all cores together.

    Args:
        root: of the file system that holds proc/cpuinfo.
        sysctl: asked where there is no cpuinfo; None: nobody is.
    """
    try:
        text = (root / "proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return _from_sysctl(sysctl) if sysctl is not None else Cpu()
    flags: set[str] = set()
    model = ""
    parts: list[str] = []
    hardware = ""
    processors = 0
    for line in text.splitlines():
        key, _, value = (piece.strip() for piece in line.partition(":"))
        if key == "processor":
            processors += 1
        elif key in ("flags", "Features"):
            flags.update(value.split())
        elif key == "model name":
            model = model or value
        elif key == "CPU part":
            parts.append(value)
        elif key == "Hardware":
            hardware = value
    isa = tuple(name for name, names in ISA_FLAGS.items() if not flags.isdisjoint(names))
    return Cpu(_arm_model(parts) or model or hardware, isa, processors)


def _arm_model(parts: list[str]) -> str:
    """ "4x Cortex-A76" from the part numbers of all cores; "" when one of them is unknown."""
    names = []
    for part in parts:
        known = _ARM_PARTS.get(int(part, 16)) if re.fullmatch(r"0x[0-9a-fA-F]+", part) else None
        if known is None:
            return ""
        names.append(known)
    return " + ".join(f"{names.count(name)}x {name}" for name in dict.fromkeys(names))


def _from_sysctl(sysctl: Sysctl) -> Cpu:
    found = {isa for key, isa in _SYSCTL_FLAGS.items() if sysctl(key) == "1"}
    cores = sysctl("hw.logicalcpu") or ""
    return Cpu(
        model=sysctl("machdep.cpu.brand_string") or "",
        isa=tuple(name for name in ISA_FLAGS if name in found),
        logical_cores=int(cores) if cores.isdigit() else 0,
    )


def run_sysctl(name: str) -> str | None:
    """The value of a macOS kernel setting, or None where there is no such setting or no sysctl."""
    try:
        answer = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=2, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
