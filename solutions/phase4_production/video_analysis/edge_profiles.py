"""What an edge device is asked to run: detector tier and precision by device; and whether this machine is one."""

from __future__ import annotations

from dataclasses import dataclass

from solutions.core.hardware.catalogue import find_device
from solutions.core.hardware.device import Device
from solutions.core.hardware.profile import HardwareProfile

THIS_MACHINE = ("auto", "cpu")


@dataclass(frozen=True, slots=True)
class EdgeProfile:
    """The settings a device starts from; every one of them can be overridden on the command line.

    Attributes:
        tier: size of the embedded detector: "small", "medium" or "large".
        precision: "fp32", "fp16" or "int8".
        detect_every: frames per look of the detector.
    """

    tier: str = "medium"
    precision: str = "fp32"
    detect_every: int = 1


_PROFILES = {
    "raspberrypi4": EdgeProfile("small", "int8", 2),
    "raspberrypi5": EdgeProfile("small", "int8"),
    "jetson-nano": EdgeProfile("small", "fp16"),
    "jetson-xavier-nx": EdgeProfile("medium", "fp16"),
    "jetson-orin-nano": EdgeProfile("medium", "fp16"),
    "jetson-agx-orin": EdgeProfile("large", "fp16"),
    "coral": EdgeProfile("small", "int8"),
    "ncs2": EdgeProfile("small", "fp16"),
    "x86-laptop": EdgeProfile("medium", "fp32"),
}
_SERVER_GPU = EdgeProfile("large", "fp16")
_BOARD_WORDS = {
    "raspberrypi4": "raspberry pi 4",
    "raspberrypi5": "raspberry pi 5",
    "jetson-nano": "jetson nano",
    "jetson-xavier-nx": "xavier nx",
    "jetson-orin-nano": "orin nano",
    "jetson-agx-orin": "agx orin",
}


def profile_of(device: str) -> tuple[EdgeProfile, Device | None]:
    """The profile of a device name and the device itself; None for this machine ("auto", "cpu").

    Raises:
        ConfigError: no such device.
    """
    if device in THIS_MACHINE:
        return EdgeProfile(), None
    found = find_device(device)
    return _PROFILES.get(found.name, _SERVER_GPU), found


def is_here(device: Device, hardware: HardwareProfile) -> bool:
    """True when this machine is that device, or has it attached."""
    words = _BOARD_WORDS.get(device.name)
    if words:
        return words in hardware.board.lower()
    present = " ".join([*(gpu.name for gpu in hardware.gpus), *hardware.accelerators]).lower()
    return device.name.lower() in present
