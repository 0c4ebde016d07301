"""How much memory a process, a block of code, a device and a tensor take. MB means 10^6 bytes throughout."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from solutions.core.errors import ConfigError

_SELF = Path("/proc/self")

# element sizes, in bits, of what NumPy has no name for
_EXTRA_BITS = {
    "bfloat16": 16,
    "float8_e4m3fn": 8,
    "float8_e5m2": 8,
    "float4_e2m1fn": 4,
    "int4": 4,
    "uint4": 4,
    "int2": 2,
    "uint2": 2,
}


def tensor_bytes(shape: Sequence[int], dtype: str) -> int:
    """Bytes that the elements of a dense tensor take; sub-byte types are packed and rounded up to whole bytes.

    Args:
        shape: sizes, all >= 0; () is a scalar.
        dtype: a NumPy name, or bfloat16, a float8, a float4, int4 or int2 name as ONNX and torch write it.

    Raises:
        ConfigError: a negative size or an unknown type.

    >>> tensor_bytes((1, 3, 224, 224), "float32"), tensor_bytes((3,), "int4")
    (602112, 2)
    """
    if any(size < 0 for size in shape):
        raise ConfigError(f"sizes must be >= 0, got {tuple(shape)}")
    bits = _EXTRA_BITS.get(dtype)
    if bits is None:
        try:
            bits = np.dtype(dtype).itemsize * 8
        except TypeError as error:
            raise ConfigError(
                f"unknown tensor type {dtype!r}: name it as NumPy does, or bfloat16, int4, ..."
            ) from error
    return -(-math.prod(shape) * bits // 8)


def rss_mb() -> float:
    """Resident memory of this process now."""
    return float(psutil.Process().memory_info().rss) / 1e6


def peak_rss_mb(proc: Path = _SELF) -> float:
    """The most resident memory that this process has ever held (or since the last `peak_rss_during`).

    Linux answers with VmHWM. `getrusage`, the answer elsewhere, would be wrong there: its maximum is inherited from
    the process that started this one.
    """
    high = _status_mb(proc, "VmHWM")
    if high is not None:
        return high
    maximum = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return maximum / 1e6 if sys.platform == "darwin" else maximum * 1024 / 1e6  # macOS counts bytes, others KiB


@dataclass(slots=True)
class PeakRss:
    """Filled in when the block ends: its peak, what was resident when it began, and whether the peak is the block's.

    `exact` is False where the high-water mark could not be reset and the block stayed below an older peak:
    `peak_mb` is then an upper bound.
    """

    start_mb: float
    peak_mb: float = math.nan
    exact: bool = False

    @property
    def growth_mb(self) -> float:
        """How far the peak rose above the start."""
        return max(0.0, self.peak_mb - self.start_mb)


@contextmanager
def peak_rss_during(proc: Path = _SELF) -> Iterator[PeakRss]:
    """A block of code whose peak resident memory is measured.

    Linux resets the high-water mark (VmHWM) when "5" is written to /proc/self/clear_refs (proc_pid_clear_refs(5)),
    which is process-wide: memory taken by other threads meanwhile counts too, and blocks must not nest.
    """
    try:
        (proc / "clear_refs").write_text("5")
        reset = True
    except OSError:  # no such file (macOS), or not allowed (some sandboxes)
        reset = False
    before = peak_rss_mb(proc)
    resident = _status_mb(proc, "VmRSS")
    result = PeakRss(start_mb=rss_mb() if resident is None else resident)
    try:
        yield result
    finally:
        result.peak_mb = peak_rss_mb(proc)
        result.exact = reset or result.peak_mb > before  # a new record was set inside the block, reset or not


def vram_mb() -> float | None:
    """The most device memory torch has reserved on one device in this process; None without a device or torch.

    Peak since start or `torch.cuda.reset_peak_memory_stats` on CUDA, the present value on MPS. Memory that other
    runtimes (TensorRT, ONNX Runtime) take for themselves is not seen.
    """
    torch = sys.modules.get("torch")  # whoever holds device memory through torch has imported it
    if torch is None:
        return None
    if torch.cuda.is_available():
        devices = range(torch.cuda.device_count())
        return max(float(torch.cuda.max_memory_reserved(device)) for device in devices) / 1e6
    if torch.backends.mps.is_available():
        return float(torch.mps.driver_allocated_memory()) / 1e6
    return None


def _status_mb(proc: Path, field: str) -> float | None:
    """One "Vm...: n kB" line of /proc/self/status, or None where there is none."""
    try:
        lines = (proc / "status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6  # the kernel's kB are KiB
    return None
