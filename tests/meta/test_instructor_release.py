"""The student copy: no answer is in it, and it grades."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from solutions.core.errors import ConfigError
from tests.grader import release as releasing
from tests.grader.cli import main
from tests.grader.course import Course
from tests.grader.release import release, source_files
from tests.grader.target import Target
from tests.meta import tiny_course as tiny

PHASE_2 = 'title = "More"\nfolder = "phase2_tiny"\ntests = "tests/phase2"\n'


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_release_has_everything_but_answers_and_grades(tmp_path):
    course = tiny.build(tmp_path / "course")
    left_out = ["tests/mutants/phase1/m.py", "tests/solutions/test_s.py", "benchmarks/b.py", ".git/x", "out/x"]
    left_out += ["solutions/phase1_tiny/more.py"]
    tiny.write(course.root, dict.fromkeys(left_out, ""))
    tiny.write(course.root, {"README.md": "# Tiny\n\nText.\n", "solutions/core/__init__.py": "", ".ci/run": ""})
    tiny.write(course.root, {"tests/core/test_x.py": "def test():\n    from solutions.phase1_tiny import more\n"})
    copy = tmp_path / "copy"
    said = release(course, copy)
    templates = {"phase1_tiny/numbers_.py", "phase1_tiny/words.py"}
    tests = {"tests/course.toml", "tests/phase1/test_numbers.py", "tests/phase1/test_words.py"}
    assert names(copy) == templates | {f".grade/untouched/{name}" for name in templates} | tests | {
        "README.md",
        "solutions/core/__init__.py",
        ".ci/run",
    }
    assert said[0] == "This is the student copy: it has no solutions of phase 1."
    assert said[0] in (copy / "README.md").read_text()
    student = Course.load(copy / "tests/course.toml")
    assert student.missing_solutions(student.exercises).startswith(
        "this is a student copy without the solutions of 1.1"
    )
    assert course.missing_solutions(course.exercises) == ""
    with pytest.raises(ConfigError, match="student copy without the solutions of"):
        main(["check", "--target", "solutions", "--course", str(student.file)])
    tiny.write(copy, {"phase1_tiny/numbers_.py": tiny.DOUBLE + tiny.HALVE})
    assert tiny.earned(tiny.grade(Target(student, "templates", "mine"))) == {"1.1": 4, "1.2": 2, "1.3": 0, "1.4": 0}


def test_earlier_solutions_can_stay(tmp_path):
    course = tiny.build(tmp_path / "course")
    registry = course.file.read_text().replace("[[exercise]]", "[phase.2]\n" + PHASE_2 + "[[exercise]]", 1)
    course.file.write_text(registry)
    release(Course.load(course.file), tmp_path / "copy", keep_before=2)
    assert "answers/numbers_.py" in names(tmp_path / "copy")
    with pytest.raises(ConfigError, match="--up-to 3 would keep the solutions of all phases"):
        release(course, tmp_path / "second", keep_before=3)


def test_only_what_git_tracks_is_released(tmp_path):
    course = tiny.build(tmp_path / "course")
    for command in (["init", "-q"], ["add", "tests", "phase1_tiny"]):
        subprocess.run(["git", *command], cwd=course.root, check=True)
    tiny.write(course.root, {"grades of last year.csv": "secret"})
    release(course, tmp_path / "copy")
    assert "grades of last year.csv" not in names(tmp_path / "copy")
    subprocess.run(["git", "rm", "-q", "--cached", "phase1_tiny/words.py"], cwd=course.root, check=True)
    with pytest.raises(ConfigError, match=r"git does not track phase1_tiny/words\.py"):
        release(course, tmp_path / "second")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        pytest.param(
            {"tests/phase1/test_x.py": "from solutions import core, phase1_tiny\n"},
            r"tests/phase1/test_x\.py imports what this copy leaves out",
            id="a-test-needs-an-answer",
        ),
        pytest.param(
            {"phase1_tiny/words.py": tiny.SHOUT}, r"1\.3, 1\.4: written in the templates", id="already-written"
        ),
    ],
)
def test_a_copy_that_would_be_no_exercise_is_refused(tmp_path, files, says):
    course = tiny.build(tmp_path / "course")
    tiny.write(course.root, files)
    with pytest.raises(ConfigError, match=says):
        release(course, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_the_real_course_has_no_answer_in_its_student_copy(tmp_path, monkeypatch):
    course, copy = Course.load(), tmp_path / "copy"
    monkeypatch.setattr(releasing, "source_files", lambda root: sorted(releasing._walk(root)))
    release(course, copy)
    assert sorted(os.listdir(copy / "solutions")) == ["__init__.py", "core", "py.typed"]
    assert {"README.md", "Makefile", "LICENSE", "pyproject.toml", ".ci", "tests"} <= set(os.listdir(copy))
    assert {"grader", "course.toml", "conftest.py", "core"} <= set(os.listdir(copy / "tests"))
    tiny.build(tmp_path / "tiny")
    grade = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "pyproject.toml", "--rootdir", "."]
    options = ["--course", tmp_path / "tiny/tests/course.toml", "--target", "solutions", tmp_path / "tiny/tests/phase1"]
    env = {**os.environ, "PYTHONPATH": str(copy), "PYTHONSAFEPATH": "1"}
    run = subprocess.run(
        [*grade, "-p", "tests.grader.plugin", *map(str, options)], cwd=copy, env=env, capture_output=True, text=True
    )
    assert "phase 1  Tiny: 8 / 8 / 10" in run.stdout, run.stdout + run.stderr


def test_source_files_of_this_repository_are_sources():
    found = source_files(Course.load().root)
    assert not [path for path in found if "__pycache__" in path.parts or ".git" in path.parts]
