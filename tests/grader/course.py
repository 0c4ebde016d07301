"""The registry of the course as values: phases and exercises read from `course.toml` and checked once.

[phase.1]
title = "..."                                        # one line
folder = "phase1_basics"                             # where the learner works
tests = "tests/phase1"                               # the grading tests

[[exercise]]
id = "1.1"                                           # phase.number
title = "..."
template = "phase1_basics/template_model_loader.py"  # relative to the folder that holds tests/
symbol = "recognise_format"                          # function or class that is graded; "Class.method" works
solution = "solutions.phase1_basics.runtimes.content:recognise_format"   # module:symbol, or file.py:symbol
points = 5
hints = ["nudge", "more", "almost the answer"]       # exactly three
after = ["1.0"]                                      # optional: exercises to solve first
needs = ["cuda"]                                     # optional: without it every test is "not run here"
bar = "p99 within 5 %"                               # optional: what "good" means, one line
forbidden = ["solutions.core.measure.latency"]       # optional: modules or module.names that would give the answer away
reading = [{ title = "...", url = "https://..." }]   # optional
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solutions.core.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COURSE_FILE = Path(__file__).resolve().parents[1] / "course.toml"

_PHASE_KEYS = {"title", "folder", "tests"}
_REQUIRED = {"id", "title", "template", "symbol", "solution", "points", "hints"}
_OPTIONAL = {"bar", "after", "needs", "reading", "forbidden"}
_ID = re.compile(r"[1-9]\d*\.\d+")


@dataclass(frozen=True, slots=True)
class Reading:
    """One link worth reading before the exercise."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Phase:
    """One part of the course; paths are relative to the course's root."""

    number: int
    title: str
    folder: str
    tests: str


@dataclass(frozen=True, slots=True)
class Exercise:
    """One thing to write; see the module's docstring for the fields."""

    id: str
    title: str
    template: str
    symbol: str
    solution: str
    points: int
    hints: tuple[str, str, str]
    after: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    bar: str = ""
    forbidden: tuple[str, ...] = ()
    reading: tuple[Reading, ...] = ()

    @property
    def phase(self) -> int:
        """Number of the phase, the part of the id before the dot."""
        return int(self.id.split(".")[0])


@dataclass(frozen=True, slots=True)
class Course:
    """Every phase and exercise, in order. `root` is the folder that all paths in the registry start from."""

    file: Path
    root: Path
    phases: tuple[Phase, ...]
    exercises: tuple[Exercise, ...]

    @classmethod
    def load(cls, path: Path = COURSE_FILE) -> Course:
        """The course in the registry `path`; its root is the folder above the one that holds the file.

        Raises:
            ConfigError: the file is missing, is not TOML, or says something that cannot be: a duplicate id, a missing
                file, other than three hints, an unknown prerequisite, an unknown key.
        """
        path = path.resolve()
        data = read_toml(path)
        if unknown := data.keys() - {"phase", "exercise"}:
            raise ConfigError(
                f"{path.name}: unknown table {sorted(unknown)[0]!r}; known are [phase.N] and [[exercise]]."
            )
        phases = [_phase(path, number, table) for number, table in data.get("phase", {}).items()]
        exercises = [_exercise(path, table) for table in data.get("exercise", [])]
        course = cls(
            file=path,
            root=path.parent.parent,
            phases=tuple(sorted(phases, key=lambda phase: phase.number)),
            exercises=tuple(sorted(exercises, key=lambda exercise: _order(exercise.id))),
        )
        _check(course)
        return course

    def phase(self, number: int) -> Phase:
        """The phase with this number; ConfigError where there is none."""
        for phase in self.phases:
            if phase.number == number:
                return phase
        known = ", ".join(str(phase.number) for phase in self.phases) or "none"
        raise ConfigError(f"there is no phase {number}; the course has {known}.")

    def exercise(self, exercise_id: str) -> Exercise:
        """The exercise with this id; ConfigError where there is none."""
        for exercise in self.exercises:
            if exercise.id == exercise_id:
                return exercise
        raise ConfigError(f"there is no exercise {exercise_id!r}; `grade` lists them.")

    def exercises_of(self, phase: int) -> tuple[Exercise, ...]:
        """The exercises of one phase in order; may be empty."""
        return tuple(exercise for exercise in self.exercises if exercise.phase == phase)

    def select(self, what: str) -> tuple[Exercise, ...]:
        """The exercises that "2" (a phase) or "2.3" (an exercise) means; ConfigError where there are none."""
        if "." in what:
            return (self.exercise(what),)
        if not what.isdecimal():
            raise ConfigError(f"{what!r} is neither a phase (1) nor an exercise (1.2).")
        return self.exercises_of(self.phase(int(what)).number)

    def solution_file(self, exercise: Exercise) -> Path:
        """Where the reference of an exercise is written; the file need not exist (a student copy has no solutions)."""
        module = exercise.solution.rpartition(":")[0]
        if module.endswith(".py"):
            return self.root / module
        folder = self.root.joinpath(*module.split("."))
        return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")

    def missing_solutions(self, exercises: Iterable[Exercise]) -> str:
        """The sentence that says this copy has no solutions of these exercises; empty when all are there."""
        lost = [exercise.id for exercise in exercises if not self.solution_file(exercise).is_file()]
        return f"this is a student copy without the solutions of {', '.join(lost)}." if lost else ""


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file of the course; ConfigError when it is missing or is not TOML."""
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): the course needs it.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from None
    return data


def _order(exercise_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in exercise_id.split("."))


def _phase(path: Path, number: str, table: Mapping[str, Any]) -> Phase:
    if not number.isdecimal() or table.keys() != _PHASE_KEYS:
        raise ConfigError(f"{path.name}: [phase.{number}] needs a number and exactly {', '.join(sorted(_PHASE_KEYS))}.")
    return Phase(number=int(number), **table)


def _exercise(path: Path, table: Mapping[str, Any]) -> Exercise:
    name = f"{path.name}: exercise {table.get('id', '?')}"
    if missing := _REQUIRED - table.keys():
        raise ConfigError(f"{name} lacks {', '.join(sorted(missing))}.")
    if unknown := table.keys() - _REQUIRED - _OPTIONAL:
        raise ConfigError(f"{name} has the unknown key {sorted(unknown)[0]!r}.")
    if not _ID.fullmatch(table["id"]):
        raise ConfigError(f"{name}: an id is phase.number, like 1.2.")
    if len(table["hints"]) != 3 or not all(hint.strip() for hint in table["hints"]):
        raise ConfigError(
            f"{name} needs exactly three hints from a nudge to almost the answer, got {len(table['hints'])}."
        )
    if not isinstance(table["points"], int) or table["points"] < 1:
        raise ConfigError(f"{name}: points must be a whole number >= 1, got {table['points']!r}.")
    if ":" not in table["solution"]:
        raise ConfigError(f"{name}: solution is module:symbol or file.py:symbol, got {table['solution']!r}.")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    values["reading"] = tuple(Reading(**link) for link in table.get("reading", []))
    return Exercise(**values)


def _check(course: Course) -> None:
    name = course.file.name
    phases = {phase.number: phase for phase in course.phases}
    seen: set[str] = set()
    for exercise in course.exercises:
        if exercise.id in seen:
            raise ConfigError(f"{name}: two exercises have the id {exercise.id}.")
        seen.add(exercise.id)
        if exercise.phase not in phases:
            raise ConfigError(f"{name}: exercise {exercise.id} belongs to [phase.{exercise.phase}], which is missing.")
        needed = [exercise.template, phases[exercise.phase].tests]
        solution = course.solution_file(exercise)
        # a student copy has no solutions at all; a folder without the file is a slip of the pen
        if solution.parent.is_dir():
            needed.append(str(solution))
        for file in needed:
            if not (course.root / file).exists():
                raise ConfigError(f"{name}: exercise {exercise.id} names {file}, which is not there.")
    for exercise in course.exercises:
        for other in exercise.after:
            if other not in seen or _order(other) >= _order(exercise.id):
                raise ConfigError(
                    f"{name}: exercise {exercise.id} comes after {other!r}, which is no earlier exercise."
                )
