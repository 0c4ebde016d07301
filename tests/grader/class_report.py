"""What a class did, as values and as text: the CSV of all rows, and how each exercise went."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from solutions.core.measure.report import Cell, render_table
from solutions.core.measure.report_html import Bars, Section, write_html
from tests.grader.course import Exercise
from tests.grader.outcome import ExerciseGrade
from tests.grader.submissions import Row

_COLUMNS = ("exercise", "all points", "part", "none", "not run here", "fails most", "fails in")


@dataclass(frozen=True, slots=True)
class ExerciseCount:
    """How many graded submissions earned all, part or none of what one exercise offers on this machine.

    `fails_most` is the behaviour that fails in the most submissions, `fails_in` in how many; "" and 0 if none does.
    """

    exercise: str
    symbol: str
    all: int
    part: int
    none: int
    not_run: int
    fails_most: str
    fails_in: int


def csv_text(exercises: Sequence[Exercise], rows: Sequence[Row]) -> str:
    """The class as CSV, a line per submission; an exercise that could not be run here is an empty cell.

    No time and no machine is in it, so that grading twice gives the same text.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns, lines = _table(exercises, rows)
    writer.writerow(columns)
    writer.writerows([no_formula(cell) if isinstance(cell, str) else cell for cell in line] for line in lines)
    return out.getvalue()


def no_formula(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula.

    >>> no_formula("=1+1"), no_formula("ann")
    ("'=1+1", 'ann')
    """
    return f"'{text}" if text.startswith(tuple("=+-@\t\r\n＝＋－＠")) else text


def count(rows: Sequence[Row]) -> list[ExerciseCount]:
    """The counts of every exercise over the rows that were graded."""
    columns = zip(*(row.grade.exercises for row in rows if row.graded), strict=True)
    return [_count(column) for column in columns]


def print_counts(rows: Sequence[Row]) -> None:
    """Print how each exercise went."""
    graded = sum(row.graded for row in rows)
    render_table(f"{graded} graded, {len(rows) - graded} not", _COLUMNS, [_cells(one) for one in count(rows)])


def write_page(path: Path, exercises: Sequence[Exercise], rows: Sequence[Row]) -> None:
    """Write the class as one HTML page: how each exercise went, then every submission."""
    counts = count(rows)
    full = {one.exercise: 100.0 * one.all / (one.all + one.part + one.none) for one in counts if one.not_run == 0}
    bars = [Bars("Submissions with all points of an exercise", "% of those graded", full)] if full else []
    columns, lines = _table(exercises, rows)
    first = Section("Exercises", columns=_COLUMNS, rows=[_cells(one) for one in counts], plots=bars)
    write_html(path, "Submissions", [first, Section("Submissions", columns=columns, rows=lines)])


def _table(exercises: Sequence[Exercise], rows: Sequence[Row]) -> tuple[list[str], list[list[Cell]]]:
    columns = ["submission", "earned", "available", "total", *(exercise.id for exercise in exercises)]
    lines: list[list[Cell]] = []
    for row in rows:
        each = [None if part.verdict == "not_run" else round(part.earned, 4) for part in row.grade.exercises]
        totals = [round(row.grade.earned, 4), round(row.grade.available, 4), row.grade.total]
        lines.append([row.name, *totals, *each, "graded" if row.graded else "not graded", row.note])
    return [*columns, "status", "notes"], lines


def _cells(one: ExerciseCount) -> list[Cell]:
    return [f"{one.exercise} {one.symbol}", one.all, one.part, one.none, one.not_run, one.fails_most, one.fails_in]


def _count(grades: Sequence[ExerciseGrade]) -> ExerciseCount:
    run = [grade for grade in grades if grade.verdict != "not_run"]
    every = sum(grade.earned == grade.available for grade in run)
    none = sum(grade.earned == 0 for grade in run)
    failures = Counter(
        part.title for grade in run for part in grade.behaviours if grade.broken_rule or part.verdict == "failed"
    )
    title, most = max(failures.items(), key=lambda item: item[1], default=("", 0))
    counts = (every, len(run) - every - none, none, len(grades) - len(run))
    return ExerciseCount(grades[0].exercise, grades[0].symbol, *counts, title, most)
