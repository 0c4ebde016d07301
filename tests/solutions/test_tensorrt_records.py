"""The record beside an engine: when it still fits, why it does not, and which of its profiles is used."""

import json
from dataclasses import replace

import numpy as np
import pytest

from solutions.core.errors import ModelLoadError
from solutions.core.tensors import TensorSpec
from solutions.phase2_optimization.compilation.backends.tensorrt import fitting_profile
from solutions.phase2_optimization.compilation.tensorrt_engine import EngineConfig, build_engine
from solutions.phase2_optimization.compilation.tensorrt_profiles import ShapeRange
from solutions.phase2_optimization.compilation.tensorrt_record import read_record, record_path, stale_reasons
from tests.solutions.compile_parts import conv_graph
from tests.solutions.tensorrt_fakes import fake


@pytest.fixture
def graph(tmp_path):
    return conv_graph(tmp_path / "conv.onnx")


@pytest.fixture
def engine(graph, tmp_path):
    """A record and its file, built by a fake RTX for SM89."""
    plan = tmp_path / "e.plan"
    return build_engine(graph, plan, EngineConfig(targets=("SM89",)), api=fake("rtx"), gpu=""), plan


def test_the_record_survives_the_disk(engine):
    record, plan = engine
    assert read_record(plan) == record
    assert json.loads(record_path(plan).read_text())["schema"] == "ml-inference/tensorrt-engine/1"
    assert record.precision == {"float32": 1}


@pytest.mark.parametrize(
    ("change", "api", "gpu", "reason"),
    [
        pytest.param({}, "rtx", "SM89", None, id="fits"),
        pytest.param({}, "rtx", "SM86", "built for SM89, and here is SM86", id="another-gpu"),
        pytest.param({}, "11", "SM89", "built by TensorRT-RTX 1.7.1.116, and here is TensorRT 11.4", id="another-kind"),
        pytest.param({"version": "1.6.0"}, "rtx", "SM89", "built by TensorRT-RTX 1.6.0", id="another-version"),
        pytest.param({"plan_sha256": "0"}, "rtx", "SM89", "damaged or was replaced", id="another-file"),
        pytest.param({"onnx_sha256": "0"}, "rtx", "SM89", "the model has changed", id="another-model"),
        pytest.param({"targets": (), "gpu": "SM80"}, "rtx", "SM89", "built on SM80", id="built-elsewhere"),
        pytest.param({"targets": (), "gpu": "SM80", "portable": True}, "rtx", "SM89", None, id="portable"),
        pytest.param(
            {"version": "1.6.0", "settings": {"version_compatible": True}}, "rtx", "SM89", None, id="compatible-version"
        ),
    ],
)
def test_a_stale_engine_says_why(engine, change, api, gpu, reason):
    record, plan = engine
    digest = record.onnx_sha256
    reasons = stale_reasons(replace(record, **change), plan, api=fake(api), gpu=gpu, onnx_sha256=digest)
    if reason is None:
        assert reasons == []
    else:
        assert any(reason in each for each in reasons), reasons


def test_a_missing_or_damaged_record_is_said(engine):
    _, plan = engine
    record_path(plan).write_text('{"schema": "ml-inference/tensorrt-engine/1"}')
    with pytest.raises(ModelLoadError, match="damaged"):
        read_record(plan)
    record_path(plan).unlink()
    with pytest.raises(ModelLoadError, match="nothing says for which TensorRT"):
        read_record(plan)


def test_the_profile_that_holds_the_sizes_is_chosen(engine):
    record, _ = engine
    small, large = (ShapeRange((low, 3), (low, 3), (high, 3)) for low, high in ((1, 2), (3, 8)))
    record = replace(record, inputs=(TensorSpec("x", (None, 3)),), profiles=({"x": small}, {"x": large}))
    assert fitting_profile(record, [np.zeros((2, 3))]) == 0
    assert fitting_profile(record, [np.zeros((5, 3))]) == 1
    assert fitting_profile(record, [np.zeros((9, 3))]) is None
    assert fitting_profile(replace(record, profiles=()), [np.zeros((9, 3))]) == 0
