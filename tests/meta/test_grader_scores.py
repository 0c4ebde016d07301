"""The engine on a tiny made-up course: what is right earns its points, what is wrong is named, and both paths agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from solutions.core.errors import ConfigError
from tests.grader.outcome import Grade
from tests.grader.target import Target
from tests.grader.text import failure_lines, score_lines
from tests.meta import tiny_course as tiny

RIGHT = tiny.DOUBLE + tiny.HALVE
LOSES_THE_SIGN = "def double(x):\n    return 2 * x if isinstance(x, str) else 2 * abs(x)\n" + tiny.HALVE


@pytest.fixture
def course(tmp_path):
    return tiny.build(tmp_path)


def as_grade(target, phase):
    return Grade(target.where, target.upstream, (phase,))


@pytest.mark.parametrize("where", ["templates", "solutions"])
def test_both_ends_and_both_paths(course, where):
    target = Target(course, where)
    phase = tiny.grade(target)
    verdicts = {exercise.exercise: exercise.verdict for exercise in phase.exercises}
    if where == "templates":
        assert phase.earned == 0
        assert verdicts == {"1.1": "failed", "1.2": "failed", "1.3": "failed", "1.4": "not_run"}
    else:
        assert phase.earned == phase.available
        assert verdicts == {"1.1": "passed", "1.2": "passed", "1.3": "passed", "1.4": "not_run"}
    assert (phase.available, phase.total) == (8, 10)
    run = tiny.plain_pytest(course, "--target", where)
    assert run.returncode == (1 if where == "templates" else 0)
    for line in score_lines(as_grade(target, phase)):
        assert line in run.stdout.splitlines()
    for exercise in phase.exercises[:3]:
        said = "\n".join(failure_lines(exercise))
        asked = f"exercise {exercise.exercise} {exercise.symbol} is not written yet: {exercise.file}"
        assert (asked in said) == (where == "templates")
        assert (f"grade hint {exercise.exercise}" in said) == (where == "templates")


def test_one_wrong_row_fails_its_behaviour_and_teaches(course):
    target = tiny.submit(course, LOSES_THE_SIGN)
    phase = tiny.grade(target)
    assert tiny.earned(phase) == {"1.1": 2, "1.2": 2, "1.3": 2, "1.4": 0}
    said = failure_lines(phase.exercises[0])
    assert said == [
        "1.1 double   2 / 4 points",
        "  broke: twice the number [negative]",
        "  expected: -2        got: 2",
        "  likely: the sign was lost",
        f"  next:   grade hint 1.1     (file submission/numbers_.py, sha {phase.exercises[0].sha[:4]})",
    ]
    grade = as_grade(target, phase)
    assert Grade.from_dict(json.loads(json.dumps(grade.as_dict()))) == grade
    run = tiny.plain_pytest(course, "--target", target.where)
    assert "\n".join(said[1:]) in run.stdout
    assert all(line in run.stdout.splitlines() for line in score_lines(grade))


def test_only_one_exercise_is_run(course):
    seen = []
    phase = tiny.grade(tiny.submit(course, RIGHT), only=["1.2"], on_check=seen.append)
    assert tiny.earned(phase) == {"1.2": 2}
    assert [(check.exercise, check.verdict) for check in seen] == [("1.2", "passed")]


def test_files_that_cannot_be_used_cost_their_exercises_only(course):
    target = tiny.submit(course, "def double(x:\n")
    Path(target.where, "words.py").unlink()
    phase = tiny.grade(target)
    assert phase.earned == 0
    assert "submission/numbers_.py line 1: Python cannot read this file" in "\n".join(failure_lines(phase.exercises[1]))
    assert "there is no phase1_tiny/words.py in" in "\n".join(failure_lines(phase.exercises[2]))
    phase = tiny.grade(tiny.submit(course, "def double(x:\n"))
    assert tiny.earned(phase) == {"1.1": 0, "1.2": 0, "1.3": 2, "1.4": 0}


def test_upstream_mine_builds_on_the_learners_own(course):
    numbers = "def double(x):\n    return 3 * x\n" + tiny.HALVE
    folder = tiny.submit(course, numbers).where
    assert tiny.earned(tiny.grade(Target(course, folder), only=["1.2"])) == {"1.2": 2}
    assert tiny.earned(tiny.grade(Target(course, folder, "mine"), only=["1.2"])) == {"1.2": 0}


def test_an_exercise_without_a_test_has_failed(course):
    (course.root / "tests/phase1/test_words.py").unlink()
    phase = tiny.grade(Target(course, "solutions"))
    assert tiny.earned(phase) == {"1.1": 4, "1.2": 2, "1.3": 0, "1.4": 0}
    assert tiny.earned(tiny.grade(Target(course, "solutions"), only=["1.3"])) == {"1.3": 0}
    assert "no test of this exercise was run" in "\n".join(failure_lines(phase.exercises[2]))


def test_a_partial_run_says_what_it_left_out(course):
    run = tiny.plain_pytest(course, "--target", "solutions", "-k", "halve")
    assert "phase 1  Tiny: 2 / 2 / 2" in run.stdout
    assert "not selected in this run and not in the score: 1.1, 1.3, 1.4" in run.stdout


def test_inconclusive_is_neither_earned_nor_failed(course):
    text = 'from tests.grader.checks import inconclusive\nimport pytest\npytestmark = pytest.mark.exercise("1.2")\n'
    text += 'def test_speed(graded):\n    inconclusive("the interval straddles the bar")\n'
    tiny.write(course.root, {"hidden/test_speed.py": text})
    target = Target(course, "solutions")
    phase = tiny.grade(target, only=["1.2"], extra_tests=course.root / "hidden")
    (exercise,) = phase.exercises
    assert (exercise.verdict, exercise.earned, exercise.available) == ("inconclusive", 1, 2)
    assert "the interval straddles the bar" in "\n".join(failure_lines(exercise))
    run = tiny.plain_pytest(course, "tests/phase1/test_numbers.py", str(course.root / "hidden"), "-k", "speed or halve")
    assert run.returncode == 0
    assert "1 passed, 3 deselected, 1 inconclusive" in run.stdout


@pytest.mark.parametrize(
    ("test", "says"),
    [
        pytest.param('@pytest.mark.skip\n@pytest.mark.exercise("1.1")', "has the mark skip", id="skip"),
        pytest.param('@pytest.mark.xfail\n@pytest.mark.exercise("1.1")', "has the mark xfail", id="xfail"),
        pytest.param('@pytest.mark.exercise("9.9")', "no exercise '9.9'", id="unknown-exercise"),
        pytest.param("", "belongs to no exercise", id="no-mark"),
        pytest.param("import no_such_module", "no_such_module", id="does-not-import"),
    ],
)
def test_a_grading_test_that_cannot_count_stops_the_collection(course, test, says):
    tiny.write(course.root, {"tests/phase1/test_odd.py": f"import pytest\n{test}\ndef test_odd():\n    pass\n"})
    with pytest.raises(ConfigError, match=r"(?s)cannot be collected.*" + says):
        tiny.grade(Target(course, "solutions"))


def test_a_target_that_is_not_there_is_refused(course):
    with pytest.raises(ConfigError, match="nor a path that is there"):
        Target(course, "no/such/folder")
