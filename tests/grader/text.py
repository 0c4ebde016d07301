"""The words of a score: what a learner reads under pytest and from the command line alike."""

from __future__ import annotations

from collections.abc import Iterable

from tests.grader.outcome import Check, ExerciseGrade, Grade


def points(value: float) -> str:
    """Points without needless zeros.

    >>> points(5.0), points(10 / 3)
    ('5', '3.33')
    """
    return f"{value:.2f}".rstrip("0").rstrip(".")


def score_lines(grade: Grade) -> list[str]:
    """The score: a line per phase (earned / available here / total) and per exercise, with the graded file and hash."""
    lines = [f"target {grade.target}, upstream {grade.upstream}; points: earned / available here / total"]
    for phase in grade.phases:
        lines.append(f"phase {phase.phase}  {phase.title}: {_score(phase.earned, phase.available, phase.total)}")
        lines += [f"  {_exercise_line(exercise)}" for exercise in phase.exercises]
        if phase.stopped:
            lines.append(f"  stopped early: {phase.stopped}")
    if len(grade.phases) > 1:
        lines.append(f"all phases: {_score(grade.earned, grade.available, grade.total)}")
    return lines


def failure_lines(exercise: ExerciseGrade) -> list[str]:
    """What broke in one exercise and what to do next; empty when nothing failed."""
    if exercise.verdict in ("passed", "not_run"):
        return []
    head = f"{exercise.exercise} {exercise.symbol}   {points(exercise.earned)} / {exercise.points} points"
    if exercise.broken_rule:
        messages = [exercise.broken_rule]
    elif not exercise.checks:
        messages = ["no test of this exercise was run, and what is not tested has failed."]
    else:
        bad = [part for part in exercise.behaviours if part.verdict in ("failed", "inconclusive")]
        messages = list(dict.fromkeys(part.message for part in bad))  # an unwritten exercise says so once
    body = [f"  {line}" for message in messages for line in message.splitlines()]
    return [head, *body, next_line(exercise)]


def is_untouched(exercise: ExerciseGrade) -> bool:
    """True when every failure of the exercise says that it is not written yet."""
    bad = [part.message for part in exercise.behaviours if part.verdict == "failed"]
    return bool(bad) and all(" is not written yet: " in message for message in bad)


def next_line(exercise: ExerciseGrade) -> str:
    """The command that helps, and exactly which file was graded."""
    file = f"file {exercise.file}, sha {exercise.sha[:4]}" if exercise.file else "no file"
    return f"  next:   grade hint {exercise.exercise}     ({file})"


def not_run_reasons(checks: Iterable[Check]) -> str:
    """Why tests could not run here, each reason once."""
    reasons = (check.message for check in checks if check.verdict == "not_run")
    return ", ".join(dict.fromkeys(reason for reason in reasons if reason))


def _score(earned: float, available: float, total: float) -> str:
    return f"{points(earned)} / {points(available)} / {points(total)}"


def _exercise_line(exercise: ExerciseGrade) -> str:
    name = f"{exercise.exercise} {exercise.symbol}"
    file = f"{exercise.file} sha {exercise.sha}" if exercise.file else "no file"
    missing = exercise.points - exercise.available
    away = f" ({not_run_reasons(exercise.checks)})" if missing else ""
    if exercise.verdict == "not_run":
        return f"{name:<32} not run here ({points(missing)} points){away}   {file}"
    rest = f", {points(missing)} not run here{away}" if missing else ""
    earned = f"{points(exercise.earned)} / {exercise.points} points"
    return f"{name:<32} {earned}   {exercise.verdict}{rest}   {file}"
