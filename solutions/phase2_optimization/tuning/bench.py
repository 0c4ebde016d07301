"""Candidates on the bench: prepared when their turn comes, timed in blocks, judged, their figures kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from solutions.core.errors import CourseError
from solutions.core.measure.latency import LatencySummary
from solutions.phase2_optimization.tuning.accuracy import Accuracy, Jury
from solutions.phase2_optimization.tuning.candidates import Candidate
from solutions.phase2_optimization.tuning.outcome import Row
from solutions.phase2_optimization.tuning.race import Timing
from solutions.phase2_optimization.tuning.workshop import Ready, Workshop

_BLOCK_S = 0.02  # what one measurement takes at least: far above the clock and one interruption
_MOST_CALLS = 20
_WARM_UP = 2  # besides the first call, which compiles
_SLOW_CALL_S = 0.03  # from here on caches are cold and filled again within a call


@dataclass(slots=True)
class Record:
    """What is known of a candidate so far: seconds of its calls, and what `Row` holds."""

    calls_s: list[float] = field(default_factory=list)
    items: int = 1
    accuracy: Accuracy | None = None
    size_bytes: int | None = None
    prepare_s: float | None = None
    peak_mb: float | None = None


class Bench:
    """What all candidates of one tuning share.

    Args:
        workshop: makes them.
        jury: judges them.
        feeds: inputs of one call, as many rows as the batch.
        batch: that number.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        workshop: Workshop,
        jury: Jury,
        feeds: Mapping[str, np.ndarray],
        *,
        batch: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.workshop, self.jury, self.feeds, self.batch, self.clock = workshop, jury, feeds, batch, clock
        self.records: dict[Candidate, Record] = {}
        self._judged: dict[tuple[str, str, str], tuple[Accuracy | None, str]] = {}

    def judged(self, candidate: Candidate, ready: Ready) -> tuple[Accuracy | None, str]:
        """Its accuracy and what speaks against it; threads and streams do not change answers, so it is asked once."""
        key = (candidate.runtime, candidate.precision, candidate.detail)
        if key not in self._judged:
            self._judged[key] = self.jury.verdict(ready.predict)
        return self._judged[key]

    def objection(self, candidate: Candidate) -> str:
        """What was found to speak against its answers; "" where nothing was, or nobody has asked."""
        return self._judged.get((candidate.runtime, candidate.precision, candidate.detail), (None, ""))[1]

    def measured_s(self, candidate: Candidate) -> float | None:
        """Median seconds per input; None where it was not measured."""
        record = self.records.get(candidate)
        return float(np.median(record.calls_s)) / (record.items * self.batch) if record and record.calls_s else None

    def least_s(self, candidate: Candidate) -> tuple[float, str]:
        """The least seconds per input that the times of simpler candidates allow, and how that follows; 0 for none."""
        best, why = 0.0, ""
        for simpler, share in candidate.simpler():
            measured = self.measured_s(simpler)
            least_s = share * (measured if measured is not None else self.least_s(simpler)[0])
            if least_s > best:
                best, why = least_s, f"{share:.2g} times the time of {simpler.label}"
        return best, why

    def row(self, candidate: Candidate, state: str, reason: str = "", *, paired_s: float | None = None) -> Row:
        """The candidate's row of the report; `paired_s` are its seconds per input as its ratio to the winner has it."""
        record = self.records.get(candidate, Record())
        latency = LatencySummary.of(record.calls_s) if record.calls_s else None
        each_s = paired_s if paired_s is not None else self.measured_s(candidate)
        return Row(
            candidate=candidate,
            state=state,
            reason=reason,
            latency=latency,
            typical_ms=each_s * record.items * self.batch * 1e3 if each_s else None,
            per_second=1 / each_s if each_s else None,
            accuracy=record.accuracy,
            peak_mb=record.peak_mb,
            size_bytes=record.size_bytes,
            prepare_s=record.prepare_s,
        )


class Contender:
    """A candidate in the race; it is timed as a draft until it may win.

    Args:
        candidate: which one.
        bench: what it shares with the others.
        draft: begin with a quickly calibrated model, see `workshop`.
    """

    def __init__(self, candidate: Candidate, bench: Bench, *, draft: bool = True) -> None:
        self.candidate, self._bench = candidate, bench
        self._draft = draft and bench.workshop.has_drafts(candidate)
        self._ready: Ready | None = None

    @property
    def name(self) -> str:
        """The candidate's label."""
        return self.candidate.label

    @property
    def record(self) -> Record:
        """What is known of it."""
        return self._bench.records.setdefault(self.candidate, Record())

    @property
    def is_costly(self) -> bool:
        """As `Entrant.is_costly`: a draft that has to be calibrated."""
        return self._draft

    def hopeless(self, best_s: float) -> str:
        """As `Entrant.hopeless`, by the estimate of `Candidate.simpler`, and by what more exact arithmetic lost."""
        if self.candidate.precision == "int8+bf16":
            exact = replace(self.candidate, precision="int8")
            if objection := self._bench.objection(exact):
                return f"not prepared: rounds more than {exact.label}, of which {objection}"
        least_s, why = self._bench.least_s(self.candidate)
        if least_s <= best_s:
            return ""
        return (
            f"not prepared: at best {why} (an estimate), {least_s * 1e3:.2f} ms per input, "
            f"and {best_s * 1e3:.2f} ms is reached"
        )

    def enter(self) -> Timing:
        """As `Entrant.enter`; seconds per input."""
        self._prepare()
        return self.measure

    def measure(self) -> float:
        """The median call of a block, in seconds per input; every call is kept."""
        ready, clock = self._held(), self._bench.clock
        if self.record.calls_s and self.record.calls_s[-1] < _SLOW_CALL_S:
            ready.call()  # someone else has run meanwhile: bring the caches back
        spent: list[float] = []
        while not spent or (sum(spent) < _BLOCK_S and len(spent) < _MOST_CALLS):
            start = clock()
            ready.call()
            spent.append(clock() - start)
        self.record.calls_s += spent
        return float(np.median(spent)) / (ready.items * self._bench.batch)

    def qualify(self) -> str:
        """As `Entrant.qualify`: with ranges from real samples, calibrated properly, and judged."""
        if why := self._bench.workshop.unfit(self.candidate):
            return why
        if self._draft:
            self._draft = False
            self.leave()
            try:
                self._prepare()
            except CourseError as error:
                return str(error)
        accuracy, objection = self._bench.judged(self.candidate, self._held())
        self.record.accuracy = accuracy
        if not objection:
            self._held().call()  # the samples had other sizes than what is timed
        return objection

    def leave(self) -> None:
        """As `Entrant.leave`."""
        if self._ready is not None:
            self._ready.close()
        self._ready = None

    def complete(self, calls: int) -> None:
        """Measure until there are so many calls."""
        while len(self.record.calls_s) < calls:
            self.measure()

    def _prepare(self) -> None:
        start = self._bench.clock()
        ready = self._bench.workshop.ready(self.candidate, self._bench.feeds, draft=self._draft)
        self._ready = ready
        record = self.record
        record.prepare_s = (record.prepare_s or 0.0) + self._bench.clock() - start
        record.items, record.size_bytes = ready.items, ready.size_bytes
        for _ in range(_WARM_UP):
            ready.call()

    def _held(self) -> Ready:
        if self._ready is None:
            raise RuntimeError(f"{self.name} has left the race")
        return self._ready
