"""One measured row per way to run a network, and a sentence for each way that was not run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.comparison.tasks import Judgement, Task, runner
from solutions.core.errors import CourseError
from solutions.core.measure.latency import LatencySummary
from solutions.core.measure.metrics import PairedRatio
from solutions.core.measure.profiling import measure, measure_pair
from solutions.core.tensors import Model
from solutions.phase2_optimization.quantization.gate import GateConfig
from solutions.phase2_optimization.quantization.judges import Drop

TIMING_S = 0.004  # several calls per timing where one takes less: runtimes that take turns find their caches cold


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run the network.

    Attributes:
        name: what was done to it.
        runtime: what runs it; the first way of each runtime is its float baseline.
        make: writes the file into a folder; the file and the running model come back.
        opinion: what else is said of it, from the scores per sample of the float model and of this one, and the ratio
            of their times; asked only where the task has scores per sample.
    """

    name: str
    runtime: str
    make: Callable[[Path], tuple[Path, Model]]
    opinion: Callable[[np.ndarray, np.ndarray, PairedRatio], str] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one way.

    Attributes:
        size_bytes: of the file.
        value: the task's figure.
        drop: below the float model in the same runtime, with its interval; None for the float model.
        latency: per call.
        ratio: time over the float model's in the same runtime, interleaved; None for the float model.
        verdict: the gate's: "accepted", or what it is refused for; "baseline".
        note: what else has to be known.
    """

    name: str
    runtime: str
    size_bytes: int
    value: float
    drop: Drop | None
    latency: LatencySummary
    ratio: PairedRatio | None
    verdict: str
    note: str = ""

    @property
    def accepted(self) -> bool:
        """True when it is faster and good enough."""
        return self.verdict == ACCEPTED

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        drop = self.drop
        return {
            "name": self.name,
            "runtime": self.runtime,
            "size_bytes": self.size_bytes,
            "accuracy": self.value,
            "drop": drop.as_dict() if drop else None,
            "latency_ms": self.latency.as_dict(),
            "ratio_to_float": self.ratio.as_dict() if self.ratio else None,
            "speedup": self.ratio.speedup if self.ratio else None,
            "verdict": self.verdict,
            "note": self.note,
        }


ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class NotRun:
    """A way that gave no row, and why."""

    name: str
    runtime: str
    why: str

    @property
    def sentence(self) -> str:
        """For people."""
        return f"{self.name}{f' on {self.runtime}' if self.runtime else ''}: {self.why}"

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {"name": self.name, "runtime": self.runtime, "why": self.why}


@dataclass(frozen=True, slots=True)
class _Open:
    model: Model
    judged: Judgement


class Bench:
    """Measures ways one after the other, each against the float model in its own runtime.

    Args:
        task: what the network is for.
        folder: for the files that are made.
        bounds: of the verdict; also the rounds of each interleaved pair.
    """

    def __init__(self, task: Task, folder: Path, bounds: GateConfig) -> None:
        self._task, self._folder, self._bounds = task, folder, bounds
        self._floats: dict[str, _Open] = {}

    def run(self, way: Way) -> Row | NotRun:
        """The row of one way, or why there is none."""
        try:
            path, model = way.make(self._folder)
        except CourseError as error:
            return NotRun(way.name, way.runtime, str(error))
        try:
            return self._measured(way, path, model)
        finally:
            if way.runtime not in self._floats or self._floats[way.runtime].model is not model:
                model.close()

    def close(self) -> None:
        """Free the float models."""
        for opened in self._floats.values():
            opened.model.close()
        self._floats.clear()

    def _measured(self, way: Way, path: Path, model: Model) -> Row:
        judged, size = self._task.judge(runner(model)), file_bytes(path)
        feeds, rounds = self._task.timed, self._bounds.rounds
        baseline = self._floats.setdefault(way.runtime, _Open(model, judged))
        if baseline.model is model:
            alone = measure(lambda: model.predict(feeds), repeats=2 * rounds)
            return Row(way.name, way.runtime, size, judged.value, None, alone.summary, None, "baseline")
        pair = measure_pair(
            lambda: baseline.model.predict(feeds),
            lambda: model.predict(feeds),
            rounds=rounds,
            inner=calls_per_timing(lambda: baseline.model.predict(feeds)),
        )
        drop = baseline.judged.drop(judged, confidence=self._bounds.confidence)
        verdict = self.verdict(drop, pair.ratio)
        note, before, after = "", baseline.judged.per_sample, judged.per_sample
        if way.opinion is not None and before is not None and after is not None:
            note = way.opinion(before, after, pair.ratio)
        return Row(way.name, way.runtime, size, judged.value, drop, pair.b, pair.ratio, verdict, note)

    def verdict(self, drop: Drop, ratio: PairedRatio) -> str:
        """The gate's rule: both whole intervals within their bounds."""
        wrong = "accuracy" if drop.high > self._bounds.max_drop else ""
        slow = "" if ratio.verdict(at_most=1 / self._bounds.min_speedup) == "pass" else "speed"
        missed = " and ".join(filter(None, (wrong, slow)))
        return f"refused for {missed}" if missed else ACCEPTED


def file_bytes(path: Path) -> int:
    """Bytes of a file; of a folder, of everything in it; of an OpenVINO .xml, with its weights."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    weights = path.with_suffix(".bin")
    extra = weights.stat().st_size if path.suffix == ".xml" and weights.is_file() else 0
    return path.stat().st_size + extra


def calls_per_timing(call: Callable[[], object]) -> int:
    """How many calls make a timing long enough."""
    call()
    start = time.perf_counter()
    call()
    spent = time.perf_counter() - start
    return max(1, round(TIMING_S / spent)) if spent > 0 else 1
