"""What the learner sees: the map of the course, the tests as they finish, the score with its failures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.highlighter import RegexHighlighter
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from solutions.core.errors import ConfigError
from tests.grader.course import Course, Exercise
from tests.grader.learner import Graded, next_exercise
from tests.grader.outcome import Check
from tests.grader.progress import Progress
from tests.grader.source import parse, symbol_lines
from tests.grader.target import Target
from tests.grader.text import failure_lines, is_untouched, not_run_reasons, points, score_lines

if TYPE_CHECKING:
    from tests.grader.doctor import Finding

BAR = 16  # cells
WIDE = 120  # columns from which the map says for every exercise what "good" means

_STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COLOURS = {"good": "green", "bad": "red", "other": "yellow", "command": "bold cyan"}
_SIGNS = {"passed": (".", "good"), "failed": ("F", "bad"), "not_run": ("n", "other"), "inconclusive": ("i", "other")}


class _Words(RegexHighlighter):
    """Colours for the few words that carry the message."""

    highlights = (
        r"(?P<good>\bpassed\b|\bdone\b|^\+.*)",
        r"(?P<bad>\bfailed\b|^  broke:|\bis not written yet\b|^-.*)",
        r"(?P<other>\bnot run here\b|\binconclusive\b|\bchanged\b)",
        r"(?P<command>\bgrade (check|hint|watch|diff|reset|doctor|report)( \d+\.\d+)?)",
    )


@dataclass(frozen=True, slots=True)
class _State:
    """One exercise on the map."""

    earned: float
    word: str


def make_console() -> Console:
    """The console of every command: colours on a terminal, plain lines in a pipe."""
    return Console(highlighter=_Words(), theme=Theme(_COLOURS))


def say(console: Console, *lines: str) -> None:
    """Print lines unwrapped, so that they can be searched and copied; a submission cannot steer the terminal."""
    for line in lines:
        console.print(_STEERS.sub("?", line), markup=False, soft_wrap=True)


def show_map(console: Console, course: Course, progress: Progress) -> None:
    """Phases, exercises, points, what "good" means, and what is next, from remembered results alone."""
    states = {exercise.id: _state(course, exercise, progress) for exercise in course.exercises}
    table = Table.grid(padding=(0, 2, 0, 0))
    for justify in ("left", "left", "right", "left"):
        table.add_column(justify=justify)
    for phase in course.phases:
        exercises = course.exercises_of(phase.number)
        total = sum(exercise.points for exercise in exercises)
        earned = sum(states[exercise.id].earned for exercise in exercises)
        score = f"{points(earned)} / {total}" if total else ""
        table.add_row(f"phase {phase.number}", Text(phase.title, "bold"), score, _bar(earned, total))
        for exercise in exercises:
            state = states[exercise.id]
            score = f"{points(state.earned)} / {exercise.points}"
            word = console.highlighter(Text(state.word)) if state.word else ""
            good = Text(exercise.bar if console.width >= WIDE else "", "dim")
            table.add_row(f"  {exercise.id}", Text(exercise.title), score, word, good)
        table.add_row()
    console.print(table)
    _show_next(console, course, progress, states)


def _bar(earned: float, total: int) -> Text:
    if not total:
        return Text("no exercises yet")
    full = int(BAR * earned / total)
    return Text("#" * full, "good").append("." * (BAR - full), "dim")


def _show_next(console: Console, course: Course, progress: Progress, states: dict[str, _State]) -> None:
    total = sum(exercise.points for exercise in course.exercises)
    if not total:
        return
    say(console, f"{points(sum(state.earned for state in states.values()))} of {total} points")
    if any(state.word == "changed" for state in states.values()):
        say(console, "changed: a file is no longer what was graded; grade check looks again")
    following = next_exercise(course, progress)
    if following is None:
        say(console, "everything that can be earned here is earned: grade report")
        return
    say(console, f"next: {following.id} {following.symbol}   {_place(course, following)}")
    if following.bar:
        say(console, f"      good: {following.bar}")
    say(console, f"      grade check {following.id}   grade hint {following.id}   grade watch")
    for link in following.reading:
        say(console, f"      read: {link.title}, {link.url}")


def _state(course: Course, exercise: Exercise, progress: Progress) -> _State:
    result = progress.results.get(exercise.id)
    if result is None:
        return _State(0, "")
    if not result.holds(Target(course, "templates", result.upstream), exercise):
        return _State(0, "changed" if result.grade.earned else "")
    grade = result.grade
    word = "done" if grade.verdict == "passed" else grade.verdict.replace("_run", " run here")
    if reasons := not_run_reasons(grade.checks):
        part = "" if grade.verdict == "not_run" else f", {points(grade.points - grade.available)} not run here"
        word += f"{part}: {reasons}"
    return _State(grade.earned, word)


def _place(course: Course, exercise: Exercise) -> str:
    try:
        lines = symbol_lines(parse(course.root / exercise.template), exercise.symbol)
    except ConfigError:  # the map comes up whatever state the file is in
        lines = None
    return f"{exercise.template} line {lines[0]}" if lines else exercise.template


@contextmanager
def live_checks(console: Console, exercises: Sequence[Exercise]) -> Iterator[Callable[[Check], None]]:
    """What to call with each finished test: a line per exercise grows by a sign; on a terminal only, and gone after."""
    if not console.is_terminal:
        yield lambda check: None
        return
    names = {exercise.id: exercise.symbol for exercise in exercises}
    lines: dict[str, Text] = {}
    spinner = Spinner("dots", "grading")

    def render() -> Group:
        return Group(*list(lines.values())[-max(console.height - 2, 1) :], spinner)

    def on_check(check: Check) -> None:
        line = lines.setdefault(check.exercise, Text(f"{check.exercise:<6}{names.get(check.exercise, ''):<32}"))
        line.append(*_SIGNS[check.verdict])

    with Live(get_renderable=render, console=console, transient=True):
        yield on_check


def show_grade(console: Console, graded: Graded) -> None:
    """Failures first, the score under them, where the eye rests; of what is not written yet only the first in full."""
    untouched = [exercise for exercise in graded.grade.exercises if is_untouched(exercise)]
    for exercise in graded.grade.exercises:
        if exercise not in untouched[1:] and (lines := failure_lines(exercise)):
            say(console, *lines, "")
    if untouched[1:]:
        say(console, f"not written yet either: {', '.join(exercise.exercise for exercise in untouched[1:])}", "")
    say(console, *score_lines(graded.grade))
    if graded.reused:
        say(console, f"finished and unchanged, not run again: {', '.join(graded.reused)} (--all runs them)")


def show_findings(console: Console, findings: Sequence[Finding]) -> None:
    """What `grade doctor` found, a line each."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        word, style = {True: ("ok", "good"), None: ("absent", "other"), False: ("missing", "bad")}[finding.ok]
        table.add_row(Text(word, style), finding.topic, Text(finding.what))
    console.print(table)
