"""`grade report`, `doctor` and `watch`, each as a learner uses it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree

import psutil
import pytest

from tests.grader import doctor
from tests.grader.cli import main
from tests.grader.outcome import Check, ExerciseGrade, Grade, PhaseGrade
from tests.grader.report_page import report_html
from tests.meta import tiny_course as tiny

# report


def test_report_writes_three_formats_of_one_grade(course, tmp_path, capsys):
    wrong = tiny.SHOUT.replace("x.upper()", "'<script>\\x1b[31m&' + x")
    tiny.write(course.root, {"phase1_tiny/numbers_.py": tiny.DOUBLE, "phase1_tiny/words.py": wrong})
    html, data, junit = (str(tmp_path / name) for name in ("grade.html", "grade.json", "grade.xml"))
    assert main(["report", "--html", html, "--json", data, "--junit", junit]) == 1
    assert "\x1b" not in capsys.readouterr().out
    with open(data, encoding="utf-8") as file:
        grade = Grade.from_dict(json.load(file))
    assert [exercise.earned for exercise in grade.exercises] == [4, 0, 0, 0]
    suites = ElementTree.parse(junit).getroot()
    assert [suite.get("failures") for suite in suites] == ["0", "1", "2", "0"]
    with open(html, encoding="utf-8") as file:
        page = file.read()
    assert "4 of 8 points" in page
    assert "the package no_such_package is not installed" in page
    assert "phase1_tiny/numbers_.py" in page
    for outside in ("<script", "http:", "https:", "src=", "<link", "url(", "@import"):
        assert outside not in page


def test_report_has_a_place_of_its_own(course, capsys):
    tiny.write(course.root, {"phase1_tiny/numbers_.py": tiny.DOUBLE})
    assert main(["report", "1.1"]) == 0
    assert (course.root / ".grade/report.html").read_text().startswith("<!doctype html>")


def test_the_page_shows_every_state():
    def exercise(number, *checks, points=2):
        return ExerciseGrade(f"1.{number}", f"title {number}", "f", points, "t.py", "0123", checks)

    def check(number, name, verdict, message="", voids=False):
        return Check(f"t.py::{name}", f"1.{number}", name, verdict, message, 0.1, voids)

    exercises = (
        exercise(1, check(1, "a", "failed", "the submission replaced time.time", voids=True), check(1, "b", "passed")),
        exercise(2),
        exercise(3, check(3, "a", "inconclusive", "the interval straddles the bar")),
        exercise(4, check(4, "a", "passed"), check(4, "b", "not_run", "there is no CUDA device")),
        exercise(5, check(5, "a", "failed", "exercise 1.5 f is not written yet: t.py")),
    )
    page = report_html(Grade("templates", "reference", (PhaseGrade(1, "One & only", exercises, "time was up."),)))
    for words in (
        "One &amp; only",
        "Stopped early: time was up.",
        "no test of this exercise was run",
        "the interval straddles the bar",
        "1 of the points not run here: there is no CUDA device",
        "not written yet",
        "1 of 9 points",
    ):
        assert words in " ".join(page.split()), words
    assert page.count("the submission replaced time.time") == 1


# doctor


def test_doctor_names_what_is_here_and_what_will_not_run(course, capsys):
    assert main(["doctor"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "torch 2" in said
    assert "not run here: 1.4 (1 of the points) and some tests of 1.3" in said


def test_doctor_fails_where_a_needed_package_is_missing_or_too_old(course, monkeypatch, tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text(
        "[project]\ndependencies = ['no-such-thing>=1', \"old-thing; python_version < '3'\"]\n"
        "[project.optional-dependencies]\ntest = ['pytest>=999']\n"
    )
    monkeypatch.setattr(doctor, "PROJECT", project)
    bad = [finding.what for finding in doctor.examine(course) if finding.ok is False]
    assert [what.split(":")[0].split()[-1] for what in bad] == ["installed", ">=999"]
    assert main(["doctor"]) == 1


def test_doctor_reads_marks_of_files_and_of_tables(course):
    marked = """
import pytest
pytestmark = [pytest.mark.exercise("1.2"), pytest.mark.needs("json")]
ROWS = [pytest.param(1, marks=pytest.mark.needs("cuda"))]

def test_all(graded): ...

@pytest.mark.parametrize("x", ROWS)
def test_some(graded, x): ...
"""
    tiny.write(course.root, {"tests/phase1/test_marks.py": marked})
    assert doctor.needs(course) == {
        "no_such_package": {"1.4": True, "1.3": False},
        "json": {"1.2": False},
        "cuda": {"1.2": False},
    }


# processes


@pytest.fixture
def started():
    """Start `grade` in a process of its own; whatever is left of it ends with the test."""
    processes = []

    def start(*words):
        env = {**os.environ, "PYTHONPATH": str(tiny.ROOT), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "tests.grader", *words]
        out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        processes.append(subprocess.Popen(command, cwd="/", env=env, **out))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def read_until(process, words):
    """What is printed up to the line that holds the words."""
    said = ""
    while words not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


def test_watch_follows_the_learner_and_ends_cleanly(course, started):
    process = started("watch")
    said = read_until(process, "waiting for phase1_tiny/numbers_.py")
    assert "exercise 1.1 double is not written yet" in said
    assert "1.2" not in said
    tiny.write(course.root, {"phase1_tiny/numbers_.py": tiny.DOUBLE})
    said = read_until(process, "waiting for phase1_tiny/numbers_.py")
    assert "1.1 double                       4 / 4 points   passed" in said
    assert "1.2 halve   0 / 2 points" in said
    assert "shout" not in said
    process.send_signal(signal.SIGINT)
    assert "stopped watching" in process.communicate(timeout=20)[0]
    assert process.returncode == 0


def test_watch_ends_when_nothing_is_left(course, started):
    answers = {"phase1_tiny/numbers_.py": tiny.DOUBLE + tiny.HALVE, "phase1_tiny/words.py": tiny.SHOUT + tiny.WHISPER}
    tiny.write(course.root, answers)
    process = started("watch")
    assert "everything that can be earned here is earned" in process.communicate(timeout=60)[0]
    assert process.returncode == 0


def test_a_stopped_command_takes_its_children_along(course, started):
    hangs = "import time\n\n\ndef double(x):\n    open('hanging', 'w').close()\n    time.sleep(50)\n"
    tiny.write(course.root, {"phase1_tiny/numbers_.py": hangs})
    process = started("check", "1.1")
    deadline = time.monotonic() + 30
    while not (course.root / "hanging").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    assert "stopped" in process.communicate(timeout=20)[0]
    assert process.returncode == 130
    assert children
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            assert child.status() == psutil.STATUS_ZOMBIE
