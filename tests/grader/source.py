"""The source of one exercise: where it stands in a file, what it was before anyone wrote it, how it differs."""

from __future__ import annotations

import ast
import difflib
import re
import shutil
import subprocess
from pathlib import Path

from solutions.core.errors import ConfigError
from solutions.core.scripts import write_text
from tests.grader.course import Course, Exercise
from tests.grader.progress import free_name

# a student copy comes without a history: `grade release` puts the templates here once more
UNTOUCHED = Path(".grade") / "untouched"


def read_source(path: Path) -> str:
    """The text of a Python file; ConfigError when there is none that can be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text.") from None


def parse(path: Path) -> ast.Module:
    """The syntax tree of a Python file; ConfigError when Python cannot read it."""
    try:
        return ast.parse(read_source(path))
    except SyntaxError as error:
        raise ConfigError(f"{path} line {error.lineno}: Python cannot read this file ({error.msg}).") from None


def symbol_lines(tree: ast.Module, symbol: str) -> tuple[int, int] | None:
    """First and last line (from 1) of a function or class, "Class.method" too, with its decorators; None if absent.

    The last definition counts, as it does when Python runs the file.

    >>> symbol_lines(ast.parse("x = 1\\n@cache\\ndef f():\\n    return 2"), "f")
    (2, 4)
    """
    body = tree.body
    found: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | None = None
    for name in symbol.split("."):
        found = None
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name:
                found = node
        if found is None:
            return None
        body = found.body
    if found is None or found.end_lineno is None:
        return None
    return min([found.lineno, *(part.lineno for part in found.decorator_list)]), found.end_lineno


def symbol_source(path: Path, symbol: str) -> str:
    """The text of one function or class; ConfigError when it cannot be found."""
    lines = symbol_lines(parse(path), symbol)
    if lines is None:
        raise ConfigError(f"{path} does not define {symbol}.")
    return _cut(read_source(path), lines)


def diff(course: Course, exercise: Exercise) -> list[str]:
    """Unified diff from the learner's code to the reference; empty when they are the same."""
    solution = course.solution_file(exercise)
    if not solution.is_file():
        raise ConfigError(f"the solution of exercise {exercise.id} is not in this copy of the course.")
    mine = symbol_source(course.root / exercise.template, exercise.symbol)
    reference = symbol_source(solution, exercise.solution.rpartition(":")[2])
    shown = str(solution.relative_to(course.root))
    return list(difflib.unified_diff(mine.splitlines(), reference.splitlines(), exercise.template, shown, lineterm=""))


def reset(course: Course, exercise: Exercise, *, whole_file: bool = False) -> Path:
    """Put back the unwritten exercise, or its whole file; the path of the backup.

    Only the function or class of the exercise is replaced, the rest of the file stays; if it was deleted, it comes
    back at the end.

    Raises:
        ConfigError: the unwritten exercise is not found, or Python cannot read the learner's file.
    """
    path = course.root / exercise.template
    text = pristine(course, exercise)
    if not whole_file:
        text = _with_symbol(path, exercise, text)
    if path.exists() and read_source(path) == text:
        raise ConfigError(f"{exercise.id} in {exercise.template} is unwritten already: there is nothing to put back.")
    backup = free_name(path, "bak")
    if path.exists():
        shutil.copy2(path, backup)
    write_text(path, text)
    return backup


def pristine(course: Course, exercise: Exercise) -> str:
    """The template as it was before the exercise was written: the newest version that still asks for it.

    Versions come from git, then from what a student copy keeps. Looking at the words, not at the age of a commit, finds
    the right one in a learner's own repository too, after commits of work.
    """
    why = f"no version of {exercise.template} in git has exercise {exercise.id} unwritten"
    try:
        for commit in _git(course, "log", "--format=%H", "--", exercise.template).split():
            text = _git(course, "show", f"{commit}:./{exercise.template}")
            if is_unwritten(text, exercise):
                return text
    except FileNotFoundError:
        why = "git, which keeps the untouched template, is not installed"
    except subprocess.CalledProcessError as error:
        said = next(iter(error.stderr.strip().splitlines()), "it gives no reason")
        why = f"git, which keeps the untouched template, cannot read this folder ({said})"
    kept = course.root / UNTOUCHED / exercise.template
    if kept.is_file() and is_unwritten(text := read_source(kept), exercise):
        return text
    raise ConfigError(f"{why}: take {exercise.template} from a fresh copy of the course.")


def is_unwritten(source: str, exercise: Exercise) -> bool:
    """True when the source still asks for the exercise in the words of its template."""
    try:
        lines = symbol_lines(ast.parse(source), exercise.symbol)
    except SyntaxError:
        return False
    asks = rf'NotImplementedError\(\s*"exercise {re.escape(exercise.id)} '
    return lines is not None and re.search(asks, _cut(source, lines)) is not None


def _with_symbol(path: Path, exercise: Exercise, template: str) -> str:
    """The learner's file with one symbol taken from the template."""
    try:
        place = symbol_lines(parse(path), exercise.symbol)
    except ConfigError as error:
        raise ConfigError(f"{error} Repair that, or reset the whole file: grade reset {exercise.id} --file") from None
    piece = _cut(template, symbol_lines(ast.parse(template), exercise.symbol) or (1, 0)).split("\n")
    lines = read_source(path).split("\n")
    if place:
        lines[place[0] - 1 : place[1]] = piece
    elif "." in exercise.symbol:
        raise ConfigError(f"{path} has no {exercise.symbol} to put back: grade reset {exercise.id} --file")
    else:
        lines = [*"\n".join(lines).rstrip("\n").split("\n"), "", "", *piece, ""]
    return "\n".join(lines)


def _cut(source: str, lines: tuple[int, int]) -> str:
    # not splitlines(): a form feed ends a line for it, and not for Python
    return "\n".join(source.split("\n")[lines[0] - 1 : lines[1]])


def _git(course: Course, *words: str) -> str:
    command = ["git", "-C", str(course.root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8").stdout
