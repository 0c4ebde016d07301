"""`grade reset`: one exercise is put back to what it was, the rest and a backup are kept."""

from __future__ import annotations

import subprocess

import pytest

from solutions.core.scripts import run
from tests.grader.cli import main
from tests.grader.source import parse, symbol_lines
from tests.meta import tiny_course as tiny

WORK = "import math\n\n\ndef double(x):\n    return x + x\n\n\n" + tiny.HALVE + "\n# mine\n"


def git(root, *words):
    who = ["-c", "user.name=learner", "-c", "user.email=learner@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True)


@pytest.fixture
def repository(course):
    git(course.root, "init", "-q")
    git(course.root, "add", "-A")
    git(course.root, "commit", "-qm", "the course")
    return course


def numbers(course):
    return course.root / "phase1_tiny/numbers_.py"


def fails(capsys, *words):
    """The sentence with which a command ends that cannot run."""
    assert run(main, words) == 2
    return capsys.readouterr().err


def test_reset_puts_back_one_exercise_and_keeps_the_rest(repository, capsys):
    numbers(repository).write_text(WORK)
    git(repository.root, "commit", "-qam", "the learner's own work")
    assert main(["reset", "1.1", "--yes"]) == 0
    assert str(numbers(repository)) + ".bak-1" in capsys.readouterr().out
    text = numbers(repository).read_text()
    assert 'raise NotImplementedError("exercise 1.1 double' in text
    assert text.startswith("import math\n\n\ndef double(x):\n")
    assert text.endswith("\n\n\n" + tiny.HALVE + "\n# mine\n")
    assert numbers(repository).with_name("numbers_.py.bak-1").read_text() == WORK
    assert "is unwritten already" in fails(capsys, "reset", "1.1", "--yes")
    assert main(["reset", "1.2", "--yes"]) == 0
    assert numbers(repository).with_name("numbers_.py.bak-2").read_text() == text


def test_reset_brings_back_what_was_deleted(repository):
    numbers(repository).write_text(tiny.HALVE)
    assert main(["reset", "1.1", "--yes"]) == 0
    assert symbol_lines(parse(numbers(repository)), "double") == (5, 7)


def test_reset_of_a_file_that_python_cannot_read(repository, capsys):
    untouched = numbers(repository).read_text()
    numbers(repository).write_text("def double(:\n")
    assert "line 1: Python cannot read this file" in (said := fails(capsys, "reset", "1.1", "--yes"))
    assert "grade reset 1.1 --file" in said
    assert main(["reset", "1.1", "--file", "--yes"]) == 0
    assert numbers(repository).read_text() == untouched


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1), (None, 1)])
def test_reset_asks_first(repository, monkeypatch, answer, code):
    numbers(repository).write_text(WORK)

    def reply(question):
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", reply)
    assert main(["reset", "1.1"]) == code
    assert (numbers(repository).read_text() == WORK) == (code == 1)


def test_reset_without_git_uses_what_a_student_copy_keeps(course, capsys, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(course.root.parent))
    untouched = numbers(course).read_text()
    numbers(course).write_text(WORK)
    assert "take phase1_tiny/numbers_.py from a fresh copy" in fails(capsys, "reset", "1.1", "--yes")
    tiny.write(course.root, {".grade/untouched/phase1_tiny/numbers_.py": untouched})
    assert main(["reset", "1.1", "--yes"]) == 0
    monkeypatch.setenv("PATH", "")
    assert main(["reset", "1.2", "--yes"]) == 0
    assert "exercise 1.2 halve" in numbers(course).read_text()


def test_a_method_is_found_and_a_lost_class_is_named(course, tmp_path):
    path = tmp_path / "some.py"
    path.write_text("class A:\n    @property\n    def f(self):\n        return 1\n\n\nclass B:\n    x = 1\n")
    tree = parse(path)
    assert symbol_lines(tree, "A.f") == (2, 4)
    assert symbol_lines(tree, "B") == (7, 8)
    assert symbol_lines(tree, "B.f") is None
