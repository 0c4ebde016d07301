"""A tiny course and the command `grade` pointed at it."""

from __future__ import annotations

import sys

import pytest

from tests.grader.cli import console
from tests.meta import tiny_course as tiny


@pytest.fixture
def course(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADE_COURSE", str(tmp_path))
    return tiny.build(tmp_path)


@pytest.fixture
def grade(capsys, monkeypatch):
    """`grade("check", "1.1")` is (exit code, what was printed), stderr last."""
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["grade", *words])
        try:
            code = console()
        except SystemExit as error:  # argparse
            code = int(str(error.code))
        said = capsys.readouterr()
        return code, said.out + said.err

    return call
