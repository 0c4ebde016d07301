"""A folder of submissions to graded rows: each copied into a room of its own, and none able to stop the others.

A finished row is keyed by what was graded, the course that graded it, and the limits, so it need not be graded again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from solutions.core.errors import ConfigError
from tests.grader.child import ENGINE_ROOT, Limits, grade_phase
from tests.grader.course import Course, Exercise
from tests.grader.handed_in import Unusable, add_files, copy_in, shown
from tests.grader.outcome import Check, Grade, PhaseGrade, ungraded
from tests.grader.sandbox import best_room, prefix
from tests.grader.target import Target


class _Stopped(Exception):
    """The run was stopped from outside."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How every submission of one run is graded; `submissions` is the folder that holds them, `phases` numbers."""

    course: Course
    submissions: Path
    phases: tuple[int, ...]
    limits: Limits
    extra_tests: Path | None = None

    @property
    def exercises(self) -> tuple[Exercise, ...]:
        """The graded exercises in order."""
        return tuple(exercise for exercise in self.course.exercises if exercise.phase in self.phases)

    def digest(self) -> str:
        """Hash of all that decides a grade but the submission: tests, engine, limits."""
        digest = hashlib.sha256(repr((self.phases, replace(self.limits, prefix=()))).encode())
        tests = [self.course.root / phase.tests for phase in self.course.phases]
        for place in [self.course.file, ENGINE_ROOT / "tests/grader", *tests, *filter(None, [self.extra_tests])]:
            add_files(digest, place)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Row:
    """The grade of one submission and, in sentences, what its marker should know.

    `graded` is False for one that could not be graded: every exercise counts as failed. `key` is empty then.
    """

    name: str
    key: str
    graded: bool
    note: str
    grade: Grade

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        head = {"name": self.name, "key": self.key, "graded": self.graded, "note": self.note}
        return {**head, "grade": self.grade.as_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Row:
        """The row that `as_dict` wrote."""
        return cls(data["name"], data["key"], data["graded"], data["note"], Grade.from_dict(data["grade"]))


def grade_all(
    plan: Plan, folders: Sequence[Path], known: Mapping[tuple[str, str], Row], jobs: int, done: Callable[[Row], None]
) -> None:
    """Call `done` with the row of every submission as it is finished, `jobs` of them at a time.

    Ctrl-C ends the running children and is passed on.

    Raises:
        ConfigError: the course was changed while it graded; rows before and after would not be comparable.
    """
    course, stop = plan.digest(), threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(grade_submission, plan, folder, course, known, stop) for folder in folders]
        try:
            for future in as_completed(futures):
                row = future.result()
                if plan.digest() != course:
                    raise ConfigError(
                        f"the tests of the course were changed while {row.name} was graded: "
                        "look what changed (git status), put it right, and run this again."
                    )
                done(row)
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in futures):
                for child in psutil.Process().children():
                    with contextlib.suppress(psutil.Error):
                        child.kill()
                time.sleep(0.05)
            raise


def grade_submission(
    plan: Plan,
    folder: Path,
    course_digest: str,
    known: Mapping[tuple[str, str], Row] | None = None,
    stop: threading.Event | None = None,
) -> Row:
    """The row of one submission, whatever is in its folder; taken from `known` by name and key if it is there."""
    name = shown(folder.name)

    def check_stop(_: Check | None = None) -> None:
        if stop and stop.is_set():
            raise _Stopped

    with tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as temporary:
        room = Path(temporary).resolve()
        try:
            check_stop()
            left_out = copy_in(folder, room / "copy")
            digest = hashlib.sha256(course_digest.encode())
            add_files(digest, room / "copy")
            key = digest.hexdigest()
            if known and (name, key) in known:
                return known[name, key]
            _base(plan, room / "copy").rename(room / "graded")
            grade = _grade(plan, room, check_stop)
        except (Unusable, ConfigError, OSError) as error:
            return Row(name, "", False, str(error), _nothing(plan, name))
    text = json.dumps(grade.as_dict())
    # messages name files as they are in the submission: the room has another name each time
    for path, instead in ((f"{room}/graded/", ""), (f"{room}/graded", "the submission"), (str(room), "")):
        text = text.replace(json.dumps(path)[1:-1], instead)
    grade = replace(Grade.from_dict(json.loads(text)), target=name)
    return Row(name, key, True, " ".join([*_remarks(grade), *left_out]), grade)


def _base(plan: Plan, copy: Path) -> Path:
    """The folder that holds most templates: the submission itself, or one up to two levels down."""
    below = [path for depth in ("*", "*/*") for path in sorted(copy.glob(depth)) if path.is_dir()]

    def templates(base: Path) -> int:
        target = Target(plan.course, str(base))
        return sum(target.locate(exercise) is not None for exercise in plan.exercises)

    best = max([copy, *below], key=templates)  # the first of equals: the highest
    if not templates(best):
        wanted = list(dict.fromkeys(exercise.template for exercise in plan.exercises))
        raise Unusable(f"none of the files to write is in it: {', '.join(wanted[:3])}{', ...' if wanted[3:] else ''}.")
    return best


def _grade(plan: Plan, room: Path, check_stop: Callable[[Check | None], None]) -> Grade:
    scratch = room / "scratch"
    scratch.mkdir()
    needed = [plan.course.root, ENGINE_ROOT, room, Path(sys.prefix), *filter(None, [plan.extra_tests])]
    hidden = None if any(path.is_relative_to(plan.submissions) for path in needed) else plan.submissions
    limits = replace(plan.limits, prefix=prefix(best_room(), scratch, hidden))
    target = Target(plan.course, str(room / "graded"))
    phases = []
    for phase in plan.phases:
        check_stop(None)
        phases.append(
            grade_phase(plan.course, phase, target, limits, extra_tests=plan.extra_tests, on_check=check_stop)
        )
    return Grade(target.where, target.upstream, tuple(phases))


def _nothing(plan: Plan, name: str) -> Grade:
    """The grade of what could not be graded: no check, no point."""
    phases = []
    for number in plan.phases:
        exercises = tuple(ungraded(exercise, "", "") for exercise in plan.course.exercises_of(number))
        phases.append(PhaseGrade(number, plan.course.phase(number).title, exercises))
    return Grade(name, "reference", tuple(phases))


def _remarks(grade: Grade) -> Iterator[str]:
    for phase in grade.phases:
        if phase.stopped:
            yield f"Phase {phase.phase} stopped early: {phase.stopped}"
    for exercise in grade.exercises:
        if exercise.broken_rule:
            yield f"{exercise.exercise}: {exercise.broken_rule}"
