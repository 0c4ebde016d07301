"""OpenVINO IR and ONNX on OpenVINO: specs, precision, damaged and halved models, devices that are not here."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError, PipelineStopped
from solutions.phase1_basics.runtimes.onnx import load_onnx
from solutions.phase1_basics.runtimes.openvino import load_openvino
from tests.solutions import onnx_builders
from tests.solutions import tf_builders as build

REAL = os.environ.get("MLI_DATA")
NAME = "vehicle-attributes-recognition-barrier-0039"


@pytest.fixture(autouse=True)
def _openvino():
    build.needs("openvino", "openvino")


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    return onnx_builders.small_network(tmp_path_factory.mktemp("onnx") / "small.onnx")


@pytest.fixture(scope="module")
def ir(onnx_file, tmp_path_factory):
    return build.save_openvino(onnx_file, tmp_path_factory.mktemp("ir") / "small.xml")


@pytest.fixture
def copy(ir, tmp_path):
    for suffix in (".xml", ".bin"):
        shutil.copy(ir.with_suffix(suffix), tmp_path)
    return tmp_path / ir.name


@pytest.fixture
def real():
    if REAL is None:
        pytest.skip("not run here: MLI_DATA names no folder with real models")
    return Path(REAL) / "models" / f"{NAME}.xml"


def images(rows=2):
    return np.random.default_rng(0).uniform(0, 255, (rows, 3, 64, 96)).astype(np.float32)


def test_it_says_what_goes_in_and_out(ir):
    model = load_openvino(ir, threads=1)
    assert (model.name, model.format, model.device, model.threads) == ("small", "openvino", "cpu", 1)
    assert [(spec.name, spec.describe()) for spec in model.inputs] == [("images", "float32[?, 3, ?, ?]")]
    assert [(spec.name, spec.describe()) for spec in model.outputs] == [("grid", "float32[?, 9, ?, ?]")]
    assert model.metadata == {"precision": "f32", "layout": "NCHW"}


@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_it_computes_what_onnx_runtime_does(ir, onnx_file, hint):
    reference, model = load_onnx(onnx_file, threads=1), load_openvino(ir, threads=1, hint=hint)
    for rows in (2, 1, 5):
        (want,) = reference.predict({"images": images(rows)}).values()
        (got,) = model.predict({"images": images(rows)}).values()
        assert (got.dtype, got.flags.c_contiguous) == (np.float32, True)
        # at most 64 products in a sum, three sums in a row, on values as large as the largest output
        np.testing.assert_allclose(got, want, rtol=0, atol=256 * np.finfo(np.float32).eps * np.abs(want).max())


def test_an_onnx_file_is_read_too(onnx_file, ir):
    (one,) = load_openvino(onnx_file, threads=1).predict({"images": images()}).values()
    (two,) = load_openvino(ir, threads=1).predict({"images": images()}).values()
    np.testing.assert_array_equal(one, two)


def test_weights_of_an_onnx_file_may_not_lie_elsewhere(tmp_path):
    (tmp_path / "secret.bin").write_bytes(bytes(12))
    (tmp_path / "m").mkdir()
    path = onnx_builders.doubling(tmp_path / "m" / "model.onnx")
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelLoadError, match="outside its own folder; refused"):
        load_openvino(path)


def test_precision_is_f32_unless_asked_otherwise(ir):
    exact, coarse = load_openvino(ir, threads=1), load_openvino(ir, threads=1, precision="bf16")
    assert coarse.metadata["precision"] == "bf16"
    (want,) = exact.predict({"images": images()}).values()
    (got,) = coarse.predict({"images": images()}).values()
    # bf16 has 8 bits: 2^-9 per rounding, far from f32's 2^-24 and from nonsense. A CPU without bf16 uses f32.
    error = np.abs(got - want).max() / np.abs(want).max()
    assert error == 0 or 2**-14 < error < 2**-4


def test_a_real_model(real):
    model = load_openvino(real, threads=1)
    assert [spec.describe() for spec in model.inputs] == ["float32[1, 3, 72, 72]"]
    assert [(spec.name, spec.shape) for spec in model.outputs] == [("type", (1, 4, 1, 1)), ("color", (1, 7, 1, 1))]
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 72, 72)).astype(np.float32)
    image.flags.writeable = False
    for values in model.predict({"input": image}).values():
        assert values.sum() == pytest.approx(1, abs=1e-5)  # both are softmaxes


def test_results_belong_to_the_caller_and_close_is_final(ir):
    model = load_openvino(ir, threads=1)
    x = images(1)
    (first,) = model.predict({"images": x}).values()
    kept = first.copy()
    x[:] = 0  # the runtime may look at the array only while it predicts
    (second,) = model.predict({"images": x}).values()
    np.testing.assert_array_equal(first, kept)
    assert not np.array_equal(first, second)
    model.close()
    model.close()
    np.testing.assert_array_equal(first, kept)
    with pytest.raises(PipelineStopped, match="was closed"):
        model.predict({"images": x})


def test_feeds_are_checked(ir):
    model = load_openvino(ir, threads=1)
    with pytest.raises(ConfigError, match="got float64"):
        model.predict({"images": images().astype(np.float64)})
    with pytest.raises(ConfigError, match="takes the inputs"):
        model.predict({"image": images()})
    with pytest.raises(ConfigError, match=r"empty answer for images \[1, 3, 7, 96\]: smaller than"):
        model.predict({"images": np.zeros((1, 3, 7, 96), np.float32)})  # one row is left for the second kernel of two


def test_settings_are_checked(ir):
    for options, message in (
        ({"threads": 0}, "at least 1"),
        ({"device": "abacus"}, "auto, cpu, gpu"),
        ({"precision": "int4"}, "f32, bf16, f16"),
        ({"hint": "speed"}, "latency, throughput"),
        ({"streams": 2}, "options cache_dir, hint, precision; got streams"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_openvino(ir, **options)


def test_a_device_that_is_not_here_lists_those_that_are(ir, monkeypatch):
    import openvino

    monkeypatch.setattr(openvino.Core, "available_devices", ["CPU", "GPU.0"], raising=False)
    for device, name in (("npu", "NPU"), ("gpu:1", "GPU.1")):
        with pytest.raises(BackendUnavailable, match=f"finds no {name} here; it finds CPU, GPU.0") as caught:
            load_openvino(ir, device=device)
        assert "\n" not in str(caught.value)


def refused(path, message):
    with pytest.raises(ModelLoadError, match=message) as caught:
        load_openvino(path)
    assert "\n" not in str(caught.value)


def test_weights_that_are_missing_or_short(copy):
    weights = copy.with_suffix(".bin")
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    refused(copy, r"small\.bin is truncated or belongs to another model")
    weights.write_bytes(b"")
    refused(copy, r"small\.bin")
    weights.unlink()
    refused(copy, r"keeps its weights in small\.bin, which is not beside it")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_graph(copy, share):
    whole = copy.read_bytes()
    copy.write_bytes(whole[: int(len(whole) * share)])
    refused(copy, "cannot read")


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        pytest.param(r'type="Convolution"', 'type="Convocation"', id="unknown-operator"),
        pytest.param(r'from-layer="\d+"', 'from-layer="9999"', id="edge-from-nowhere"),
        pytest.param(r'offset="\d+"', 'offset="99999999999"', id="weights-beyond-the-end"),
        pytest.param(r'size="\d+"', 'size="-1"', id="weights-of-negative-size"),
        pytest.param(r"<net [^>]*>", '<net name="x" version="99">', id="future-version"),
    ],
)
def test_a_hostile_graph(copy, pattern, replacement):
    copy.write_text(re.sub(pattern, replacement, copy.read_text()))
    refused(copy, r"cannot read|truncated|cannot compile")


def test_other_files_are_one_sentence(tmp_path):
    refused(tmp_path / "none.xml", "does not exist")
    path = tmp_path / "m.xml"
    path.write_text("<!DOCTYPE html><html>Sign in</html>")
    refused(path, "web page")
    path.write_text("<note>hello</note>")
    refused(path, "cannot read")
