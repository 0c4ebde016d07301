"""The text of a failure: which property broke, what came instead, where in the learner's file."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from tests.grader.checks import GradeFailure, failure
from tests.grader.course import Exercise
from tests.grader.target import RuleBroken, TargetError, line_in

LINES = 8
LENGTH = 2000
# tests that may hang or end the process before the rest of their exercise is not tried any more
STRIKES = 2


def explain(error: BaseException, exercise: Exercise, title: str, row: str, files: Collection[str]) -> str:
    """The lines that a learner reads for one failed test.

    Args:
        error: what the test raised.
        exercise: the exercise it belongs to.
        title: the behaviour's name.
        row: the name of the parametrised row; may be empty.
        files: the learner's files, whose line numbers are worth saying.
    """
    broke = f'"{title}"' + (f" for the row [{row}]" if row else "")
    text = _words(error)
    if isinstance(error, GradeFailure):
        first, *rest = text.splitlines()
        return "\n".join([f"{first} [{row}]" if row else first, *rest])
    if isinstance(error, TargetError | RuleBroken):
        return text
    if isinstance(error, NotImplementedError):
        if text.startswith("exercise ") and not text.startswith(f"exercise {exercise.id} "):
            return f"{exercise.symbol} calls what is not written yet: {text}."
        return f"exercise {exercise.id} {exercise.symbol} is not written yet: {exercise.template}"
    if is_timeout(error):
        limit = text.partition(">")[2].partition(")")[0]
        return str(failure(broke, "an endless loop, or a wait that nothing ends", f"an end within {limit}", "none"))
    if isinstance(error, pytest.skip.Exception | pytest.xfail.Exception):
        return str(failure(broke, expected="an answer", got="the test was skipped from inside, which earns nothing"))
    if isinstance(error, MemoryError):
        return str(
            failure(broke, "far more memory is used than the task needs", got=f"MemoryError{line_in(error, files)}")
        )
    if isinstance(error, AssertionError):
        shown = "\n".join(text.splitlines()[:LINES])
        return f"broke: {broke}\n{shown}{line_in(error, files)}"
    return str(failure(broke, got=f"{type(error).__name__}: {text}{line_in(error, files)}"))


def is_timeout(error: BaseException) -> bool:
    """True for the failure with which pytest-timeout ends a test."""
    return isinstance(error, pytest.fail.Exception) and "Timeout (>" in str(error)


def gave_up() -> str:
    """What the remaining tests say of an exercise that hung or ended the process so often."""
    return f"not tried: {STRIKES} tests of this exercise hung or ended the process already."


def _words(error: BaseException) -> str:
    try:
        return str(error)[:LENGTH]
    except Exception:  # an exception class of the submission
        return "(no words)"
