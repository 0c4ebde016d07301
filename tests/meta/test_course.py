"""The course's own proofs: the unwritten earns nothing, the right everything, and what is wrong is rejected."""

from __future__ import annotations

import ast
import functools
import re

import pytest

from tests.grader.child import grade_phase
from tests.grader.course import Course, Exercise
from tests.grader.outcome import ExerciseGrade, PhaseGrade
from tests.grader.rules import broken_rule, forbidden_names
from tests.grader.target import Target
from tests.mutants.judge import exercise_of, judge_all

COURSE = Course.load()
ROOT = COURSE.root
EXERCISES = {exercise.id: exercise for exercise in COURSE.exercises}
PHASES = [phase.number for phase in COURSE.phases if COURSE.exercises_of(phase.number)]
MUTANTS = {path.stem: path for path in sorted((ROOT / "tests/mutants").glob("phase*/m*.py"))}
TEMPLATES = sorted({exercise.template for exercise in COURSE.exercises})
LONGEST_TEMPLATE = 160  # lines

every_exercise = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=list(EXERCISES))
every_phase = pytest.mark.parametrize("phase", PHASES)
every_template = pytest.mark.parametrize("template", TEMPLATES)


@functools.cache
def graded(phase: int, where: str) -> PhaseGrade:
    return grade_phase(COURSE, phase, Target(COURSE, where))


@functools.cache
def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def solution(exercise: Exercise) -> str:
    return str(COURSE.solution_file(exercise).relative_to(ROOT))


def symbol(exercise: Exercise, file: str) -> ast.FunctionDef | ast.ClassDef:
    """The definition of what an exercise asks for."""
    body, found = tree(file).body, None
    for name in exercise.symbol.split("."):
        found = next(node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name)
        body = found.body
    assert found is not None
    return found


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


# Both ends


@every_phase
def test_untouched_templates_score_nothing(phase):
    grade = graded(phase, "templates")
    assert grade.earned == 0
    for exercise in grade.exercises:
        asked = EXERCISES[exercise.exercise]
        assert exercise.verdict == "failed", exercise.exercise
        said = {check.message for check in exercise.checks if check.verdict != "not_run"}
        assert said == {f"exercise {asked.id} {asked.symbol} is not written yet: {asked.template}"}


@every_phase
def test_solutions_score_all_that_can_run_here(phase):
    grade = graded(phase, "solutions")
    bad = [check.message for exercise in grade.exercises for check in exercise.checks if check.verdict == "failed"]
    assert not bad
    assert grade.earned == grade.available > 0


@every_phase
def test_every_exercise_has_a_test_that_runs_on_a_cpu(phase):
    for exercise in graded(phase, "solutions").exercises:
        needed = {check.nodeid for check in exercise.checks if check.verdict == "not_run"}
        assert len(exercise.checks) > len(needed), exercise.exercise
        assert "cuda" not in EXERCISES[exercise.exercise].needs


# Wrong answers


@pytest.fixture(scope="module")
def mutant_grades() -> dict[str, ExerciseGrade]:
    grades = judge_all([(exercise_of(path), path) for path in MUTANTS.values()])
    return dict(zip(MUTANTS, grades, strict=True))


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_rejected(mutant_grades, name):
    grade = mutant_grades[name]
    assert grade.exercise == exercise_of(MUTANTS[name])
    assert grade.verdict == "failed", f"{name} earns {grade.earned} of {grade.points} points"
    # rejected for its defect: not for breaking a rule, not for a file that does not import
    assert not grade.broken_rule
    failed = [check for check in grade.checks if check.verdict == "failed"]
    assert all(check.message.startswith("broke: ") for check in failed), failed[0].message
    assert any(check.verdict == "passed" for check in grade.checks), "more than one defect, or no plausible answer"


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_defines_its_symbol_and_says_what_is_wrong(name):
    exercise = EXERCISES[exercise_of(MUTANTS[name])]
    module = tree(str(MUTANTS[name].relative_to(ROOT)))
    reason = ast.get_docstring(module) or ""
    assert len(reason.splitlines()) == 1
    assert [node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.ClassDef)] == [exercise.symbol]


@every_exercise
def test_at_least_two_mutants(exercise):
    assert sum(exercise_of(path) == exercise.id for path in MUTANTS.values()) >= 2


@every_exercise
def test_every_behaviour_rejects_something(mutant_grades, exercise):
    mine = [grade for grade in mutant_grades.values() if grade.exercise == exercise.id]
    failed = {check.test for grade in mine for check in grade.checks if check.verdict == "failed"}
    tested = {check.test for grade in mine for check in grade.checks if check.verdict != "not_run"}
    assert tested - failed == set(), "no mutant is rejected by these tests"


@every_phase
def test_right_answers_written_otherwise_are_accepted(phase):
    exercises = [exercise.id for exercise in COURSE.exercises_of(phase)]
    other = ROOT / f"tests/mutants/right/phase{phase}.py"
    for grade in judge_all([(exercise, other) for exercise in exercises]):
        failed = [check.message for check in grade.checks if check.verdict == "failed"]
        assert not failed, grade.exercise
        assert grade.earned == grade.available


def test_answering_nothing_earns_nothing(tmp_path):
    for template in TEMPLATES:
        stub = (ROOT / template).read_text(encoding="utf-8")
        target = tmp_path / template
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(re.sub(r"raise NotImplementedError\(.*\)", "return None", stub), encoding="utf-8")
    for phase in PHASES:
        grade = grade_phase(COURSE, phase, Target(COURSE, str(tmp_path)))
        passed = [
            check.nodeid for exercise in grade.exercises for check in exercise.checks if check.verdict == "passed"
        ]
        earned = {exercise.exercise: exercise.earned for exercise in grade.exercises if exercise.earned}
        assert not earned, passed


# Templates against solutions


@every_exercise
def test_signature_and_docstring_are_those_of_the_solution(exercise):
    asked, answer = symbol(exercise, exercise.template), symbol(exercise, solution(exercise))
    assert ast.get_docstring(asked)
    assert ast.get_docstring(asked) == ast.get_docstring(answer)
    assert type(asked) is type(answer)
    if isinstance(asked, ast.FunctionDef) and isinstance(answer, ast.FunctionDef):
        assert ast.unparse(asked.args) == ast.unparse(answer.args)
        assert asked.returns is not None
        assert answer.returns is not None
        assert ast.unparse(asked.returns) == ast.unparse(answer.returns)
        assert all(argument.annotation for argument in [*asked.args.args, *asked.args.kwonlyargs])


@every_exercise
def test_stub_names_its_exercise(exercise):
    lines = ast.unparse(symbol(exercise, exercise.template)).splitlines()
    message = f"exercise {exercise.id} {exercise.symbol}: {exercise.template}"
    assert lines[-1].strip() == f"raise NotImplementedError({message!r})"
    source = (ROOT / exercise.template).read_text(encoding="utf-8")
    todo = rf"# TODO {re.escape(exercise.id)} \(about \d+ lines\)\. Stuck\? `grade hint {re.escape(exercise.id)}`\n"
    assert len(re.findall(todo, source)) == 1


@every_template
def test_template_is_small_and_marks_every_exercise(template):
    source = (ROOT / template).read_text(encoding="utf-8")
    asked = [exercise.id for exercise in COURSE.exercises if exercise.template == template]
    assert re.findall(r"TODO (\d+\.\d+) ", source) == asked
    assert source.count("NotImplementedError") == len(asked)
    assert len(source.splitlines()) <= LONGEST_TEMPLATE


@every_template
def test_template_imports_only_what_is_given_to_everyone(template):
    for node in ast.walk(tree(template)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not [name for name in names if re.match(r"(solutions\.(?!core)|tests|benchmarks)", name)]


def given(file: str, asked: set[str]) -> dict[str, str]:
    """What a file says besides its docstring, its imports and the bodies of the exercises, by name."""
    parts = {}
    for node in tree(file).body:
        if is_docstring(node) or isinstance(node, ast.Import | ast.ImportFrom):
            continue
        name = getattr(node, "name", ast.unparse(node)[:40])
        if name not in asked:
            parts[name] = ast.unparse(node)
    return parts


@pytest.mark.parametrize("file", sorted({solution(e) for e in COURSE.exercises if "template_solutions" in e.solution}))
def test_twin_is_the_template_filled_in(file):
    mine = [exercise for exercise in COURSE.exercises if solution(exercise) == file]
    (template,) = {exercise.template for exercise in mine}
    asked = {exercise.symbol for exercise in mine}
    assert given(file, asked) == given(template, asked)
    for exercise in mine:  # and it could be handed in: it keeps the rules that a submission must keep
        assert broken_rule(tree(file), exercise, forbidden_names(COURSE, exercise)) is None


# The registry


@every_phase
def test_points_of_a_phase_sum_to_100(phase):
    assert sum(exercise.points for exercise in COURSE.exercises_of(phase)) == 100


@every_exercise
def test_hints_go_from_a_nudge_to_almost_the_answer(exercise):
    assert len(set(exercise.hints)) == 3
    assert all(len(hint) > 60 for hint in exercise.hints)
    assert len(exercise.hints[0]) < len(exercise.hints[2])
    assert exercise.reading
    assert all(link.url.startswith("https://") and link.title for link in exercise.reading)


# The grading tests

_SKIPS = {"skip", "skipif", "xfail", "importorskip"}


@pytest.mark.parametrize(
    "file",
    sorted(str(path.relative_to(ROOT)) for phase in COURSE.phases for path in (ROOT / phase.tests).rglob("*.py")),
)
def test_grading_tests_neither_skip_nor_wait(file):
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Attribute):
            assert node.attr not in _SKIPS
            assert node.attr != "sleep"
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant):
            pytest.fail(f"{file} line {node.lineno} asserts a constant")


@pytest.mark.parametrize(
    "file",
    sorted(str(path.relative_to(ROOT)) for phase in COURSE.phases for path in (ROOT / phase.tests).rglob("test_*.py")),
)
def test_every_behaviour_has_a_title(file):
    for node in tree(file).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            assert (ast.get_docstring(node) or "").strip(), f"{node.name} has no docstring to name its behaviour"
