"""The command line of the compiler, and `compile_model` behind it."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from solutions.core.errors import ConfigError
from solutions.core.optional import available
from solutions.core.scripts import EXIT_CANNOT_RUN, EXIT_FAILED, EXIT_OK, run
from solutions.phase2_optimization import compiler
from solutions.phase2_optimization.compilation.parity import Agreement
from solutions.phase2_optimization.compiler import compile_model, main

SCRIPT = Path(compiler.__file__)


def call(*arguments):
    return run(main, [str(argument) for argument in arguments])


def test_a_graph_is_compiled_written_and_compared(tmp_path, capsys):
    code = call(
        "--model", "street-classifier", "--out", tmp_path / "c.onnx", "--check", "--threads", 1,
        "--json", tmp_path / "c.json",
    )  # fmt: skip
    assert code == EXIT_OK
    assert "agrees" in capsys.readouterr().out
    record = json.loads((tmp_path / "c.json").read_text())
    assert record["schema"] == "ml-inference/compile/1"
    assert record["parity"]["agrees"]
    assert record["size_bytes"] == (tmp_path / "c.onnx").stat().st_size


def test_a_module_is_compiled_and_labelled(capsys):
    assert call("--model", "street-classifier", "--backend", "torchscript", "--check", "--threads", 1) == EXIT_OK
    out = capsys.readouterr().out
    assert "agrees" in out
    assert "deprecated" in out


def test_answers_that_differ_fail(monkeypatch, capsys):
    monkeypatch.setattr(compiler, "check_parity", lambda *a, **k: Agreement(0.5, 1e-6, "classes", 0.5))
    assert call("--model", "street-classifier", "--check", "--threads", 1) == EXIT_FAILED
    assert "differs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(("--model", "no-such-model"), "no-such-model", id="model"),
        pytest.param(("--model", "street-small", "--out", "x.plan"), "ONNX Runtime writes .onnx files", id="suffix"),
        pytest.param(("--model", "street-small", "--backend", "tensorrt"), "an engine needs a place", id="place"),
        pytest.param(
            ("--model", "street-small", "--backend", "openvino", "--level", "all"), "has the options", id="option"
        ),
        pytest.param(("--model", SCRIPT, "--random"), "--random is for models of the zoo", id="random"),
        pytest.param(("--model", "street-small", "--threads", "0"), "threads must be at least 1", id="threads"),
    ],
)
def test_what_cannot_run_is_one_sentence(arguments, sentence, capsys):
    if "openvino" in arguments and not available("openvino"):
        pytest.skip("not run here: OpenVINO is not installed")
    assert call(*arguments) == EXIT_CANNOT_RUN
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_the_backends_are_listed(capsys):
    assert call("--list") == EXIT_OK
    out = capsys.readouterr().out
    assert all(name in out for name in ("onnxruntime", "openvino", "torchscript", "inductor", "aot", "tensorrt"))


def test_an_engine_is_built_and_not_run(tmp_path, capsys):
    if not available("tensorrt_rtx") or available("tensorrt"):
        pytest.skip("not run here: TensorRT-RTX is not what is installed")
    plan = tmp_path / "s.plan"
    code = call(
        "--model", "street-small", "--backend", "tensorrt", "--out", plan, "--check", "--target", "SM86,SM89",
        "--shapes", "images=1x3x192x320:2x3x192x320:4x3x384x640", "--json", tmp_path / "s.json",
    )  # fmt: skip
    assert code == EXIT_OK
    out = capsys.readouterr().out
    assert "for SM86, SM89" in out
    assert "1x3x192x320 / 2x3x192x320 / 4x3x384x640" in out
    assert "not run here" in out
    assert json.loads((tmp_path / "s.json").read_text())["engine"]["targets"] == ["SM86", "SM89"]
    assert plan.is_file()


def test_compile_model_gives_a_model():
    model = compile_model("street-classifier", "onnxruntime", threads=1, io_binding=True)
    assert set(model.predict({"crops": np.zeros((2, 3, 48, 48), np.float32)})) == {"classes", "colours"}
    model.close()
    with pytest.raises(ConfigError, match="has the options device, graph_level"):
        compile_model("street-classifier", "onnxruntime", hint="latency")


def test_importing_the_compiler_imports_no_optional_package():
    code = "import sys, solutions.phase2_optimization.compiler; print([m for m in sys.modules if m in {names}])"
    names = {"tensorrt", "tensorrt_rtx", "openvino", "tensorflow"}
    done = subprocess.run([sys.executable, "-c", code.format(names=names)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_runs_as_a_plain_file(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--list"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stopped.value.code == EXIT_OK
