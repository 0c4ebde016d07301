"""What is measured when the race is over: the winner's p99, and figures of the others for the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from solutions.core.errors import CourseError
from solutions.phase2_optimization.tuning.bench import Bench, Contender
from solutions.phase2_optimization.tuning.candidates import Candidate
from solutions.phase2_optimization.tuning.footprint import peak_mb
from solutions.phase2_optimization.tuning.outcome import CALLS_FOR_P99, Row, choose

_MOST_TRIED_FOR_SLO = 3
_NEAR = 2.0  # times the winner's time: what is slower still is of no interest to a front
_MOST_ON_FRONT = 4


@dataclass(frozen=True, slots=True)
class End:
    """What became of a candidate: its state, why, and its time per input over the winner's where both were paired."""

    state: str
    reason: str = ""
    over_winner: float | None = None


Ends = dict[Candidate, End]


def finish_winner(bench: Bench, contenders: Mapping[Candidate, Contender], ends: Ends) -> None:
    """Give the winner enough calls for its p99, and let it go."""
    for candidate, end in ends.items():
        if end.state == "winner":
            contenders[candidate].complete(CALLS_FOR_P99)
            contenders[candidate].leave()


def look_for_slo(bench: Bench, contenders: Mapping[Candidate, Contender], ends: Ends, slo_ms: float) -> None:
    """Where the winner breaks the promise, measure the p99 of the next that may hold it."""
    others = [candidate for candidate, end in ends.items() if end.state in ("tied", "beaten")]
    others.sort(key=lambda candidate: bench.measured_s(candidate) or 0.0)
    for candidate in others[:_MOST_TRIED_FOR_SLO]:
        if choose(rows_of(bench, ends), objective="latency", slo_ms=slo_ms).meets:
            return
        contender = contenders[candidate]
        contender.enter()
        if objection := contender.qualify():
            ends[candidate] = replace(ends[candidate], state="refused", reason=objection)
        else:
            contender.complete(CALLS_FOR_P99)
        contender.leave()


def judge_for_front(
    bench: Bench, contenders: Mapping[Candidate, Contender], ends: Ends, expired: Callable[[], bool]
) -> None:
    """Judge the fastest of each runtime and precision that were beaten before anyone asked how well they answer.

    What would have to be calibrated for it is left out: that takes longer than the race.
    """
    seen = {(one.runtime, one.precision) for one in ends if (record := bench.records.get(one)) and record.accuracy}
    beaten = {one: end.over_winner for one, end in ends.items() if end.state == "beaten" and end.over_winner}
    judged = 0
    for candidate, over_winner in sorted(beaten.items(), key=lambda item: item[1]):
        key = (candidate.runtime, candidate.precision)
        if (
            key in seen
            or over_winner > _NEAR
            or bench.workshop.has_drafts(candidate)
            or judged >= _MOST_ON_FRONT
            or expired()
        ):
            continue
        seen.add(key)
        judged += 1
        contender = contenders[candidate]
        try:
            contender.enter()
            if objection := contender.qualify():
                ends[candidate] = replace(ends[candidate], state="refused", reason=objection)
        except CourseError as error:  # it ran before; memory may be short now
            ends[candidate] = replace(ends[candidate], state="refused", reason=str(error))
        finally:
            contender.leave()


def measure_memory(bench: Bench, ends: Ends) -> None:
    """The memory of candidates that were judged and not refused: the winner, and the fastest of each other kind.

    A kind is a runtime with a precision: thread counts and graph levels hardly change what it needs. In a sweep, where
    nobody has won, all are measured.
    """
    judged = [one for one, end in ends.items() if end.state != "refused" and one in bench.records]
    judged = [one for one in judged if bench.records[one].accuracy]
    if any(end.state == "winner" for end in ends.values()):
        judged.sort(key=lambda one: (ends[one].state != "winner", ends[one].over_winner or float("inf")))
        fastest: dict[tuple[str, str], Candidate] = {}
        for one in judged:
            fastest.setdefault((one.runtime, one.precision), one)
        judged = list(fastest.values())
    for one in judged:
        file, loader = bench.workshop.file(one), bench.workshop.subject.loader
        bench.records[one].peak_mb = peak_mb(one, file, bench.feeds, loader)


def rows_of(bench: Bench, ends: Ends) -> list[Row]:
    """The rows of the report, in the order of trial."""
    winner = next((candidate for candidate, end in ends.items() if end.state == "winner"), None)
    winner_s = bench.measured_s(winner) if winner else None
    return [
        bench.row(
            candidate,
            end.state,
            end.reason,
            paired_s=winner_s * end.over_winner if winner_s and end.over_winner else None,
        )
        for candidate, end in ends.items()
    ]
