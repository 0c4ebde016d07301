"""The command `grade` as a learner uses it: the map, red to green, hints, the solution, and what is kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from solutions.core.errors import ConfigError
from tests.grader import learner, progress
from tests.grader.cli import main
from tests.grader.course import Course
from tests.grader.show import live_checks, make_console
from tests.grader.source import is_unwritten, symbol_source
from tests.grader.target import Target
from tests.meta import tiny_course as tiny


def test_the_map_is_quick_and_names_what_is_next(course, tmp_path):
    heavy = "{'torch', 'numpy', 'pytest', 'jinja2', 'watchfiles'}"
    code = f"import sys; from tests.grader.cli import main; main([]); print(sys.modules.keys() & {heavy})"
    env = {**os.environ, "PYTHONPATH": str(tiny.ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    lines = run.stdout.splitlines()
    assert lines[0].split()[:6] == ["phase", "1", "Tiny", "0", "/", "10"]
    assert "next: 1.1 double   phase1_tiny/numbers_.py line 2" in lines
    assert lines[-1] == "set()"
    assert not (tmp_path / ".grade").exists()


def test_from_red_to_green(course, grade):
    code, said = grade("check", "1.1")
    assert code == 1
    assert "exercise 1.1 double is not written yet: phase1_tiny/numbers_.py" in said
    assert "next:   grade hint 1.1" in said
    assert "not written yet either: 1.2, 1.3" in grade("check")[1]
    tiny.solve(course, tiny.DOUBLE + tiny.HALVE.replace("/", "*"))
    code, said = grade("check")
    assert code == 1
    assert "phase 1  Tiny: 6 / 8 / 10" in said
    assert "broke: half of the double" in said
    code, said = grade()
    assert code == 0
    assert "6 of 10 points" in said
    assert "next: 1.2 halve   phase1_tiny/numbers_.py line 3" in said
    tiny.solve(course)
    assert "changed: a file is no longer what was graded" in grade()[1]
    code, said = grade("check")
    assert code == 0
    assert "finished and unchanged, not run again: 1.3, 1.4" in said
    assert "everything that can be earned here is earned" in grade()[1]


def test_other_targets_leave_the_progress_alone(course, grade):
    assert grade("check", "--target", "solutions")[0] == 0
    assert not progress.progress_file(course).exists()
    assert "0 of 10 points" in grade()[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["check", "7"], "there is no phase 7", id="phase"),
        pytest.param(["check", "1.9"], "there is no exercise '1.9'", id="exercise"),
        pytest.param(["check", "one"], "neither a phase (1) nor an exercise (1.2)", id="word"),
        pytest.param(["check", "--target", "/no/such"], "neither templates nor solutions nor a path", id="target"),
        pytest.param(["check", "--upstream", "theirs"], "invalid choice: 'theirs'", id="upstream"),
        pytest.param(["hint", "2.1"], "there is no exercise '2.1'", id="hint"),
        pytest.param(["hint", "1.1", "--level", "4"], "invalid choice: 4", id="level"),
        pytest.param(["diff", "1.1"], "1.1 double is not solved as its file stands", id="diff"),
        pytest.param(["chek"], "invalid choice: 'chek'", id="command"),
        pytest.param(["--course", "/no/such"], "/no/such cannot be read", id="course"),
        pytest.param(["check", "--course", "/no/such"], "/no/such cannot be read", id="course-after-the-command"),
        pytest.param(
            ["report", "--json", "/no/such/file"], "/no/such/file cannot be written: there is no folder", id="report"
        ),
    ],
)
def test_what_cannot_run_says_so_in_one_sentence(course, grade, words, sentence):
    code, said = grade(*words)
    assert code == 2
    assert sentence in said
    assert "Traceback" not in said


def test_without_pytest_one_sentence_says_what_to_do(course, grade, monkeypatch):
    monkeypatch.setattr(learner, "available", lambda name: name != "pytest_timeout")
    monkeypatch.setitem(sys.modules, "pytest_timeout", None)
    code, said = grade("check")
    assert code == 2
    assert said.startswith("error: grading needs pytest_timeout")
    assert 'pip install -e ".[dev]"' in said


def test_hints_open_one_at_a_time(course, grade):
    said = [grade("hint")[1] for _ in range(4)]
    assert ["\n  think\n" in said[0], "\n  think more\n" in said[1]] == [True, True]
    assert said[2] == said[3]
    assert "grade diff 1.1 --spoil" in said[2]
    assert "hint 1 of 3" in grade("hint", "1.1", "--level", "1")[1]
    assert "hint 3 of 3" in grade("hint", "1.1")[1]
    assert "hint 1 of 3" in grade("hint", "1.2")[1]


def test_the_solution_is_shown_once_it_is_earned(course, grade):
    code, said = grade("diff", "1.1", "--spoil")
    assert code == 0
    assert "+    return 2 * x" in said
    tiny.solve(course)
    assert grade("diff", "1.1")[0] == 2
    grade("check", "1.1")
    assert "your code and the reference are the same" in grade("diff", "1.1")[1]
    tiny.solve(course, "def double(x):\n    return x + x\n")
    assert grade("diff", "1.1")[0] == 2
    shutil.rmtree(course.root / "answers")
    assert "the solution of exercise 1.1 is not in this copy" in grade("diff", "1.1", "--spoil")[1]


def test_a_student_copy_builds_on_its_own_work(course, grade):
    shutil.rmtree(course.root / "answers")
    tiny.solve(course)
    code, said = grade("check", "1.2")
    assert code == 0
    assert "upstream mine" in said


def test_a_terminal_shows_the_tests_as_they_finish(course, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    out = make_console()
    with live_checks(out, course.exercises) as on_check:
        learner.grade_exercises(Target(course, "templates"), course.exercises, on_check=on_check)
    said = capsys.readouterr().out
    assert "1.1   double" in said
    assert "\x1b[31mF" in said


def test_nothing_to_grade_is_no_success(course):
    with pytest.raises(ConfigError, match="no exercise to grade"):
        learner.grade_exercises(Target(course, "templates"), ())


def test_the_real_course_has_a_map(grade, monkeypatch):
    monkeypatch.delenv("GRADE_COURSE", raising=False)
    monkeypatch.chdir(Path("/"))
    code, said = grade()
    assert code == 0
    assert said.startswith("phase 1  Basics")


def test_main_is_what_the_console_calls(course, capsys):
    assert main(["hint", "1.1"]) == 0
    assert "hint 1 of 3" in capsys.readouterr().out


def test_the_real_exercises_can_be_compared_and_reset():
    course = Course.load()
    for exercise in course.exercises:
        assert symbol_source(course.solution_file(exercise), exercise.solution.rpartition(":")[2])
        template = (course.root / exercise.template).read_text(encoding="utf-8")
        assert is_unwritten(template, exercise), f"{exercise.id}: `grade reset` would not know its template"
