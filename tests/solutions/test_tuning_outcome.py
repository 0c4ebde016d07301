"""The Pareto front and the choice, from figures; and records that survive a file."""

from __future__ import annotations

import json

import pytest

from solutions.core.measure.latency import LatencySummary
from solutions.phase2_optimization.quantization.gate import Drop
from solutions.phase2_optimization.tuning.accuracy import Accuracy
from solutions.phase2_optimization.tuning.candidates import Candidate
from solutions.phase2_optimization.tuning.outcome import Row, choose, pareto_front

FLOAT = Candidate("onnxruntime", "fp32", 1, "all")
HALF = Candidate("openvino", "bf16", 1, "latency")
INT8 = Candidate("openvino", "int8", 1, "latency")
DYNAMIC = Candidate("onnxruntime", "int8-dynamic", 1, "all")


def row(candidate, ms, *, state="measured", db=None, mb=None, p99=None, calls=200, per_second=None):
    slow = max(2, calls // 50)  # enough for the p99 to be exactly that
    latency = LatencySummary.of([ms / 1e3] * (calls - slow) + [(p99 or ms) / 1e3] * slow)
    accuracy = Accuracy(1.0, Drop(0.0, 0.0, 0.0, 8), db) if db is not None else None
    return Row(candidate, state, "", latency, ms, per_second or 1e3 / ms, accuracy, mb, 1000, 0.5)


def labels(rows):
    return {each.candidate.label for each in rows}


def test_the_front_holds_what_nothing_beats_on_all_axes():
    rows = [
        row(FLOAT, 4.0, db=120.0, mb=20),
        row(HALF, 2.0, db=40.0, mb=30),
        row(INT8, 1.0, db=30.0, mb=25),
        row(DYNAMIC, 5.0, db=35.0, mb=40),  # slower, less accurate and larger than float
    ]
    assert labels(pareto_front(rows)) == {FLOAT.label, HALF.label, INT8.label}


def test_rounding_is_no_accuracy_to_win_by():
    rows = [row(FLOAT, 2.0, db=200.0, mb=20), row(HALF, 1.0, db=120.0, mb=20)]
    assert labels(pareto_front(rows)) == {HALF.label}


def test_unknown_figures_put_nobody_on_the_front_and_refused_ones_nobody_off_it():
    rows = [
        row(FLOAT, 4.0, db=120.0, mb=20),
        row(HALF, 5.0),
        row(INT8, 1.0, db=200.0, mb=1, state="refused"),
        Row(DYNAMIC, "spared", "too slow by estimate"),
    ]
    assert labels(pareto_front(rows)) == {FLOAT.label}


@pytest.mark.parametrize(
    ("rows", "objective", "slo_ms", "chosen", "meets"),
    [
        pytest.param([row(FLOAT, 4), row(HALF, 2)], "latency", None, HALF, True, id="fastest"),
        pytest.param(
            [row(FLOAT, 3.9), row(HALF, 4, state="winner")], "latency", None, HALF, True, id="the-race-knows-better"
        ),
        pytest.param(
            [row(FLOAT, 4, per_second=900), row(HALF, 2, per_second=500)], "throughput", None, FLOAT, True, id="most"
        ),
        pytest.param(
            [row(FLOAT, 4, p99=5), row(HALF, 2, p99=9, state="winner")], "latency", 6, FLOAT, True, id="holds-the-slo"
        ),
        pytest.param([row(FLOAT, 4, p99=8), row(HALF, 2, p99=9)], "latency", 6, FLOAT, False, id="nearest"),
        pytest.param(
            [row(FLOAT, 4, p99=5, calls=9), row(HALF, 2, p99=9)], "latency", 6, HALF, False, id="nine-calls-have-no-p99"
        ),
        pytest.param([row(FLOAT, 4), row(HALF, 2, state="refused")], "latency", None, FLOAT, True, id="refused"),
        pytest.param([Row(FLOAT, "unavailable", "gone")], "latency", None, None, False, id="nothing-ran"),
    ],
)
def test_the_choice(rows, objective, slo_ms, chosen, meets):
    choice = choose(rows, objective=objective, slo_ms=slo_ms)
    assert (choice.candidate, choice.meets) == (chosen, meets)
    if chosen:
        assert chosen.label in choice.sentence
        assert meets != ("no candidate holds" in choice.sentence)


@pytest.mark.parametrize(
    "each",
    [
        pytest.param(row(FLOAT, 4, db=30.0, mb=12.5), id="measured"),
        pytest.param(row(HALF, 4), id="not-judged"),
        pytest.param(Row(INT8, "spared", "why"), id="not-prepared"),
    ],
)
def test_rows_survive_json(each):
    assert Row.from_dict(json.loads(json.dumps(each.as_dict(), allow_nan=False))) == each
