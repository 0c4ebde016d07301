"""The command line of the tuner: a plain call works, the verdict is kept, the report names what is not there."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import onnx
import pytest

from solutions.core.scripts import EXIT_CANNOT_RUN, EXIT_FAILED, EXIT_OK, run
from solutions.phase2_optimization import performance_comparison
from solutions.phase2_optimization.performance_comparison import main
from solutions.phase2_optimization.tuning.candidates import Candidate
from solutions.phase2_optimization.tuning.report import head, use_it
from tests.solutions.quant_builders import residual_net

SCRIPT = Path(performance_comparison.__file__)
QUICK = ("--threads", "1", "--runtimes", "onnxruntime", "tensorrt", "--samples", "8", "--quiet")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("tuning") / "net.onnx"
    onnx.save(residual_net(), path)
    return path


@pytest.fixture(scope="module")
def record(model, tmp_path_factory):
    """The record and page of one tuning, and the cache that kept it."""
    place = tmp_path_factory.mktemp("record")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLI_CACHE", str(place / "cache"))
        code = call("--model", model, *QUICK, "--json", place / "r.json", "--html", place / "r.html")
    assert code == EXIT_OK
    return place


def call(*arguments):
    return run(main, [str(argument) for argument in arguments])


def test_the_record_holds_what_was_measured_and_where(record):
    found = json.loads((record / "r.json").read_text())
    assert found["schema"] == "ml-inference/tuning/1"
    assert found["host"]["usable_cores"] >= 1
    assert "onnxruntime" in found["versions"]
    assert found["choice"]["meets"]
    states = {each["label"]: each["state"] for each in found["candidates"]}
    assert list(states.values()).count("winner") == 1
    assert states["onnxruntime int8"] in ("refused", "beaten")  # there was nothing but noise to calibrate it with
    assert states[found["choice"]["label"]] == "winner"
    chosen = next(each for each in found["candidates"] if each["label"] == found["choice"]["label"])
    assert chosen["latency_ms"]["n"] >= 100
    assert chosen["peak_mb"] > 0
    assert chosen["accuracy"]["drop"]["samples"] == 4
    assert found["int8_on_onnxruntime"]["sentence"].startswith("INT8 ")
    assert [each["label"] for each in found["missing"]] == ["tensorrt"]


def test_the_page_has_the_plot_and_the_reasons(record):
    page = (record / "r.html").read_text()
    assert "Accuracy against latency" in page
    assert "(chosen)" in page
    assert "tensorrt: not tried" in page
    assert "accuracy is shown and not judged" in page  # it was noise
    assert "INT8 on ONNX Runtime" in page
    assert "http" not in page


@pytest.mark.parametrize(
    ("metric", "judged", "few"),
    [
        pytest.param("accuracy", 60, True, id="few"),  # the rule of three: 3 / 60 is above the bound
        pytest.param("agreement", 300, False, id="enough"),
        pytest.param("score", 60, False, id="a-judge-has-samples-of-its-own"),
    ],
)
def test_the_head_says_what_the_samples_cannot_exclude(record, metric, judged, few):
    found = json.loads((record / "r.json").read_text())
    found |= {"bound": 0.01, "metric": metric, "samples": found["samples"] | {"judged": judged}}
    line = head(found)[-1]
    assert line.startswith(f"refused where the {metric} may fall by more than 0.01")
    assert ("cannot exclude 0.050" in line) == few


def test_a_known_verdict_is_not_measured_again(record, model, monkeypatch, capsys):
    monkeypatch.setenv("MLI_CACHE", str(record / "cache"))
    monkeypatch.setattr(performance_comparison, "tune", None)  # it would be called
    found = json.loads((record / "r.json").read_text())
    assert call("--model", model, *QUICK) == EXIT_OK
    out = capsys.readouterr().out
    assert f"known from {found['when']}" in out
    assert found["choice"]["sentence"] in out
    assert found["int8_on_onnxruntime"]["sentence"] in out


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(("--fresh",), id="fresh"),
        pytest.param(("--max-drop", "0.5"), id="another-bound"),
        pytest.param(("--slo-ms", "1000"), id="another-promise"),
        pytest.param(("--sweep",), id="sweep"),
    ],
)
def test_another_question_is_measured(record, model, monkeypatch, other):
    def measured(*arguments, **more):
        raise InterruptedError

    monkeypatch.setenv("MLI_CACHE", str(record / "cache"))
    monkeypatch.setattr(performance_comparison, "tune", measured)
    monkeypatch.setattr(performance_comparison, "sweep", measured)
    with pytest.raises(InterruptedError):
        call("--model", model, *QUICK, *other)


def test_a_promise_that_nobody_holds_is_exit_code_1(model, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MLI_CACHE", str(tmp_path))
    assert call("--model", model, *QUICK, "--no-memory", "--slo-ms", "0.000001") == EXIT_FAILED
    assert "no candidate holds a p99 of 1e-06 ms; the nearest is" in capsys.readouterr().out


def test_the_chosen_file_is_written(model, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MLI_CACHE", str(tmp_path / "cache"))
    kept = tmp_path / "chosen.onnx"
    assert call("--model", model, *QUICK, "--no-memory", "--out", kept) == EXIT_OK
    onnx.checker.check_model(onnx.load(kept))
    assert f"compiler.py --model {kept}" in capsys.readouterr().out
    assert call("--model", model, *QUICK, "--no-memory", "--out", tmp_path / "chosen.xml") == EXIT_CANNOT_RUN
    assert "chosen.xml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(("--model", "no-such-model"), "no-such-model", id="model"),
        pytest.param(("--model", "street-small", "--batch", "0"), "batch must be >= 1", id="batch"),
        pytest.param(("--model", "street-small", "--threads", "many"), "--threads takes counts", id="threads"),
        pytest.param(("--model", SCRIPT, "--random"), "--random is for models of the zoo", id="random"),
        pytest.param(("--model", "street-small", "--calibration", "nowhere"), "nowhere is no folder", id="folder"),
    ],
)
def test_what_cannot_run_is_one_sentence(arguments, sentence, capsys):
    assert call(*arguments) == EXIT_CANNOT_RUN
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("candidate", "kept", "want"),
    [
        pytest.param(Candidate("onnxruntime", "fp32", 2, "basic"), "", "--threads 2 --level basic", id="level"),
        pytest.param(Candidate("openvino", "bf16", 1, "latency"), "", "--precision bf16 --hint latency", id="hint"),
        pytest.param(Candidate("onnxruntime", "int8", 1, "all"), "", "--out FILE writes", id="nothing-kept"),
        pytest.param(Candidate("onnxruntime", "int8", 1, "all"), "k.onnx", "--model k.onnx", id="kept"),
        pytest.param(Candidate("pytorch"), "", "model_loader.py --model m", id="module"),
    ],
)
def test_how_to_use_the_choice(candidate, kept, want):
    assert want in use_it(candidate, "m", kept)


def test_it_runs_as_a_plain_file(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stopped.value.code == EXIT_OK
    assert "--budget-s" in capsys.readouterr().out
