"""`python -m tests.grader` is the command `grade`."""

from tests.grader.cli import console

raise SystemExit(console())
