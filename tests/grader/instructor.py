"""What an instructor asks of the engine: grade a class, hand results to Gradescope, make the student copy."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solutions.core.errors import ConfigError
from solutions.core.scripts import EXIT_FAILED, EXIT_OK, write_json, write_text

if TYPE_CHECKING:  # what a command needs is imported when it runs: `grade` alone stays quick
    from tests.grader.submissions import Plan, Row


def add_parsers(subparsers: Any) -> None:
    """Add `submissions`, `gradescope` and `release` to the command line."""
    parser = subparsers.add_parser("submissions", help="grade a folder of submissions into a CSV")
    parser.add_argument("folder", type=Path, help="each folder in it is one submission")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="CSV", help="the grades; a .jsonl beside it keeps all"
    )
    parser.add_argument("--json", type=Path, metavar="DIR", help="Gradescope results per submission, and class.json")
    parser.add_argument("--junit", type=Path, metavar="DIR", help="JUnit XML per submission")
    parser.add_argument("--html", type=Path, metavar="FILE", help="the class as one page")
    parser.add_argument("--jobs", type=int, default=1, help="submissions at a time (1: timing exercises want quiet)")
    parser.add_argument("--all", action="store_true", help="grade again what is finished and unchanged")
    _add_grading(parser)
    parser.set_defaults(call=_submissions)

    parser = subparsers.add_parser("gradescope", help="write results.json for Gradescope")
    parser.add_argument("what", type=Path, help="one submission to grade, or the .jsonl of `grade submissions`")
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="file (results.json), or folder for a .jsonl (results)"
    )
    _add_grading(parser)
    parser.set_defaults(call=_gradescope)

    parser = subparsers.add_parser("release", help="write a student copy without solutions")
    parser.add_argument("folder", type=Path, help="where to; empty or not there yet")
    parser.add_argument("--up-to", type=int, default=0, metavar="N", help="keep the solutions of phases before N")
    parser.set_defaults(call=_release)


def _add_grading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--phase", type=int, help="grade this phase only")
    parser.add_argument("--extra-tests", type=Path, metavar="DIR", help="further grading tests: hidden ones")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="S", help="seconds for one phase (600)")
    parser.add_argument("--memory", type=int, default=4096, metavar="MB", help="memory of one submission (4096)")


def _submissions(args: argparse.Namespace) -> int:
    from tests.grader.class_report import csv_text, print_counts
    from tests.grader.handed_in import find_submissions
    from tests.grader.sandbox import SENTENCES, best_room
    from tests.grader.submissions import grade_all
    from tests.grader.text import points

    if args.jobs < 1:
        raise ConfigError(f"--jobs is 1 or more, got {args.jobs}.")
    plan, record = _plan(args, args.folder), args.out.with_name(f"{args.out.name}.jsonl")
    folders = find_submissions(args.folder)
    known = {} if args.all else {(row.name, row.key): row for row in _read(record) if row.key}
    write_text(record, "".join(f"{json.dumps(row.as_dict())}\n" for row in known.values()))
    print(SENTENCES[best_room()])
    rows: list[Row] = []

    def done(row: Row) -> None:
        again = (row.name, row.key) not in known
        rows.append(row)
        rows.sort(key=lambda one: one.name)
        if again:
            with record.open("a", encoding="utf-8") as out:
                out.write(f"{json.dumps(row.as_dict())}\n")
        write_text(args.out, csv_text(plan.exercises, rows))
        score = f"{points(row.grade.earned)} / {points(row.grade.available)}" if row.graded else "not graded"
        print(f"[{len(rows)}/{len(folders)}] {row.name}: {score}{'' if again else ', unchanged'}. {row.note}".rstrip())

    write_text(args.out, csv_text(plan.exercises, rows))
    try:
        grade_all(plan, folders, known, args.jobs, done)
    finally:
        _write_reports(args, plan, rows)
    print_counts(rows)
    print(f"{args.out} has {len(rows)} submissions.")
    return EXIT_OK if all(row.graded for row in rows) else EXIT_FAILED


def _gradescope(args: argparse.Namespace) -> int:
    from tests.grader.gradescope import gradescope_results
    from tests.grader.handed_in import file_name
    from tests.grader.submissions import grade_submission

    if args.what.is_file():
        rows, folder = _read(args.what), args.out or Path("results")
        if not rows:
            raise ConfigError(f"{args.what} holds no grade: name the .jsonl that `grade submissions` wrote.")
        for row in rows:
            write_json(_folder(folder) / f"{file_name(row.name)}.json", gradescope_results(args.course, row))
        print(f"{folder} has the results of {len(rows)} submissions.")
        return EXIT_OK
    if not args.what.is_dir():
        raise ConfigError(f"{args.what} is neither the folder of a submission nor a .jsonl of `grade submissions`.")
    plan, out = _plan(args, args.what), args.out or Path("results.json")
    row = grade_submission(plan, args.what.resolve(), "")
    write_json(out, gradescope_results(args.course, row))
    print(f"{out}: {row.grade.earned:g} of {row.grade.available:g} points. {row.note}".rstrip())
    return EXIT_OK


def _release(args: argparse.Namespace) -> int:
    from tests.grader.release import release

    for sentence in release(args.course, args.folder, args.up_to):
        print(sentence)
    return EXIT_OK


def _plan(args: argparse.Namespace, folder: Path) -> Plan:
    from tests.grader.child import Limits
    from tests.grader.submissions import Plan

    if args.timeout <= 0 or args.memory < 256:
        raise ConfigError(f"--timeout is above 0 and --memory at least 256 MB, got {args.timeout:g} and {args.memory}.")
    extra = args.extra_tests and args.extra_tests.resolve()
    if extra and not extra.exists():
        raise ConfigError(f"--extra-tests {args.extra_tests} is not there.")
    numbers = [phase.number for phase in args.course.phases if args.course.exercises_of(phase.number)]
    phases = tuple(numbers) if args.phase is None else (args.course.phase(args.phase).number,)
    if not any(args.course.exercises_of(number) for number in phases):
        raise ConfigError("there is no exercise to grade.")
    limits = Limits(wall_s=args.timeout, memory_bytes=args.memory << 20, file_bytes=256 << 20)
    return Plan(args.course, folder.resolve(), phases, limits, extra)


def _read(record: Path) -> list[Row]:
    """The rows of a record, the last of each name; a line that was cut off by a crash does not count."""
    from tests.grader.submissions import Row

    rows = {}
    if record.is_file():
        for line in record.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                row = Row.from_dict(json.loads(line))
                rows[row.name] = row
    return list(rows.values())


def _write_reports(args: argparse.Namespace, plan: Plan, rows: Sequence[Row]) -> None:
    from tests.grader.class_report import count, write_page
    from tests.grader.gradescope import gradescope_results
    from tests.grader.handed_in import file_name
    from tests.grader.junit import junit_xml

    if args.json:
        write_json(_folder(args.json) / "class.json", {"exercises": [asdict(one) for one in count(rows)]})
    for row in rows:
        if args.json:
            to = _folder(args.json / "submissions") / f"{file_name(row.name)}.json"
            write_json(to, gradescope_results(args.course, row))
        if args.junit:
            write_text(_folder(args.junit) / f"{file_name(row.name)}.xml", junit_xml(row.grade))
    if args.html:
        write_page(args.html, plan.exercises, rows)


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}): name another folder.") from None
    return path
