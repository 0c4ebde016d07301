"""Where joules can be read: RAPL (Intel and AMD packages), NVML (NVIDIA cards), INA3221 rails (Jetson boards).

Some meters count energy, others show power. Both become one thing here, an `EnergyReader`: "joules since you first
asked". A reader is asked again and again while work runs, which follows a counter over its wraparounds and integrates
a power display.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from solutions.core.errors import BackendUnavailable
from solutions.core.optional import require


class EnergyReader(Protocol):
    """One source of joules."""

    @property
    def name(self) -> str:
        """What is metered, e.g. "rapl: package-0 + dram"."""

    def sample(self, now_s: float) -> float:
        """Joules since the first call, which returns 0. Raises OSError when the meter can no longer be read."""


class CounterReader:
    """Joules from counters that only rise, until they wrap to 0.

    Args:
        name: what is metered.
        counters: each a function that returns the counter's present value in joules, and the joules at which it wraps
            (0: never). A counter must not wrap twice between two samples.
    """

    def __init__(self, name: str, counters: list[tuple[Callable[[], float], float]]) -> None:
        self.name = name
        self._counters = counters
        self._last: list[float] | None = None
        self._joules = 0.0

    def sample(self, now_s: float) -> float:
        """Joules counted since the first call."""
        values = [read() for read, _ in self._counters]
        if self._last is not None:
            for value, last, (_, wraps_at) in zip(values, self._last, self._counters, strict=True):
                self._joules += value - last if value >= last else value + wraps_at - last
        self._last = values
        return self._joules


class PowerReader:
    """Joules from a display of watts: the trapezoid rule over the samples, so it is as good as they are dense."""

    def __init__(self, name: str, watts: Callable[[], float]) -> None:
        self.name = name
        self._watts = watts
        self._last: tuple[float, float] | None = None
        self._joules = 0.0

    def sample(self, now_s: float) -> float:
        """Joules integrated since the first call."""
        watts = self._watts()
        if self._last is not None:
            last_s, last_watts = self._last
            self._joules += (watts + last_watts) / 2 * (now_s - last_s)
        self._last = now_s, watts
        return self._joules


def rapl_reader(root: Path = Path("/")) -> EnergyReader:
    """Packages and their memory, by the kernel's powercap counters.

    Cores and graphics are parts of a package, and psys contains everything: adding them would count twice.

    Raises:
        BackendUnavailable: no counters here (virtual machines, ARM), or root alone may read them.
    """
    base = root / "sys/class/powercap"
    counters: list[tuple[Callable[[], float], float]] = []
    names: list[str] = []
    unreadable: Path | None = None
    for zone in sorted(base.glob("intel-rapl:*")):
        name = _text(zone / "name")
        if not name.startswith(("package", "dram")):
            continue
        counter = zone / "energy_uj"
        try:
            counter.read_text()
            wraps_at = float((zone / "max_energy_range_uj").read_text()) / 1e6
        except OSError:
            unreadable = counter
            continue
        counters.append((lambda path=counter: float(path.read_text()) / 1e6, wraps_at))  # type: ignore[misc]
        names.append(name)
    if counters:
        return CounterReader("rapl: " + " + ".join(names), counters)
    if unreadable is not None:
        raise BackendUnavailable(f"RAPL: {unreadable} is readable by root only")
    raise BackendUnavailable(f"RAPL: no package counters under {base}")


def nvml_reader(nvml: Any = None) -> EnergyReader:
    """All NVIDIA cards, by their energy counter (Volta and later) or else by their power display.

    Args:
        nvml: a module with pynvml's functions; the installed one unless given.

    Raises:
        BackendUnavailable: pynvml is not installed, there is no driver or no card.
    """
    nvml = nvml or require("pynvml", why="reading a GPU's energy", install='pip install "ml-inference[gpu]"')
    try:
        nvml.nvmlInit()
        cards = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError as error:
        raise BackendUnavailable(f"NVML: {error}") from error
    if not cards:
        raise BackendUnavailable("NVML: the driver reports no card")

    def ask(function: Callable[[Any], int], card: Any) -> float:
        try:
            return function(card) / 1e3  # millijoules, milliwatts
        except nvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from error

    try:
        for card in cards:
            ask(nvml.nvmlDeviceGetTotalEnergyConsumption, card)
    except OSError:  # before Volta
        try:
            for card in cards:
                ask(nvml.nvmlDeviceGetPowerUsage, card)
        except OSError as error:
            raise BackendUnavailable(str(error)) from error
        return PowerReader("nvml: power", lambda: sum(ask(nvml.nvmlDeviceGetPowerUsage, card) for card in cards))
    read = nvml.nvmlDeviceGetTotalEnergyConsumption
    return CounterReader("nvml: energy", [(lambda card=card: ask(read, card), 0.0) for card in cards])  # type: ignore[misc]


# One rail feeds the whole module on most boards; AGX boards have none such, there the parts add up to it.
_TOTAL_RAILS = ("VDD_IN", "POM_5V_IN")
_AGX_RAILS = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")


def jetson_reader(root: Path = Path("/")) -> EnergyReader:
    """The whole Jetson module, by the INA3221 monitors on its supply rails.

    Volts times amperes from hwmon (in1_input mV, curr1_input mA; kernel.org, hwmon/ina3221) on JetPack 5 and later,
    milliwatts from iio (in_power0_input) on JetPack 4.

    Raises:
        BackendUnavailable: no such monitor here, or none on a supply rail.
    """
    rails: dict[str, Callable[[], float]] = {}
    for label in root.glob("sys/bus/i2c/drivers/ina3221*/*/hwmon/hwmon*/in*_label"):
        channel = label.name.removeprefix("in").removesuffix("_label")
        volts, amperes = label.with_name(f"in{channel}_input"), label.with_name(f"curr{channel}_input")
        if volts.exists() and amperes.exists():
            rails[_text(label)] = lambda v=volts, a=amperes: float(v.read_text()) * float(a.read_text()) / 1e6  # type: ignore[misc]
    for label in root.glob("sys/bus/i2c/drivers/ina3221*/*/iio:device*/rail_name_*"):
        power = label.with_name(f"in_power{label.name.removeprefix('rail_name_')}_input")
        if power.exists():
            rails[_text(label)] = lambda path=power: float(path.read_text()) / 1e3  # type: ignore[misc]
    chosen = [name for name in _TOTAL_RAILS if name in rails][:1] or [name for name in _AGX_RAILS if name in rails]
    if not chosen:
        found = f"only {', '.join(sorted(rails))}" if rails else "none"
        raise BackendUnavailable(f"Jetson rails: an INA3221 on a supply rail is needed, found {found}")
    return PowerReader("jetson: " + " + ".join(chosen), lambda: sum(rails[name]() for name in chosen))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
