"""The parts of the tuner on real files: files made once, answers judged, kernels compared, networks found."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from solutions.core.errors import ConfigError
from solutions.core.measure.metrics import PairedRatio
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.quantization.judges import Drop
from solutions.phase2_optimization.tuning import subject as subject_module
from solutions.phase2_optimization.tuning.accuracy import Jury
from solutions.phase2_optimization.tuning.candidates import Candidate
from solutions.phase2_optimization.tuning.footprint import peak_mb
from solutions.phase2_optimization.tuning.int8_on_onnxruntime import GROUPS, Int8Report, explain_int8
from solutions.phase2_optimization.tuning.pictures import Samples, batch_of, find_samples
from solutions.phase2_optimization.tuning.subject import Subject, find_subject, settled_files
from solutions.phase2_optimization.tuning.workshop import Workshop
from tests.solutions.compile_parts import tiny_network
from tests.solutions.quant_builders import detector_net, pictures, residual_net

INT8 = Candidate("onnxruntime", "int8", 1, "all")
FLOAT = Candidate("onnxruntime", "fp32", 1, "all")
SAMPLES = Samples(pictures(4), pictures(6, seed=9), "made-up pictures")


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(residual_net(), path)
    return Subject("net", path)


@pytest.fixture
def detector(tmp_path):
    path = tmp_path / "detector.onnx"
    onnx.save(detector_net(), path)
    return path


def answer(path):
    model = OnnxModel(path, device="cpu", threads=1)
    return model.predict


def test_files_are_made_once_and_drafts_apart(net, tmp_path):
    workshop = Workshop(net, SAMPLES, tmp_path / "made")
    draft = workshop.file(INT8, draft=True)
    assert workshop.file(INT8, draft=True) is draft
    proper = workshop.file(INT8)
    assert proper != draft
    assert workshop.file(INT8, draft=True) == proper  # once it is there, nobody needs the draft
    assert workshop.file(FLOAT) == net.graph
    assert workshop.file(Candidate("openvino", "bf16", 1, "latency")) == net.graph
    ops = [[node.op_type for node in onnx.load(path).graph.node] for path in (draft, proper)]
    assert ops[0] == ops[1]  # the same graph, so the same time
    assert "QuantizeLinear" in ops[0]


@pytest.mark.parametrize(
    ("candidate", "meaningful", "untrained", "fit"),
    [
        pytest.param(INT8, True, False, True, id="pictures"),
        pytest.param(INT8, False, False, False, id="trained-weights-and-noise"),
        pytest.param(INT8, False, True, True, id="random-weights-anyway"),
        pytest.param(FLOAT, False, False, True, id="nothing-to-calibrate"),
    ],
)
def test_ranges_from_noise_are_not_used(net, tmp_path, candidate, meaningful, untrained, fit):
    samples = Samples(SAMPLES.calibration, SAMPLES.judged, "samples", meaningful=meaningful)
    workshop = Workshop(replace(net, untrained=untrained), samples, tmp_path)
    assert (workshop.unfit(candidate) == "") == fit


def test_a_graph_has_no_module(net, tmp_path):
    with pytest.raises(ConfigError, match="without a PyTorch module"):
        Workshop(net, SAMPLES, tmp_path).file(Candidate("pytorch"))


@pytest.mark.parametrize(
    "candidate",
    [
        pytest.param(FLOAT, id="float"),
        pytest.param(INT8, id="int8"),
        pytest.param(Candidate("onnxruntime", "fp16", 1, "all"), id="fp16"),
        pytest.param(Candidate("onnxruntime", "fp32", 1, "ours"), id="ours"),
        pytest.param(Candidate("onnxruntime", "fp32", 1, "all", streams=2), id="two-streams"),
    ],
)
def test_what_is_ready_answers(net, tmp_path, candidate):
    ready = Workshop(net, SAMPLES, tmp_path).ready(candidate, SAMPLES.judged[0])
    want = answer(net.graph)(SAMPLES.judged[0])
    (got,) = ready.predict(SAMPLES.judged[0]).values()
    ready.call()
    ready.close()
    np.testing.assert_allclose(got, next(iter(want.values())), atol=0.1 * np.abs(got).max())
    assert ready.items == candidate.streams
    assert ready.size_bytes > 0


def test_the_same_class_is_agreement_and_another_is_none(net):
    jury = Jury(net.graph, SAMPLES)
    predict = answer(net.graph)
    same, objection = jury.verdict(predict)
    assert (same.score, same.sqnr_db, objection) == (1.0, 200.0, "")
    turned, objection = jury.verdict(lambda feeds: {name: value[:, ::-1] for name, value in predict(feeds).items()})
    assert turned.score < 0.5
    assert "the agreement falls by" in objection


def test_other_answers_are_judged_by_their_distance(detector):
    jury = Jury(detector, SAMPLES)
    predict = answer(detector)
    scaled, objection = jury.verdict(lambda feeds: {name: 0.97 * value for name, value in predict(feeds).items()})
    assert scaled.score == pytest.approx(0.97, abs=1e-4)
    assert objection == ""
    assert "0.05 allowed" in jury.verdict(lambda feeds: {k: 0.9 * v for k, v in predict(feeds).items()})[1]


@pytest.mark.parametrize("why", ["noise", "random-weights"])
def test_what_means_nothing_is_shown_and_not_judged(detector, why):
    samples = Samples(SAMPLES.calibration, SAMPLES.judged, "noise", meaningful=why != "noise")
    jury = Jury(detector, samples, means_nothing=why == "random-weights")
    predict = answer(detector)
    halved, objection = jury.verdict(lambda feeds: {name: 0.5 * value for name, value in predict(feeds).items()})
    assert halved.sqnr_db == pytest.approx(6.02, abs=0.01)
    assert objection == ""
    broken = jury.verdict(lambda feeds: {name: np.full_like(value, np.nan) for name, value in predict(feeds).items()})
    assert broken[1] == "its answers are not finite"


def test_rounding_alone_is_not_asked_about(net):
    samples = Samples(SAMPLES.calibration, SAMPLES.judged, "pictures", truth=np.zeros(len(SAMPLES.judged), int))
    jury = Jury(net.graph, samples)
    predict = answer(net.graph)
    exact, _ = jury.verdict(predict)
    rounded, objection = jury.verdict(lambda feeds: {k: v * np.float32(1 + 1e-6) for k, v in predict(feeds).items()})
    assert rounded.score == exact.score < 1  # of random weights
    assert (rounded.drop.low, rounded.drop.high, objection) == (0.0, 0.0, "")
    assert 100 < rounded.sqnr_db < 130


class TwoSets:
    """A judge that looks at samples of its own and finds a loss on one of its two sets."""

    def look(self, predict):
        return next(iter(predict(SAMPLES.judged[0])))

    def drops(self, before, after, confidence):
        return {"here": Drop(-0.2, -0.3, -0.1, 50), "there": Drop(0.04, 0.02, 0.06, 50)}


def test_a_judge_decides_by_its_worst_set(net):
    jury = Jury(net.graph, SAMPLES, score=TwoSets())
    predict = answer(net.graph)
    accuracy, objection = jury.verdict(lambda feeds: {name: 0.99 * value for name, value in predict(feeds).items()})
    assert (accuracy.score, accuracy.drop.high) == (0.96, 0.06)
    assert accuracy.sqnr_db == pytest.approx(40.0, abs=0.1)
    assert objection == "the score falls by 0.0400 [0.0200, 0.0600] over 50 samples, 0.01 allowed"


def test_truth_judges_where_there_is_some():
    model = OnnxModel(embedded("street-classifier").onnx, device="cpu", threads=1)
    samples = find_samples(model, "street-classifier", count=16)
    assert len(samples.judged) == 8
    jury = Jury(embedded("street-classifier").onnx, samples)
    assert jury.metric == "accuracy"
    assert jury.verdict(model.predict)[0].score >= 0.8  # it was trained for this
    model.close()


def test_batches_repeat_what_there_is():
    feeds = batch_of([{"x": np.float32([[1]])}, {"x": np.float32([[2]])}], 3)
    assert feeds["x"].tolist() == [[1], [2], [1]]


def test_int8_on_onnxruntime_is_explained_from_its_profile(net, tmp_path):
    quantized = Workshop(net, SAMPLES, tmp_path / "made").file(INT8, draft=True)
    report = explain_int8(net.graph, quantized, SAMPLES.judged[0], rounds=3, runs=2)
    assert set(report.float_ms) == set(GROUPS)
    assert report.int8_ms["conversions"] > 0
    assert any(kind.endswith("QLinearConv") for kind in report.int8_kinds)
    assert report.sentence().startswith("INT8 ")
    assert json.loads(json.dumps(report.as_dict()))["sentence"] == report.sentence()


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        pytest.param(1.1, 1.3, "lost", id="lost"),
        pytest.param(0.9, 1.2, "gained nothing beyond doubt", id="undecided"),
        pytest.param(0.4, 0.6, "won", id="won"),
    ],
)
def test_the_sentence_names_the_groups_that_moved(low, high, verdict):
    before = dict.fromkeys(GROUPS, 1.0)
    after = before | {"convolutions and matrix products": 0.5, "everything else": 2.0}
    report = Int8Report(
        PairedRatio((low + high) / 2, low, high, 20), before, after,
        {"everything else/Mul": 0.2, "everything else/MaxPool": 0.8},
        {"everything else/Mul": 0.5, "everything else/HardSigmoid": 0.7, "everything else/MaxPool": 0.8},
    )  # fmt: skip
    sentence = report.sentence()
    assert f"INT8 {verdict} on ONNX Runtime" in sentence
    assert "convolutions and matrix products 1.00 -> 0.50 ms; everything else 1.00 -> 2.00 ms" in sentence
    assert sentence.endswith("lies in everything else: HardSigmoid 0.00 -> 0.70 ms, Mul 0.20 -> 0.50 ms.")
    assert "MaxPool" not in sentence
    assert "depthwise" not in sentence


def test_memory_is_that_of_a_process_of_its_own(net):
    needed = peak_mb(FLOAT, net.graph, SAMPLES.judged[0])
    assert needed is not None
    assert 0 < needed < 500
    assert peak_mb(FLOAT, net.graph.with_name("gone.onnx"), SAMPLES.judged[0]) is None


def test_an_untrained_network_gets_statistics_that_fit(monkeypatch, tmp_path):
    monkeypatch.setenv("MLI_CACHE", str(tmp_path))
    monkeypatch.setattr(subject_module, "torch_source", lambda name, random: contextlib.nullcontext(tiny_network()))
    graph, module = settled_files("tiny")
    state = torch.load(module, weights_only=True)
    noise = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    activations = torch.nn.functional.conv2d(noise, state["0.weight"], state["0.bias"], padding=1)
    # 2 x 16 pictures of 64 pixels were averaged: their variance is known to about sqrt(2 / 2048) = 3 %
    torch.testing.assert_close(state["1.running_var"], activations.var((0, 2, 3)), rtol=0.15, atol=0)
    logits = OnnxModel(graph, device="cpu", threads=1).predict({"images": noise.numpy()})["logits"]
    assert np.isfinite(logits).all()
    monkeypatch.setattr(subject_module, "torch_source", None)  # it would be called, had nothing been kept
    assert settled_files("tiny") == (graph, module)


def test_subjects_of_all_kinds(tmp_path, net):
    named = find_subject("street-classifier", workshop=tmp_path)
    assert named.module is not None
    assert named.module.exists()
    assert not named.untrained
    plain = find_subject(net.graph, workshop=tmp_path)
    assert (plain.name, plain.module) == ("net", None)
    assert plain.digest() != named.digest()
    with pytest.raises(ConfigError, match="--random is for models of the zoo"):
        find_subject(net.graph, workshop=tmp_path, random=True)
