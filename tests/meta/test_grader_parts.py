"""The parts of the engine alone: registry, target, rules, guard, checks, stream."""

from __future__ import annotations

import ast
import os
import random
import tempfile
import time
from dataclasses import replace

import numpy as np
import pytest

from solutions.core.errors import ConfigError
from tests.grader.checks import GradeFailure, check_close, check_equal, check_raises
from tests.grader.course import COURSE_FILE, Course
from tests.grader.guard import Guard, isolated
from tests.grader.job import Job, Reader, Stream
from tests.grader.rules import broken_rule
from tests.grader.target import RuleBroken, Target, TargetError
from tests.meta import tiny_course as tiny

SOLUTION = "solutions.phase1_basics.model_loader"
FORBIDDEN = ("solutions.phase1_basics", "solutions.core.measure.latency.percentile")


@pytest.fixture
def course(tmp_path):
    return tiny.build(tmp_path)


def test_the_real_registry_loads():
    course = Course.load(COURSE_FILE)
    assert [phase.number for phase in course.phases] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param('id = "1.2"', 'id = "1.1"', "two exercises have the id 1.1", id="duplicate"),
        pytest.param('["think", "think more", "write it"]', '["think"]', "exactly three hints", id="hints"),
        pytest.param("numbers_.py:halve", "other.py:halve", "answers/other.py, which is not there", id="no-solution"),
        pytest.param(
            'template = "phase1_tiny/words.py"', 'template = "no.py"', "no.py, which is not there", id="no-file"
        ),
        pytest.param('after = ["1.1"]', 'after = ["1.3"]', "which is no earlier exercise", id="prerequisite-later"),
        pytest.param('after = ["1.1"]', "afterwards = 1", "unknown key 'afterwards'", id="unknown-key"),
        pytest.param("points = 4", "points = 0", "whole number >= 1", id="points"),
        pytest.param('title = "double a number"', "", "lacks title", id="missing-key"),
        pytest.param("[phase.1]", "[phase.2]", "belongs to [phase.1]", id="no-phase"),
        pytest.param('id = "1.2"', "id = 1.2.3", "is not TOML", id="not-toml"),
    ],
)
def test_a_registry_that_cannot_be_is_refused(course, old, new, says):
    course.file.write_text(course.file.read_text().replace(old, new))
    with pytest.raises(ConfigError) as error:
        Course.load(course.file)
    assert says in str(error.value)


def test_select(course):
    assert [exercise.id for exercise in course.select("1")] == ["1.1", "1.2", "1.3", "1.4"]
    assert [exercise.id for exercise in course.select("1.3")] == ["1.3"]
    for unknown in ("7", "1.9", "one"):
        with pytest.raises(ConfigError):
            course.select(unknown)


@pytest.mark.parametrize("place", ["phase1_tiny/words.py", "words.py", "sub/words.py"])
def test_a_folder_may_hold_the_phases_or_the_files(course, tmp_path, place):
    tiny.write(tmp_path, {f"mine/{place}": tiny.SHOUT})
    found = Target(course, str(tmp_path / "mine")).locate(course.exercise("1.3"))
    assert found == (None if place.startswith("sub") else tmp_path / "mine" / place)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("import no_such_thing", "cannot be imported: ModuleNotFoundError", id="import-error"),
        pytest.param("x = 1\nraise SystemExit(0)", r"cannot be imported: SystemExit: 0 \(own.py line 2\)", id="exits"),
        pytest.param("def double(x): pass", "does not define halve", id="missing-symbol"),
        pytest.param("halve = 1 +", "line 1: Python cannot read this file", id="syntax-error"),
        pytest.param("\0", "cannot read this file", id="null-byte"),
    ],
)
def test_what_a_file_lacks_is_said(course, tmp_path, text, says):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(TargetError, match=says):
        Target(course, str(tmp_path / "own.py")).symbol(course.exercise("1.2"))


def test_the_file_is_loaded_by_path_under_its_own_name(course, tmp_path):
    text = "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass halve:\n    x: int\n"
    (tmp_path / "json.py").write_text(text)
    symbol = Target(course, str(tmp_path / "json.py")).symbol(course.exercise("1.2"))
    assert symbol(3).x == 3
    assert symbol.__module__.startswith("graded_")


@pytest.mark.parametrize(
    ("source", "broken"),
    [
        pytest.param(f"from {SOLUTION} import f", True, id="the-symbol-itself"),
        pytest.param(f"import {SOLUTION} as m\nf = m.f", True, id="alias"),
        pytest.param(f"import {SOLUTION}\ndef f(): return {SOLUTION}.f()", True, id="full-name"),
        pytest.param(f"from {SOLUTION} import *\ndef f(): pass", True, id="star"),
        pytest.param(f"def f():\n    import {SOLUTION}", True, id="inside"),
        pytest.param(f"from {SOLUTION} import g\ndef h(): return g()\ndef f(): return h()", True, id="through-helper"),
        pytest.param(
            f"try:\n    import {SOLUTION} as m\nexcept ImportError:\n    m = None\ndef f(): m", True, id="try"
        ),
        pytest.param(f"import importlib\ndef f(): return importlib.import_module('{SOLUTION}')", True, id="by-string"),
        pytest.param("def f(): return open('solutions/phase1_basics/x.py')", True, id="by-file"),
        pytest.param("from solutions.core.measure import latency\ndef f(): latency.percentile()", True, id="attribute"),
        pytest.param("from solutions.core.measure.metrics import percentile as f", True, id="another-door"),
        pytest.param(f"from {SOLUTION} import g\ndef h(): g()\ndef f(): pass", False, id="another-exercise-used-it"),
        pytest.param("from solutions.core.measure import latency\ndef f(): latency.LatencySummary", False, id="core"),
        pytest.param("import solutions.core.errors\ndef f(): solutions.core.errors", False, id="plain-import"),
        pytest.param(
            '"""As solutions.phase1_basics."""\ndef f():\n    "solutions.phase1_basics"', False, id="docstring"
        ),
        pytest.param(f"def f(): pass\nif __name__ == '__main__':\n    import {SOLUTION}", False, id="main-block"),
    ],
)
def test_rules(course, source, broken):
    exercise = replace(course.exercise("1.1"), symbol="f", solution="solutions.core.measure.latency:percentile")
    assert bool(broken_rule(ast.parse(source), exercise, FORBIDDEN)) == broken


def test_a_symbol_that_is_the_reference_is_refused(course, tmp_path):
    # no source to read: the name is put together at run time
    text = "import importlib\nhalve = importlib.import_module('solu' + 'tions.core.optional').available\n"
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(RuleBroken, match=r"halve comes from solutions\.core\.optional"):
        Target(course, str(tmp_path / "own.py")).symbol(course.exercise("1.2"))


def test_guard_names_and_restores(monkeypatch):
    guard = Guard(list)
    assert guard.changes() == []
    real = time.perf_counter
    time.perf_counter = lambda: 0.0
    Reader.read, kept = None, Reader.read
    assert guard.changes() == ["time.perf_counter", "Reader.read"]
    assert time.perf_counter is real
    assert Reader.read is kept
    assert guard.changes() == []


def test_one_test_leaves_no_trace_for_the_next(tmp_path):
    folder, environment = os.getcwd(), dict(os.environ)
    with isolated():
        os.chdir(tmp_path)
        os.environ["LEFT_BEHIND"] = "1"
        first = random.random()
        with pytest.raises(pytest.fail.Exception, match=r"os\._exit\(3\)"):
            os._exit(3)
    assert (os.getcwd(), dict(os.environ)) == (folder, environment)
    with isolated():
        assert random.random() == first


class Always:
    """Claims to equal everything, like a submission's class might."""

    __module__ = "graded_1"

    def __eq__(self, other):
        return True

    __hash__ = None


@pytest.mark.parametrize(
    ("got", "want", "equal"),
    [
        pytest.param(1, 1.0, True, id="numbers"),
        pytest.param("a", "b", False, id="texts"),
        pytest.param(Always(), 3, False, id="equal-to-everything"),
        pytest.param(np.zeros((2, 1)), np.zeros(2), False, id="shape"),
        pytest.param([0, 0], np.zeros(2), False, id="list-for-array"),
        pytest.param(np.array([np.nan, 1]), np.array([np.nan, 1]), True, id="nan"),
        pytest.param(np.array(["a"]), np.array(["a"]), True, id="text-array"),
        pytest.param(np.zeros(2), (0, 0), False, id="array-for-tuple"),
        pytest.param(None, np.zeros(2), False, id="none"),
    ],
)
def test_check_equal(got, want, equal):
    if equal:
        check_equal(got, want, breaks="it")
    else:
        with pytest.raises(GradeFailure, match="broke: it"):
            check_equal(got, want, breaks="it")


@pytest.mark.parametrize(
    ("got", "want", "says"),
    [
        pytest.param([1.0, 2.0], [1.0, 2.05], "", id="close"),
        pytest.param([1.0, 2.0], [1.0, 3.0], "off by 1 in cell (1,)", id="far"),
        pytest.param(np.inf, np.inf, "", id="infinite"),
        pytest.param(np.nan, 1.0, "got: nan", id="nan-is-not-close"),
        pytest.param([np.nan], [np.nan], "", id="nan-to-nan"),
        pytest.param(np.zeros((0, 4)), np.zeros((0, 4)), "", id="empty"),
        pytest.param(np.zeros(3), np.zeros(4), "of shape (3,)", id="shape"),
        pytest.param("text", 1.0, "got: 'text'", id="no-number"),
        pytest.param(None, [1.0], "got: None", id="nothing"),
    ],
)
def test_check_close(got, want, says):
    if not says:
        check_close(got, want, 0.1, breaks="it")
    else:
        with pytest.raises(GradeFailure) as error:
            check_close(got, want, 0.1, breaks="it")
        assert says in str(error.value)


def fails(error):
    def call():
        raise error

    return call


def test_check_raises():
    check_raises(ValueError, fails(ValueError("the size is 0")), breaks="it", says="size")
    for wrong in (fails(ValueError("no")), fails(KeyError("size")), lambda: 3):
        with pytest.raises(GradeFailure, match="broke: it"):
            check_raises(ValueError, wrong, breaks="it", says="size")
    with pytest.raises(NotImplementedError):
        check_raises(RuntimeError, fails(NotImplementedError("exercise 1.1")), breaks="a stub is no refusal")


def test_only_signed_lines_in_order_count():
    with tempfile.TemporaryFile() as file:
        job = Job(key="secret", stream_fd=os.dup(file.fileno()))
        stream, reader = Stream(job), Reader(file.fileno(), "secret")
        stream.send({"start": "a"})
        os.write(file.fileno(), os.pread(file.fileno(), 1000, 0))
        os.write(file.fileno(), b'{"check": "b"}\t0000\nnonsense\n')
        stream.send({"end": 0})
        os.write(file.fileno(), b'{"half a')
        assert reader.read() == [{"start": "a"}, {"end": 0}]
        assert reader.read() == []
        os.close(job.stream_fd)


def test_a_job_arrives_whole():
    with tempfile.TemporaryFile() as file:
        job = Job(key="k", stream_fd=7, done=[f"test_{i}" for i in range(10_000)], strikes={"1.1": 2})
        job.write(file.fileno())
        assert Job.read(os.dup(file.fileno())) == job
