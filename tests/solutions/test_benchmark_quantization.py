"""benchmarks/compare_quantization.py: every way gets a row or a reason, and the learner's functions get theirs."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

sys.path.append(str(Path(__file__).parents[2]))  # benchmarks are scripts, not an installed package

from benchmarks import compare_quantization
from benchmarks.comparison import street_tasks, ways
from benchmarks.comparison.average_precision import Ap50
from benchmarks.comparison.rows import ACCEPTED, Bench, NotRun, Way
from benchmarks.comparison.tasks import MeanScore
from solutions.core.errors import BackendUnavailable, ConfigError
from solutions.core.measure.metrics import PairedRatio
from solutions.core.scripts import EXIT_CANNOT_RUN, EXIT_FAILED, EXIT_OK, run
from solutions.core.vision.detection import Detections
from solutions.core.vision.detection_metrics import TruthBoxes
from solutions.phase2_optimization.quantization.gate import GateConfig
from solutions.phase2_optimization.quantization.judges import Drop
from tests.solutions import quant_builders
from tests.solutions.street_builders import data_of

ROOT = Path(__file__).parents[2]
SOLVED = ROOT / "solutions/phase2_optimization/template_solutions/quantization.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small network and samples for it."""
    made = tmp_path_factory.mktemp("network")
    onnx.save(quant_builders.residual_net(), made / "net.onnx")
    (made / "samples").mkdir()
    for index, feeds in enumerate(quant_builders.pictures(8)):
        np.savez(made / "samples" / f"{index}.npz", **feeds)
    return made


def call(*arguments):
    return run(compare_quantization.main, [str(argument) for argument in arguments])


def compare(folder, *arguments):
    """Exit code and JSON record of a comparison of the small network."""
    out = folder / "out.json"
    given = ("--model", folder / "net.onnx", "--data", folder / "samples", "--rounds", 2, "--json", out, *arguments)
    code = call(*given)
    return code, json.loads(out.read_text())


@pytest.fixture(scope="module")
def compared(folder):
    page = folder / "page.html"
    return *compare(folder, "--html", page), page.read_text()


def test_every_way_has_a_row_or_a_reason(compared):
    code, record, _ = compared
    assert code == EXIT_OK
    assert record["schema"] == "ml-inference/compare-quantization/1"
    assert record["host"]["usable_cores"] >= 1
    rows = {row["name"] for row in record["rows"] if row["runtime"] == "ONNX Runtime"}
    statics = {f"int8 static, {name}" for name in ("minmax", "moving_average", "percentile", "entropy", "mse")}
    assert rows >= {"fp32", "fp16", *statics, "int8 static, exercises (solutions)"}
    reasons = {(each["name"], each["runtime"]): each["why"] for each in record["not_run"]}
    assert "does not compute bfloat16" in reasons["bf16", "ONNX Runtime"]
    assert "needs a trainable module" in reasons["int8 QAT", "ONNX Runtime"]
    both = {row["name"] for row in record["rows"] if row["runtime"] == "OpenVINO"} | {
        each["name"] for each in record["not_run"] if each["runtime"] == "OpenVINO"
    }
    assert both == {"fp32", "bf16", "int8 static, entropy"}


def test_rows_tell_size_accuracy_and_speed(compared):
    _, record, _ = compared
    rows = {row["name"]: row for row in record["rows"] if row["runtime"] == "ONNX Runtime"}
    assert rows["fp32"]["accuracy"] == 1.0  # it agrees with itself
    assert rows["fp32"]["verdict"] == "baseline"
    assert rows["fp16"]["size_bytes"] < rows["fp32"]["size_bytes"]
    for name, row in rows.items():
        if name == "fp32":
            continue
        assert row["drop"]["low"] <= row["drop"]["mean"] <= row["drop"]["high"]
        assert row["accuracy"] == pytest.approx(1 - row["drop"]["mean"])
        assert row["accuracy"] >= 0.5, name  # the classes of random weights lie close together: two of four may change
        ratio = row["ratio_to_float"]
        assert ratio["low"] <= ratio["ratio"] <= ratio["high"]
        assert row["speedup"] == pytest.approx(1 / ratio["ratio"])
        assert row["latency_ms"]["p50"] <= row["latency_ms"]["p99"]


def test_the_learners_gate_is_asked_about_the_learners_row(compared):
    _, record, page = compared
    notes = {row["name"]: row["note"] for row in record["rows"] if row["note"]}
    assert list(notes) == ["int8 static, exercises (solutions)"]
    note = notes["int8 static, exercises (solutions)"]
    assert note in {f"the gate of exercise 2.8 says: {verdict}" for verdict in ("pass", "fail", "inconclusive")}
    assert note in page
    learner = compare_quantization.Learner("templates")
    same = np.ones(4)
    said = compare_quantization.verdict_of_learner(learner, GateConfig(), same, same, PairedRatio(0.5, 0.4, 0.6, 9))
    assert said.startswith("exercise 2.8 gate is not written yet: ")


def test_the_page_stands_alone_and_names_every_way(compared):
    _, record, page = compared
    assert page.startswith("<!doctype html>")
    assert "<svg" in page
    assert "src=" not in page
    for each in record["rows"] + record["not_run"]:
        assert each["name"] in page


def test_unwritten_exercises_cost_their_own_row_only(folder):
    code, record = compare(folder, "--target", "templates")
    assert code == EXIT_FAILED
    why = {each["name"]: each["why"] for each in record["not_run"]}["int8 static, exercises (templates)"]
    assert why == (
        "exercise 2.7 place_codes is not written yet: phase2_optimization/template_quantization.py. "
        "Stuck? grade hint 2.7"
    )
    assert len(record["rows"]) >= 7


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param("return placed", "return placed", "", id="solved"),
        pytest.param(
            "def least_error_limit(", "def least_error_limit_(", "does not define least_error_limit", id="absent"
        ),
        pytest.param(
            "    if not 0 < share <= 1:",
            "    1 / 0\n    if not 0 < share <= 1:",
            "ZeroDivisionError: division by zero (mine.py line",
            id="fails",
        ),
        pytest.param(
            "    if not 0 < share <= 1:",
            '    raise NotImplementedError("exercise 2.3 percentile_limit: mine.py")\n    if not 0 < share <= 1:',
            "exercise 2.3 percentile_limit is not written yet: mine.py. Stuck? grade hint 2.3",
            id="unwritten",
        ),
        pytest.param("import math", "import math, (", "Python cannot read this file", id="broken"),
    ],
)
def test_a_file_by_path(folder, tmp_path, old, new, says):
    source = SOLVED.read_text()
    assert old in source or not says
    (tmp_path / "mine.py").write_text(source.replace(old, new, 1))
    learner = compare_quantization.Learner(str(tmp_path / "mine.py"))
    feeds = tuple(quant_builders.pictures(4))
    task = compare_quantization.Task("m", feeds, feeds, feeds[0], lambda _: MeanScore(np.ones(4)))
    if says:
        with pytest.raises(ConfigError) as error:
            compare_quantization.by_learner(folder / "net.onnx", task, learner)
        assert says in str(error.value)
    else:
        made = compare_quantization.by_learner(folder / "net.onnx", task, learner)
        assert "DequantizeLinear" in {node.op_type for node in made.graph.node}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(("--model", "no-such-model"), "no-such-model", id="model"),
        pytest.param(("--target", "nowhere"), "neither templates nor solutions nor a path", id="target"),
        pytest.param(("--data", "nowhere"), "nowhere is no folder", id="folder"),
        pytest.param(("--samples", 1), "--samples at least 2", id="samples"),
        pytest.param(("--rounds", 0), "rounds", id="rounds"),
        pytest.param(("--max-drop", -1), "max_drop must be >= 0", id="bound"),
    ],
)
def test_refused_in_one_sentence(capsys, arguments, sentence):
    assert call(*arguments) == EXIT_CANNOT_RUN
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert sentence in said


def test_a_folder_without_pictures_and_a_model_without_data_are_refused(folder, tmp_path, capsys):
    assert call("--model", folder / "net.onnx", "--data", tmp_path) == EXIT_CANNOT_RUN
    assert str(tmp_path) in capsys.readouterr().err
    assert call("--model", folder / "net.onnx") == EXIT_CANNOT_RUN
    assert "--data FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("drop", "ratio", "want"),
    [
        pytest.param((0.001, 0.01), (0.5, 0.8), ACCEPTED, id="both-bars-met-exactly"),
        pytest.param((0.001, 0.011), (0.5, 0.8), "refused for accuracy", id="the-drop-may-be-too-large"),
        pytest.param((0.001, 0.01), (0.5, 0.81), "refused for speed", id="it-may-be-too-slow"),
        pytest.param((0.02, 0.03), (1.1, 1.2), "refused for accuracy and speed", id="neither"),
    ],
)
def test_the_verdict_wants_both_whole_intervals(tmp_path, drop, ratio, want):
    bench = Bench(None, tmp_path, GateConfig(0.01, 1.25))
    fallen = Drop(sum(drop) / 2, *drop, samples=9)
    assert bench.verdict(fallen, PairedRatio(sum(ratio) / 2, *ratio, rounds=9)) == want


def test_a_way_that_cannot_run_says_why(tmp_path):
    def missing(_):
        raise BackendUnavailable("it is not here")

    found = Bench(None, tmp_path, GateConfig()).run(Way("bf16", "nothing", missing))
    assert found == NotRun("bf16", "nothing", "it is not here")


def test_training_for_integers_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(ways, "trained_int8", lambda name, steps: tmp_path / f"{name}-{steps}.onnx")
    assert ways._trained_file("street-small", True, 5) == tmp_path / "street-small-5.onnx"
    with pytest.raises(ConfigError, match="--qat trains it"):
        ways._trained_file("street-small", False, None)


def test_the_classifier_is_right_where_class_and_colour_are(monkeypatch):
    monkeypatch.setattr(street_tasks, "street_data", lambda *_, **__: data_of(10))
    task = street_tasks.street_task("street-classifier", pictures=10, batch=4)
    assert len(task.judged) == 2  # whole batches: the last two crops are left out
    assert task.timed["crops"].shape == (4, 3, 48, 48)
    place = iter(range(0, 8, 4))

    def answers(_):
        rows = np.arange(4) + next(place)
        classes, colours = np.eye(5)[rows % 5], np.eye(7)[rows % 7]
        colours[0] = np.eye(7)[6]  # wrong in the first row of each batch
        return [classes, colours]

    np.testing.assert_array_equal(task.judge(answers).per_sample, [0, 1, 1, 1, 0, 1, 1, 1])


def test_the_detector_is_judged_by_ap50(monkeypatch):
    monkeypatch.setattr(street_tasks, "street_data", lambda *_, **__: data_of(3))
    task = street_tasks.street_task("street-small", pictures=3, batch=8)
    grid = np.full((1, 9, 4, 4), -9, np.float32)
    grid[0, 0, 1, 1] = 4.0  # a car, centred on (12, 12) ...
    grid[0, 5:9, 1, 1] = np.log([0.5, 0.5, 1.5, 1.5])  # ... from 8 to 24
    found = task.judge(lambda _: [grid])
    assert found.value == 1.0
    nothing = task.judge(lambda _: [np.full_like(grid, -9)])
    assert found.drop(nothing).mean == 1.0
    with pytest.raises(ConfigError, match="another detector"):
        found.drop(MeanScore(np.ones(3)))


def test_ap_of_equal_detectors_does_not_fall():
    truth = [TruthBoxes(np.float32([[0, 0, 9, 9]]), np.array([0]), np.array([False]))] * 4
    found = [Detections(np.float32([[0, 0, 9, 9]]), np.float32([0.5]), np.array([0]))] * 4
    fallen = Ap50(found, truth).drop(Ap50(found, truth))
    assert (fallen.mean, fallen.low, fallen.high) == (0, 0, 0)


def test_bounds_that_no_way_meets_fail(folder):
    code, record = compare(folder, "--min-speedup", 1000)
    assert code == EXIT_FAILED
    assert not any(row["verdict"] == ACCEPTED for row in record["rows"])
