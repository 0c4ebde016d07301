"""What is graded: the learner's file, loaded by its path at test time, never replaced by the reference."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from solutions.core.errors import ConfigError
from tests.grader.course import Course, Exercise
from tests.grader.outcome import Check, ExerciseGrade, PhaseGrade, ungraded, with_checks
from tests.grader.rules import broken_rule, forbidden_names


class TargetError(Exception):
    """The file of an exercise cannot be graded; the sentence says why."""


class RuleBroken(Exception):
    """A submission did what earns nothing: it imported the answer, or changed a clock, a test or pytest."""


@dataclass(slots=True)
class Target:
    """The graded files of a course.

    Args:
        course: where the templates and the solutions are.
        where: "templates", "solutions", or a path: one file, which then answers every exercise, or a folder that holds
            the phase folders or the template files themselves.
        upstream: what `upstream("1.3")` gives a test: the "reference", or "mine", the same target.
        trusted: let the file import the reference (the mutants of the meta tests do).

    Raises:
        ConfigError: the path is not there, or `upstream` is neither.
    """

    course: Course
    where: str = "solutions"
    upstream: str = "reference"
    trusted: bool = False
    _loaded: dict[Path, ModuleType | TargetError] = field(default_factory=dict)
    _trees: dict[Path, ast.Module] = field(default_factory=dict)
    _learner_files: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.upstream not in ("reference", "mine"):
            raise ConfigError(f"--upstream is reference or mine, got {self.upstream!r}.")
        if self.where not in ("templates", "solutions"):
            path = Path(self.where).expanduser().resolve()
            if not path.exists():
                raise ConfigError(f"--target {self.where}: neither templates nor solutions nor a path that is there.")
            self.where = str(path)

    @property
    def is_reference(self) -> bool:
        """True when the solutions themselves are graded."""
        return self.where == "solutions"

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the learner's files met so far, as they stand in their code objects."""
        return tuple(self._learner_files)

    def locate(self, exercise: Exercise) -> Path | None:
        """The file that answers an exercise, or None when the target has none."""
        if self.is_reference:
            return self.course.solution_file(exercise)
        base = self.course.root if self.where == "templates" else Path(self.where)
        if base.is_file():
            return base
        template = Path(exercise.template)
        for candidate in (base / template, base.joinpath(*template.parts[1:]), base / template.name):
            if candidate.is_file():
                return candidate
        return None

    def identify(self, exercise: Exercise) -> tuple[str, str]:
        """The path to show and the first 12 hex digits of the file's SHA-256; ("", "") when there is no file."""
        path = self.locate(exercise)
        if path is None or not path.is_file():
            return "", ""
        return self._shown(path), hashlib.sha256(path.read_bytes()).hexdigest()[:12]

    def module(self, exercise: Exercise) -> ModuleType:
        """The module of the graded file; TargetError when it is missing or cannot be imported, RuleBroken see above."""
        if self.is_reference:
            return self._reference_module(exercise)
        path = self.locate(exercise)
        if path is None:
            raise TargetError(f"there is no {exercise.template} in {self.where}.")
        self._learner_files.add(str(path))
        loaded = self._load_once(path)
        if not self.trusted and path in self._trees:
            name = broken_rule(self._trees[path], exercise, forbidden_names(self.course, exercise))
            if name:
                raise RuleBroken(
                    f"{self._shown(path)} uses {name}, which is what exercise {exercise.id} asks you to write."
                )
        if isinstance(loaded, TargetError):
            raise loaded
        return loaded

    def symbol(self, exercise: Exercise) -> Any:
        """The graded function or class."""
        module = self.module(exercise)
        name = exercise.solution.rpartition(":")[2] if self.is_reference else exercise.symbol
        try:
            found = attrgetter(name)(module)
        except AttributeError:
            raise TargetError(f"{self._shown(Path(str(module.__file__)))} does not define {name}.") from None
        origin = str(getattr(getattr(found, "func", found), "__module__", ""))
        if not (self.is_reference or self.trusted) and origin.partition(".")[0] == "solutions":
            raise RuleBroken(f"{name} comes from {origin}: exercise {exercise.id} asks you to write it.")
        return found

    def upstream_symbol(self, exercise: Exercise) -> Any:
        """The symbol of an exercise that another one builds on."""
        if self.upstream == "mine" or not self.course.solution_file(exercise).is_file():
            return self.symbol(exercise)
        return attrgetter(exercise.solution.rpartition(":")[2])(self._reference_module(exercise))

    def _reference_module(self, exercise: Exercise) -> ModuleType:
        module = exercise.solution.rpartition(":")[0]
        path = self.course.solution_file(exercise)
        if not module.endswith(".py"):
            try:
                return importlib.import_module(module)
            except ModuleNotFoundError as error:
                raise TargetError(f"the solution of exercise {exercise.id} is not in this copy ({error}).") from error
        loaded = self._load_once(path)
        if isinstance(loaded, TargetError):
            raise loaded
        return loaded

    def _load_once(self, path: Path) -> ModuleType | TargetError:
        if path not in self._loaded:
            self._loaded[path] = self._load(path)
        return self._loaded[path]

    def _load(self, path: Path) -> ModuleType | TargetError:
        """The module made from the file, under a name of its own; a failure is kept and costs only its exercises."""
        shown = self._shown(path)
        try:
            source = path.read_bytes()
            self._trees[path] = ast.parse(source, filename=str(path))
            code = compile(source, str(path), "exec", dont_inherit=True)
        except OSError as error:
            return TargetError(f"{shown} cannot be read: {error.strerror}.")
        except (SyntaxError, ValueError) as error:  # ValueError: null bytes
            line = f" line {error.lineno}" if isinstance(error, SyntaxError) else ""
            what = error.msg if isinstance(error, SyntaxError) else str(error)
            return TargetError(f"{shown}{line}: Python cannot read this file ({what}).")
        # sha of the path: two files of one name never share a module
        name = f"graded_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None:
            return TargetError(f"{shown} is not a Python file.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses and pickle look a class's module up by name
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))  # helper files beside the template; last, so that they shadow nothing
        try:
            exec(code, module.__dict__)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, a time limit: whatever it was, it costs this file's exercises only
            line = line_in(error, [str(path)])
            return TargetError(f"{shown} cannot be imported: {type(error).__name__}: {error}{line}.")
        return module

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(self.course.root)) if path.is_relative_to(self.course.root) else str(path)


def line_in(error: BaseException, files: Collection[str]) -> str:
    """The words " (file.py line 12)" for the last frame of the error in one of the files, or nothing."""
    line, trace = "", error.__traceback__
    while trace:
        name = trace.tb_frame.f_code.co_filename
        if name in files:
            line = f" ({Path(name).name} line {trace.tb_lineno})"
        trace = trace.tb_next
    return line


def phase_grades(
    target: Target, exercises: Iterable[Exercise], checks: Iterable[Check], stopped: str = ""
) -> tuple[PhaseGrade, ...]:
    """The grades of the phases that the exercises belong to, with the file and hash of each."""
    phases: dict[int, list[ExerciseGrade]] = {}
    checks = tuple(checks)
    for exercise in exercises:
        graded = with_checks(ungraded(exercise, *target.identify(exercise)), checks)
        phases.setdefault(exercise.phase, []).append(graded)
    titles = {phase.number: phase.title for phase in target.course.phases}
    return tuple(PhaseGrade(number, titles[number], tuple(graded), stopped) for number, graded in phases.items())
