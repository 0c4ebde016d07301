"""The same work gets the same grade however busy the machine is: half right, half wrong, again and again."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.grader.child import grade_phase
from tests.grader.course import Course
from tests.grader.target import Target

COURSE = Course.load()


@contextlib.contextmanager
def busy_machine() -> Iterator[None]:
    """Two endless loops on every core."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for one in loops:
            one.kill()
            one.wait()


def half_right(folder: Path) -> Path:
    """A submission for phase 1: one template filled in, the other untouched."""
    written = folder / "phase1_basics"
    written.mkdir(parents=True)
    shutil.copy(
        COURSE.root / "solutions/phase1_basics/template_solutions/profiler.py", written / "template_profiler.py"
    )
    shutil.copy(COURSE.root / "phase1_basics/template_model_loader.py", written)
    return folder


def verdicts(where: str) -> dict[str, str]:
    grade = grade_phase(COURSE, 1, Target(COURSE, where))
    return {check.nodeid: check.verdict for exercise in grade.exercises for check in exercise.checks}


def repeat(times: int, folder: Path) -> None:
    where = str(half_right(folder))
    with busy_machine():
        first, *others = [verdicts(where) for _ in range(times)]
    assert set(first.values()) == {"passed", "failed"}
    for other in others:
        assert {test: (verdict, other[test]) for test, verdict in first.items() if other[test] != verdict} == {}


@pytest.mark.timeout(600)
def test_twice_under_load(tmp_path):
    repeat(2, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_twenty_times_under_load(tmp_path):
    repeat(20, tmp_path)
