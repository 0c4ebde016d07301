"""What grading found, as values: checks (one test each) make behaviours, exercises, phases and the grade.

Only the checks are stored; points and verdicts are computed from them, so a report can never disagree with its tests.
The points of an exercise are spread evenly over its behaviours (test functions), and a behaviour needs all its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from tests.grader.course import Exercise

Verdict = Literal["passed", "failed", "not_run", "inconclusive"]
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Check:
    """One finished test, or one row of it.

    `not_run` means that the machine lacks something; `inconclusive` that a timing ratio straddles its bar: not earned,
    not failed. `voids` marks a broken rule (a patched clock, an imported answer): the whole exercise earns nothing.
    """

    nodeid: str
    exercise: str
    behaviour: str
    verdict: Verdict
    message: str = ""
    duration_s: float = 0.0
    voids: bool = False

    @property
    def test(self) -> str:
        """Node id of the test function, without the row."""
        return self.nodeid.partition("[")[0]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One named property of an exercise: all the rows of one test function."""

    title: str
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """Failed beats inconclusive beats passed; not run only when no row could run."""
        return _worst({check.verdict for check in self.checks})

    @property
    def message(self) -> str:
        """What the first row says that did not pass; empty if all passed."""
        for check in self.checks:
            if check.verdict == self.verdict and check.message:
                return check.message
        return ""


@dataclass(frozen=True, slots=True)
class ExerciseGrade:
    """What one exercise earned. `file` and `sha` (12 hex digits) name exactly what was graded; empty without a file."""

    exercise: str
    title: str
    symbol: str
    points: int
    file: str
    sha: str
    checks: tuple[Check, ...] = ()

    @property
    def behaviours(self) -> tuple[Behaviour, ...]:
        """The named properties in the order of their tests."""
        groups: dict[str, list[Check]] = {}
        for check in self.checks:
            groups.setdefault(check.test, []).append(check)
        return tuple(Behaviour(title=rows[0].behaviour, checks=tuple(rows)) for rows in groups.values())

    @property
    def broken_rule(self) -> str:
        """The sentence that says which rule the submission broke; empty if none."""
        return next((check.message for check in self.checks if check.voids), "")

    @property
    def verdict(self) -> Verdict:
        """As for a behaviour; an exercise of which no test is known has failed."""
        if not self.checks or self.broken_rule:
            return "failed"
        return _worst({behaviour.verdict for behaviour in self.behaviours})

    @property
    def earned(self) -> float:
        """Points for the behaviours that passed."""
        if self.broken_rule:
            return 0.0
        return self._share("passed")

    @property
    def available(self) -> float:
        """Points that can be earned on this machine."""
        return self.points - self._share("not_run")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ExerciseGrade:
        """The grade with these fields; what is computed from them is not read."""
        fields = {key: data[key] for key in ("exercise", "title", "symbol", "points", "file", "sha")}
        return cls(**fields, checks=tuple(Check(**check) for check in data["checks"]))

    def _share(self, verdict: Verdict) -> float:
        behaviours = self.behaviours
        hits = sum(behaviour.verdict == verdict for behaviour in behaviours)
        return self.points * hits / len(behaviours) if behaviours else 0.0


@dataclass(frozen=True, slots=True)
class PhaseGrade:
    """What one phase earned. `stopped` says why grading ended early; empty if it did not."""

    phase: int
    title: str
    exercises: tuple[ExerciseGrade, ...]
    stopped: str = ""

    @property
    def earned(self) -> float:
        """Points earned."""
        return sum(exercise.earned for exercise in self.exercises)

    @property
    def available(self) -> float:
        """Points that can be earned on this machine."""
        return sum(exercise.available for exercise in self.exercises)

    @property
    def total(self) -> int:
        """Points of the graded exercises on a machine that has everything."""
        return sum(exercise.points for exercise in self.exercises)


@dataclass(frozen=True, slots=True)
class Grade:
    """The grade of one target over the graded phases."""

    target: str
    upstream: str
    phases: tuple[PhaseGrade, ...]

    @property
    def earned(self) -> float:
        """Points earned."""
        return sum(phase.earned for phase in self.phases)

    @property
    def available(self) -> float:
        """Points that can be earned on this machine."""
        return sum(phase.available for phase in self.phases)

    @property
    def total(self) -> int:
        """Points of the graded exercises on a machine that has everything."""
        return sum(phase.total for phase in self.phases)

    @property
    def exercises(self) -> tuple[ExerciseGrade, ...]:
        """Every graded exercise in order."""
        return tuple(exercise for phase in self.phases for exercise in phase.exercises)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON. Points and verdicts are written for readers; `from_dict` computes them anew."""
        phases = []
        for phase in self.phases:
            exercises = [
                {**asdict(exercise), **_totals(exercise), "verdict": exercise.verdict} for exercise in phase.exercises
            ]
            phases.append({**asdict(phase), "exercises": exercises, **_totals(phase), "total": phase.total})
        head = {"schema": SCHEMA, "target": self.target, "upstream": self.upstream}
        return {**head, **_totals(self), "total": self.total, "phases": phases}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Grade:
        """The grade that `as_dict` wrote."""
        phases = []
        for phase in data["phases"]:
            exercises = tuple(ExerciseGrade.from_dict(exercise) for exercise in phase["exercises"])
            phases.append(PhaseGrade(phase["phase"], phase["title"], exercises, phase["stopped"]))
        return cls(data["target"], data["upstream"], tuple(phases))


def ungraded(exercise: Exercise, file: str, sha: str) -> ExerciseGrade:
    """The exercise with the file that is to be graded and no check yet."""
    return ExerciseGrade(exercise.id, exercise.title, exercise.symbol, exercise.points, file, sha)


def with_checks(exercise: ExerciseGrade, checks: Iterable[Check]) -> ExerciseGrade:
    """The same exercise with its own among `checks`; the first word of a test counts, a second one is ignored."""
    first: dict[str, Check] = {}
    for check in checks:
        if check.exercise == exercise.exercise:
            first.setdefault(check.nodeid, check)
    return replace(exercise, checks=tuple(first.values()))


def _worst(verdicts: set[Verdict]) -> Verdict:
    order: tuple[Verdict, ...] = ("failed", "inconclusive", "passed")
    return next((verdict for verdict in order if verdict in verdicts), "not_run")


def _totals(part: ExerciseGrade | PhaseGrade | Grade) -> dict[str, float]:
    return {"earned": round(part.earned, 4), "available": round(part.available, 4)}
