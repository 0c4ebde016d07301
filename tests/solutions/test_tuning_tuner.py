"""The tuner chooses what is fast, right, and within the promise; and it says what it did not look at.

Models and answers are real, times are written down: a clock moves by what each candidate is said to take.
"""

from __future__ import annotations

import pytest

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.tuning import tuner as module
from solutions.phase2_optimization.tuning.candidates import Candidate, Wanted
from solutions.phase2_optimization.tuning.tuner import Settings, sweep, tune
from tests.solutions.tuning_parts import Bench, counted

MS = {
    "onnxruntime fp32": 4.0, "openvino bf16": 2.5, "openvino int8": 1.2, "openvino int8+bf16": 1.5,
    "onnxruntime int8": 2.0, "openvino fp32": 5.0, "onnxruntime fp32 ours": 3.8, "openvino fp16": 9.0,
    "onnxruntime fp32 extended": 6.0, "onnxruntime fp32 basic": 8.0, "onnxruntime fp32 none": 12.0,
    "onnxruntime fp16": 7.0,
}  # fmt: skip
ONE_THREAD = Wanted(threads=(1,))


@pytest.fixture(autouse=True)
def a_machine_that_has_it_all(monkeypatch):
    monkeypatch.setattr(module, "missing_here", lambda: {"tensorrt": "no GPU here"})


def tuned(monkeypatch, folder, ms=MS, way=tune, *, settings=None, **bench):
    made = Bench(folder, ms, **bench).install(monkeypatch)
    settings = settings or Settings(wanted=ONE_THREAD, memory=False, max_drop=0.05)
    return way(made.subject, made.samples, settings, folder=folder, clock=made.clock), made


def test_the_fastest_wins_and_everything_is_accounted_for(monkeypatch, tmp_path):
    tuning, bench = tuned(monkeypatch, tmp_path)
    assert tuning.choice.candidate == Candidate("openvino", "int8", 1, "latency")
    assert tuning.choice.meets
    states = counted(tuning)
    assert states["openvino int8"] == "winner"
    assert states["onnxruntime fp32"] == "beaten"
    assert states["onnxruntime fp32 basic"] == "spared"
    assert states["onnxruntime int8-dynamic"] == "unavailable"
    missing = {each.label: each.reason for each in tuning.missing}
    assert missing["tensorrt"] == "no GPU here"
    assert "without a PyTorch module" in missing["inductor"]
    assert bench.open_now == 0


def test_the_choice_is_the_sweeps_for_less_than_a_third_of_its_time(monkeypatch, tmp_path):
    raced, first = tuned(monkeypatch, tmp_path)
    swept, second = tuned(monkeypatch, tmp_path, way=sweep)
    assert raced.choice.candidate == swept.choice.candidate
    assert first.calls < second.calls / 3
    assert raced.seconds < swept.seconds / 3
    assert set(counted(swept).values()) == {"measured", "unavailable"}
    assert all(row.latency.n >= 200 for row in swept.rows if row.latency)
    assert second.open_now == 0


def test_times_of_the_others_are_their_ratio_to_the_winner(monkeypatch, tmp_path):
    tuning, _ = tuned(monkeypatch, tmp_path)
    for row in tuning.rows:
        if row.typical_ms is not None:
            assert row.typical_ms == pytest.approx(MS[row.candidate.label], rel=1e-6)
            assert row.per_second == pytest.approx(1e3 / row.typical_ms)


def test_who_answers_wrongly_does_not_win(monkeypatch, tmp_path):
    tuning, bench = tuned(monkeypatch, tmp_path, wrong=("openvino int8", "openvino int8+bf16"))
    assert tuning.choice.candidate == Candidate("onnxruntime", "int8", 1, "all")
    row = tuning.row(Candidate("openvino", "int8", 1, "latency"))
    assert row.state == "refused"
    assert "the agreement falls by" in row.reason
    assert "0.05 allowed" in row.reason
    # what computes the rest in bfloat16 rounds even more, so nobody prepared it
    assert tuning.row(Candidate("openvino", "int8+bf16", 1, "latency")).state == "spared"
    assert not any(label == "openvino int8+bf16" for label, _ in bench.opened)


def test_int8_races_as_a_draft_and_wins_calibrated(monkeypatch, tmp_path):
    _, bench = tuned(monkeypatch, tmp_path)
    assert bench.opened.index(("openvino int8", True)) < bench.opened.index(("openvino int8", False))
    assert ("openvino fp16", True) not in bench.opened  # there is nothing to calibrate
    assert ("onnxruntime fp16", False) not in bench.opened  # beaten as a draft, so never made properly


@pytest.mark.parametrize(
    ("slo_ms", "label", "meets"),
    [
        pytest.param(20.0, "openvino int8", True, id="held"),
        pytest.param(8.0, "openvino int8+bf16", True, id="the-winner-breaks-it-and-the-next-holds-it"),
        pytest.param(1.0, "openvino int8+bf16", False, id="nobody-holds-it"),
    ],
)
def test_the_promise_decides(monkeypatch, tmp_path, slo_ms, label, meets):
    settings = Settings(wanted=ONE_THREAD, memory=False, slo_ms=slo_ms, max_drop=0.05)
    tuning, _ = tuned(monkeypatch, tmp_path, settings=settings, spikes={"openvino int8": 20})
    assert tuning.choice.meets == meets
    assert tuning.choice.candidate.label == label
    assert ("no candidate holds" in tuning.choice.sentence) != meets


def test_a_budget_ends_the_race(monkeypatch, tmp_path):
    slow = dict.fromkeys(MS, 10.0)
    settings = Settings(wanted=ONE_THREAD, memory=False, budget_s=25.0, max_drop=0.05)
    tuning, _ = tuned(monkeypatch, tmp_path, settings=settings, prepare_s=slow)
    states = counted(tuning)
    assert states["onnxruntime fp16"] == "spared"
    assert "winner" in states.values()
    assert any(row.reason == "the time was over" for row in tuning.rows)


def test_a_model_that_takes_one_row_gets_one(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match="takes a batch of 1 only, got 4"):
        tuned(monkeypatch, tmp_path, settings=Settings(batch=4))


def test_nothing_to_choose_from_says_why(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match=r"nothing to choose from: tensorrt: no GPU here"):
        tuned(monkeypatch, tmp_path, settings=Settings(wanted=Wanted((1,), runtimes=("tensorrt",))))


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"batch": 0}, id="batch"),
        pytest.param({"slo_ms": 0.0}, id="slo"),
        pytest.param({"budget_s": -1.0}, id="budget"),
        pytest.param({"max_drop": -0.1}, id="drop"),
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError):
        Settings(**settings)
