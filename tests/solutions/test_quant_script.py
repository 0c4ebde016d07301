"""The quantizer's command line: each method on embedded models, refusals, reports, and mistakes."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from solutions.core.errors import ConfigError
from solutions.core.scripts import EXIT_CANNOT_RUN, EXIT_FAILED, EXIT_OK, run
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics.model_loader import load_model
from solutions.phase2_optimization.quantization.gate import GateConfig
from solutions.phase2_optimization.quantization.samples import folder_samples, halves
from solutions.phase2_optimization.quantizer import QuantizerConfig, main, quantize_model

MODEL = "street-classifier"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    import cv2

    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(8):
        small = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(small, (80, 60), interpolation=cv2.INTER_LINEAR))
    return folder


@pytest.mark.parametrize(
    ("method", "share"),
    [("static", 0.5), ("fp16", 0.6), ("bf16", 0.6), pytest.param("dynamic", 1.0, id="dynamic-without-samples")],
)
def test_methods(method, share, pictures, tmp_path, capsys):
    source = MODEL
    if method == "dynamic":
        source = str(_linear(tmp_path))
    out = tmp_path / "out.onnx"
    arguments = ["--model", source, "--method", method, "--out", str(out), "--json", str(tmp_path / "r.json")]
    if method != "dynamic":
        arguments += ["--calibration", str(pictures), "--observer", "minmax"]
    assert run(main, arguments) == EXIT_OK
    said = capsys.readouterr().out
    assert f"{out}: {method}" in said
    assert ("does not compute bfloat16" in said) == (method == "bf16")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["schema"] == "ml-inference/quantizer/1"
    assert report["bytes_after"] == out.stat().st_size < share * report["bytes_before"]
    assert report["layers"] > 0
    if method != "bf16":
        load_model(out, device="cpu", threads=1).close()


def test_accepted_by_the_gate(tmp_path, capsys):
    path = _linear(tmp_path, width=768)
    for number in range(4):
        np.savez(tmp_path / f"{number}.npz", x=np.random.default_rng(number).normal(size=(1, 768)).astype(np.float32))
    out = tmp_path / "out.onnx"
    arguments = ["--model", str(path), "--method", "dynamic", "--out", str(out), "--calibration", str(tmp_path)]
    assert run(main, [*arguments, "--max-drop", "0.5", "--min-speedup", "0.01"]) == EXIT_OK
    assert "accepted: " in capsys.readouterr().out
    assert out.exists()


def test_refused_by_the_gate_writes_nothing(pictures, tmp_path, capsys):
    out, report = tmp_path / "out.onnx", tmp_path / "r.json"
    arguments = ["--model", MODEL, "--out", str(out), "--calibration", str(pictures), "--json", str(report)]
    assert run(main, [*arguments, "--min-speedup", "1000", "--observer", "minmax"]) == EXIT_FAILED
    said = capsys.readouterr().out
    assert "refused: " in said
    assert "1000 wanted" in said
    assert not out.exists()
    assert json.loads(report.read_text())["gate"]["accepted"] is False


def test_layers_kept_by_name(pictures, tmp_path):
    name = next(node.name for node in onnx.load(embedded(MODEL).onnx).graph.node if node.op_type == "Conv")
    out = tmp_path / "out.onnx"
    samples = folder_samples(load_model(MODEL, device="cpu", threads=1), pictures)[0]
    config = QuantizerConfig("fp16", keep_float=(name,), half_io=True)
    report = quantize_model(embedded(MODEL).onnx, out, samples, config)
    weights = next(node.input[1] for node in onnx.load(out).graph.node if node.name == name)
    kinds = {tensor.name: tensor.data_type for tensor in onnx.load(out).graph.initializer}
    assert kinds[weights] == onnx.TensorProto.FLOAT
    assert report.as_dict()["gate"] is None
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].type == "tensor(float16)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", MODEL], "--calibration FOLDER"),
        (["--model", MODEL, "--max-drop", "0.01"], "--calibration FOLDER"),
        (["--model", MODEL, "--calibration", "/no/such/folder"], "no folder"),
        (["--model", "none.onnx", "--method", "fp16"], "does not exist"),
        (["--model", MODEL, "--method", "dynamic", "--half-io"], "16-bit inputs"),
        (["--model", MODEL, "--method", "bf16", "--max-drop", "1", "--calibration", "."], "neither bf16"),
        (["--model", MODEL, "--method", "fp16", "--keep-float", "nobody"], "no node 'nobody'"),
    ],
)
def test_mistakes_are_one_sentence(arguments, message, tmp_path, capsys):
    assert run(main, [*arguments, "--out", str(tmp_path / "out.onnx")]) == EXIT_CANNOT_RUN
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


def test_samples_of_arrays_and_of_pictures(pictures, tmp_path):
    model = load_model(MODEL, device="cpu", threads=1)
    feeds, assumed = folder_samples(model, pictures, most=3)
    assert [next(iter(sample.values())).shape for sample in feeds] == [(1, 3, 48, 48)] * 3
    assert assumed == ()
    np.savez(tmp_path / "0.npz", wrong=np.zeros(3))
    with pytest.raises(ConfigError, match="holds wrong"):
        folder_samples(model, tmp_path)
    (tmp_path / "0.npz").write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match="no readable"):
        folder_samples(model, tmp_path)
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        folder_samples(model, pictures, most=0)
    with pytest.raises(ConfigError, match="pixels must be one of"):
        folder_samples(model, pictures, pixels="purple")


def test_judged_on_other_samples_than_calibrated_on():
    samples = [{"x": np.float32([number])} for number in range(5)]
    calibration, judged = halves(samples)
    assert [float(sample["x"][0]) for sample in calibration] == [0, 2, 4]
    assert [float(sample["x"][0]) for sample in judged] == [1, 3]
    with pytest.raises(ConfigError, match="at least 2"):
        halves(samples[:1])


def test_detectors_see_bytes(pictures):
    model = load_model("street-small", device="cpu", threads=1)
    feeds, _ = folder_samples(model, pictures, most=1)
    (blob,) = feeds[0].values()
    assert blob.shape[0] == 1
    assert blob.max() > 2


def test_an_unknown_method():
    with pytest.raises(ConfigError, match="method must be one of static"):
        QuantizerConfig("int3")
    with pytest.raises(ConfigError, match="the gate measures"):
        QuantizerConfig(target="tensorrt", gate=GateConfig())


def _linear(folder, width: int = 128):
    weight = np.random.default_rng(0).normal(size=(width, width)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        "linear",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", width])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", width])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    path = folder / "linear.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), path)
    return path
