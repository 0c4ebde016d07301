"""`grade watch`: the exercise that is being written is graded again whenever one of its files is saved."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console

from solutions.core.errors import ConfigError
from solutions.core.optional import require
from tests.grader.course import Exercise
from tests.grader.learner import INSTALL, grade_exercises, next_exercise
from tests.grader.progress import fingerprint, load
from tests.grader.show import live_checks, say, show_grade
from tests.grader.target import Target

# the hash is looked at this often even without a notice: network drives send none, and none is sent while we grade
LOOK_MS = 1000


def watch(console: Console, target: Target, only: Exercise | None = None) -> bool:
    """True when everything is earned; False at Ctrl-C.

    Args:
        console: where to print.
        target: the learner's templates.
        only: the exercise to stay with until Ctrl-C; without it the watch goes from each finished one to the next.

    Raises:
        BackendUnavailable: watchfiles or pytest is missing.
        ConfigError: there is no folder to watch, or the tests cannot be collected.
    """
    watchfiles = require("watchfiles", why="grade watch", install=INSTALL)
    folders = {target.course.root / phase.folder for phase in target.course.phases}
    there = sorted(folder for folder in folders if folder.is_dir())
    if not there:
        raise ConfigError(f"{target.course.root} has none of the folders that the exercises are written in.")
    round_ = _Round(console, target, only)
    try:
        if round_.look():
            return True
        notices = watchfiles.watch(
            *there, watch_filter=watchfiles.PythonFilter(), rust_timeout=LOOK_MS, yield_on_timeout=True
        )
        return any(round_.look() for _ in notices)
    except KeyboardInterrupt:
        say(console, "", "stopped watching; grade shows where you are")
        return False


@dataclass(slots=True)
class _Round:
    """The exercise that is watched, and what its files were when it was last graded."""

    console: Console
    target: Target
    only: Exercise | None
    key: str = ""

    def look(self) -> bool:
        """Grade if something has changed, and go on while exercises are finished; True when nothing is left."""
        while exercise := self.only or next_exercise(self.target.course, load(self.target.course)):
            key = fingerprint(self.target, exercise)
            if key == self.key:
                return False
            self.key = key
            self.console.rule(f"{exercise.id} {exercise.symbol}   {time.strftime('%H:%M:%S')}", align="left")
            with live_checks(self.console, [exercise]) as on_check:
                graded = grade_exercises(self.target, [exercise], on_check=on_check)
            show_grade(self.console, graded)
            if not graded.is_complete or self.only:
                say(self.console, f"waiting for {exercise.template} to be saved; Ctrl-C stops")
        say(self.console, "everything that can be earned here is earned: grade report")
        return True
