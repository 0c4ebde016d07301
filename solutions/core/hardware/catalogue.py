"""Devices that people deploy on, by public datasheet: what they could do at best, found by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from solutions.core.errors import ConfigError
from solutions.core.hardware.datasheets import DATASHEETS
from solutions.core.hardware.device import Device, Precision

__all__ = ["ALIASES", "DEVICES", "Device", "Precision", "find_device"]

DEVICES: Mapping[str, Device] = MappingProxyType({device.name: device for device in DATASHEETS})
ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "jetson": "jetson-orin-nano",
        "raspberrypi": "raspberrypi5",
        "rpi4": "raspberrypi4",
        "rpi5": "raspberrypi5",
        "edgetpu": "coral",
        "myriad": "ncs2",
        "laptop": "x86-laptop",
    }
)


def find_device(name: str) -> Device:
    """The device of that name or alias; case, spaces and underscores do not matter.

    Raises:
        ConfigError: none is called so; the sentence names the closest and all others.

    >>> find_device("Jetson_Nano").title
    'NVIDIA Jetson Nano (4 GB)'
    """
    key = name.strip().lower().replace("_", "-").replace(" ", "-")
    key = ALIASES.get(key, key)
    if key in DEVICES:
        return DEVICES[key]
    close = difflib.get_close_matches(key, [*DEVICES, *ALIASES], n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise ConfigError(f"no device is called {name!r}.{hint} Known: {', '.join(DEVICES)}.")
