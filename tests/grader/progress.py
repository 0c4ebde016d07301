"""What `grade` remembers of a learner, in one readable file: `.grade/progress.json` beside the course.

A result counts only as long as everything it came from is unchanged: the graded file and the files beside it that it
imports, the tests of the phase, the registry's entry, the engine and the solutions that tests build on. Deleting the
file loses nothing but time and the levels of the hints.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from solutions.core.errors import ConfigError
from solutions.core.scripts import write_json
from tests.grader.course import Course, Exercise
from tests.grader.outcome import ExerciseGrade
from tests.grader.target import Target
from tests.grader.text import points

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Result:
    """One graded exercise: what it earned, and what it was graded from."""

    grade: ExerciseGrade
    upstream: str
    key: str
    machine: str

    def holds(self, target: Target, exercise: Exercise) -> bool:
        """True while nothing that the result came from has changed."""
        return self.upstream == target.upstream and self.key == fingerprint(target, exercise)

    def is_finished(self, target: Target, exercise: Exercise) -> bool:
        """True when grading again could not say anything new: all passed, or not run for want of the same things."""
        if self.grade.verdict not in ("passed", "not_run") or not self.holds(target, exercise):
            return False
        return self.grade.available == self.grade.points or self.machine == machine()


@dataclass(slots=True)
class Progress:
    """Results and opened hints by the id of the exercise."""

    results: dict[str, Result] = field(default_factory=dict)
    hints: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; the scores come first, for the reader."""
        return {
            "schema": SCHEMA,
            "about": "What `grade` remembers. Delete it to start anew.",
            "points": {name: f"{points(it.grade.earned)} / {it.grade.points}" for name, it in self.results.items()},
            "hints": self.hints,
            "results": {name: asdict(result) for name, result in self.results.items()},
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Progress:
        """The progress that `as_dict` wrote; KeyError, TypeError or ValueError for anything else."""
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}")
        results = {
            name: Result(**{**result, "grade": ExerciseGrade.from_dict(result["grade"])})
            for name, result in data["results"].items()
        }
        return cls(results, {name: int(level) for name, level in data["hints"].items()})


def progress_file(course: Course) -> Path:
    """Where the progress in a course is kept."""
    return course.root / ".grade" / "progress.json"


def own_folder(course: Course) -> Path:
    """The folder of the progress file, made if need be; ConfigError when that cannot be."""
    folder = progress_file(course).parent
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be used ({error.strerror}): `grade` keeps its progress there.") from None
    return folder


def load(course: Course) -> Progress:
    """The progress so far. A file that cannot be understood is set aside, which is said on stderr."""
    path = progress_file(course)
    try:
        return Progress.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return Progress()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): move it away to start anew.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        aside = free_name(path, "broken")
        os.replace(path, aside)
        print(
            f"note: {path} could not be understood ({error}); it is now {aside.name}, and grading starts anew.",
            file=sys.stderr,
        )
        return Progress()


def update(course: Course, change: Callable[[Progress], None]) -> None:
    """Apply one change to the file; several `grade` commands at a time lose nothing of each other.

    Raises:
        ConfigError: the folder cannot be written.
    """
    handle = os.open(own_folder(course), os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # until the handle is closed, even by a crash
        progress = load(course)
        change(progress)
        write_json(progress_file(course), progress.as_dict())
    finally:
        os.close(handle)


def free_name(path: Path, word: str) -> Path:
    """The first of path.word-1, path.word-2, ... that is not taken."""
    number = 1
    while (name := path.with_name(f"{path.name}.{word}-{number}")).exists():
        number += 1
    return name


def fingerprint(target: Target, exercise: Exercise) -> str:
    """A short hash of everything that a result of this exercise depends on and a learner may change."""
    course = target.course
    graded = [target.locate(exercise)]
    if target.upstream == "mine":
        graded = [target.locate(other) for other in course.exercises]
    files = {file for path in graded if path for file in _with_imports(path)}
    digest = hashlib.sha256(f"{exercise} {_given(course.root)}".encode())
    for path in [*sorted(files), *_python_files(course.root / course.phase(exercise.phase).tests)]:
        digest.update(f"\0{path}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def machine() -> str:
    """A short hash of what decides what can run here: Python, the installed packages, an NVIDIA device."""
    packages = sorted(f"{package.name} {package.version}" for package in importlib.metadata.distributions())
    device = str(Path("/dev/nvidia0").exists())
    return hashlib.sha256("\n".join([sys.version, device, *packages]).encode()).hexdigest()[:16]


@cache
def _given(root: Path) -> str:
    """A hash of the engine and the solutions, which do not change while a command runs."""
    digest = hashlib.sha256()
    for path in [*_python_files(Path(__file__).parent), *_python_files(root / "solutions")]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _with_imports(path: Path) -> set[Path]:
    """The file and those beside it that it imports, directly or through each other."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file in found or not file.is_file():
            continue
        found.add(file)
        for name in _imported(file):
            package = path.parent / name
            waiting += [package.with_suffix(".py"), *(_python_files(package) if package.is_dir() else [])]
    return found


def _imported(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def _python_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))
