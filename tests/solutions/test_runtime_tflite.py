"""TensorFlow Lite files on LiteRT: fp32 and int8, any batch, names, quantization, what is refused."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError, PipelineStopped
from solutions.phase1_basics.runtimes.tflite import load_tflite
from tests.solutions import tf_builders as build

REAL = os.environ.get("MLI_DATA")


@pytest.fixture(autouse=True)
def _litert():
    build.needs("ai_edge_litert", "tflite")


@pytest.fixture(scope="module")
def network():
    return build.small_network()


@pytest.fixture(scope="module")
def fp32(network, tmp_path_factory):
    return build.save_tflite(network, tmp_path_factory.mktemp("fp32") / "small.tflite")


@pytest.fixture(scope="module")
def int8(network, tmp_path_factory):
    return build.save_tflite(network, tmp_path_factory.mktemp("int8") / "small.tflite", calibration=build.images(64, 7))


@pytest.fixture(scope="module")
def want(network):
    return np.asarray(network(build.images(8), training=False).numpy())


def real(name="mobilenet_v1_0.25_128_quant.tflite"):
    if REAL is None:
        pytest.skip("not run here: MLI_DATA names no folder with real models")
    return Path(REAL) / "models" / name


def test_it_says_what_goes_in_and_out(fp32):
    model = load_tflite(fp32, threads=1)
    assert (model.name, model.format, model.device, model.threads) == ("small", "tflite", "cpu", 1)
    assert [(spec.name, spec.describe()) for spec in model.inputs] == [("image", "float32[?, 16, 16, 3]")]
    assert [(spec.name, spec.describe()) for spec in model.outputs] == [("output_0", "float32[?, 5]")]
    assert model.metadata == {"signature": "serving_default", "signatures": "serving_default", "layout": "NHWC"}
    assert model.quantization == {}


def test_it_computes_what_keras_does_in_any_batch(fp32, want):
    model = load_tflite(fp32, threads=1)
    for rows in (1, 4, 4, 8, 2):
        (got,) = model.predict({"image": build.images(8)[:rows]}).values()
        assert (got.dtype, got.flags.c_contiguous) == (np.float32, True)
        # the longest sum has 27 products; 64 eps leaves room for its order and for the softmax
        np.testing.assert_allclose(got, want[:rows], rtol=0, atol=64 * np.finfo(np.float32).eps)


def test_int8_keeps_its_codes_and_tells_their_scale(int8, want):
    model = load_tflite(int8, threads=1)
    assert [spec.describe() for spec in (*model.inputs, *model.outputs)] == ["int8[?, 16, 16, 3]", "int8[?, 5]"]
    assert set(model.quantization) == {"image", "output_0"}
    scale, zero = model.quantization["image"]
    # calibrated on 0..1: that range and no other fills the codes; the files write scales as float32
    assert (scale * (-128 - zero), scale * (127 - zero)) == pytest.approx((0, 1), abs=scale / 2)
    codes = np.clip(np.round(build.images(8) / scale) + zero, -128, 127).astype(np.int8)
    (got,) = model.predict({"image": codes}).values()
    scale, zero = model.quantization["output_0"]
    real_numbers = scale * (got.astype(np.float32) - zero)
    # Not a bound but a sanity check: two int8 layers and 1/256 steps at the end; wrong scales would be off by 0.1 to 1.
    assert np.abs(real_numbers - want).max() < 0.05
    with pytest.raises(ConfigError, match="got float32"):
        model.predict({"image": build.images()})


def test_uint8_at_the_ends(network, tmp_path):
    path = build.save_tflite(network, tmp_path / "m.tflite", calibration=build.images(16), dtype="uint8")
    model = load_tflite(path)
    assert [spec.dtype for spec in (*model.inputs, *model.outputs)] == ["uint8", "uint8"]
    assert model.quantization["output_0"] == (1 / 256, 0)


def test_a_real_quantized_model_without_signatures():
    model = load_tflite(real(), threads=1)
    assert [(spec.name, spec.describe()) for spec in model.inputs] == [("input", "uint8[1, 128, 128, 3]")]
    assert [spec.describe() for spec in model.outputs] == ["uint8[1, 1001]"]
    assert model.quantization["input"] == (0.0078125, 128)
    assert model.metadata == {"layout": "NHWC"}
    random = np.random.default_rng(0)
    for _ in range(2):
        x = random.integers(0, 256, (1, 128, 128, 3), np.uint8)
        (scores,) = model.predict({"input": x}).values()
        scale, zero = model.quantization[model.outputs[0].name]
        # a softmax in steps of 1/256: what rounds down to 0 in a thousand classes is missing from the sum
        assert 0.5 < scale * (scores.astype(float).sum() - scores.size * zero) < 1.1
    with pytest.raises(ConfigError, match=r"wants uint8\[1, 128, 128, 3\]"):
        model.predict({"input": np.zeros((2, 128, 128, 3), np.uint8)})


def test_threads_change_no_result(fp32):
    x = {"image": build.images(8)}
    (one,) = load_tflite(fp32, threads=1).predict(x).values()
    (two,) = load_tflite(fp32, threads=2).predict(x).values()
    np.testing.assert_allclose(one, two, rtol=0, atol=64 * np.finfo(np.float32).eps)


def test_results_belong_to_the_caller_and_close_is_final(fp32):
    model = load_tflite(fp32)
    (first,) = model.predict({"image": build.images(1)}).values()
    kept = first.copy()
    model.predict({"image": np.zeros_like(build.images(1))})
    model.close()
    model.close()
    np.testing.assert_array_equal(first, kept)
    with pytest.raises(PipelineStopped, match="was closed"):
        model.predict({"image": build.images(1)})


def test_settings_are_checked(fp32):
    for options, message in (
        ({"threads": 0}, "at least 1"),
        ({"device": "abacus"}, "auto or cpu"),
        ({"delegate": "x"}, "options signature; got delegate"),
        ({"signature": "train"}, "no signature train; it has serving_default"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_tflite(fp32, **options)
    with pytest.raises(BackendUnavailable, match="not on cuda"):
        load_tflite(fp32, device="cuda")


def test_signatures_can_be_chosen(tmp_path):
    tf = build.tensorflow()
    spec = tf.TensorSpec((None, 3), tf.float32, name="x")
    module = tf.Module()
    module.double = tf.function(lambda x: {"y": 2 * x}, input_signature=[spec])
    module.triple = tf.function(lambda x: {"z": 3 * x}, input_signature=[spec])
    signatures = {name: getattr(module, name).get_concrete_function() for name in ("double", "triple")}
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=signatures)
    path = tmp_path / "m.tflite"
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "m"), signature_keys=["double", "triple"])
    path.write_bytes(converter.convert())
    x = np.ones((2, 3), np.float32)
    got = load_tflite(path, signature="triple").predict({"x": x})
    np.testing.assert_array_equal(got["z"], 3 * x)
    with pytest.raises(ConfigError, match="double, triple: choose one"):
        load_tflite(path)


@pytest.mark.parametrize("how", ["select-tf-ops", "custom-ops"])
def test_operators_that_litert_lacks_are_named(tmp_path, how):
    tf = build.tensorflow()
    module = tf.Module()
    module.root = tf.function(tf.linalg.cholesky, input_signature=[tf.TensorSpec((3, 3), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.root.get_concrete_function()], module)
    converter.allow_custom_ops = how == "custom-ops"
    if how == "select-tf-ops":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    path = tmp_path / "m.tflite"
    path.write_bytes(converter.convert())
    refused(path, r"operators that LiteRT lacks \((Flex)?Cholesky\)")


def refused(path, message):
    with pytest.raises(ModelLoadError, match=message) as caught:
        load_tflite(path)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_one_sentence(tmp_path):
    path = tmp_path / "m.tflite"
    refused(path, "does not exist")
    refused(tmp_path, "cannot be read")
    for content, message in (
        (b"", "is not a TensorFlow Lite model"),
        (b"PK\x03\x04 a zip", "is not a TensorFlow Lite model"),
        (b"\x1c\x00\x00\x00TFL3", "LiteRT cannot load"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(64), "LiteRT cannot load"),
    ):
        path.write_bytes(content)
        refused(path, message)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_files_are_one_sentence(fp32, tmp_path, share):
    whole = fp32.read_bytes()
    path = tmp_path / "m.tflite"
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path, "LiteRT cannot load")


def test_flipped_bytes_never_crash(int8, tmp_path):
    whole = int8.read_bytes()
    random = np.random.default_rng(0)
    path = tmp_path / "m.tflite"
    loaded = 0
    for _ in range(60):
        content = bytearray(whole)
        for at in random.integers(8, len(whole), 4):
            content[at] = random.integers(0, 256)
        path.write_bytes(content)
        with contextlib.suppress(ModelLoadError, ConfigError):  # anything else, or a dead process, fails the test
            model = load_tflite(path, threads=1)
            model.predict(
                {spec.name: np.zeros([size or 1 for size in spec.shape], spec.dtype) for spec in model.inputs}
            )
            loaded += 1
    assert loaded < 60


def test_it_works_in_silence_and_without_tensorflow(fp32):
    script = (
        "import sys, numpy; from solutions.phase1_basics.runtimes.tflite import load_tflite\n"
        "load_tflite(sys.argv[1], threads=1).predict({'image': numpy.zeros((1, 16, 16, 3), 'float32')})\n"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(fp32)], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "False\n")
