"""Precision: the int8 file is real, cached, whole and near; the choice follows the measurements and says why."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.measure.metrics import LatencySummary, PairedRatio
from solutions.core.measure.profiling import PairMeasurement
from solutions.core.vision.detection import Detections
from solutions.core.vision.detection_metrics import TruthBoxes
from solutions.phase1_basics.model_loader import load_model
from solutions.phase4_production.video_analysis import int8, precision
from solutions.phase4_production.video_analysis.detector import load_detector
from solutions.phase4_production.video_analysis.int8 import Int8Settings, convert_fp16, quantize_int8, tail_nodes
from solutions.phase4_production.video_analysis.precision import choose_precision, detection_truth
from tests.solutions.onnx_builders import save, small_network

REAL = os.environ.get("MLI_DATA")


def pictures(count=4, seed=0):
    random = np.random.default_rng(seed)
    return [random.uniform(0, 255, (1, 3, 64, 96)).astype(np.float32) for _ in range(count)]


def answers(path, images):
    model = load_model(path, threads=1)
    return np.concatenate([model.predict({"images": image})["grid"] for image in images])


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(Int8Settings("percentile", percentile=99.99), id="percentile"),
        pytest.param(Int8Settings(method="minmax"), id="minmax"),
        pytest.param(Int8Settings(method="entropy"), id="entropy"),
        pytest.param(Int8Settings("percentile", percentile=99.99, float_tail=False), id="whole-graph"),
    ],
)
def test_int8_is_near_and_keeps_its_facts(tmp_path, settings):
    source = small_network(tmp_path / "m.onnx")
    path = quantize_int8(source, pictures(), tmp_path / "cache", settings)
    want, got = answers(source, pictures(seed=1)), answers(path, pictures(seed=1))
    noise_db = 10 * np.log10((want**2).mean() / ((want - got) ** 2).mean())
    assert noise_db > 15  # three 8-bit layers: about 40 dB each before clipping
    assert load_model(path).metadata == load_model(source).metadata


def test_int8_quantizes_what_it_should_and_no_more(tmp_path):
    source = small_network(tmp_path / "m.onnx")
    assert tail_nodes(onnx.load(source)) == ["predict"]
    model = onnx.load(quantize_int8(source, pictures(), tmp_path, Int8Settings(keep_float=("middle",))))
    fed = {node.name: [name.endswith("DequantizeLinear_Output") for name in node.input] for node in model.graph.node}
    assert fed["stem"][:2] == [True, True]
    assert fed["middle"][1] is False
    assert fed["predict"][1] is False
    types = {array.data_type for array in model.graph.initializer if array.name.endswith("_quantized")}
    assert onnx.TensorProto.INT8 in types


def test_an_old_opset_is_raised(tmp_path):
    source = small_network(tmp_path / "m.onnx", opset=11)
    model = onnx.load(quantize_int8(source, pictures(), tmp_path))
    assert max(entry.version for entry in model.opset_import if not entry.domain) >= 17


def test_the_second_call_only_looks_it_up(tmp_path, monkeypatch):
    source = small_network(tmp_path / "m.onnx")
    first = quantize_int8(source, pictures(), tmp_path / "cache")
    monkeypatch.setattr(int8, "_quantize", None)
    assert quantize_int8(source, pictures(), tmp_path / "cache") == first


def test_the_key_covers_model_pictures_and_settings(tmp_path):
    sources = [small_network(tmp_path / "a.onnx"), small_network(tmp_path / "b.onnx", seed=1)]
    paths = {
        quantize_int8(sources[0], pictures(), tmp_path),
        quantize_int8(sources[1], pictures(), tmp_path),
        quantize_int8(sources[0], pictures(seed=5), tmp_path),
        quantize_int8(sources[0], pictures(), tmp_path, Int8Settings("percentile", percentile=99.0)),
        quantize_int8(sources[0], pictures(), tmp_path, Int8Settings(reduce_range=True)),
    }
    assert len(paths) == 5


def test_two_at_once_and_nothing_left_lying(tmp_path):
    source = small_network(tmp_path / "m.onnx")
    with ThreadPoolExecutor(2) as pool:
        paths = set(pool.map(lambda _: quantize_int8(source, pictures(), tmp_path / "cache"), range(2)))
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [path.name for path in paths]


def test_a_failure_leaves_no_file(tmp_path, monkeypatch):
    def half(model, blobs, settings, target):
        target.write_bytes(b"half")
        raise ModelLoadError("broke")

    monkeypatch.setattr(int8, "_quantize", half)
    with pytest.raises(ModelLoadError, match="broke"):
        quantize_int8(small_network(tmp_path / "m.onnx"), pictures(), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_only_so_many_pictures_are_taken(tmp_path):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield np.zeros((64, 96, 3), np.uint8)

    detector = load_detector(small_network(tmp_path / "m.onnx"), threads=1)
    settings = Int8Settings(max_images=3)
    quantize_int8(tmp_path / "m.onnx", endless(), tmp_path, settings, preprocess=lambda f: detector.preprocess(f).blob)
    assert len(taken) == 3


def test_what_cannot_be_quantized_is_said(tmp_path):
    source = small_network(tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match="at least one picture"):
        quantize_int8(source, [], tmp_path)
    with pytest.raises(ModelLoadError, match="quantized already"):
        quantize_int8(quantize_int8(source, pictures(), tmp_path), pictures(), tmp_path)
    with pytest.raises(ModelLoadError, match="cannot be quantized") as caught:
        quantize_int8(source, [np.zeros((1, 1, 64, 96), np.float32)], tmp_path)
    assert "\n" not in str(caught.value)
    for bad in ({"method": "guess"}, {"percentile": 5}, {"max_images": 0}):
        with pytest.raises(ConfigError, match=str(next(iter(bad.values())))):
            Int8Settings(**bad)


def test_fp16_is_half_the_size_and_near(tmp_path):
    source = small_network(tmp_path / "m.onnx")
    path = convert_fp16(source, tmp_path / "cache")
    np.testing.assert_allclose(answers(path, pictures()), answers(source, pictures()), atol=0.05)
    assert load_model(path).inputs[0].dtype == "float32"
    assert path == convert_fp16(source, tmp_path / "cache")


def test_fp16_of_a_constant_that_two_nodes_share(tmp_path):
    nodes = [
        helper.make_node("Resize", ["images", "", "twice"], ["large"], mode="nearest"),
        helper.make_node("Resize", ["large", "", "twice"], ["grid"], mode="nearest"),
    ]
    specs = [("images", (1, 3, 4, 4))], [("grid", (1, 3, 16, 16))]
    source = save(tmp_path / "m.onnx", nodes, *specs, [("twice", np.array([1, 1, 2, 2], np.float32))])
    image = np.ones((1, 3, 4, 4), np.float32)
    np.testing.assert_array_equal(answers(convert_fp16(source, tmp_path), [image]), np.ones((1, 3, 16, 16)))


def timed_as(monkeypatch, ratio):
    summary = LatencySummary.of([0.01, 0.01])
    fixed = PairMeasurement(PairedRatio(ratio, ratio - 0.02, ratio + 0.02, rounds=30), summary, summary)
    monkeypatch.setattr(precision, "measure_pair", lambda *args, **kwargs: fixed)


@pytest.fixture
def street(tmp_path):
    random = np.random.default_rng(3)
    return small_network(tmp_path / "fp32.onnx"), [
        random.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(3)
    ]


@pytest.mark.parametrize(
    ("seed", "ratio", "chosen", "reason"),
    [
        pytest.param(0, 0.7, "other", "other chosen: takes 0.70", id="same-and-faster"),
        pytest.param(0, 0.99, "fp32", "not faster beyond doubt", id="inconclusive"),
        pytest.param(0, 1.4, "fp32", "not faster beyond doubt", id="slower"),
        pytest.param(7, 0.5, "fp32", "other refused: .* loses", id="fast-and-wrong"),
    ],
)
def test_the_choice_follows_the_measurements(tmp_path, monkeypatch, street, seed, ratio, chosen, reason):
    timed_as(monkeypatch, ratio)
    base, frames = street
    other = small_network(tmp_path / "other.onnx", seed=seed)
    choice = choose_precision({"fp32": base, "other": other}, frames, threads=1)
    assert choice.name == chosen
    assert choice.path.stem == chosen
    assert pytest.approx(0, abs=1e-9) == choice.reports[0].drop or seed == 7
    assert re.search(reason, choice.reason)


def test_the_fastest_of_the_accepted_wins_and_alone_the_baseline_stays(tmp_path, monkeypatch, street):
    timed_as(monkeypatch, 0.5)
    base, frames = street
    assert choose_precision({"fp32": base}, frames).reason == "fp32 stays: there is no other candidate"
    assert choose_precision({"fp32": base, "a": base, "b": base}, frames).name == "a"


def test_real_truth_is_used_when_given(monkeypatch, street):
    timed_as(monkeypatch, 0.5)
    base, frames = street
    nowhere = TruthBoxes(np.array([[0, 0, 2, 2]], np.float32), np.array([0]), np.array([False]))
    choice = choose_precision({"fp32": base, "int8": base}, frames, truth=[nowhere] * 3)
    assert choice.reports[0].ap50 < 0.5


def test_choices_that_cannot_be_made_are_refused(street):
    base, frames = street
    empty = TruthBoxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))
    with pytest.raises(ConfigError, match="at least one candidate"):
        choose_precision({}, frames)
    with pytest.raises(ConfigError, match="one entry per frame"):
        choose_precision({"fp32": base}, frames, truth=[empty])
    with pytest.raises(ConfigError, match="nothing to compare"):
        choose_precision({"fp32": base, "int8": base}, frames, truth=[empty] * 3)


def test_weak_detections_are_not_held_against_anyone():
    found = Detections(np.zeros((3, 4), np.float32), np.array([0.5, 0.3, 0.1], np.float32), np.zeros(3, np.int64))
    truth = detection_truth(found, 0.4)
    assert truth.ignore.tolist() == [False, True]


def test_yolox_survives_int8(tmp_path):
    if REAL is None:
        pytest.skip("not run here: MLI_DATA names no folder with real models")
    source = Path(REAL) / "models" / "yolox_nano.onnx"
    detector = load_detector(source, threads=1)
    calibration = (cv2.imread(str(path)) for path in sorted((Path(REAL) / "images" / "coco_val").glob("*.jpg")))
    settings = Int8Settings(max_images=8)
    path = quantize_int8(source, calibration, tmp_path, settings, preprocess=lambda f: detector.preprocess(f).blob)
    assert path.stat().st_size < 0.4 * source.stat().st_size
    capture = cv2.VideoCapture(str(Path(REAL) / "videos" / "vtest.avi"))
    frames = [capture.read()[1] for _ in range(4)]
    capture.release()
    choice = choose_precision({"fp32": source, "int8": path}, frames, threads=1, rounds=3, wanted=["person"])
    assert choice.reports[0].drop < 0.15
