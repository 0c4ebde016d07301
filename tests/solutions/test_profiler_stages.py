"""How the time of one picture divides into stages."""

import pytest

from solutions.core.errors import ConfigError
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.prediction.classifier import StageSeconds
from solutions.phase1_basics.profiling import stage_split
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from tests.solutions.onnx_builders import doubling


def test_stage_shares_add_up():
    split = stage_split.of_seconds([StageSeconds(0.001, 0.002, 0.006, 0.001)] * 3, "a picture")
    assert split.total.p50 == pytest.approx(10.0)
    assert [split.share(stage) for stage in stage_split.STAGES] == pytest.approx([0.1, 0.2, 0.6, 0.1])
    assert split.as_dict()["stages"]["infer"]["latency_ms"]["p50"] == pytest.approx(6.0)


def test_a_classifier_is_split_in_four():
    with_model = load_model("street-classifier", device="cpu", threads=1)
    split = stage_split.split_stages(with_model, repeats=2, warmup=1)
    with_model.close()
    assert set(split.stages) == set(stage_split.STAGES)
    assert split.total.n == 2
    assert "made-up" in split.picture


def test_a_detector_has_no_postprocessing_here_and_that_is_said():
    model = OnnxModel(embedded("street-small").onnx, device="cpu", threads=1)
    split = stage_split.split_stages(model, repeats=1, warmup=0)
    model.close()
    assert set(split.stages) == {"load", "preprocess", "infer"}
    assert "not decoded here" in split.note


def test_a_model_without_pictures_has_no_stages(tmp_path):
    model = load_model(doubling(tmp_path / "doubling.onnx"), device="cpu", threads=1)
    with pytest.raises(ConfigError, match="input of pictures"):
        stage_split.split_stages(model, repeats=1)
