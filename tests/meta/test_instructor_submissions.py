"""A class of broken and hostile submissions: each gets what it earned, nobody harms anybody, twice the same CSV."""

from __future__ import annotations

import csv
import io
import os
import threading
from dataclasses import replace

import pytest

from solutions.core.errors import ConfigError
from tests.grader import submissions
from tests.grader.class_report import count, csv_text
from tests.grader.handed_in import FILE_BYTES, find_submissions
from tests.grader.sandbox import best_room
from tests.grader.submissions import Plan, Row, grade_all, grade_submission
from tests.meta import tiny_course as tiny

LIMITS = replace(tiny.QUICK, wall_s=30)
RIGHT = {"numbers_.py": tiny.DOUBLE + tiny.HALVE, "words.py": tiny.SHOUT + tiny.WHISPER}
FULL = {"1.1": 4, "1.2": 2, "1.3": 2, "1.4": 0}
WITHOUT_DOUBLE = FULL | {"1.1": 0}


def double(body):
    """Files that are right but for a double that starts with `body`."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return {**RIGHT, "numbers_.py": f"def double(x):\n{lines}    return 2 * x\n{tiny.HALVE}"}


# name of the folder -> its files, what it must earn
HOSTILE = {
    "syntax-error": ({**RIGHT, "numbers_.py": "def double(x:\n"}, {"1.1": 0, "1.2": 0, "1.3": 2, "1.4": 0}),
    "endless-loop": (double("while True: pass"), WITHOUT_DOUBLE),
    "os-exit": (double("import posix\nposix._exit(0)"), WITHOUT_DOUBLE),
    "memory-eater": (double("bytearray(2 << 30)"), WITHOUT_DOUBLE),
    "huge-file": (double("import tempfile\ntempfile.TemporaryFile().write(bytes(1 << 25))"), WITHOUT_DOUBLE),
    "megabytes-of-output": (double("print('x' * 3_000_000)"), FULL),
    "endless-output": (double("while True: print('x' * 1_000_000)"), WITHOUT_DOUBLE),
}


@pytest.fixture
def course(tmp_path):
    return tiny.build(tmp_path / "course")


@pytest.fixture
def hand_in(tmp_path):
    """A function that writes a submission."""

    def write(name, files):
        tiny.write(tmp_path / "class" / name, files)

    (tmp_path / "class").mkdir()
    return write


def plan_of(course, **changes):
    plan = Plan(course, course.root.parent / "class", (1,), LIMITS)
    return replace(plan, **changes)


def grade_class(plan, known=(), jobs=1):
    rows = []
    folders = find_submissions(plan.submissions)
    grade_all(plan, folders, {(row.name, row.key): row for row in known}, jobs, rows.append)
    return sorted(rows, key=lambda row: row.name)


def earned(row):
    return {exercise.exercise: exercise.earned for exercise in row.grade.exercises}


def test_hostile_submissions_get_what_they_earned_and_the_csv_is_the_same_twice(course, hand_in):
    for name, (files, _) in HOSTILE.items():
        hand_in(name, files)
    plan = plan_of(course)
    rows = grade_class(plan, jobs=2)
    assert {row.name: earned(row) for row in rows} == {name: want for name, (_, want) in HOSTILE.items()}
    text = csv_text(plan.exercises, rows)
    hand_in("again", RIGHT)
    again = grade_class(plan_of(course, submissions=plan.submissions))
    assert csv_text(plan.exercises, [row for row in again if row.name != "again"]) == text
    counts = {one.exercise: one for one in count(again)}
    assert (counts["1.1"].all, counts["1.1"].part, counts["1.1"].none) == (2, 0, 6)
    assert counts["1.1"].fails_most == "Every number is doubled."
    assert counts["1.4"].not_run == len(HOSTILE) + 1


@pytest.mark.skipif(best_room() != "closed", reason="not run here: this system allows no closed room")
@pytest.mark.parametrize(
    ("body", "want"),
    [
        pytest.param("import socket\nsocket.create_connection(('192.0.2.1', 80))", WITHOUT_DOUBLE, id="network"),
        pytest.param(
            "import socket\ns = socket.create_server(('127.0.0.1', 0))\nsocket.create_connection(s.getsockname())",
            FULL,
            id="loopback-works",
        ),
        pytest.param("open('{course}/tests/phase1/test_words.py', 'w')", WITHOUT_DOUBLE, id="writes-into-the-tests"),
        pytest.param("open('{other}/words.py', 'w')", WITHOUT_DOUBLE, id="writes-into-another"),
        pytest.param("open('{other}/words.py').read()", WITHOUT_DOUBLE, id="reads-another"),
        pytest.param(
            "import shutil, os\nshutil.rmtree(os.path.dirname(__file__))", WITHOUT_DOUBLE, id="deletes-itself"
        ),
        pytest.param(
            "import subprocess\nsubprocess.Popen(['sleep', '3141'], start_new_session=True)", FULL, id="leaves-a-daemon"
        ),
    ],
)
def test_the_closed_room(course, hand_in, body, want):
    hand_in("other", RIGHT)
    other = course.root.parent / "class" / "other"
    hand_in("bad", double(body.format(course=course.root, other=other)))
    before = {path: path.read_bytes() for path in course.root.parent.rglob("*.py")}
    plan = plan_of(course)
    assert earned(grade_submission(plan, other.parent / "bad", "")) == want
    assert {path: path.read_bytes() for path in course.root.parent.rglob("*.py")} == before
    assert not [pid for pid in os.listdir("/proc") if pid.isdecimal() and b"3141" in _command(pid)]


@pytest.mark.parametrize("room", ["offline", "open"])
def test_a_system_without_the_closed_room_grades_too(course, hand_in, monkeypatch, room):
    if room == "offline" and best_room() == "open":
        pytest.skip("not run here: this system allows no namespaces")
    monkeypatch.setattr(submissions, "best_room", lambda: room)
    # what the offline room keeps away is the network; both give temporary files a folder that goes away
    body = "import socket, tempfile\ntempfile.TemporaryFile()\nsocket.socket(2, 2).connect(('192.0.2.1', 80))"
    hand_in("ann", double(body) if room == "offline" else RIGHT)
    (row,) = grade_class(plan_of(course))
    assert earned(row) == (WITHOUT_DOUBLE if room == "offline" else FULL)


def _command(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def test_what_cannot_be_graded_is_a_row_with_a_reason(course, hand_in, tmp_path):
    room = tmp_path / "class"
    (room / "empty").mkdir()
    hand_in("wrong-files", {"essay.txt": "I think that"})
    (room / "archive.zip").write_bytes(b"PK")
    (room / "linked").symlink_to(course.root, target_is_directory=True)
    hand_in("many", {f"{number}.txt": "" for number in range(5001)})
    (room / "roster.csv").write_text("not a submission")
    rows = {row.name: row for row in grade_class(plan_of(course))}
    says = {
        "empty": "there is no file in it.",
        "wrong-files": "none of the files to write is in it: phase1_tiny/numbers_.py, phase1_tiny/words.py.",
        "archive.zip": "it is an archive: unpack it into a folder of its own.",
        "linked": "it is a link and not a folder.",
        "many": "it has more than 5000 files: a whole environment was handed in.",
    }
    assert {name: row.note for name, row in rows.items()} == says
    assert not any(row.graded or row.grade.earned for row in rows.values())
    assert {row.grade.total for row in rows.values()} == {10}


def test_odd_parts_are_left_out_and_the_rest_is_graded(course, hand_in, tmp_path):
    hand_in("repo/inner-main", RIGHT | {"__pycache__/words.pyc": "", ".git/config": ""})
    inside = tmp_path / "class" / "repo" / "inner-main"
    with open(inside / "model.bin", "wb") as big:
        big.truncate(FILE_BYTES + 1)
    os.mkfifo(inside / "pipe")
    (inside / "secrets").symlink_to("/etc")
    (inside / "binary.py").write_bytes(bytes(range(256)))
    (row,) = grade_class(plan_of(course))
    assert earned(row) == FULL
    assert row.note == (
        "Left out: inner-main/model.bin (more than 64 MiB), inner-main/pipe (not a plain file), "
        "inner-main/secrets (a link)."
    )


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        pytest.param("=cmd|'!A1", "'=cmd|'!A1", id="formula"),
        pytest.param("-ann", "'-ann", id="minus"),
        pytest.param('two\nlines, "quoted"', '"two\\nlines, ""quoted"""', id="newline-comma-quote"),
        pytest.param("Zoë 学生", "Zoë 学生", id="unicode"),
        pytest.param(os.fsdecode(b"latin\xe9"), "latin\\xe9", id="not-utf8"),
        pytest.param("--help", "'--help", id="looks-like-an-option"),
    ],
)
def test_weird_names(course, hand_in, name, cell):
    hand_in(name, {"essay.txt": ""})
    plan = plan_of(course)
    (row,) = grade_class(plan)
    line = csv_text(plan.exercises, [row]).splitlines()[1]
    assert line.startswith(f"{cell},0.0,10.0,10,0.0,0.0,0.0,0.0,not graded,")
    assert len(next(csv.reader(io.StringIO(line)))) == 10


def test_a_weird_name_is_graded_as_any_other(course, hand_in):
    name = os.fsdecode(b"--x\n=\xe9 ")
    hand_in(f"{name}/{name}", RIGHT)
    (row,) = grade_class(plan_of(course))
    assert (row.name, row.note, earned(row)) == ("--x\\n=\\xe9 ", "", FULL)


def test_finished_rows_are_not_graded_again(course, hand_in):
    hand_in("ann", RIGHT)
    hand_in("bob", {"words.py": RIGHT["words.py"]})
    plan = plan_of(course)
    first = [Row.from_dict(row.as_dict()) for row in grade_class(plan)]
    hand_in("bob", {"words.py": "oops("})
    second = grade_class(plan, first)
    assert second[0] is first[0]
    assert (second[1].grade.earned, first[1].grade.earned) == (0, 2)
    before = plan.digest()
    tiny.write(course.root, {"tests/phase1/notes.txt": "another test would be a change too"})
    assert plan.digest() != before


def test_hidden_tests_count(course, hand_in):
    hidden = (
        '"""Hidden."""\nimport pytest\n@pytest.mark.exercise("1.2")\ndef test_odd(graded):\n    assert graded(3) == 1\n'
    )
    tiny.write(course.root.parent / "hidden", {"test_hidden.py": hidden})
    hand_in("ann", RIGHT)
    (row,) = grade_class(plan_of(course, extra_tests=course.root.parent / "hidden"))
    assert earned(row) == FULL | {"1.2": 1}


def test_a_course_that_changes_meanwhile_stops_the_run(course, hand_in, monkeypatch):
    hand_in("ann", RIGHT)
    digests = iter(["before", "after"])
    monkeypatch.setattr(Plan, "digest", lambda self: next(digests))
    with pytest.raises(ConfigError, match="were changed while ann was graded"):
        grade_class(plan_of(course))


def test_a_stopped_run_ends_its_children(course, hand_in):
    hand_in("ann", {**RIGHT, "words.py": "import time\ntime.sleep(600)"})
    hand_in("bob", RIGHT)
    plan = plan_of(course, limits=replace(LIMITS, test_s=600, wall_s=600))
    before = set(threading.enumerate())  # libraries that other tests loaded keep theirs

    def interrupt(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grade_all(plan, find_submissions(plan.submissions), {}, 2, interrupt)
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("make", [pytest.param(False, id="missing"), pytest.param(True, id="without-a-folder")])
def test_a_folder_without_submissions_is_refused(tmp_path, make):
    if make:
        (tmp_path / "class").mkdir()
        (tmp_path / "class" / "roster.csv").write_text("")
    with pytest.raises(ConfigError, match=r"holds no submission|cannot be read"):
        find_submissions(tmp_path / "class")
