"""Joules spent while a block of code runs, or the reason why they cannot be known here. Never an invented number."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from solutions.core.errors import BackendUnavailable, ConfigError
from solutions.core.measure.energy_readers import EnergyReader, jetson_reader, nvml_reader, rapl_reader


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules over `seconds`, by source; `joules` is None where nothing could be metered, and `reason` says why.

    What is metered is whole parts of the machine, idle power and neighbours included. `reason` also names the meters
    that were missing beside those that were not.
    """

    joules: float | None
    seconds: float
    by_source: tuple[tuple[str, float], ...] = ()
    reason: str = ""

    @property
    def watts(self) -> float | None:
        """Mean power, or None where no energy is known."""
        return self.joules / self.seconds if self.joules is not None and self.seconds > 0 else None

    def per(self, count: int) -> float | None:
        """Joules per unit of work, or None where no energy is known.

        Raises:
            ConfigError: count is below 1.
        """
        if count < 1:
            raise ConfigError(f"energy per unit needs at least one unit, got {count}")
        return self.joules / count if self.joules is not None else None

    def as_dict(self) -> dict[str, object]:
        """The fields by name, units in the keys, ready for JSON."""
        return {
            "joules": self.joules,
            "seconds": self.seconds,
            "watts": self.watts,
            "by_source": dict(self.by_source),
            "reason": self.reason,
        }

    def __str__(self) -> str:
        if self.joules is None:
            return f"not measurable here ({self.reason})"
        return f"{self.joules:.3g} J in {self.seconds:.3g} s ({', '.join(name for name, _ in self.by_source)})"


def find_readers(root: Path = Path("/")) -> tuple[list[EnergyReader], list[str]]:
    """The readers that work on this machine, and one reason for each that does not.

    A Jetson's supply rail feeds its GPU and CPU as well, so where it can be read nothing else is.

    Args:
        root: of the file system that is searched; with another than "/" NVML, which is no file, is left out.
    """
    try:
        return [jetson_reader(root)], []
    except BackendUnavailable as error:
        reasons = [str(error)]
    finders: list[Callable[[], EnergyReader]] = [lambda: rapl_reader(root)]
    if root == Path("/"):
        finders.append(nvml_reader)
    readers: list[EnergyReader] = []
    for find in finders:
        try:
            readers.append(find())
        except BackendUnavailable as error:
            reasons.append(str(error))
    return readers, reasons


class EnergyMeter:
    """A `with` block whose energy is metered; `result` holds the answer after it. One meter serves one block.

    A thread of its own, which ends with the block, samples every `interval_s`: short against the time in which a RAPL
    counter wraps (minutes), dense enough to integrate a power display. A meter that fails on the way drops out with
    its reason. Pass `interval_s=None` for no thread: then only `sample` and the ends of the block are seen.

    Args:
        readers: the sources; those of this machine unless given.
        interval_s: seconds between samples.
        clock: seconds, monotonic.

    Raises:
        ConfigError: an interval that is not positive.
    """

    def __init__(
        self,
        readers: Iterable[EnergyReader] | None = None,
        *,
        interval_s: float | None = 0.1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if interval_s is not None and interval_s <= 0:
            raise ConfigError(f"interval_s must be above 0 or None, got {interval_s}")
        found, self._reasons = find_readers() if readers is None else (list(readers), [])
        self._joules: dict[EnergyReader, float] = dict.fromkeys(found, 0.0)
        self._interval_s = interval_s
        self._clock = clock
        self._start_s = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._result: Energy | None = None

    @property
    def result(self) -> Energy:
        """The energy of the block.

        Raises:
            ConfigError: the block has not ended.
        """
        if self._result is None:
            raise ConfigError("the energy of a block is known when it has ended")
        return self._result

    def sample(self) -> None:
        """Ask every reader once; those that fail drop out. Called by the owner of the samples only."""
        for reader in list(self._joules):
            try:
                self._joules[reader] = reader.sample(self._clock())
            except (OSError, ValueError) as error:
                del self._joules[reader]
                self._reasons.append(f"{reader.name} stopped answering: {error}")

    def __enter__(self) -> EnergyMeter:
        self._start_s = self._clock()
        self.sample()
        if self._joules and self._interval_s is not None:
            self._thread = threading.Thread(
                target=self._run, args=(self._interval_s,), name="energy-meter", daemon=True
            )
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.sample()
        self._result = Energy(
            joules=sum(self._joules.values()) if self._joules else None,
            seconds=self._clock() - self._start_s,
            by_source=tuple((reader.name, joules) for reader, joules in self._joules.items()),
            reason="; ".join(self._reasons),
        )

    def _run(self, interval_s: float) -> None:
        while not self._stop.wait(interval_s):
            self.sample()
