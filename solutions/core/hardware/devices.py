"""What is plugged in or soldered on: GPUs, accelerators, the board, temperatures. Files only; no driver is woken."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_DRM_VENDORS = {"0x1002": "AMD", "0x8086": "Intel"}

# USB vendor:product -> what it is. A Coral shows the first id until its firmware is loaded, then the second.
_USB_ACCELERATORS = {
    "1a6e:089a": "Coral Edge TPU (USB)",
    "18d1:9302": "Coral Edge TPU (USB)",
    "03e7:2485": "Intel Neural Compute Stick 2 (Myriad X)",
    "03e7:f63b": "Intel Neural Compute Stick 2 (Myriad X)",
}

# kernel drivers of the compute accelerators subsystem, /dev/accel
_ACCEL_DRIVERS = {
    "intel_vpu": "Intel NPU",
    "amdxdna": "AMD XDNA NPU",
    "habanalabs": "Intel Gaudi",
    "qaic": "Cloud AI 100",
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """One graphics processor; `memory_bytes` is None where only its driver could tell."""

    vendor: str
    name: str
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ThermalZone:
    """One temperature sensor of the kernel."""

    name: str
    celsius: float


def find_gpus(root: Path = Path("/")) -> tuple[Gpu, ...]:
    """GPUs by what the kernel shows; with their memory where torch has already been imported and sees CUDA or MPS."""
    if root == Path("/") and (known := _torch_gpus()):
        return known
    gpus = []
    for information in sorted(root.glob("proc/driver/nvidia/gpus/*/information")):
        name = next((line.partition(":")[2].strip() for line in _text(information).splitlines() if "Model" in line), "")
        gpus.append(Gpu("NVIDIA", name or "NVIDIA GPU"))
    if not gpus:  # containers get the device nodes without that part of /proc
        gpus = [Gpu("NVIDIA", "NVIDIA GPU") for _ in root.glob("dev/nvidia[0-9]*")]
    if not gpus and (root / "dev/nvhost-gpu").exists():
        gpus = [Gpu("NVIDIA", "Jetson integrated GPU")]
    for vendor_file in sorted(root.glob("sys/class/drm/card[0-9]/device/vendor")):
        vendor = _DRM_VENDORS.get(_text(vendor_file))
        if vendor:
            gpus.append(Gpu(vendor, f"{vendor} GPU"))
    return tuple(gpus)


def find_accelerators(root: Path = Path("/")) -> tuple[str, ...]:
    """Names of the inference accelerators beside CPU and GPU, sorted."""
    found = []
    for vendor in root.glob("sys/bus/usb/devices/*/idVendor"):
        name = _USB_ACCELERATORS.get(f"{_text(vendor)}:{_text(vendor.with_name('idProduct'))}")
        if name:
            found.append(name)
    found += ["Coral Edge TPU (PCIe)" for _ in root.glob("dev/apex_[0-9]*")]
    found += ["Hailo" for _ in root.glob("dev/hailo[0-9]*")]
    for event in root.glob("sys/class/accel/accel*/device/uevent"):
        driver = next((line[7:] for line in _text(event).splitlines() if line.startswith("DRIVER=")), "")
        found.append(_ACCEL_DRIVERS.get(driver, f"accelerator (driver {driver or 'unknown'})"))
    return tuple(sorted(found))


def find_board(root: Path = Path("/")) -> str:
    """The board by its device tree, e.g. "Raspberry Pi 5 Model B Rev 1.0"; "" on a PC."""
    return _text(root / "proc/device-tree/model").strip("\0").strip()


def thermal_zones(root: Path = Path("/")) -> tuple[ThermalZone, ...]:
    """Temperatures now; sensors that cannot be read or that report nonsense are left out."""
    zones = []
    for folder in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        try:
            celsius = int(_text(folder / "temp")) / 1e3
        except ValueError:
            continue
        if -50 < celsius < 200:
            zones.append(ThermalZone(_text(folder / "type") or folder.name, celsius))
    return tuple(zones)


def _torch_gpus() -> tuple[Gpu, ...]:
    torch = sys.modules.get("torch")
    if torch is None:
        return ()
    try:
        if torch.cuda.is_available():
            cards: Iterable[object] = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
            vendor = "AMD" if torch.version.hip else "NVIDIA"
            return tuple(Gpu(vendor, card.name, int(card.total_memory)) for card in cards)  # type: ignore[attr-defined]
        if torch.backends.mps.is_available():
            return (Gpu("Apple", "Apple GPU"),)
    except (AttributeError, RuntimeError):  # torch half imported, or a driver that does not answer
        pass
    return ()


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
