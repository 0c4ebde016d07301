"""The functions that a learner wrote, for the benchmarks: found by exercise, and one sentence where one is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from solutions.core.errors import ConfigError, CourseError
from tests.grader.course import Course
from tests.grader.target import RuleBroken, Target, TargetError, line_in

T = TypeVar("T")


class Learner:
    """The exercises of `--target`.

    Args:
        where: "templates", "solutions", or the path of a file or folder.

    Raises:
        ConfigError: the path is not there.
    """

    def __init__(self, where: str) -> None:
        self._course = Course.load()
        self._target = Target(self._course, where)
        self._by_symbol = {exercise.symbol: exercise for exercise in self._course.exercises_of(2)}
        self.title = where if where in ("templates", "solutions") else self._target.where

    def function(self, symbol: str) -> Callable[..., Any]:
        """The function of an exercise of phase 2; what is wrong with the file shows when it is called."""
        exercise = self._by_symbol[symbol]

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._target.symbol(exercise)(*args, **kwargs)

        return call

    def ask(self, work: Callable[[], T]) -> T:
        """What `work` returns, which calls functions of the learner.

        Raises:
            ConfigError: one of them is not written, cannot be loaded, or failed; in one sentence.
        """
        try:
            return work()
        except (TargetError, RuleBroken) as error:
            raise ConfigError(str(error)) from error
        except NotImplementedError as error:
            text = str(error)
            if not text.startswith("exercise "):  # torch raises these too
                raise ConfigError(self._failure(error)) from error
            what, _, file = text.partition(": ")
            raise ConfigError(f"{what} is not written yet: {file}. Stuck? grade hint {text.split()[1]}") from error
        except CourseError:
            raise
        except Exception as error:  # whatever their code does
            raise ConfigError(self._failure(error)) from error

    def _failure(self, error: Exception) -> str:
        first = (str(error).strip().splitlines() or [""])[0][:200]
        return f"the exercises failed: {type(error).__name__}: {first}{line_in(error, self._target.files)}"
