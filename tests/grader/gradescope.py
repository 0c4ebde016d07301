"""The grade as the results.json that Gradescope reads from an autograder.

The format: https://gradescope-autograders.readthedocs.io/en/latest/specs/#output-format
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.grader.course import Course
from tests.grader.outcome import Behaviour, ExerciseGrade
from tests.grader.submissions import Row
from tests.grader.text import not_run_reasons, points


def gradescope_results(course: Course, row: Row) -> dict[str, Any]:
    """The results of one submission: a test per behaviour, whose points add up to the score.

    What could not be run here has no points to earn and says so. Hidden tests (those outside the course's own folders)
    are shown after the grades are published.
    """
    tests = [test for exercise in row.grade.exercises for test in _tests(course, exercise)] if row.graded else []
    checks = [check for exercise in row.grade.exercises for check in exercise.checks]
    lines = [f"{row.grade.target}: {row.note}" if row.note else row.grade.target]
    if missing := row.grade.total - row.grade.available:
        lines.append(f"{points(missing)} points could not be earned on this machine and do not count.")
    return {
        "score": round(row.grade.earned, 4),
        "execution_time": round(sum(check.duration_s for check in checks), 2),
        "output": "\n".join(lines),
        "tests": tests,
    }


def _tests(course: Course, exercise: ExerciseGrade) -> Iterator[dict[str, Any]]:
    head = f"{exercise.exercise} {exercise.symbol}"
    own = f"{course.phase(course.exercise(exercise.exercise).phase).tests}/"
    for behaviour in exercise.behaviours:
        hidden = not behaviour.checks[0].nodeid.startswith(own)
        result = _result(behaviour, exercise)
        visibility = "after_published" if hidden else "visible"
        yield {"number": exercise.exercise, "name": f"{head}: {behaviour.title}", "visibility": visibility, **result}
    if not exercise.checks:
        nothing = {"score": 0.0, "max_score": float(exercise.points), "status": "failed", "visibility": "visible"}
        yield {"number": exercise.exercise, "name": head, "output": "No test of this exercise was run.", **nothing}


def _result(behaviour: Behaviour, exercise: ExerciseGrade) -> dict[str, Any]:
    share = exercise.points / len(exercise.behaviours)
    if exercise.broken_rule:
        return {"score": 0.0, "max_score": round(share, 4), "status": "failed", "output": exercise.broken_rule}
    if behaviour.verdict == "not_run":
        why = not_run_reasons(behaviour.checks)
        return {"score": 0.0, "max_score": 0.0, "output": f"Not run here ({points(share)} points): {why}."}
    passed = behaviour.verdict == "passed"
    said = {"failed": "", "passed": "", "inconclusive": "Inconclusive, so not earned: "}[behaviour.verdict]
    return {
        "score": round(share, 4) if passed else 0.0,
        "max_score": round(share, 4),
        "status": "passed" if passed else "failed",
        "output": said + behaviour.message,
    }
