"""What tuning found, as values: one row per candidate, the Pareto front, the choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from solutions.core.measure.latency import LatencySummary
from solutions.phase2_optimization.tuning.accuracy import Accuracy
from solutions.phase2_optimization.tuning.candidates import Candidate

CALLS_FOR_P99 = 100  # below, the percentile is little more than the maximum


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate.

    Attributes:
        candidate: what was tried.
        state: "winner", "tied", "beaten", "refused", "spared" or "unavailable"; "measured" in a sweep.
        reason: why it ended so.
        latency: of its own calls (each all requests that are in flight at once); None where it was not measured.
        typical_ms: of a call. In a race the winner's p50, and of the others what their ratio to it makes of it: their
            own percentiles come from other moments.
        per_second: inputs answered per second.
        accuracy: None where it was not judged.
        peak_mb: resident memory that a process of its own needs beyond that of its interpreter and imports.
        size_bytes: of the file that it loads.
        prepare_s: to convert, compile and load it.
    """

    candidate: Candidate
    state: str
    reason: str = ""
    latency: LatencySummary | None = None
    typical_ms: float | None = None
    per_second: float | None = None
    accuracy: Accuracy | None = None
    peak_mb: float | None = None
    size_bytes: int | None = None
    prepare_s: float | None = None

    @property
    def is_sound(self) -> bool:
        """True when it was measured and nothing speaks against its answers."""
        return self.latency is not None and self.state != "refused"

    def as_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {
            "label": self.candidate.label,
            "candidate": asdict(self.candidate),
            "state": self.state,
            "reason": self.reason,
            "latency_ms": self.latency.as_dict() if self.latency else None,
            "typical_ms": self.typical_ms,
            "per_second": self.per_second,
            "accuracy": self.accuracy.as_dict() if self.accuracy else None,
            "peak_mb": self.peak_mb,
            "size_bytes": self.size_bytes,
            "prepare_s": self.prepare_s,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Row:
        """What `as_dict` gave."""
        return cls(
            candidate=Candidate(**stored["candidate"]),
            state=stored["state"],
            reason=stored["reason"],
            latency=LatencySummary(**stored["latency_ms"]) if stored["latency_ms"] else None,
            typical_ms=stored["typical_ms"],
            per_second=stored["per_second"],
            accuracy=Accuracy.from_dict(stored["accuracy"]) if stored["accuracy"] else None,
            peak_mb=stored["peak_mb"],
            size_bytes=stored["size_bytes"],
            prepare_s=stored["prepare_s"],
        )


def pareto_front(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The sound rows that no other beats in latency, throughput, memory and accuracy at once.

    A row stands against another on the axes that were measured for both: what was out of the race early has no figures
    for memory or accuracy, and one figure alone must not put it on the front.
    """
    sound = [row for row in rows if row.is_sound]
    return tuple(row for row in sound if not any(_dominates(other, row) for other in sound if other is not row))


def _dominates(one: Row, other: Row) -> bool:
    pairs = [(a, b) for a, b in zip(_axes(one), _axes(other), strict=True) if a is not None and b is not None]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _axes(row: Row) -> tuple[float | None, ...]:
    """Latency, throughput, memory, accuracy: the less the better."""
    return (
        row.typical_ms,
        -row.per_second if row.per_second is not None else None,
        row.peak_mb,
        -min(row.accuracy.sqnr_db, 100.0) if row.accuracy else None,  # beyond 100 dB only rounding differs
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """The candidate to take, whether it holds the promise, and the sentence that says so."""

    candidate: Candidate | None
    meets: bool
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {
            "label": self.candidate.label if self.candidate else None,
            "candidate": asdict(self.candidate) if self.candidate else None,
            "meets": self.meets,
            "sentence": self.sentence,
        }


def choose(rows: Sequence[Row], *, objective: str, slo_ms: float | None) -> Choice:
    """The best sound candidate that holds the SLO; where none does, the one whose p99 is nearest to it.

    Args:
        rows: all candidates. The winner of a race stands before others, which were measured less.
        objective: "latency" (the least p50) or "throughput" (the most inputs per second).
        slo_ms: bound of the p99 latency; None for none. Only who has `CALLS_FOR_P99` calls can hold it.
    """
    sound = [(row, row.latency) for row in rows if row.is_sound and row.latency is not None]
    if not sound:
        return Choice(None, False, "no candidate ran and answered well enough")
    if slo_ms is None:
        best = min(sound, key=lambda pair: (pair[0].state != "winner", _worth(pair[0], pair[1], objective)))[0]
        return Choice(best.candidate, True, f"{best.candidate.label}: {_figures(best)}")
    known = [(row, latency) for row, latency in sound if latency.n >= CALLS_FOR_P99] or sound
    holding = [(row, latency) for row, latency in known if latency.p99 <= slo_ms and latency.n >= CALLS_FOR_P99]
    if holding:
        best = min(holding, key=lambda pair: (pair[0].state != "winner", _worth(pair[0], pair[1], objective)))[0]
        return Choice(
            best.candidate, True, f"{best.candidate.label}: {_figures(best)}, within the {slo_ms:g} ms promised"
        )
    nearest = min(known, key=lambda pair: pair[1].p99)[0]
    return Choice(
        nearest.candidate,
        False,
        f"no candidate holds a p99 of {slo_ms:g} ms; the nearest is {nearest.candidate.label}: {_figures(nearest)}",
    )


def _worth(row: Row, latency: LatencySummary, objective: str) -> float:
    return -(row.per_second or 0.0) if objective == "throughput" else row.typical_ms or latency.p50


def _figures(row: Row) -> str:
    latency = row.latency
    if latency is None:
        return "not measured"
    return (
        f"p50 {latency.p50:.2f} ms, p99 {latency.p99:.2f} ms of {latency.n} calls, {row.per_second or 0:.1f} inputs/s"
    )
