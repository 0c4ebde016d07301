"""The course engine judges the grading tests of tests/phase1 to tests/phase4; every other test runs as always."""

pytest_plugins = ["tests.grader.plugin"]
