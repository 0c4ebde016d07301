"""A made-up course of four exercises, small enough to grade in a second, for the tests of the engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.grader.child import Limits, grade_phase
from tests.grader.course import Course
from tests.grader.outcome import PhaseGrade
from tests.grader.target import Target

ROOT = Path(__file__).parents[2]
QUICK = Limits(wall_s=60, test_s=2, grace_s=1, memory_bytes=1 << 30, file_bytes=1 << 24)

EXERCISE = """
[[exercise]]
id = "{id}"
title = "{symbol} a number"
template = "phase1_tiny/{file}.py"
symbol = "{symbol}"
solution = "answers/{file}.py:{symbol}"
points = {points}
hints = ["think", "think more", "write it"]
{more}
"""

COURSE = """
[phase.1]
title = "Tiny"
folder = "phase1_tiny"
tests = "tests/phase1"
""" + "".join(
    EXERCISE.format(id=name, file=file, symbol=symbol, points=points, more=more)
    for name, file, symbol, points, more in [
        ("1.1", "numbers_", "double", 4, 'forbidden = ["solutions.core.measure.latency"]'),
        ("1.2", "numbers_", "halve", 2, 'after = ["1.1"]'),
        ("1.3", "words", "shout", 3, ""),
        ("1.4", "words", "whisper", 1, 'needs = ["no_such_package"]'),
    ]
)

STUB = '''
def {symbol}(x):
    """What is asked."""
    raise NotImplementedError("exercise {id} {symbol}: phase1_tiny/{file}.py")
'''

DOUBLE = "def double(x):\n    return 2 * x\n"
HALVE = "def halve(x):\n    return x / 2\n"
SHOUT = "def shout(x):\n    return x.upper()\n"
WHISPER = "def whisper(x):\n    return x.lower()\n"

TEST_NUMBERS = '''
import time
import pytest
from tests.grader.checks import check_close, check_equal

@pytest.mark.exercise("1.1")
@pytest.mark.parametrize("x", [pytest.param(0, id="zero"), pytest.param(-1, id="negative")])
def test_double_numbers(graded, x):
    """Every number is doubled."""
    check_equal(graded(x), 2 * x, breaks="twice the number", likely="the sign was lost")

@pytest.mark.exercise("1.1")
def test_double_text(graded):
    """A text is doubled too."""
    assert graded("ab") == "abab"

@pytest.mark.exercise("1.2")
def test_halve(graded, upstream):
    """Half of the double is the number."""
    check_close(graded(upstream("1.1")(5)), 5.0, 1e-12, breaks="half of the double")
'''

TEST_WORDS = '''
import pytest

@pytest.mark.exercise("1.3")
def test_shout(graded):
    """A word in capitals."""
    assert graded("word") == "WORD"

@pytest.mark.exercise("1.3")
@pytest.mark.needs("no_such_package")
def test_shout_by_machine(graded):
    assert graded("machine") == "MACHINE"

@pytest.mark.exercise("1.3")
def test_shout_module(graded_module):
    """The file defines shout."""
    assert graded_module.shout("a") == "A"

@pytest.mark.exercise("1.4")
def test_whisper(graded):
    assert graded("WORD") == "word"
'''


def build(root: Path) -> Course:
    """The course in `root`, with untouched templates and right answers."""
    answers = {"numbers_": DOUBLE + HALVE, "words": SHOUT + WHISPER}
    stubs = {"numbers_": [("1.1", "double"), ("1.2", "halve")], "words": [("1.3", "shout"), ("1.4", "whisper")]}
    files = {"tests/course.toml": COURSE, "tests/phase1/test_numbers.py": TEST_NUMBERS}
    files["tests/phase1/test_words.py"] = TEST_WORDS
    for file, answer in answers.items():
        files[f"answers/{file}.py"] = answer
        stub = "".join(STUB.format(id=name, symbol=symbol, file=file) for name, symbol in stubs[file])
        files[f"phase1_tiny/{file}.py"] = stub
    write(root, files)
    return Course.load(root / "tests/course.toml")


def write(root: Path, files: dict[str, str]) -> None:
    """The files below `root`."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def solve(course: Course, numbers: str = DOUBLE + HALVE, words: str = SHOUT + WHISPER) -> None:
    """The learner's work in the templates."""
    write(course.root, {"phase1_tiny/numbers_.py": numbers, "phase1_tiny/words.py": words})


def submit(course: Course, numbers: str, words: str = SHOUT + WHISPER) -> Target:
    """A submission with these two files, beside the course."""
    folder = course.root / "submission"
    write(folder, {"numbers_.py": numbers, "words.py": words})
    return Target(course, str(folder))


def grade(target: Target, **options) -> PhaseGrade:
    """The grade of the only phase under quick limits."""
    return grade_phase(target.course, 1, target, options.pop("limits", QUICK), **options)


def earned(grade: PhaseGrade) -> dict[str, float]:
    """Points by exercise."""
    return {exercise.exercise: exercise.earned for exercise in grade.exercises}


def plain_pytest(course: Course, *options: str) -> subprocess.CompletedProcess[str]:
    """Standard pytest on the course, without the command and without a child's job."""
    command = [sys.executable, "-m", "pytest", "-p", "tests.grader.plugin", "--import-mode=importlib"]
    command += [f"--rootdir={course.root}", "--course", str(course.file), "-p", "no:cacheprovider", *options]
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONSAFEPATH": "1"}
    where = [] if any(option.startswith("tests/") for option in options) else ["tests/phase1"]
    return subprocess.run([*command, *where], cwd=course.root, env=env, capture_output=True, text=True, check=False)
