"""Which candidates there are, in which order, what they are called, and what is named as missing."""

from __future__ import annotations

import pytest

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.compilation import compilers
from solutions.phase2_optimization.tuning import candidates as module
from solutions.phase2_optimization.tuning.candidates import Candidate, Wanted, list_candidates, missing_here
from solutions.phase2_optimization.tuning.loading import settings_of

ORT = Candidate("onnxruntime", "fp32", 1, "all")


def labels(wanted: Wanted, lacking=None, cores=2):
    return [candidate.label for candidate in list_candidates(wanted, lacking=lacking or {}, cores=cores)[0]]


def test_every_runtime_precision_and_level_is_there_once():
    found = labels(Wanted(threads=(1,)))
    assert len(set(found)) == len(found)
    wanted = {"onnxruntime fp32", "onnxruntime fp32 ours", "onnxruntime fp32 none", "onnxruntime int8", "openvino bf16",
              "openvino int8+bf16", "torchscript fp32", "inductor fp32", "aot fp32", "tensorrt fp32"}  # fmt: skip
    assert wanted <= set(found)
    assert not any("throughput" in label or "x2" in label for label in found)


def test_simpler_candidates_come_before_those_that_they_bound():
    found, _ = list_candidates(Wanted(threads=(1, 2)), lacking={}, cores=2)
    for place, candidate in enumerate(found):
        for simpler, share in candidate.simpler():
            assert found.index(simpler) < place, candidate.label
            assert 0 < share < 1


@pytest.mark.parametrize(
    ("threads", "cores", "want"),
    [
        pytest.param((1,), 4, {1}, id="one"),
        pytest.param((1, 0), 4, {1, 4}, id="all-usable"),
        pytest.param((1, 0), 1, {1}, id="one-core"),
        pytest.param((2, 3), 4, {2, 3}, id="named"),
    ],
)
def test_thread_counts(threads, cores, want):
    found, _ = list_candidates(Wanted(threads, runtimes=("onnxruntime",)), lacking={}, cores=cores)
    assert {candidate.threads for candidate in found} == want


def test_throughput_tries_requests_side_by_side():
    found, _ = list_candidates(Wanted((1, 0), "throughput"), lacking={}, cores=4)
    many = {candidate.label for candidate in found if candidate.streams > 1}
    assert {"onnxruntime fp32 x4", "openvino int8 throughput 4 threads x4"} <= many
    assert not any(candidate.streams * candidate.threads > 4 for candidate in found if candidate.detail == "all")


def test_what_is_missing_is_named_with_its_reason():
    lacking = {"openvino": "not installed", "onnxruntime int8": "no samples"}
    found, missing = list_candidates(Wanted((1,)), lacking=lacking, cores=2)
    assert {(each.label, each.reason) for each in missing} == set(lacking.items())
    assert not any(candidate.runtime == "openvino" for candidate in found)
    assert any(candidate.label == "onnxruntime fp32" for candidate in found)


def test_a_machine_without_compiler_or_package_says_so(monkeypatch):
    monkeypatch.setattr(compilers.shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(module, "available", lambda name: False)
    backends = {name: type("Absent", (), {"is_available": False, "extra": name})() for name in ("openvino", "tensorrt")}
    monkeypatch.setattr(module, "BACKENDS", backends)
    lacking = missing_here()
    assert lacking["openvino"] == 'not installed: pip install "ml-inference[openvino]"'
    assert lacking["tensorrt"].startswith("not installed")
    assert "C++ compiler" in lacking["inductor"]
    assert "C++ compiler" in lacking["aot"]


@pytest.mark.parametrize(
    ("candidate", "settings"),
    [
        pytest.param(ORT, {"graph_level": "all", "spinning": False}, id="onnxruntime"),
        pytest.param(Candidate("onnxruntime", "fp32", 1, "ours"), {"graph_level": "all", "spinning": False}, id="ours"),
        pytest.param(Candidate("openvino", "fp32", 1, "latency"), {"precision": "f32", "hint": "latency"}, id="f32"),
        pytest.param(Candidate("openvino", "int8", 1, "latency"), {"precision": "f32", "hint": "latency"}, id="int8"),
        pytest.param(Candidate("aot"), {}, id="torch"),
    ],
)
def test_no_setting_that_decides_the_speed_is_left_to_a_default(candidate, settings):
    assert settings_of(candidate) == settings


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Candidate("tvm"), id="runtime"),
        pytest.param(lambda: Candidate("onnxruntime", "int3", 1, "all"), id="precision"),
        pytest.param(lambda: Candidate("onnxruntime", "fp32", 1, "latency"), id="level"),
        pytest.param(lambda: Candidate("aot", "fp32", 0), id="threads"),
        pytest.param(lambda: Wanted(objective="joy"), id="objective"),
        pytest.param(lambda: Wanted(runtimes=("tvm",)), id="wanted-runtime"),
        pytest.param(lambda: Wanted(threads=()), id="no-threads"),
    ],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(ConfigError):
        make()
