"""Imports point one way: core <- phase1 <- phase2 <- phase3 <- phase4, and nothing in solutions looks outside."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RANK = {"core": 0, "phase1_basics": 1, "phase2_optimization": 2, "phase3_advanced": 3, "phase4_production": 4}
OUTSIDE = ("tests", "benchmarks", "phase1_basics", "phase2_optimization", "phase3_advanced", "phase4_production")


def imported_modules(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that a script runs as a plain file"
            found.append(node.module or "")
    return found


def violations(source: str, own_room: str) -> list[str]:
    bad = []
    for module in imported_modules(source):
        first, *rest = module.split(".")
        upwards = first == "solutions" and rest and RANK[rest[0]] > RANK[own_room]
        if first in OUTSIDE or upwards:
            bad.append(module)
    return bad


@pytest.mark.parametrize("path", sorted((ROOT / "solutions").glob("*/**/*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    own_room = path.relative_to(ROOT / "solutions").parts[0]
    assert violations(path.read_text(), own_room) == []


@pytest.mark.parametrize(
    ("source", "own_room", "want"),
    [
        pytest.param("import solutions.phase1_basics.model_loader", "core", 1, id="core-must-not-see-a-phase"),
        pytest.param("from solutions.phase4_production import x", "phase1_basics", 1, id="phase1-must-not-see-phase4"),
        pytest.param("from tests.core import x", "phase4_production", 1, id="nobody-sees-tests"),
        pytest.param("def f():\n    from solutions.phase3_advanced import x", "core", 1, id="inside-a-function-too"),
        pytest.param("from solutions.core.errors import ConfigError", "phase4_production", 0, id="down-is-fine"),
    ],
)
def test_the_rule_can_fail(source, own_room, want):
    assert len(violations(source, own_room)) == want
