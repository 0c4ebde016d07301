"""`grade doctor`: what is installed, what this machine is, and what will be "not run here" and why."""

from __future__ import annotations

import ast
import importlib.metadata
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from solutions.core.hardware.profile import detect
from solutions.core.optional import require
from tests.grader.course import Course, read_toml
from tests.grader.learner import INSTALL
from tests.grader.needs import missing
from tests.grader.source import parse

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination. `ok` is False for what keeps `grade` from working, None for what is only absent."""

    topic: str
    what: str
    ok: bool | None = True


def examine(course: Course) -> list[Finding]:
    """Everything worth knowing before the first exercise, and before asking for help."""
    project = read_toml(PROJECT)["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    found = [
        Finding("python", f"{platform.python_version()} ({sys.executable})"),
        Finding("machine", detect().describe()),
        Finding("course", f"{course.file}, {len(course.exercises)} exercises"),
    ]
    for topic, needed in (("needed", project["dependencies"]), ("grading", extras["test"])):
        present, unmet = _versions(needed)
        found.append(Finding(topic, ", ".join(present)))
        if unmet:
            found.append(Finding(topic, f"{', '.join(unmet)}: {INSTALL}", ok=False))
    for extra in [name for name in extras if name not in ("test", "dev")]:
        present, unmet = _versions(extras[extra])
        words = [*present, *([f'{", ".join(unmet)}: pip install -e ".[{extra}]"'] if unmet else [])]
        found.append(Finding(f"extra {extra}", ", ".join(words), ok=None if unmet else True))
    return found + [_need(course, need, touched) for need, touched in needs(course).items()]


def needs(course: Course) -> dict[str, dict[str, bool]]:
    """By need, the exercises that it touches: True when the whole exercise asks for it, False when some tests do.

    Read from the registry and from the marks in the tests' source; no test is imported.
    """
    found: dict[str, dict[str, bool]] = {}
    for exercise in course.exercises:
        for need in exercise.needs:
            found.setdefault(need, {})[exercise.id] = True
    for phase in course.phases:
        for path in sorted((course.root / phase.tests).rglob("test_*.py")):
            body = parse(path).body
            for node in [part for part in body if isinstance(part, ast.FunctionDef)]:
                around = [*node.decorator_list, *_assigned(body, node)]
                for name in _marked("exercise", around):
                    for need in _marked("needs", around):
                        found.setdefault(need, {}).setdefault(name, False)
    return found


def _assigned(body: list[ast.stmt], test: ast.FunctionDef) -> list[ast.stmt]:
    """The module's pytestmark, and the tables that the decorators of the test name."""
    named = {part.id for node in test.decorator_list for part in ast.walk(node) if isinstance(part, ast.Name)}
    wanted = {"pytestmark", *named}
    assigned = [part for part in body if isinstance(part, ast.Assign)]
    return [part for part in assigned if any(isinstance(to, ast.Name) and to.id in wanted for to in part.targets)]


def _marked(name: str, nodes: Sequence[ast.AST]) -> list[str]:
    """The texts given to `pytest.mark.<name>(...)` anywhere in the nodes."""
    calls = [part for node in nodes for part in ast.walk(node) if isinstance(part, ast.Call)]
    calls = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == name]
    return [str(arg.value) for call in calls for arg in call.args if isinstance(arg, ast.Constant)]


def _need(course: Course, need: str, touched: dict[str, bool]) -> Finding:
    whole = [exercise for exercise, is_whole in touched.items() if is_whole]
    part = [exercise for exercise, is_whole in touched.items() if not is_whole]
    cost = sum(course.exercise(exercise).points for exercise in whole)
    words = [f"{', '.join(whole)} ({cost} of the points)"] if whole else []
    words += [f"some tests of {', '.join(part)}"] if part else []
    reason = missing(need)
    if reason is None:
        return Finding(f"need {need}", f"is met, for {' and '.join(words)}")
    return Finding(f"need {need}", f"{reason}; not run here: {' and '.join(words)}", ok=None)


def _versions(requirements: list[str]) -> tuple[list[str], list[str]]:
    """("name version" of what is installed, the requirements that are not met) among those meant for this system."""
    packaging = require("packaging.requirements", why="grade doctor", install=INSTALL)
    present, unmet = [], []
    for line in requirements:
        wanted = packaging.Requirement(line)
        if wanted.marker and not wanted.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            unmet.append(f"{wanted.name} is not installed")
            continue
        present.append(f"{wanted.name} {version}")
        if not wanted.specifier.contains(version, prereleases=True):
            unmet.append(f"{wanted.name} {version} is not {wanted.specifier}")
    return present, unmet
