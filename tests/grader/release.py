"""The student copy of the course: everything but the answers, and what only makes sense beside them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from solutions.core.errors import ConfigError
from solutions.core.scripts import write_text
from tests.grader.course import Course, Exercise
from tests.grader.source import UNTOUCHED

# tests of the solutions, proofs that wrong answers are rejected, measurements of the solutions
_BESIDE_ANSWERS = ("tests/mutants", "tests/solutions", "tests/meta", "benchmarks")
_NOT_SOURCE = {"__pycache__", ".git", ".venv", ".ci-venv", "build", "dist", "out", "node_modules"}
_KEPT_HIDDEN = {".ci", ".gitignore", ".github"}


def release(course: Course, destination: Path, keep_before: int = 0) -> list[str]:
    """Write the student copy; sentences that say what is in it.

    Args:
        course: the full course.
        destination: a folder that is not there yet or is empty.
        keep_before: solutions of phases before this one stay, for students who start later; 0 keeps none.

    Raises:
        ConfigError: the folder is not empty or cannot be written, or the copy would not be a course to work in.
    """
    destination = destination.resolve()
    if destination.exists() and not (destination.is_dir() and not any(destination.iterdir())):
        raise ConfigError(f"{destination} is not an empty folder: name one that is not there yet.")
    if written := [exercise.id for exercise in course.exercises if not _is_unwritten(course, exercise)]:
        raise ConfigError(f"{', '.join(written)}: written in the templates already; put back with grade reset ID.")
    hidden = [phase for phase in course.phases if phase.number >= keep_before]
    if not hidden:
        raise ConfigError(f"--up-to {keep_before} would keep the solutions of all phases.")
    given = course.root / "solutions" / "core"
    answers = {course.solution_file(exercise) for phase in hidden for exercise in course.exercises_of(phase.number)}
    without = [path for path in answers if given not in path.parents]
    without += [course.root / part for part in (*_BESIDE_ANSWERS, *(f"solutions/{phase.folder}" for phase in hidden))]
    source = [path for path in source_files(course.root) if not path.is_relative_to(destination)]
    kept = [path for path in source if not any(path == part or part in path.parents for part in without)]
    needed = [course.file, *(course.root / exercise.template for exercise in course.exercises)]
    if lost := [path for path in needed if path not in kept]:
        raise ConfigError(f"git does not track {lost[0].relative_to(course.root)}: commit what belongs to the course.")
    # a test of the core that also tries a solution has nothing to try
    stranded = {path for path in kept if path.suffix == ".py" and _imports(path, course.root, without)}
    taught = [course.root / phase.tests for phase in course.phases]
    if bad := sorted(path for path in stranded if any(folder in path.parents for folder in taught)):
        name = bad[0].relative_to(course.root)
        raise ConfigError(f"{name} imports what this copy leaves out; solutions of earlier phases stay with --up-to.")
    _copy((path for path in kept if path not in stranded), course.root, destination)
    _copy({course.root / exercise.template for exercise in course.exercises}, course.root, destination / UNTOUCHED)
    numbers = ", ".join(str(phase.number) for phase in hidden)
    without_answers = f"This is the student copy: it has no solutions of phase {numbers}."
    _say_so(destination / "README.md", without_answers)
    said = [without_answers, "Grade in it with `grade` or `pytest tests/phase1 --target templates --upstream mine`."]
    return [*said, "Your later exercises then build on your own earlier ones."]


def source_files(root: Path) -> list[Path]:
    """The files that belong to the course: what git tracks, or all but caches and hidden files where git is not."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
        tracked = [root / os.fsdecode(name) for name in listed.split(b"\0") if name]
    except (OSError, subprocess.CalledProcessError):
        tracked = []
    return [path for path in tracked if path.is_file()] or sorted(_walk(root))


def _is_unwritten(course: Course, exercise: Exercise) -> bool:
    template = (course.root / exercise.template).read_text(encoding="utf-8", errors="replace")
    return f'NotImplementedError("exercise {exercise.id} ' in template


def _imports(file: Path, root: Path, parts: Iterable[Path]) -> bool:
    """True when the file imports one of the parts, at its top or anywhere else."""
    text = file.read_text(encoding="utf-8", errors="replace")
    for part in parts:
        package, _, name = ".".join(part.relative_to(root).with_suffix("").parts).rpartition(".")
        whole, inside = re.escape(f"{package}.{name}".lstrip(".")), rf"{re.escape(package)} import [^\n]*\b{name}\b"
        if re.search(rf"^\s*(?:(?:from|import) {whole}\b|from {inside})", text, re.MULTILINE):
            return True
    return False


def _walk(folder: Path) -> Iterable[Path]:
    for path in folder.iterdir():
        private = path.name.startswith(".") and path.name not in _KEPT_HIDDEN
        if private or path.name in _NOT_SOURCE or path.name.endswith(".egg-info"):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path


def _copy(files: Iterable[Path], root: Path, destination: Path) -> None:
    try:
        for path in files:
            to = destination / path.relative_to(root)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, to, follow_symlinks=False)
    except OSError as error:
        raise ConfigError(f"{destination} cannot be written ({error.strerror}): name another folder.") from None


def _say_so(readme: Path, sentence: str) -> None:
    """Put the sentence below the title of the README, if there is one."""
    if readme.is_file():
        title, _, rest = readme.read_text(encoding="utf-8").partition("\n")
        note = f"> {sentence} Commands that run them, such as `make demo`, need the full course."
        write_text(readme, f"{title}\n\n{note}\n{rest}")
