"""The course engine: one registry, one set of grading tests, one honest score.

How the parts fit; each points only at those above it:

    course.py    `Course.load()`: phases and exercises from tests/course.toml, validated
    outcome.py   `Check` -> `Behaviour` -> `ExerciseGrade` -> `PhaseGrade` -> `Grade`, which goes to JSON and back
    text.py      `score_lines(grade)`, `failure_lines(exercise_grade)`: the words that pytest and `grade` share
    needs.py     `missing("cuda")`: the sentence that says why a need is not met here, or None
    rules.py     what a submission must not import, found in its source
    target.py    `Target(course, where, upstream)`: loads the graded file by path; `phase_grades(...)`: checks to grades
    checks.py    what grading tests call: `check`, `check_equal`, `check_close`, `check_raises`, `inconclusive`
    explain.py   the text of a failure
    guard.py     clocks, pytest and tests as they were before learner code ran: says what was changed, puts it back
    job.py       what the parent tells a child, and the signed stream in which the child answers
    judge.py     the judge of one pytest session: which tests count, how each ended
    plugin.py    the pytest plugin (options, marks, fixtures), loaded by tests/conftest.py
    child.py     `grade_phase(course, phase, target, limits, only) -> PhaseGrade` in child processes

The learner's side of the command `grade`, on top of it:

    progress.py     `load(course)`, `update(course, change)`: .grade/progress.json; what a result depends on
    learner.py      `grade_exercises(target, exercises) -> Graded`: what is not finished is graded; `next_exercise`
    source.py       one exercise in a file: its lines, its difference to the reference, its unwritten version
    show.py         the map, the tests as they finish, the score with its failures, on a terminal
    watch.py        `grade watch`
    doctor.py       `grade doctor`: versions, devices, what will be "not run here"
    report_page.py  `report_html(grade)`, with report_page.html
    cli.py          the command line; instructor.py adds the instructor's commands to it

For the author of a grading test (tests/phaseN/test_*.py):

    pytestmark = pytest.mark.exercise("1.1")

    def test_content_decides(graded, tmp_path):
        \"\"\"The content decides, not the suffix.\"\"\"     # the title of the behaviour
        check_equal(graded(path), "onnx", breaks="the content decides", likely="only the suffix was looked at")

- Every test function of a phase folder is one behaviour of one exercise; all its rows (parametrize) must pass. The
  points of an exercise are spread evenly over its behaviours. The title is the first line of the docstring.
- Fixtures: `graded` is the symbol of the marked exercise, `graded_module` its module, `upstream("1.3")` the symbol of
  another exercise: the reference, or the learner's with `--upstream mine`. Never import the solution of the phase that
  is taught.
- Plain `assert` works, but a class of the submission that equals everything fools it; `check_equal` is not fooled.
- `@pytest.mark.needs("cuda")` on a test or a row, or `needs` in the registry, means "not run
  here" where it is missing. The marks skip, skipif and xfail stop the collection; a call of pytest.skip fails the test.
- `inconclusive("...")` is for timing ratios whose interval straddles the bar, and for nothing else.
- A test has 60 seconds; `@pytest.mark.timeout(120)` says otherwise. Warnings are shown and cost no points.
- A patch in a test goes through `monkeypatch`, so that it is gone before the grader looks for changes.

For the command line and the reports: make `Target(course, "templates" | "solutions" | PATH)`, call `grade_phase` per
phase, put the results into one `Grade(target.where, target.upstream, phases)`. `grade_phase` never raises for what a
submission does, only ConfigError for tests that cannot be collected. `Target(..., trusted=True)` lets a file import the
reference; the mutants of the meta tests need that.

What it can and cannot promise. The verdicts are computed in the parent from a signed stream. A process that ends before
the closing line (os._exit, a crash, out of memory, a hang) fails the test it was in, and a new process goes on with the
rest; after two such tests the rest of that exercise is not tried. A replaced clock, builtin, tool, grading test or part
of pytest is found after each test, costs the exercise, and is put back. An import of the answer is found in the source
and as it happens. Learner code shares the child's process, so one that sets out to attack the grader through memory can
be made conspicuous but not impossible: for an exam, read the file whose path and hash the report prints.
"""
