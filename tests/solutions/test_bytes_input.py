"""Models that take bytes: the same answers, the same facts, the input a quarter of the size."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from solutions.core.vision.images import IMAGENET_RGB, RAW_BGR, PixelFormat
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics.model_loader import load_model
from solutions.phase4_production.video_analysis.bytes_input import bytes_model
from solutions.phase4_production.video_analysis.detector import Detector, load_detector
from tests.solutions.onnx_builders import small_network


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MLI_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(RAW_BGR, id="raw"),
        pytest.param(PixelFormat(rgb=True, scale=1 / 255), id="unit"),
        pytest.param(PixelFormat(mean=(127.5, 127.5, 127.5)), id="centred"),
        pytest.param(IMAGENET_RGB, id="imagenet"),
    ],
)
def test_it_answers_what_the_model_answers(tmp_path, pixels):
    path = small_network(tmp_path / "m.onnx")
    plain, of_bytes = load_model(path, threads=1), load_model(bytes_model(path, pixels), threads=1)
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 96), np.uint8)
    factors = np.reshape(pixels.std, (1, 3, 1, 1))
    scaled = ((image * pixels.scale - np.reshape(pixels.mean, (1, 3, 1, 1))) / factors).astype(np.float32)
    (name,) = (spec.name for spec in plain.inputs)
    want, got = plain.predict({name: scaled}), of_bytes.predict({name: image})
    assert of_bytes.inputs[0].dtype == "uint8"
    assert of_bytes.inputs[0].shape == plain.inputs[0].shape
    assert of_bytes.metadata == plain.metadata
    for key, value in want.items():
        np.testing.assert_allclose(got[key], value, rtol=1e-4, atol=1e-4)


def test_a_detector_of_bytes_finds_the_same_to_the_bit():
    path = embedded("street-small").onnx
    frame = np.random.default_rng(1).integers(0, 256, (180, 320, 3), np.uint8)
    plain = load_detector(path, threads=1, score_threshold=0.01)
    of_bytes = Detector(load_model(bytes_model(path, plain.head.pixels), threads=1), plain.head, score_threshold=0.01)
    assert of_bytes.preprocess(frame).blob.dtype == np.uint8
    want, got = plain.detect_batch([frame, frame[:100]]), of_bytes.detect_batch([frame, frame[:100]])
    for one, other in zip(want, got, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.scores, other.scores)


@pytest.mark.parametrize(
    ("pixels", "scale", "zero", "are_codes"),
    [
        pytest.param(RAW_BGR, 1.0, 0, True, id="raw"),
        pytest.param(PixelFormat(rgb=True, scale=1 / 255), 1 / 255, 0, True, id="unit"),
        pytest.param(RAW_BGR, 250 / 255, 0, False, id="range-ends-early"),
        pytest.param(RAW_BGR, 1.0, 3, False, id="zero-point"),
        pytest.param(IMAGENET_RGB, 0.02, 0, False, id="imagenet"),
    ],
)
def test_bytes_that_are_the_codes_already_are_not_coded_again(tmp_path, pixels, scale, zero, are_codes):
    parts = f"<float s = {{{scale}}}, uint8 z = {{{zero}}}>"
    graph = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 3, 16, 16] x) => (float[1, 3, 16, 16] y) {parts}
        {{ c = QuantizeLinear(x, s, z)
           y = DequantizeLinear(c, s, z) }}"""
    )
    path = tmp_path / "m.onnx"
    onnx.save(graph, path)
    made = bytes_model(path, pixels)
    kinds = [node.op_type for node in onnx.load(made).graph.node]
    assert (kinds == ["DequantizeLinear"]) == are_codes
    image = np.arange(768, dtype=np.uint16).reshape(1, 3, 16, 16).astype(np.uint8)
    plain, of_bytes = load_model(path, threads=1), load_model(made, threads=1)
    factors = np.reshape(pixels.std, (1, 3, 1, 1))
    scaled = ((image * pixels.scale - np.reshape(pixels.mean, (1, 3, 1, 1))) / factors).astype(np.float32)
    # half a code may round either way after the scaling in float32
    np.testing.assert_allclose(
        of_bytes.predict({"x": image})["y"], plain.predict({"x": scaled})["y"], atol=scale * 1.01
    )


def test_it_is_made_once(tmp_path):
    path = small_network(tmp_path / "m.onnx")
    made = bytes_model(path, RAW_BGR)
    stamp = made.stat().st_mtime_ns
    assert bytes_model(path, RAW_BGR) == made
    assert made.stat().st_mtime_ns == stamp
    assert bytes_model(path, IMAGENET_RGB) != made


def test_what_takes_no_floats_stays_as_it_is(tmp_path):
    path = small_network(tmp_path / "m.onnx")
    made = bytes_model(path, RAW_BGR)
    assert bytes_model(made, RAW_BGR) == made


def test_an_input_that_a_subgraph_reads_is_found(tmp_path):
    graph = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 3, 2, 2] x) => (float[1, 3, 2, 2] y)
        <bool yes = {1}>
        { y = If (yes) <then_branch = t () => (float[1, 3, 2, 2] a) { a = Neg(x) },
                        else_branch = e () => (float[1, 3, 2, 2] b) { b = Identity(x) }> }"""
    )
    path = tmp_path / "m.onnx"
    onnx.save(graph, path)
    model = load_model(bytes_model(path, RAW_BGR), threads=1)
    image = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2)
    np.testing.assert_array_equal(model.predict({"x": image})["y"], -image.astype(np.float32))
