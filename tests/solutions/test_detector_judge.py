"""The judge of detectors: AP50 by set, an interval that holds, and the gate that rolls layers back by it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from solutions.core.errors import ConfigError
from solutions.core.measure.metrics import PairedRatio
from solutions.core.vision.detection import Detections
from solutions.core.vision.detection_metrics import APResult, TruthBoxes
from solutions.phase2_optimization.quantization.gate import GateConfig, Judge, run_gate
from solutions.phase2_optimization.quantization.running import predictor
from solutions.phase2_optimization.quantization.static_config import StaticConfig
from solutions.phase2_optimization.quantization.variants import StaticVariants
from solutions.phase4_production.video_analysis.detector import load_detector
from solutions.phase4_production.video_analysis.detector_judge import (
    DetectorJudge,
    LabelledSet,
    ap_drop,
    mean_ap,
    weighted_ap,
)
from solutions.phase4_production.video_analysis.precision import detection_truth
from tests.solutions.onnx_builders import small_network

FASTER = PairedRatio(0.5, 0.45, 0.55, 30)


def one_box(left, score=0.9, class_id=0):
    return Detections(
        np.array([[left, 0, left + 10, 10]], np.float32), np.array([score], np.float32), np.array([class_id])
    )


def truth_of(found, ignore=False):
    return TruthBoxes(found.boxes, found.class_ids, np.full(len(found), ignore))


def test_the_interval_of_a_drop_is_paired_and_holds_the_truth_as_often_as_it_says():
    """Each picture holds one person; the second model misses each with chance 0.1, so AP falls by 0.1 in the mean."""
    hits = 0
    for seed in range(20):
        lost = np.random.default_rng(seed).random(80) < 0.1
        before = [one_box(0)] * 80
        after = [Detections.empty() if gone else one_box(0) for gone in lost]
        drop = ap_drop(before, after, [truth_of(one_box(0))] * 80, seed=seed)
        assert drop.mean == pytest.approx(lost.mean())
        assert drop.samples == 80
        hits += drop.low <= 0.1 <= drop.high
    assert hits >= 15  # 19 expected; four standard deviations of a binomial are 4


def test_equal_models_lose_nothing_beyond_doubt():
    found = [one_box(k) for k in range(5)]
    drop = ap_drop(found, found, [truth_of(each) for each in found])
    assert (drop.mean, drop.low, drop.high) == (0, 0, 0)


def test_a_rare_class_weighs_as_much_as_the_others_or_as_often_as_it_occurs():
    result = APResult({0: 1.0, 1: 0.0}, 0.5, {0: 9, 1: 1})
    assert mean_ap(result) == 0.5
    assert weighted_ap(result) == pytest.approx(0.9)


def test_what_cannot_be_judged_is_said():
    with pytest.raises(ConfigError, match="one truth per frame, got 1, 1 and 2"):
        ap_drop([one_box(0)], [one_box(0)], [truth_of(one_box(0))] * 2)
    with pytest.raises(ConfigError, match="nothing to compare"):
        ap_drop([one_box(0)], [one_box(0)], [truth_of(one_box(0), ignore=True)])


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A detector, frames, and what it finds there, taken for true; its middle layer is hard to quantize."""
    path = small_network(tmp_path_factory.mktemp("judge") / "m.onnx")
    model = onnx.load(path)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    # Huge weights on a channel that never fires leave the others hardly any codes.
    stem, bias, middle = (onnx.numpy_helper.to_array(weights[name]).copy() for name in ("w0", "b0", "w1"))
    stem[0], bias[0], middle[:, 0] = 0, 0, 40
    for name, array in (("w0", stem), ("b0", bias), ("w1", middle)):
        weights[name].CopyFrom(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, path)
    random = np.random.default_rng(3)
    frames = [random.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(12)]
    detector = load_detector(path, threads=1, score_threshold=0.05)
    truth = [detection_truth(detector.detect(frame), 0.3) for frame in frames]
    return path, detector, frames, truth


def test_the_judge_sees_what_the_detector_sees(network):
    path, detector, frames, truth = network
    judge = DetectorJudge(detector, {"street": LabelledSet(frames, truth)})
    assert isinstance(judge, Judge)
    seen = judge.look(predictor(onnx.load(path)))["street"]
    for found, frame in zip(seen, frames, strict=True):
        np.testing.assert_allclose(found.scores, detector.detect(frame).scores, rtol=1e-5)
    with pytest.raises(ConfigError, match="at least one labelled set"):
        DetectorJudge(detector, {})


def test_the_gate_rolls_layers_back_until_every_set_is_within_the_bound(network):
    path, detector, frames, truth = network
    feeds = [{"images": detector.preprocess(frame).blob} for frame in frames]
    sets = {"first": LabelledSet(frames[:6], truth[:6]), "second": LabelledSet(frames[6:], truth[6:])}
    variants = StaticVariants(path, feeds, StaticConfig(observer="minmax", tail="none", channel_db=0))
    model, report = run_gate(
        onnx.load(path),
        variants,
        feeds,
        GateConfig(max_drop=0.3),
        score=DetectorJudge(detector, sets),
        compare=lambda first, second: FASTER,
    )
    assert report.accepted, report.reason
    assert report.steps[0][1].low > 0.3, "all in integers it is not good enough"
    assert list(report.kept) == ["middle"]
    assert report.kept["middle"].startswith("quantizing it alone leaves")
    assert set(report.drops) == {"first", "second"}
    assert all(drop.high <= 0.3 for drop in report.drops.values())
    assert "on first, " in report.reason
    assert report.as_dict()["sets"].keys() == {"first", "second"}
    assert model is not None
