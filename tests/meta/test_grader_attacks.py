"""Hostile and broken submissions: each gets what it earned elsewhere, is told why, and never turns green."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.grader.target import Target
from tests.grader.text import failure_lines
from tests.meta import tiny_course as tiny

CORE = "solutions.core.measure.latency"
FAKE_REPORT = """
from _pytest.reports import TestReport
real = TestReport.from_item_and_call.__func__
def fake(cls, item, call):
    call.excinfo = None
    return real(cls, item, call)
"""


@pytest.fixture
def course(tmp_path):
    return tiny.build(tmp_path)


def double(body, top=""):
    """A file whose halve is right and whose double starts with `body`."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"{top}\ndef double(x):\n{lines}    return 2 * x\n{tiny.HALVE}"


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        pytest.param(double("while True: pass"), "an endless loop", id="endless-loop"),
        pytest.param(
            double("while True:\n    try:\n        while True: pass\n    except BaseException: pass"),
            "not tried: 2 tests of this exercise",
            id="endless-loop-that-swallows-the-limit",
        ),
        pytest.param(double("import os\nos._exit(0)"), "the submission called os._exit(0)", id="os-exit"),
        pytest.param(double("import posix\nposix._exit(0)"), "ended with code 0 in the middle", id="posix-exit"),
        pytest.param(double("import os\nos.kill(os.getpid(), 11)"), "ended by SIGSEGV", id="crash"),
        pytest.param(double("raise KeyboardInterrupt"), "the whole session was stopped", id="keyboard-interrupt"),
        pytest.param(double("import pytest\npytest.skip('easy')"), "skipped from inside", id="skips-itself"),
        pytest.param(double("import pytest\npytest.xfail('easy')"), "skipped from inside", id="xfails-itself"),
        pytest.param(
            double("import pytest\npytest.exit('done', 0)"), "the whole session was stopped", id="pytest-exit"
        ),
        pytest.param(double("bytearray(2 << 30)"), "far more memory", id="memory-at-once"),
        pytest.param(
            double("import time\ntime.perf_counter = lambda: 0.0"), "replaced time.perf_counter", id="patched-clock"
        ),
        pytest.param(double("import pytest\npytest.fail = print"), "replaced pytest.fail", id="patched-pytest"),
        pytest.param(
            double("TestReport.from_item_and_call = classmethod(fake)", FAKE_REPORT),
            "replaced TestReport.from_item_and_call",
            id="patched-report",
        ),
        pytest.param(
            double("import sys\nsys._getframe(1).f_globals['check_equal'] = lambda *a, **k: None\nx = 'wrong'"),
            "check_equal",
            id="patched-test",
        ),
        pytest.param(double(f"import {CORE}"), f"uses {CORE}", id="imports-the-answer"),
    ],
)
def test_an_attack_costs_its_own_exercise(course, numbers, says):
    phase = tiny.grade(tiny.submit(course, numbers))
    assert tiny.earned(phase) == {"1.1": 0, "1.2": 2, "1.3": 2, "1.4": 0}
    assert not phase.stopped
    assert says in "\n".join(failure_lines(phase.exercises[0]))


def test_a_clock_patched_at_import_is_found_and_put_back(course):
    phase = tiny.grade(tiny.submit(course, "import time\ntime.monotonic = lambda: 0.0\n" + tiny.DOUBLE + tiny.HALVE))
    assert tiny.earned(phase) == {"1.1": 0, "1.2": 2, "1.3": 2, "1.4": 0}
    assert "replaced time.monotonic" in phase.exercises[0].broken_rule


def test_memory_of_all_processes_together_is_watched(course):
    # each stays below the kernel's limit for one process, at its peak too: nothing is copied
    eater = "import multiprocessing, time\ndef eat():\n    kept = bytearray(b'x') * (200 << 20)\n    time.sleep(30)\n"
    body = "for _ in range(3):\n    multiprocessing.get_context('fork').Process(target=eat).start()\ntime.sleep(30)"
    limits = replace(tiny.QUICK, test_s=20, memory_bytes=500 << 20)
    phase = tiny.grade(tiny.submit(course, double(body, eater)), limits=limits)
    assert tiny.earned(phase) == {"1.1": 0, "1.2": 2, "1.3": 2, "1.4": 0}
    assert "500 MiB of memory in use" in phase.exercises[0].checks[0].message


@pytest.mark.parametrize(
    "opened", [pytest.param(True, id="reads-the-solution"), pytest.param(False, id="reads-its-own")]
)
def test_reading_the_solution_is_seen_as_it_happens(course, opened):
    tiny.write(course.root, {"solutions/phase1_tiny/numbers_.py": tiny.DOUBLE, "own/notes.txt": "mine"})
    # the name is put together, so that the source does not give it away
    first, last = ("solut", "ions/phase1_tiny/numbers_.py") if opened else ("ow", "n/notes.txt")
    body = f"from pathlib import Path\nPath({str(course.root)!r}, {first!r} + {last!r}).read_text()"
    phase = tiny.grade(tiny.submit(course, double(body)))
    assert tiny.earned(phase) == {"1.1": 0 if opened else 4, "1.2": 2, "1.3": 2, "1.4": 0}
    assert ("the solution of the phase that is taught" in phase.exercises[0].broken_rule) == opened


def test_a_mutant_may_import_the_answer(course):
    file = course.root / "mutant.py"
    file.write_text(f"import {CORE}\ndef double(x):\n    {CORE}\n    return 2 * x\n")
    assert tiny.earned(tiny.grade(Target(course, str(file)), only=["1.1"])) == {"1.1": 0}
    assert tiny.earned(tiny.grade(Target(course, str(file), trusted=True), only=["1.1"])) == {"1.1": 4}


def test_the_wall_limit_of_a_phase_keeps_what_was_earned(course):
    limits = replace(tiny.QUICK, wall_s=4, test_s=30)
    phase = tiny.grade(tiny.submit(course, tiny.DOUBLE + "def halve(x):\n    while True: pass\n"), limits=limits)
    assert tiny.earned(phase)["1.1"] == 4
    assert phase.earned == 4
    assert "4 s for this phase were used up" in phase.stopped
