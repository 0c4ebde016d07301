"""Grades many small files, each on one exercise, in one process: torch is imported once, not seventy times.

    python -m tests.mutants.judge 1.5=tests/mutants/phase1/m1_5_place_by_n.py ...

The same plugin, fixtures and tests as `grade check`, without a child per file: for files that we wrote ourselves.
Prints one JSON object, the grade of each EXERCISE=FILE.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from tests.grader.course import Course
from tests.grader.job import Job, Reader
from tests.grader.outcome import Check, ExerciseGrade, Grade
from tests.grader.target import Target, phase_grades

ROOT = Path(__file__).resolve().parents[2]
# Without what costs time per session or test and decides nothing here: unraisableexception alone collects garbage five
# times at the end of every session.
_WITHOUT = ("cacheprovider", "logging", "unraisableexception", "threadexception", "faulthandler", "junitxml")
_OPTIONS = ["-q", "--tb=no", "-o", "addopts=", "--import-mode=importlib", f"--rootdir={ROOT}"]
_OPTIONS += ["-c", str(ROOT / "pyproject.toml"), *(part for name in _WITHOUT for part in ("-p", f"no:{name}"))]
_NAME = re.compile(r"m(\d+)_(\d+)_\w+")


def exercise_of(mutant: Path) -> str:
    """The exercise that a mutant is named after.

    >>> exercise_of(Path("m1_10_no_seed.py"))
    '1.10'
    """
    found = _NAME.fullmatch(mutant.stem)
    if found is None:
        raise ValueError(f"{mutant.name} is not named mN_E_what_is_wrong.py")
    return f"{found[1]}.{found[2]}"


def tests_of(course: Course, exercise: str) -> list[str]:
    """The files with the tests of an exercise: test_1_5_*.py for 1.5."""
    phase, _, number = exercise.partition(".")
    folder = course.root / course.phase(int(phase)).tests
    return sorted(str(path) for path in folder.glob(f"test_{phase}_{number}_*.py"))


def judge(course: Course, exercise: str, path: str) -> dict[str, object]:
    """The grade of one file on one exercise, ready for JSON; {"error": text} when pytest itself failed."""
    target = Target(course, path, trusted=True)  # what we wrote need not be watched
    with tempfile.TemporaryFile() as stream, tempfile.TemporaryFile() as paper:
        job = Job(key=secrets.token_hex(16), stream_fd=stream.fileno(), exercises=[exercise], trusted=True)
        job.write(paper.fileno())
        letter, said = os.dup(paper.fileno()), io.StringIO()  # whoever reads a letter closes it
        options = ["--target", path, "--course", str(course.file), f"--grade-job={letter}", *tests_of(course, exercise)]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = pytest.main([*_OPTIONS, *options])
        checks = [Check(**record["check"]) for record in Reader(stream.fileno(), job.key).read() if "check" in record]
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return {"error": said.getvalue()[-2000:]}
    return Grade(path, "reference", phase_grades(target, [course.exercise(exercise)], checks)).as_dict()


def main(jobs: Iterable[str]) -> int:
    """Grade every EXERCISE=FILE and print the grades as JSON."""
    course = Course.load()
    grades = {}
    for job in jobs:
        exercise, _, path = job.partition("=")
        grades[job] = judge(course, exercise, path)
    print(json.dumps(grades))
    return 0


def judge_all(jobs: Sequence[tuple[str, Path]]) -> list[ExerciseGrade]:
    """The grade of each (exercise, file), in order, found in one child process.

    Raises:
        RuntimeError: a session that did not come to its end.
    """
    asked = [f"{exercise}={path}" for exercise, path in jobs]
    own = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "pytest_timeout", "PYTEST_ADDOPTS": ""}
    env = {**os.environ, **own, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "tests.mutants.judge", *asked]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the judge of the mutants failed: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    for job in asked:
        if "error" in found[job]:
            raise RuntimeError(f"{job} could not be graded: {found[job]['error']}")
    return [Grade.from_dict(found[job]).exercises[0] for job in asked]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
