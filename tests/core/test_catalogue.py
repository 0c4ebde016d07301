"""Devices by name, and datasheets that do not contradict themselves."""

import dataclasses
import json

import pytest

from solutions.core.errors import ConfigError
from solutions.core.hardware.catalogue import ALIASES, DEVICES, Device, find_device

NAMES = [
    *("raspberrypi4", "raspberrypi5", "jetson-nano", "jetson-xavier-nx", "jetson-orin-nano", "jetson-agx-orin"),
    *("coral", "ncs2", "t4", "l4", "a100", "h100", "x86-laptop"),
]


def test_catalogue_holds_what_the_course_names():
    assert set(NAMES) <= set(DEVICES)
    assert set(ALIASES.values()) <= set(DEVICES)
    assert not set(ALIASES) & set(DEVICES)


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
def test_datasheet_is_plausible(device):
    peaks = [device.peak(precision) for precision in device.precisions]
    assert peaks == sorted(peaks)  # narrower numbers are never slower
    assert device.source.count("https://") == 1
    assert device.runtimes
    assert device.bandwidth or device.link
    json.dumps(device.as_dict())
    hash(device)


@pytest.mark.parametrize("name", ["jetson-agx-orin", "jetson-orin-nano", "l4", "h100"])
def test_sparse_rates_are_halved_and_say_so(name):
    assert "halved" in DEVICES[name].note


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("jetson", "jetson-orin-nano"),
        ("raspberrypi", "raspberrypi5"),
        ("RaspberryPi4", "raspberrypi4"),
        (" Jetson AGX_Orin ", "jetson-agx-orin"),
        ("H100", "h100"),
    ],
)
def test_find_device(name, want):
    assert find_device(name).name == want


def test_unknown_device_names_the_closest_and_all():
    with pytest.raises(ConfigError, match=r"Did you mean jetson-xavier-nx\?.*Known: raspberrypi4.*x86-laptop"):
        find_device("jetson-xavier")
    with pytest.raises(ConfigError, match=r"no device is called 'zzz'\. Known"):
        find_device("zzz")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"fp32": None, "int8": None}, id="no-peak"),
        pytest.param({"fp32": 0.0}, id="zero-peak"),
        pytest.param({"bandwidth": -1.0}, id="negative-bandwidth"),
        pytest.param({"achieved": (0.5, 0.2)}, id="fractions-reversed"),
        pytest.param({"achieved": (0.5, 1.2)}, id="above-the-peak"),
    ],
)
def test_bad_datasheets_are_refused(change):
    with pytest.raises(ConfigError):
        dataclasses.replace(DEVICES["x86-laptop"], **change)


def test_unsupported_precision_names_the_supported_ones():
    with pytest.raises(ConfigError, match="choose int8"):
        find_device("coral").peak("fp32")
    assert Device is type(find_device("coral"))
