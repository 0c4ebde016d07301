"""The command `grade`: parse, call, render. Every subcommand is a function from its arguments to an exit code.

A subcommand adds its parser with `set_defaults(call=function)`; `function(args)` finds the loaded `Course` in
`args.course` and returns 0, or 1 when not everything is earned, or raises a CourseError (exit code 2).
What a subcommand needs is imported when it runs, so that `grade` alone shows the map at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solutions.core.errors import ConfigError
from solutions.core.optional import available
from solutions.core.scripts import EXIT_FAILED, EXIT_OK, run, write_json, write_text
from tests.grader.course import COURSE_FILE, Course, Exercise
from tests.grader.target import Target

if TYPE_CHECKING:
    from tests.grader.learner import Graded

Subparsers = Any  # argparse has no public name for it

_ID = "id of an exercise, such as 1.2"
_COURSE = "another course: its folder or its course.toml (also: GRADE_COURSE)"
_ID_OR_NEXT = _ID + "; the next one if left out"
_UPSTREAM = "what an exercise that builds on others gets: the reference's (default where solutions are here) or yours"


def console() -> int:
    """Exit code of the command line."""
    for name in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C does: the children end with us
        if signal.getsignal(name) is signal.SIG_DFL:  # nohup stays nohup
            signal.signal(name, signal.default_int_handler)
    return run(main)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and call; the exit code."""
    args = _parser().parse_args(argv)
    args.course = Course.load(_registry(args.course))
    call: Callable[[argparse.Namespace], int] = args.call
    return call(args)


def _registry(given: str | None) -> Path:
    path = Path(given or os.environ.get("GRADE_COURSE") or COURSE_FILE).expanduser()
    return path / "tests" / "course.toml" if path.is_dir() else path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="grade",
        description="Grade the exercises of the course. Without a command: the map, and what is next.",
        epilog="Exit code: 0 everything graded is earned, 1 it is not, 2 it could not run (one sentence says why).",
    )
    parser.add_argument("--course", metavar="PATH", help=_COURSE)
    parser.set_defaults(call=_map)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    check = _command(commands, "check", _check, "grade the course, a phase or an exercise")
    watch = _command(commands, "watch", _watch, "grade the current exercise whenever you save its file")
    hint = _command(commands, "hint", _hint, "open one hint more for an exercise; there are three")
    diff = _command(commands, "diff", _diff, "compare your solved exercise with the reference solution")
    reset = _command(commands, "reset", _reset, "put back the unwritten exercise; your file is kept as a backup")
    _command(commands, "doctor", _doctor, 'what is installed, and what will be "not run here" and why')
    report = _command(commands, "report", _report, "grade, and write the result as HTML, JSON or JUnit XML")
    for part in (check, report):
        part.add_argument("what", nargs="?", help="a phase (1) or an exercise (1.2); everything if left out")
        part.add_argument("--target", default="templates", help="templates (yours, the default), solutions, or a path")
        part.add_argument("--all", action="store_true", help="run finished exercises again too")
    for part in (check, report, watch):
        part.add_argument("--upstream", choices=["reference", "mine"], help=_UPSTREAM)
    for part in (watch, hint):
        part.add_argument("exercise", nargs="?", help=_ID_OR_NEXT)
    for part in (diff, reset):
        part.add_argument("exercise", help=_ID)
    hint.add_argument(
        "--level", type=int, choices=[1, 2, 3], help="this hint, from a nudge (1) to almost the answer (3)"
    )
    diff.add_argument("--spoil", action="store_true", help="show the solution although the exercise is not solved")
    reset.add_argument("--file", action="store_true", help="the whole file with all its exercises, not just this one")
    reset.add_argument("--yes", action="store_true", help="do not ask")
    report.add_argument(
        "--html", metavar="FILE", help="one self-contained page (.grade/report.html if no file is named)"
    )
    report.add_argument("--json", metavar="FILE", help="every check, for programs")
    report.add_argument("--junit", metavar="FILE", help="JUnit XML, for CI systems")
    if available("tests.grader.instructor"):  # a student copy may come without the instructor's commands
        importlib.import_module("tests.grader.instructor").add_parsers(commands)
    for part in set(commands.choices.values()):  # after the command it means the same
        part.add_argument("--course", metavar="PATH", default=argparse.SUPPRESS, help=_COURSE)
    return parser


def _command(
    commands: Subparsers, name: str, call: Callable[[argparse.Namespace], int], does: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=does, description=does[0].upper() + does[1:] + ".")
    parser.set_defaults(call=call)
    return parser


def _map(args: argparse.Namespace) -> int:
    from tests.grader.progress import load
    from tests.grader.show import make_console, show_map

    show_map(make_console(), args.course, load(args.course))
    return EXIT_OK


def _check(args: argparse.Namespace) -> int:
    return EXIT_OK if _grade(args).is_complete else EXIT_FAILED


def _grade(args: argparse.Namespace) -> Graded:
    """Grade what was asked for and print it."""
    from tests.grader.learner import grade_exercises
    from tests.grader.show import live_checks, make_console, show_grade

    course: Course = args.course
    exercises = course.select(args.what) if args.what else course.exercises
    if args.target == "solutions" and (why := course.missing_solutions(exercises)):
        raise ConfigError(why)
    target, out = Target(course, args.target, _upstream(args)), make_console()
    with live_checks(out, exercises) as on_check:
        graded = grade_exercises(target, exercises, again=args.all, on_check=on_check)
    show_grade(out, graded)
    return graded


def _watch(args: argparse.Namespace) -> int:
    from tests.grader.show import make_console
    from tests.grader.watch import watch

    only = args.course.exercise(args.exercise) if args.exercise else None
    watch(make_console(), Target(args.course, "templates", _upstream(args)), only)
    return EXIT_OK


def _hint(args: argparse.Namespace) -> int:
    from tests.grader.learner import open_hint
    from tests.grader.show import make_console, say

    exercise = _exercise_or_next(args)
    level = open_hint(args.course, exercise, args.level)
    lines = [f"{exercise.id} {exercise.symbol}, hint {level} of 3:", f"  {exercise.hints[level - 1]}"]
    if level < 3:
        lines.append(f"the next one: grade hint {exercise.id}")
    else:
        lines.append(f"that was the last; earlier ones: --level 1; the solution: grade diff {exercise.id} --spoil")
    say(make_console(), *lines)
    return EXIT_OK


def _diff(args: argparse.Namespace) -> int:
    from tests.grader.learner import is_done
    from tests.grader.progress import load
    from tests.grader.show import make_console, say
    from tests.grader.source import diff

    course, exercise = args.course, args.course.exercise(args.exercise)
    if not args.spoil and not is_done(Target(course, "templates"), exercise, load(course)):
        raise ConfigError(
            f"{exercise.id} {exercise.symbol} is not solved as its file stands: grade check {exercise.id}, "
            f"or see the solution all the same: grade diff {exercise.id} --spoil"
        )
    say(make_console(), *(diff(course, exercise) or ["your code and the reference are the same."]))
    return EXIT_OK


def _reset(args: argparse.Namespace) -> int:
    from tests.grader.source import reset

    exercise = args.course.exercise(args.exercise)
    what = exercise.template if args.file else f"{exercise.symbol} in {exercise.template}"
    if not args.yes and not _confirmed(f"put back the unwritten {what}? A backup is kept. [y/N] "):
        print("nothing was changed")
        return EXIT_FAILED
    backup = reset(args.course, exercise, whole_file=args.file)
    print(f"{what} is as it was before it was written; your version: {backup}")
    return EXIT_OK


def _confirmed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # no terminal to ask: the safe answer
        print()
        return False


def _doctor(args: argparse.Namespace) -> int:
    from tests.grader.doctor import examine
    from tests.grader.show import make_console, show_findings

    findings = examine(args.course)
    show_findings(make_console(), findings)
    return EXIT_FAILED if any(finding.ok is False for finding in findings) else EXIT_OK


def _report(args: argparse.Namespace) -> int:
    from tests.grader.junit import junit_xml
    from tests.grader.progress import own_folder
    from tests.grader.report_page import report_html

    if not (args.html or args.json or args.junit):
        args.html = own_folder(args.course) / "report.html"
    named = [Path(name) for name in (args.html, args.json, args.junit) if name]
    for path in named:
        if not path.resolve().parent.is_dir():  # said now, not after minutes of grading
            raise ConfigError(f"{path} cannot be written: there is no folder {path.parent}.")
    graded = _grade(args)
    if args.html:
        write_text(args.html, report_html(graded.grade))
    if args.json:
        write_json(args.json, graded.grade.as_dict())
    if args.junit:
        write_text(args.junit, junit_xml(graded.grade))
    for path in named:
        print(f"written: {path}")
    return EXIT_OK if graded.is_complete else EXIT_FAILED


def _upstream(args: argparse.Namespace) -> str:
    """What was asked for; a student copy without solutions has only the student's own."""
    course: Course = args.course
    whole = all(course.solution_file(exercise).is_file() for exercise in course.exercises)
    return str(args.upstream or ("reference" if whole else "mine"))


def _exercise_or_next(args: argparse.Namespace) -> Exercise:
    from tests.grader.learner import next_exercise
    from tests.grader.progress import load

    exercise = args.course.exercise(args.exercise) if args.exercise else next_exercise(args.course, load(args.course))
    if exercise is None:
        raise ConfigError("nothing is left to be earned here; name an exercise: grade hint 1.2")
    return exercise
