"""What `grade` remembers: finished work is kept as long as it holds, and nothing gets lost on the way."""

from __future__ import annotations

import threading

from tests.grader import learner, progress
from tests.grader.target import Target
from tests.meta import tiny_course as tiny


def test_finished_work_is_not_run_again(course, grade):
    tiny.solve(course, "from helper import two\ndef double(x):\n    return two() * x\n" + tiny.HALVE)
    tiny.write(course.root, {"phase1_tiny/helper.py": "def two():\n    return 2\n"})
    kept = "finished and unchanged, not run again: 1.1"
    assert kept not in grade("check", "1.1")[1]
    assert kept in grade("check", "1.1")[1]
    assert kept not in grade("check", "1.1", "--all")[1]
    tiny.write(course.root, {"phase1_tiny/helper.py": "def two():\n    return 3\n"})
    assert grade("check", "1.1")[0] == 1


def test_what_a_result_depends_on(course, monkeypatch):
    tiny.write(course.root, {"phase1_tiny/numbers_.py": "import helper\n", "phase1_tiny/helper.py": "import deeper\n"})
    tiny.write(course.root, {"phase1_tiny/deeper/__init__.py": ""})
    (first, second, *_), target = course.exercises, Target(course, "templates")
    seen = {progress.fingerprint(target, first), progress.fingerprint(target, second)}
    for file in ("phase1_tiny/deeper/__init__.py", "phase1_tiny/numbers_.py", "tests/phase1/test_numbers.py"):
        (course.root / file).write_text("# another\nimport helper\n")
        seen.add(progress.fingerprint(target, first))
    assert len(seen) == 5
    before = progress.fingerprint(target, first)
    tiny.write(course.root, {"phase1_tiny/words.py": "# another exercise's file", "phase1_tiny/notes.py": ""})
    assert progress.fingerprint(target, first) == before
    mine = Target(course, "templates", "mine")
    before = progress.fingerprint(mine, first)
    tiny.write(course.root, {"phase1_tiny/words.py": "# what later exercises build on"})
    assert progress.fingerprint(mine, first) != before


def test_a_new_package_is_a_new_chance(course, grade, monkeypatch):
    tiny.solve(course)
    grade("check", "1.3")
    assert "not run again: 1.3" in grade("check", "1.3")[1]
    monkeypatch.setattr(progress, "machine", lambda: "another")
    assert "not run again" not in grade("check", "1.3")[1]


def test_a_progress_file_that_is_damaged_is_set_aside(course, grade):
    tiny.solve(course)
    grade("check", "1.1")
    file = progress.progress_file(course)
    for number, text in enumerate(
        ["{", '{"schema": 99}', '{"schema": 1, "results": {"1.1": 3}, "hints": {}}', "[]"], 1
    ):
        file.write_text(text)
        code, said = grade()
        assert code == 0
        assert f"it is now progress.json.broken-{number}, and grading starts anew" in said
        assert "0 of 10 points" in said
        assert file.with_name(f"progress.json.broken-{number}").read_text() == text
    assert grade("check", "1.1")[0] == 0
    assert "4 of 10 points" in grade()[1]


def test_a_course_that_cannot_be_written_is_graded_all_the_same(course, grade):
    tiny.solve(course)
    (course.root / ".grade").write_text("in the way")
    code, said = grade("check", "1.1")
    assert code == 0
    assert "4 / 4 points" in said
    assert "note: " in said
    assert grade("hint", "1.1")[0] == 2


def test_commands_at_the_same_time_lose_nothing(course):
    def open_hints(exercise):
        for _ in range(10):
            progress.update(course, lambda it: it.hints.update({exercise: it.hints.get(exercise, 0) + 1}))

    threads = [threading.Thread(target=open_hints, args=(exercise.id,)) for exercise in course.exercises]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert progress.load(course).hints == {exercise.id: 10 for exercise in course.exercises}


def test_work_that_changes_while_it_is_graded_is_not_kept(course):
    target = Target(course, "templates")
    tiny.solve(course)

    def save(check):
        tiny.solve(course, tiny.DOUBLE)

    assert learner.grade_exercises(target, course.select("1.1"), on_check=save).is_complete
    assert progress.load(course).results == {}


def test_progress_survives_its_own_file(course):
    tiny.solve(course)
    learner.grade_exercises(Target(course, "templates"), course.exercises)
    kept = progress.load(course)
    assert progress.Progress.from_dict(kept.as_dict()) == kept
    assert list(kept.as_dict()["points"].values()) == ["4 / 4", "2 / 2", "2 / 3", "0 / 1"]
