"""The judge of one pytest session: which tests count for which exercise, how each ended, what the score is."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from solutions.core.errors import ConfigError
from tests.grader.checks import GradeFailure, Inconclusive
from tests.grader.course import Course, Exercise
from tests.grader.explain import STRIKES, explain, gave_up, is_timeout
from tests.grader.guard import Guard, ReadWatch, isolated
from tests.grader.job import Job, Stream
from tests.grader.needs import missing
from tests.grader.outcome import Check, Grade, Verdict, ungraded
from tests.grader.target import RuleBroken, Target, phase_grades
from tests.grader.text import next_line, score_lines

EXERCISE = pytest.StashKey[Exercise]()
_LACKS = pytest.StashKey[str]()
_CHECK = pytest.StashKey[Check]()
_WORDS = {"not_run": ("not run here", "n", "NOT RUN HERE"), "inconclusive": ("inconclusive", "i", "INCONCLUSIVE")}


class NotRunHere(Exception):
    """The machine lacks what a test needs."""


@dataclass(slots=True)
class _Verdict:
    """What is known of the running test."""

    verdict: Verdict = "failed"
    message: str = "the test did not finish."
    voids: bool = False
    struck: bool = False
    settled: bool = False
    duration_s: float = 0.0


class Judge:
    """Judges the graded tests of one session."""

    course: Course
    target: Target

    def __init__(self, config: pytest.Config, job: Job | None) -> None:
        self._config = config
        self._job = job or Job(key="", stream_fd=-1)
        self._stream = Stream(job) if job else None
        self._items: list[pytest.Item] = []
        self._ready = False
        self._selected: set[str] = set()
        self._checks: list[Check] = []
        self._strikes = dict(self._job.strikes)
        self._run = _Verdict()
        self._reads: ReadWatch | None = None
        self._guard: Guard | None = None
        self._job.limit()

    # collection: nothing of the learner's is imported yet

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Mark the graded tests; in a child keep those of its job."""
        if not self._stream and not any(item.get_closest_marker("exercise") for item in items):
            return
        try:
            self.course = Course.load(Path(config.getoption("--course")))
            where, upstream = config.getoption("--target"), config.getoption("--upstream")
            self.target = Target(self.course, where, upstream, trusted=self._job.trusted)
            self._items = [item for item in items if self._adopt(item)]
        except ConfigError as error:
            raise pytest.UsageError(str(error)) from error
        if self._stream:
            items[:] = [item for item in self._items if self._is_due(item)]
        self._ready = True

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Remember what must not be changed, now that every grading test is imported."""
        self._selected = {item.nodeid for item in session.items}
        # pytest comes here after an error too
        if (
            self._ready and not session.testsfailed
        ):  # a grading test that does not import is the course's fault, not a failed exercise
            self._send({"collected": [asdict(item.stash[_CHECK]) for item in self._items]})
        if not self._items or self.target.is_reference:
            return
        modules = {id(module): module for item in self._items if (module := getattr(item, "module", None))}
        self._guard = Guard(session.config.pluginmanager.get_plugins, modules.values())
        if not self.target.trusted:
            rooms = [self.course.root / "solutions" / phase.folder for phase in self.course.phases]
            taught = {item.stash[EXERCISE].phase for item in self._items}
            folders = [
                str(room) for room, phase in zip(rooms, self.course.phases, strict=True) if phase.number in taught
            ]
            self._reads = ReadWatch(folders, lambda: self.target.files)

    def _adopt(self, item: pytest.Item) -> bool:
        """Prepare a graded test; False for a test that is none."""
        marker = item.get_closest_marker("exercise")
        if marker is None:
            folders = [self.course.root / phase.tests for phase in self.course.phases]
            if isinstance(item, pytest.Function) and any(item.path.is_relative_to(folder) for folder in folders):
                raise ConfigError(f"{item.nodeid} is in a folder of grading tests and belongs to no exercise: mark it.")
            return False
        exercise = self.course.exercise(str(marker.args[0]))
        for name in ("skip", "skipif", "xfail"):
            if item.get_closest_marker(name):
                raise ConfigError(
                    f"{item.nodeid} has the mark {name}: a grading test runs, or needs(...) says why not."
                )
        item.stash[EXERCISE] = exercise
        title = next(iter((getattr(item, "obj", item).__doc__ or "").strip().splitlines()), "") or item.name
        item.stash[_CHECK] = Check(item.nodeid, exercise.id, title, "failed", "the test was not run.")
        needs = [*exercise.needs, *(str(name) for mark in item.iter_markers("needs") for name in mark.args)]
        item.stash[_LACKS] = ", ".join(dict.fromkeys(reason for need in needs if (reason := missing(need))))
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(self._job.test_s))
        item.add_marker(pytest.mark.filterwarnings("default"), append=False)
        return True

    def _is_due(self, item: pytest.Item) -> bool:
        chosen = self._job.exercises is None or item.stash[EXERCISE].id in self._job.exercises
        return chosen and item.nodeid not in self._job.done

    # one test

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Say that a graded test starts, let it run, say how it ended."""
        if EXERCISE not in item.stash:
            return (yield)
        self._run = _Verdict()
        timeout = item.get_closest_marker("timeout")
        limit = timeout and (timeout.kwargs.get("timeout") or next(iter(timeout.args), None))
        self._send({"start": item.nodeid, "timeout_s": float(limit or self._job.test_s)})
        with isolated():
            result = yield
        self._finish(item)
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Stop what cannot run here, and an exercise that has hung or ended the process twice."""
        if EXERCISE not in item.stash:
            return
        if item.stash[_LACKS]:
            raise NotRunHere(item.stash[_LACKS])
        if self._strikes.get(item.stash[EXERCISE].id, 0) >= STRIKES:
            raise GradeFailure(gave_up())
        if self._reads:
            self._reads.armed = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """After the fixtures have put back what they patched, see what else was changed."""
        try:
            return (yield)
        finally:
            if EXERCISE in item.stash:
                self._inspect()

    def _inspect(self) -> None:
        if self._reads:
            self._reads.armed = False
            if files := self._reads.take():
                raise RuleBroken(f"the submission opened {files[0]}, the solution of the phase that is taught.")
        if self._guard and (names := self._guard.changes()):
            raise RuleBroken(f"the submission replaced {', '.join(names[:3])}: the grader needs it as it was.")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Judge one step of a graded test."""
        report = yield
        if EXERCISE in item.stash:
            self._judge(item, call, report)
        return report

    def _judge(self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
        run, error = self._run, call.excinfo and call.excinfo.value
        run.duration_s += call.duration
        if error is None:
            if call.when == "call" and not run.settled:
                run.verdict, run.message, run.settled = "passed", "", True
            return
        # only the plugin itself may say "not run here": a submission cannot choose what counts
        waived = isinstance(error, NotRunHere) and call.when == "setup" and bool(item.stash[_LACKS])
        if waived or isinstance(error, Inconclusive):
            verdict: Verdict = "not_run" if waived else "inconclusive"
            report.outcome, report.longrepr = "skipped", (str(item.path), 0, str(error))
            setattr(report, "course_verdict", verdict)  # noqa: B010 (mypy knows no such attribute)
            message = str(error)
        else:
            started, row = item.stash[_CHECK], getattr(getattr(item, "callspec", None), "id", "")
            message = explain(error, item.stash[EXERCISE], started.behaviour, row, self.target.files)
            verdict = "failed"
            report.outcome = "failed"
            vars(report).pop("wasxfail", None)
            if self._config.option.tbstyle == "auto":
                report.longrepr = self._teach(item.stash[EXERCISE], message)
        voids = isinstance(error, RuleBroken)
        if not run.settled or run.verdict == "passed" or voids:
            run.verdict, run.message, run.settled = verdict, message, True
        run.voids |= voids
        if is_timeout(error) and not run.struck:
            run.struck = True
            exercise = item.stash[EXERCISE].id
            self._strikes[exercise] = self._strikes.get(exercise, 0) + 1

    def _finish(self, item: pytest.Item) -> None:
        run, started = self._run, item.stash[_CHECK]
        check = replace(
            started, verdict=run.verdict, message=run.message, voids=run.voids, duration_s=round(run.duration_s, 4)
        )
        self._checks.append(check)
        self._send({"check": asdict(check), "struck": run.struck})

    def _teach(self, exercise: Exercise, message: str) -> str:
        lines = [f"{exercise.id} {exercise.symbol}", *(f"  {line}" for line in message.splitlines())]
        return "\n".join([*lines, next_line(ungraded(exercise, *self.target.identify(exercise)))])

    # the end

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """The third state and the inconclusive ones have words of their own."""
        return _WORDS.get(getattr(report, "course_verdict", ""))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """The closing sentinel: without it the parent knows that the process was cut short."""
        self._send({"end": int(exitstatus)})

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The score, the same as `grade check` prints."""
        if self._stream or not self._items:
            return
        terminalreporter.section("course score")
        for line in score_lines(self.grade()):
            terminalreporter.write_line(line)
        chosen = {item.stash[EXERCISE].id for item in self._items if item.nodeid in self._selected}
        if left_out := [exercise.id for exercise in self._scope() if exercise.id not in chosen]:
            terminalreporter.write_line(f"not selected in this run and not in the score: {', '.join(left_out)}")

    def grade(self) -> Grade:
        """The grade of the session. An exercise without a selected test is left out only of a partial run."""
        finished = {check.nodeid for check in self._checks}
        checks = self._checks + [item.stash[_CHECK] for item in self._items if item.nodeid not in finished]
        scope = self._scope()
        if self._is_part():
            chosen = {item.stash[EXERCISE].id for item in self._items if item.nodeid in self._selected}
            scope = [exercise for exercise in scope if exercise.id in chosen]
        return Grade(self.target.where, self.target.upstream, phase_grades(self.target, scope, checks))

    def _scope(self) -> list[Exercise]:
        phases = {item.stash[EXERCISE].phase for item in self._items}
        return [exercise for exercise in self.course.exercises if exercise.phase in phases]

    def _is_part(self) -> bool:
        """True when -k, -m, a file or a node id chose tests, rather than whole phase folders."""
        if any(item.nodeid not in self._selected for item in self._items):
            return True
        files = {item.path for item in self._items}
        phases = {exercise.phase for exercise in self._scope()}
        folders = (self.course.root / self.course.phase(phase).tests for phase in phases)
        return any(path not in files for folder in folders for path in folder.rglob("test_*.py"))

    def _send(self, record: dict[str, Any]) -> None:
        if self._stream:
            self._stream.send(record)
