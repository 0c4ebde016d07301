"""Precision: int8 and fp16 files are cached, whole and near; the choice follows the measurements and says why."""

import re
from concurrent.futures import ThreadPoolExecutor

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
from solutions.phase2_optimization.quantization import static
from solutions.phase2_optimization.quantization.fusion_check import check_fusion
from solutions.phase2_optimization.quantization.static_config import StaticConfig
from solutions.phase4_production.video_analysis import precision
from solutions.phase4_production.video_analysis.bytes_input import bytes_model
from solutions.phase4_production.video_analysis.detector import load_detector
from solutions.phase4_production.video_analysis.precision import choose_precision, detection_truth
from solutions.phase4_production.video_analysis.precision_files import fp16_file, int8_file
from tests.solutions.onnx_builders import save, small_network


def pictures(count=4, seed=0):
    random = np.random.default_rng(seed)
    return [random.uniform(0, 255, (1, 3, 64, 96)).astype(np.float32) for _ in range(count)]


def answers(path, images):
    model = load_model(path, threads=1)
    return np.concatenate([model.predict({"images": image})["grid"] for image in images])


@pytest.mark.parametrize("make", [pytest.param(int8_file, id="int8"), pytest.param(fp16_file, id="fp16")])
def test_a_smaller_file_is_near_keeps_its_facts_and_is_found_again(tmp_path, monkeypatch, make):
    source = small_network(tmp_path / "m.onnx", opset=11)
    path = make(source, pictures(), tmp_path / "cache")
    want, got = answers(source, pictures(seed=1)), answers(path, pictures(seed=1))
    noise_db = 10 * np.log10((want**2).mean() / ((want - got) ** 2).mean())
    assert noise_db > 20  # three 8-bit layers leave at least that
    loaded = load_model(path)
    assert loaded.metadata == load_model(source).metadata
    assert loaded.inputs[0].dtype == "float32"
    monkeypatch.setattr(static, "quantize_static", None)
    assert make(source, pictures(), tmp_path / "cache") == path


def test_the_key_covers_model_pictures_and_settings(tmp_path):
    sources = [small_network(tmp_path / "a.onnx"), small_network(tmp_path / "b.onnx", seed=1)]
    paths = {
        int8_file(sources[0], pictures(), tmp_path),
        int8_file(sources[1], pictures(), tmp_path),
        int8_file(sources[0], pictures(seed=5), tmp_path),
        int8_file(sources[0], pictures(), tmp_path, StaticConfig(observer="minmax")),
        int8_file(sources[0], pictures(), tmp_path, StaticConfig(reduce_range=True)),
        fp16_file(sources[0], cache_dir=tmp_path),
    }
    assert len(paths) == 6


def test_two_at_once_and_nothing_left_lying(tmp_path):
    source = small_network(tmp_path / "m.onnx")
    with ThreadPoolExecutor(2) as pool:
        paths = set(pool.map(lambda _: int8_file(source, pictures(), tmp_path / "cache"), range(2)))
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [path.name for path in paths]


def test_a_failure_leaves_no_file(tmp_path, monkeypatch):
    def half(source, target, feeds, config):
        target.write_bytes(b"half")
        raise ModelLoadError("broke")

    monkeypatch.setattr(static, "quantize_static", half)
    with pytest.raises(ModelLoadError, match="broke"):
        int8_file(small_network(tmp_path / "m.onnx"), pictures(), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_only_so_many_pictures_are_taken(tmp_path):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield np.zeros((64, 96, 3), np.uint8)

    detector = load_detector(small_network(tmp_path / "m.onnx"), threads=1)
    config = StaticConfig(max_samples=3)
    int8_file(tmp_path / "m.onnx", endless(), tmp_path, config, preprocess=lambda f: detector.preprocess(f).blob)
    assert len(taken) == 3


def test_what_cannot_be_quantized_is_said(tmp_path):
    source = small_network(tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match="at least one picture"):
        int8_file(source, [], tmp_path)
    with pytest.raises(ModelLoadError, match="quantized already"):
        int8_file(int8_file(source, pictures(), tmp_path), pictures(), tmp_path)
    with pytest.raises(ConfigError, match="does not run on calibration sample 1") as caught:
        int8_file(source, [np.zeros((1, 1, 64, 96), np.float32)], tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelLoadError, match="does not exist"):
        int8_file(tmp_path / "none.onnx", pictures(), tmp_path)


def test_fp16_is_half_the_size_and_of_a_constant_that_two_nodes_share(tmp_path):
    source = small_network(tmp_path / "m.onnx")
    path = fp16_file(source, pictures(), tmp_path)
    kinds = {tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT16}
    nodes = [
        helper.make_node("Resize", ["images", "", "twice"], ["large"], mode="nearest"),
        helper.make_node("Resize", ["large", "", "twice"], ["grid"], mode="nearest"),
    ]
    specs = [("images", (1, 3, 4, 4))], [("grid", (1, 3, 16, 16))]
    source = save(tmp_path / "m.onnx", nodes, *specs, [("twice", np.array([1, 1, 2, 2], np.float32))])
    image = np.ones((1, 3, 4, 4), np.float32)
    np.testing.assert_array_equal(answers(fp16_file(source, cache_dir=tmp_path), [image]), np.ones((1, 3, 16, 16)))


def test_an_int8_detector_of_bytes_says_the_same_and_keeps_its_integer_layers(tmp_path, monkeypatch):
    monkeypatch.setenv("MLI_CACHE", str(tmp_path))
    plain = load_detector(int8_file(small_network(tmp_path / "m.onnx"), pictures(), tmp_path), threads=1)
    of_bytes = bytes_model(tmp_path / next(tmp_path.glob("m-int8-*.onnx")).name, plain.head.pixels)
    found = check_fusion(of_bytes)
    assert (found.integer, found.float) == (3, 0)
    bytes_in = np.random.default_rng(2).integers(0, 256, (1, 3, 64, 96), dtype=np.uint8)
    want = plain.model.predict({"images": bytes_in.astype(np.float32)})["grid"]
    np.testing.assert_array_equal(load_model(of_bytes, threads=1).predict({"images": bytes_in})["grid"], want)


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
        pytest.param(0, 0.7, "other", r"other accepted: 1.43 \[.*\] times as fast as fp32", id="same-and-faster"),
        pytest.param(0, 0.99, "fp32", r"other refused: 1.01 \[0.99", id="inconclusive"),
        pytest.param(0, 1.4, "fp32", "other refused: 0.71", id="slower"),
        pytest.param(7, 0.5, "fp32", "other refused: 2.00 .* falls by 0", id="fast-and-wrong"),
    ],
)
def test_the_choice_follows_the_measurements(tmp_path, monkeypatch, street, seed, ratio, chosen, reason):
    timed_as(monkeypatch, ratio)
    base, frames = street
    other = small_network(tmp_path / "other.onnx", seed=seed)
    choice = choose_precision({"fp32": base, "other": other}, frames, threads=1)
    assert choice.name == chosen
    assert choice.path.stem == chosen
    assert pytest.approx(0, abs=1e-9) == choice.reports[0].drop.high or seed == 7
    assert re.search(reason, choice.reason)


def test_the_fastest_of_the_accepted_wins_and_alone_the_baseline_stays(tmp_path, monkeypatch, street):
    timed_as(monkeypatch, 0.5)
    base, frames = street
    assert choose_precision({"fp32": base}, frames).reason == "fp32 stays: there is no other candidate"
    assert choose_precision({"fp32": base, "a": base, "b": base}, frames).name == "a"


def test_real_truth_is_used_when_given(tmp_path, monkeypatch, street):
    timed_as(monkeypatch, 0.5)
    base, frames = street
    other = small_network(tmp_path / "other.onnx", seed=7)
    nowhere = TruthBoxes(np.array([[0, 0, 2, 2]], np.float32), np.array([0]), np.array([False]))
    judged, agreed = (
        choose_precision({"fp32": base, "other": other}, frames, truth=truth) for truth in ([nowhere] * 3, None)
    )
    assert judged.reports[0].drop.mean == 0, "neither finds what is there, so there is nothing to lose"
    assert agreed.reports[0].drop.mean > 0.1


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
