"""Grading in child processes: a hang, a crash or os._exit costs its own exercise and never turns green."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import psutil

from solutions.core.errors import ConfigError
from tests.grader.checks import failure
from tests.grader.course import Course, Exercise
from tests.grader.explain import STRIKES, gave_up
from tests.grader.job import Job, Reader
from tests.grader.outcome import Check, PhaseGrade
from tests.grader.target import Target, phase_grades

ENGINE_ROOT = Path(__file__).resolve().parents[2]
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Limits:
    """What one phase of one submission may use.

    `memory_bytes` bounds the data of each process by the kernel and the resident memory of all of them together by
    watching; `grace_s` is how long a test may outlive its own limit before its process is ended; `prefix` is a command
    that the child runs under, such as `("unshare", "--net", "--map-root-user")`.
    """

    wall_s: float = 900.0
    test_s: float = 60.0
    grace_s: float = 10.0
    memory_bytes: int = 8 << 30
    file_bytes: int = 2 << 30
    restarts: int = 24
    prefix: tuple[str, ...] = ()


def grade_phase(
    course: Course,
    phase: int,
    target: Target,
    limits: Limits | None = None,
    only: Collection[str] | None = None,
    *,
    extra_tests: Path | None = None,
    on_check: Callable[[Check], None] = lambda check: None,
) -> PhaseGrade:
    """The grade of one phase, whatever the graded files do.

    Args:
        course: the registry.
        phase: number of the phase.
        target: what is graded.
        limits: time, memory and file size; the defaults fit a learner's own machine.
        only: ids of the exercises to grade, all of the phase when None.
        extra_tests: a folder or file of further grading tests (hidden ones), graded with the phase's own.
        on_check: called with each finished test, for progress.

    Raises:
        ConfigError: the tests of the phase cannot be collected; never for what a submission does.
    """
    exercises = [exercise for exercise in course.exercises_of(phase) if only is None or exercise.id in only]
    if not exercises:
        return PhaseGrade(phase, course.phase(phase).title, ())
    before = {exercise.id: target.identify(exercise) for exercise in exercises}
    session = _Session(course, phase, target, limits or Limits(), exercises, extra_tests, on_check)
    session.run()
    (grade,) = phase_grades(target, exercises, session.checks(), session.stopped)
    # what was graded is what was there at the start, whatever the submission did to its own file
    named = (
        replace(graded, file=before[graded.exercise][0], sha=before[graded.exercise][1]) for graded in grade.exercises
    )
    return replace(grade, exercises=tuple(named))


@dataclass(slots=True)
class _Session:
    """The children that grade one phase, one after the other, and what they have said."""

    course: Course
    phase: int
    target: Target
    limits: Limits
    exercises: list[Exercise]
    extra_tests: Path | None
    on_check: Callable[[Check], None]
    stopped: str = ""
    _collected: bool = False
    _expected: dict[str, Check] = field(default_factory=dict)
    _done: dict[str, Check] = field(default_factory=dict)
    _strikes: dict[str, int] = field(default_factory=dict)
    _running: str = ""
    _ended: bool = False
    _deadline_s: float = float("inf")

    def run(self) -> None:
        """Start children until every test is settled or the limits are used up."""
        stop_s = time.monotonic() + self.limits.wall_s
        for _ in range(self.limits.restarts + 1):
            with tempfile.TemporaryFile() as output:
                reason = self._run_child(stop_s, output)
                if not self._collected:
                    raise ConfigError(f"the tests of phase {self.phase} cannot be collected: {_tail(output) or reason}")
            if self._running:
                self._blame(reason)
            if not self._open():
                return
            if time.monotonic() >= stop_s:
                self.stopped = f"the {self.limits.wall_s:g} s for this phase were used up."
                return
        self.stopped = f"the process had to be started anew more than {self.limits.restarts} times."

    def checks(self) -> list[Check]:
        """Every test of the chosen exercises in the order of the tests; what was never run has failed."""
        return [self._done.get(nodeid, check) for nodeid, check in self._expected.items()]

    def _open(self) -> list[str]:
        for nodeid, check in self._expected.items():
            if nodeid not in self._done and self._strikes.get(check.exercise, 0) >= STRIKES:
                self._settle(replace(check, message=gave_up()))
        return [nodeid for nodeid in self._expected if nodeid not in self._done]

    def _settle(self, check: Check) -> None:
        # the first word counts, and only for a test that was collected before any learner code ran
        if check.nodeid in self._expected and check.nodeid not in self._done:
            self._done[check.nodeid] = check
            self.on_check(check)

    def _blame(self, reason: str) -> None:
        check = self._expected[self._running]
        self._strikes[check.exercise] = self._strikes.get(check.exercise, 0) + 1
        row = check.nodeid.partition("[")[2]
        broke = f'"{check.behaviour}"' + (f" for the row [{row}" if row else "")
        self._settle(replace(check, message=str(failure(broke, expected="an answer", got=reason))))

    def _hear(self, record: Mapping[str, Any]) -> None:
        if "collected" in record and not self._collected:
            self._collected = True
            chosen = {exercise.id for exercise in self.exercises}
            found = (Check(**check) for check in record["collected"])
            self._expected = {check.nodeid: check for check in found if check.exercise in chosen}
        elif "start" in record and record["start"] in self._expected:
            self._running = record["start"]
            self._deadline_s = time.monotonic() + record["timeout_s"] + self.limits.grace_s
        elif "check" in record:
            check = Check(**record["check"])
            if record["struck"]:
                self._strikes[check.exercise] = self._strikes.get(check.exercise, 0) + 1
            self._settle(check)
            self._running, self._deadline_s = "", float("inf")
        elif "end" in record:
            self._ended = True

    def _run_child(self, stop_s: float, output: IO[bytes]) -> str:
        """Run one child to its end; the reason why it ended, for the test that was running then."""
        self._running, self._ended, self._deadline_s = "", False, float("inf")
        with tempfile.TemporaryFile() as stream, tempfile.TemporaryFile() as letter:
            job = Job(
                key=secrets.token_hex(32),
                stream_fd=stream.fileno(),
                exercises=[exercise.id for exercise in self.exercises],
                done=list(self._done),
                strikes=self._strikes,
                test_s=self.limits.test_s,
                memory_bytes=self.limits.memory_bytes,
                file_bytes=self.limits.file_bytes,
                trusted=self.target.trusted,
            )
            job.write(letter.fileno())
            reader = Reader(stream.fileno(), job.key)
            child = subprocess.Popen(
                self._command(letter.fileno()),
                cwd=self.course.root,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(stream.fileno(), letter.fileno()),
                start_new_session=True,
            )
            try:
                reason = self._watch(child, reader, stop_s)
            finally:
                _end_group(child)
            for record in reader.read():
                self._hear(record)
        return reason

    def _watch(self, child: subprocess.Popen[bytes], reader: Reader, stop_s: float) -> str:
        while child.poll() is None:
            for record in reader.read():
                self._hear(record)
            now_s = time.monotonic()
            if now_s >= self._deadline_s:
                return "none in time: an endless loop, or a wait that nothing ends"
            if now_s >= stop_s:
                return f"none before the {self.limits.wall_s:g} s for the whole phase were over"
            if self.limits.memory_bytes and _resident_bytes(child.pid) > self.limits.memory_bytes:
                return f"more than {self.limits.memory_bytes >> 20} MiB of memory in use"
            time.sleep(POLL_S)
        for record in reader.read():
            self._hear(record)
        if self._ended:
            return "the whole session was stopped (KeyboardInterrupt or pytest.exit)"
        if child.returncode < 0:
            name = signal.Signals(-child.returncode).name
            return f"the process was ended by {name}: a crash in native code, or memory ran out"
        return f"the process ended with code {child.returncode} in the middle of this test: os._exit, or a crash"

    def _command(self, letter_fd: int) -> list[str]:
        course, config = self.course, self.course.root / "pyproject.toml"
        tests = [
            course.root / course.phase(self.phase).tests,
            *([self.extra_tests.resolve()] if self.extra_tests else []),
        ]
        # what plain `pytest` has from pyproject.toml is said again: hidden tests may lie outside the course's root
        options = [
            "-q",
            "-p",
            "pytest_timeout",
            "-p",
            "tests.grader.plugin",
            "-p",
            "no:cacheprovider",
            "-o",
            "addopts=",
        ]
        options += [
            "--import-mode=importlib",
            f"--rootdir={course.root}",
            *(["-c", str(config)] if config.exists() else []),
        ]
        graded = ["--target", self.target.where, "--upstream", self.target.upstream, "--course", str(course.file)]
        pytest = [sys.executable, "-m", "pytest", *options, *graded, f"--grade-job={letter_fd}"]
        return [*self.limits.prefix, *pytest, *map(str, tests)]


def _environment() -> dict[str, str]:
    """The caller's environment, with nothing in it that would change a verdict from run to run."""
    own = {"PYTHONPATH": str(ENGINE_ROOT), "PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    pytest = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    return {**os.environ, **own, **pytest}


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def _resident_bytes(pid: int) -> int:
    total = 0
    for process in _family(pid):
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """End the child, its process group, and descendants that left the group."""
    family = _family(child.pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()
    child.wait()


def _tail(output: IO[bytes]) -> str:
    """The lines of a pytest run that say what went wrong."""
    output.seek(0)
    lines = output.read().decode(errors="replace").splitlines()
    said = [line for line in lines if line.startswith(("E ", "ERROR"))] or lines[-8:]
    return "\n".join(said[:8])
