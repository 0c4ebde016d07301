"""What a learner asks of the engine: grade what is not finished, name what comes next, open one hint more."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from solutions.core.errors import ConfigError
from solutions.core.optional import available, require
from tests.grader.course import Course, Exercise
from tests.grader.outcome import Check, ExerciseGrade, Grade, PhaseGrade
from tests.grader.progress import Progress, Result, fingerprint, load, machine, update
from tests.grader.target import Target

INSTALL = 'make setup, or in this environment: pip install -e ".[dev]"'


@dataclass(frozen=True, slots=True)
class Graded:
    """A grade, and the ids of the exercises that were not graded anew because they are finished and unchanged."""

    grade: Grade
    reused: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """True when everything that can be earned here is earned."""
        return all(exercise.verdict in ("passed", "not_run") for exercise in self.grade.exercises)


def grade_exercises(
    target: Target,
    exercises: Sequence[Exercise],
    *,
    again: bool = False,
    on_check: Callable[[Check], None] = lambda check: None,
) -> Graded:
    """The grade of these exercises; the learner's own progress is kept, another target's is not.

    Args:
        target: what is graded.
        exercises: in the order of the course.
        again: grade finished exercises too.
        on_check: called with each finished test.

    Raises:
        BackendUnavailable: pytest or one of its parts is missing.
        ConfigError: the tests cannot be collected, or there is nothing to grade.
    """
    for package in ("pytest", "pytest_timeout", "hypothesis"):
        if not available(package):
            require(package, why="grading", install=INSTALL)
    from tests.grader.child import grade_phase

    if not exercises:
        raise ConfigError("there is no exercise to grade here yet; `grade` lists what there is.")
    course, own = target.course, target.where == "templates"
    known = load(course).results if own else {}
    reused = {
        exercise.id: known[exercise.id].grade
        for exercise in exercises
        if not again and exercise.id in known and known[exercise.id].is_finished(target, exercise)
    }
    phases = []
    for phase in course.phases:
        chosen = [exercise for exercise in exercises if exercise.phase == phase.number]
        due = [exercise for exercise in chosen if exercise.id not in reused]
        stopped, grades = "", dict(reused)
        if due:
            keys = {exercise: fingerprint(target, exercise) for exercise in due}
            only = [exercise.id for exercise in due]
            graded = grade_phase(course, phase.number, target, only=only, on_check=on_check)
            stopped = graded.stopped
            grades |= {exercise.exercise: exercise for exercise in graded.exercises}
            if own:
                _keep(target, keys, grades)
        if chosen:
            parts = tuple(grades[exercise.id] for exercise in chosen)
            phases.append(PhaseGrade(phase.number, phase.title, parts, stopped))
    return Graded(Grade(target.where, target.upstream, tuple(phases)), tuple(reused))


def next_exercise(course: Course, progress: Progress) -> Exercise | None:
    """The first exercise that is not finished and whose prerequisites are met; None when all is done."""
    target = Target(course, "templates")
    done = {exercise.id for exercise in course.exercises if is_done(target, exercise, progress)}
    todo = [exercise for exercise in course.exercises if exercise.id not in done]
    ready = [exercise for exercise in todo if done.issuperset(exercise.after)]
    return next(iter([*ready, *todo]), None)


def is_done(target: Target, exercise: Exercise, progress: Progress) -> bool:
    """True when all that can be earned here is earned with the files as they are."""
    result = progress.results.get(exercise.id)
    if result is None or result.grade.verdict not in ("passed", "not_run"):
        return False
    return result.holds(Target(target.course, target.where, result.upstream), exercise)


def open_hint(course: Course, exercise: Exercise, level: int | None) -> int:
    """The level of the hint to show, which is remembered: the one asked for, else the first unopened, else the last."""
    opened = load(course).hints.get(exercise.id, 0)
    shown = level or min(opened + 1, len(exercise.hints))

    def remember(progress: Progress) -> None:
        progress.hints[exercise.id] = max(progress.hints.get(exercise.id, 0), shown)

    update(course, remember)
    return shown


def _keep(target: Target, keys: Mapping[Exercise, str], grades: Mapping[str, ExerciseGrade]) -> None:
    """Remember the grades of exercises whose files are still what they were before grading."""

    def change(progress: Progress) -> None:
        for exercise, key in keys.items():
            if fingerprint(target, exercise) == key:
                progress.results[exercise.id] = Result(grades[exercise.id], target.upstream, key, machine())

    try:
        update(target.course, change)
    except ConfigError as error:  # a read-only copy: the grade is worth printing all the same
        print(f"note: {error}", file=sys.stderr)
