"""The pytest plugin: options, marks and fixtures of the course. Inert for every test without an exercise mark.

`pytest tests/phase1 --target templates` needs nothing else. Under `child.py` it also answers in the signed stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.grader.course import COURSE_FILE
from tests.grader.job import Job
from tests.grader.judge import EXERCISE, Judge


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the course."""
    group = parser.getgroup("course")
    group.addoption("--target", default="solutions", help="what is graded: templates, solutions, or a path")
    group.addoption("--upstream", default="reference", help="what later exercises build on: reference or mine")
    group.addoption("--course", default=str(COURSE_FILE), help="the registry of the exercises")
    group.addoption("--grade-job", type=int, default=None, help="a file descriptor; set by `grade` for its children")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks and the judge."""
    config.addinivalue_line("markers", "exercise(id): this test is a behaviour of an exercise")
    config.addinivalue_line("markers", "needs(*names): without them the test is not run here")
    fd = config.getoption("--grade-job")
    config.pluginmanager.register(Judge(config, None if fd is None else Job.read(fd)), "course-judge")


@pytest.fixture
def graded_module(request: pytest.FixtureRequest) -> Any:
    """The module that answers the marked exercise."""
    return _judge(request).target.module(request.node.stash[EXERCISE])


@pytest.fixture
def graded(request: pytest.FixtureRequest) -> Any:
    """The symbol of the marked exercise: the learner's, or the reference's with `--target solutions`."""
    return _judge(request).target.symbol(request.node.stash[EXERCISE])


@pytest.fixture
def upstream(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """`upstream("1.3")` is the symbol of another exercise that this one builds on."""
    judge = _judge(request)
    return lambda exercise_id: judge.target.upstream_symbol(judge.course.exercise(exercise_id))


def _judge(request: pytest.FixtureRequest) -> Judge:
    if EXERCISE not in request.node.stash:
        raise pytest.UsageError(f"{request.node.nodeid} uses a graded fixture and has no exercise mark.")
    judge = request.config.pluginmanager.get_plugin("course-judge")
    assert isinstance(judge, Judge)
    return judge
