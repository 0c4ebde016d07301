"""What leaves the engine for other tools: JUnit XML, Gradescope results, the CSV of a class, and their commands."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree

import pytest

from tests.grader.cli import main
from tests.grader.course import Course
from tests.grader.gradescope import gradescope_results
from tests.grader.junit import junit_xml
from tests.grader.outcome import Check, Grade, PhaseGrade, ungraded, with_checks
from tests.grader.submissions import Row
from tests.meta import tiny_course as tiny

OWN = "tests/phase1/test_numbers.py"


@pytest.fixture
def course(tmp_path):
    return tiny.build(tmp_path / "course")


@pytest.fixture
def call(course):
    """`grade` with these arguments on the tiny course."""
    return lambda *arguments: main([*map(str, arguments), "--course", str(course.file)])


def grade_of(course: Course, *checks: Check) -> Grade:
    exercises = [with_checks(ungraded(exercise, "f.py", "abc"), checks) for exercise in course.exercises]
    return Grade("ann", "reference", (PhaseGrade(1, "Tiny", tuple(exercises)),))


def mixed(course):
    return grade_of(
        course,
        Check(f"{OWN}::test_a[zero]", "1.1", "Doubles.", "passed", duration_s=0.5),
        Check(f"{OWN}::test_a[one]", "1.1", "Doubles.", "failed", "broke: <x> & \x00\ngot: 3"),
        Check("../hidden/test_h.py::test_b", "1.1", "Hidden.", "passed", duration_s=0.25),
        Check(f"{OWN}::test_c", "1.2", "Halves.", "inconclusive", "the interval straddles the bar"),
        Check(f"{OWN}::test_d", "1.3", "Shouts.", "passed", voids=True, message="the submission replaced time.time"),
        Check(f"{OWN}::test_e", "1.4", "Whispers.", "not_run", "no such package"),
    )


def test_junit_says_each_state(course):
    root = ElementTree.fromstring(junit_xml(mixed(course)))
    assert dict(root.attrib) == {"name": "ann", "tests": "6", "failures": "2", "skipped": "2"}
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert [child.tag for child in cases["Doubles. [zero]"]] == []
    assert cases["Doubles. [one]"].find("failure").text == "broke: <x> & \ufffd\ngot: 3"
    assert cases["Halves."].find("skipped").get("message") == "inconclusive: the interval straddles the bar"
    assert cases["Whispers."].find("skipped").get("message") == "not run: no such package"
    assert cases["Shouts."].find("failure").get("message") == "the submission replaced time.time"
    suite = root.find("testsuite[@name='1.1 double']")
    facts = {fact.get("name"): fact.get("value") for fact in suite.iter("property")}
    assert facts == {"earned": "2", "available": "4", "points": "4", "file": "f.py", "sha": "abc"}


def test_junit_of_nothing_tested_is_a_failure(course):
    root = ElementTree.fromstring(junit_xml(grade_of(course)))
    assert (root.get("tests"), root.get("failures")) == ("4", "4")


def test_gradescope_points_add_up(course):
    results = gradescope_results(course, Row("ann", "key", True, "", mixed(course)))
    tests = {test["name"].partition(": ")[2]: test for test in results["tests"]}
    assert results["score"] == sum(test["score"] for test in tests.values()) == 2
    assert sum(test["max_score"] for test in tests.values()) == 9
    assert {name: test["visibility"] for name, test in tests.items() if test["visibility"] != "visible"} == {
        "Hidden.": "after_published"
    }
    assert [test.get("status") for test in tests.values()] == ["failed", "passed", "failed", "failed", None]
    assert tests["Whispers."]["output"] == "Not run here (1 points): no such package."
    assert tests["Halves."]["output"] == "Inconclusive, so not earned: the interval straddles the bar"
    assert "1 points could not be earned on this machine" in results["output"]
    assert results["execution_time"] == 0.75
    json.dumps(results, allow_nan=False)


def test_gradescope_of_what_could_not_be_graded(course):
    results = gradescope_results(course, Row("ann", "", False, "there is no file in it.", grade_of(course)))
    assert (results["score"], results["tests"]) == (0, [])
    assert results["output"] == "ann: there is no file in it."


def test_a_class_from_the_command_line(call, course, tmp_path, capsys):
    right = {"numbers_.py": tiny.DOUBLE + tiny.HALVE, "words.py": tiny.SHOUT + tiny.WHISPER}
    tiny.write(tmp_path / "class" / "ann", right)
    tiny.write(tmp_path / "class" / "=bob", right | {"words.py": "oops("})
    (tmp_path / "class" / "carol").mkdir()
    out, reports = tmp_path / "grades.csv", ["--json", tmp_path / "json", "--junit", tmp_path / "junit"]
    command = ["submissions", tmp_path / "class", "--out", out, *reports, "--html", tmp_path / "class.html"]
    assert call(*command) == 1
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == [
        "submission",
        "earned",
        "available",
        "total",
        "1.1",
        "1.2",
        "1.3",
        "1.4",
        "status",
        "notes",
    ]
    assert [(row["submission"], row["earned"], row["1.4"], row["status"]) for row in rows] == [
        ("'=bob", "6.0", "", "graded"),
        ("ann", "8.0", "", "graded"),
        ("carol", "0.0", "0.0", "not graded"),
    ]
    said = capsys.readouterr().out
    assert "[3/3]" in said
    assert "2 graded, 1 not" in said
    exercises = json.loads((tmp_path / "json/class.json").read_text())["exercises"]
    assert [(one["exercise"], one["all"], one["none"], one["fails_in"]) for one in exercises] == [
        ("1.1", 2, 0, 0),
        ("1.2", 2, 0, 0),
        ("1.3", 1, 1, 1),
        ("1.4", 0, 0, 0),
    ]
    assert json.loads((tmp_path / "json/submissions/ann.json").read_text())["score"] == 8
    assert len(list((tmp_path / "json/submissions").iterdir())) == len(list((tmp_path / "junit").iterdir())) == 3
    assert "ann" in (tmp_path / "class.html").read_text()
    text = out.read_text()
    assert call(*command) == 1
    assert capsys.readouterr().out.count("unchanged") == 2
    assert out.read_text() == text
    assert call("gradescope", f"{out}.jsonl", "--out", tmp_path / "results") == 0
    assert len(list((tmp_path / "results").iterdir())) == 3


def test_one_submission_for_gradescope(call, tmp_path):
    tiny.write(tmp_path / "submission", {"words.py": tiny.SHOUT + tiny.WHISPER})
    assert call("gradescope", tmp_path / "submission", "--out", tmp_path / "results.json") == 0
    assert json.loads((tmp_path / "results.json").read_text())["score"] == 2


def test_ctrl_c_leaves_a_valid_csv_and_no_process(course, tmp_path):
    right = {"numbers_.py": tiny.DOUBLE + tiny.HALVE, "words.py": tiny.SHOUT + tiny.WHISPER}
    tiny.write(tmp_path / "class" / "ann", right)
    tiny.write(tmp_path / "class" / "bob", right | {"words.py": "import time\ntime.sleep(3142)"})
    out = tmp_path / "grades.csv"
    command = [sys.executable, "-m", "tests.grader", "submissions", str(tmp_path / "class"), "--out", str(out)]
    with subprocess.Popen([*command, "--course", str(course.file)], cwd=tiny.ROOT, stderr=subprocess.PIPE) as run:
        deadline_s = time.monotonic() + 60
        while "ann" not in (out.read_text() if out.exists() else "") and time.monotonic() < deadline_s:
            time.sleep(0.05)
        time.sleep(1)
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 130
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert [(row["submission"], row["earned"]) for row in rows] == [("ann", "8.0")]
    assert not [pid for pid in os.listdir("/proc") if pid.isdecimal() and _mentions(pid, str(tmp_path / "course"))]


def _mentions(pid, text):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            return text in file.read()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["submissions", "no/such", "--out", "x.csv"], "no/such cannot be read", id="no-folder"),
        pytest.param(["submissions", ".", "--out", "no/such/x.csv"], "no/such", id="no-place-for-the-csv"),
        pytest.param(["submissions", ".", "--out", "x.csv", "--jobs", "0"], "--jobs", id="no-jobs"),
        pytest.param(["submissions", ".", "--out", "x.csv", "--memory", "1"], "--memory", id="no-memory"),
        pytest.param(["submissions", ".", "--out", "x.csv", "--phase", "9"], "no phase 9", id="no-phase"),
        pytest.param(["submissions", ".", "--out", "x.csv", "--extra-tests", "no"], "--extra-tests", id="no-extra"),
        pytest.param(["gradescope", "no/such"], "neither the folder of a submission", id="no-submission"),
        pytest.param(["gradescope", "empty.jsonl"], "holds no grade", id="no-grade"),
        pytest.param(["release", "."], "not an empty folder", id="release-onto-something"),
    ],
)
def test_what_cannot_run_says_so(call, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_text("not json\n")
    with pytest.raises(Exception, match=says):
        call(*arguments)
