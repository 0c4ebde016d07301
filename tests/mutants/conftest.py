"""Mutants and other right answers are read by `judge.py`, never collected."""

collect_ignore_glob = ["phase*/*", "right/*"]
