"""The profiler and the format benchmark from the command line: tables, JSON, page, trace, exit codes."""

import json
import re

import numpy as np
import pytest
import torch

from solutions.core.measure.metrics import LatencySummary, PairedRatio
from solutions.core.measure.profiling import Measurement, PairMeasurement
from solutions.core.measure.report_svg import draw
from solutions.core.scripts import run
from solutions.core.zoo.formats import write_model
from solutions.phase1_basics import profiler
from solutions.phase1_basics.benchmarks import formats_and_batches
from solutions.phase1_basics.profiling.layer_table import Layer, LayerCost, LayerPass, Span
from solutions.phase1_basics.profiling.page import roofline_plot
from solutions.phase1_basics.profiling.report import SCHEMA, Layers, overhead_sentence
from solutions.phase1_basics.profiling.roofline import Roofs, place_all
from solutions.phase1_basics.profiling.trace import Track, in_a_row, trace_events
from tests.solutions.onnx_builders import doubling

FAST = ("--iterations", "4", "--warmup", "1", "--batch", "1,2", "--threads", "1,2")


@pytest.fixture(scope="module", params=["torch", "onnx"])
def profiled(request, tmp_path_factory):
    """What a whole profile of a small classifier left behind."""
    folder = tmp_path_factory.mktemp(request.param)
    model = "street-classifier"
    if request.param == "torch":
        model = str(write_model("street-classifier", folder / "net.pth").path)
    files = {kind: folder / f"profile.{kind}" for kind in ("json", "html", "trace")}
    before = torch.get_num_threads()
    arguments = [option for kind, path in files.items() for option in (f"--{kind}", str(path))]
    code = run(profiler.main, ["--model", model, "--device", "cpu", *FAST, *arguments])
    torch.set_num_threads(before)
    record = json.loads(files["json"].read_text())
    return request.param, code, record, files["html"].read_text(), json.loads(files["trace"].read_text())


def test_it_ran(profiled):
    assert profiled[1] == 0


def test_the_record_has_every_part(profiled):
    kind, _, record, _, _ = profiled
    assert record["schema"] == SCHEMA == "ml-inference/profile/1"
    assert record["model"]["format"] == ("onnx" if kind == "onnx" else "torch-weights")
    assert record["host"]["usable_cores"] >= 1
    assert "torch" in record["versions"]
    assert record["latency"]["latency_ms"]["n"] == 4
    assert record["cold"]["first_inference_ms"] > 0
    assert [point["batch"] for point in record["batches"]] == [1, 2]
    assert [point["threads"] for point in record["threads"]] == [1, 2]
    assert set(record["stages"]["stages"]) == {"load", "preprocess", "infer", "postprocess"}
    assert record["activations"]["peak_bytes"] <= record["activations"]["naive_bytes"]
    assert record["overhead"]["latency"]["ratio_b_over_a"]["rounds"] == 3
    assert record["overhead"]["layers"]["ratio_b_over_a"]["rounds"] == 3
    assert sum(record["roofline"]["shares"].values()) == pytest.approx(1.0)
    assert len(record["roofline"]["points"]) == len(record["layers"]["layers"])


def test_energy_is_measured_or_has_a_reason(profiled):
    resources = profiled[2]["resources"]
    assert resources["joules_per_inference"] is not None or resources["energy"]["reason"]


def test_shares_of_the_layers_are_of_the_whole(profiled):
    layers = profiled[2]["layers"]
    assert sum(layer["share"] for layer in layers["layers"]) <= 1 + 1e-9


def test_both_runtimes_name_the_convolutions_alike(profiled):
    kind, _, record, _, _ = profiled
    if kind == "torch":
        rival = {layer["name"] for layer in record["rival_layers"]["layers"]}
        convolutions = {layer["name"] for layer in record["layers"]["layers"] if layer["kind"] == "Conv2d"}
        assert convolutions
        assert convolutions <= rival


def test_the_runtimes_agree(profiled):
    points = profiled[2]["comparison"]["points"]
    differences = [point["relative_output_difference"] for point in points[1:]]
    assert all(difference is not None and difference < 1e-4 for difference in differences)  # float32, 10 layers


def test_the_page_needs_nothing_from_outside(profiled):
    html = profiled[3]
    assert html.count("<svg") >= 6
    assert not re.search(r"(src|href)\s*=|@import|url\(|<script", html)
    assert "Roofline" in html


def test_the_trace_is_one_that_perfetto_opens(profiled):
    events = profiled[4]["traceEvents"]
    named = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert {"cold start", "timed calls"} <= named
    assert all(event["dur"] >= 0 and event["ts"] >= 0 for event in events if event["ph"] == "X")
    assert sum(event["cat"] == "warm" for event in events if event["ph"] == "X") == 4


def test_a_model_of_no_pictures_says_what_is_missing(tmp_path, capsys):
    path = doubling(tmp_path / "doubling.onnx")
    target = tmp_path / "p.json"
    assert run(profiler.main, ["--model", str(path), "--device", "cpu", *FAST, "--json", str(target)]) == 0
    assert "needs exactly one input of pictures" in json.loads(target.read_text())["notes"]["stages"]
    assert "not measured" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--model", "no-such-file.onnx"], id="no-file"),
        pytest.param(["--model", "street-classifier", "--iterations", "0"], id="no-iterations"),
        pytest.param(["--model", "street-classifier", "--picture", "no-such.jpg", *FAST], id="no-picture"),
        pytest.param(["--model", "street-classifier", "--json", "/no/such/folder/p.json", *FAST], id="no-folder"),
    ],
)
def test_what_cannot_run_says_so_in_one_sentence(arguments, capsys):
    assert run(profiler.main, [*arguments, "--device", "cpu"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("text", ["", "1,", "a", "0", "1,-2"])
def test_counts_on_the_command_line_are_checked(text, capsys):
    with pytest.raises(SystemExit):
        profiler.parse_args(["--model", "x", f"--batch={text}"])
    assert "commas" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- parts of the page


def _report_with(ms, low, high):
    """A report of nothing but its latency and its overhead."""
    report = object.__new__(profiler.ProfileReport)
    summary = LatencySummary.of([ms / 1e3])
    pair = PairMeasurement(PairedRatio((low + high) / 2, low, high, rounds=30), summary, summary)
    latency = Measurement(summary, (ms / 1e3,), 0)
    for name, value in {"latency": latency, "overhead": pair, "layers": None, "instrument_us": 3.0}.items():
        object.__setattr__(report, name, value)
    return report


@pytest.mark.parametrize(
    ("ms", "low", "high", "want", "words"),
    [
        pytest.param(6.0, 0.999, 1.004, True, "meets the bar", id="meets"),
        pytest.param(6.0, 1.03, 1.05, False, "MISSES the bar", id="misses"),
        pytest.param(6.0, 1.01, 1.05, None, "not decided", id="in-doubt"),
        pytest.param(0.5, 1.03, 1.05, None, "not decided", id="too-short-for-the-bar"),
    ],
)
def test_the_bar_on_the_profilers_own_cost(ms, low, high, want, words):
    report = _report_with(ms, low, high)
    assert report.overhead_passes is want
    assert words in overhead_sentence(report)
    assert f"3.00 us, {0.003 / ms:.4%}" in overhead_sentence(report)


def _layers(*layers):
    found = LayerPass(layers, runs=1, outside_ms=0.0, timeline=())
    roofs = Roofs(100e9, 10e9, threads=1)
    return Layers("test", found, roofs, place_all(found, roofs), None)


def test_the_roofline_plot_bends_at_the_ridge():
    plot = roofline_plot(_layers(Layer("a", "Conv", 1, 1.0, LayerCost(50_000_000, 1_000_000))))
    assert plot.series["compute-bound"] == [(50.0, pytest.approx(50.0))]
    low, ridge, high = plot.series["roof"]
    assert ridge == (10.0, pytest.approx(100.0))
    assert low[1] < ridge[1] == high[1]
    drawing = draw(plot)
    assert drawing.count('class="line c0"') == 1
    assert drawing.count("<circle") == 2 + 1  # the legend's two, and the layer; the roof is a line without dots


def test_a_network_that_only_moves_has_no_roofline_plot():
    assert roofline_plot(_layers(Layer("a", "Reshape", 1, 1.0, LayerCost(0, 0)))) is None


def test_tracks_start_at_their_offset():
    tracks = [Track("a", in_a_row([("x", "k", 0.5), ("y", "k", 0.25)])), Track("b", [Span("z", "k", 99.0, 1.0)], 2.0)]
    events = [event for event in trace_events("net", tracks)["traceEvents"] if event["ph"] == "X"]
    assert [(event["name"], event["ts"], event["tid"]) for event in events] == [
        ("x", 0.0, 1), ("y", 500_000.0, 1), ("z", 2_000_000.0, 2),
    ]  # fmt: skip


# --------------------------------------------------------------------------------------------------- benchmark


def test_the_benchmark_runs_quickly_and_says_what_is_missing(tmp_path, capsys):
    target = tmp_path / "formats.json"
    before = torch.get_num_threads()
    assert run(formats_and_batches.main, ["--quick", "--json", str(target)]) == 0
    torch.set_num_threads(before)
    record = json.loads(target.read_text())
    assert record["schema"] == formats_and_batches.SCHEMA
    assert record["host"]["cpu"] is not None
    assert {row["batch"] for row in record["rows"]} == {1, 2}
    baseline, *others = [row for row in record["rows"] if row["batch"] == 2]
    assert (baseline["title"], baseline["ratio_to_baseline"]) == ("torch eager", None)
    assert others
    assert all(row["ratio_to_baseline"]["rounds"] == 3 for row in others)
    assert all(row["relative_output_difference"] < 1e-4 for row in others)  # float32, 10 layers
    assert any("LiteRT" in sentence for sentence in record["not_measured"])
    assert "LiteRT: no file of it" in capsys.readouterr().out


def test_a_benchmark_of_nothing_says_why(capsys):
    assert run(formats_and_batches.main, ["--models", "no-such-net", "--batch", "1", "--rounds", "1"]) == 2
    out, err = capsys.readouterr()
    assert "no-such-net" in out
    assert "nothing could be measured" in err


@pytest.mark.parametrize("arguments", [["--batch", "one"], ["--tflite", "file"], ["--rounds", "0"], ["--models", ""]])
def test_bad_settings_of_the_benchmark(arguments):
    assert run(formats_and_batches.main, arguments) == 2


def test_a_tflite_file_that_is_none_is_said(tmp_path):
    path = tmp_path / "x.tflite"
    path.write_bytes(b"no model")
    settings = formats_and_batches.Settings(("street-classifier",), (1,), 1, 1, tflite={"street-classifier": path})
    rows, missing = formats_and_batches.benchmark(settings)
    assert rows
    assert any("LiteRT" in sentence for sentence in missing)


def test_samples_stay_finite(profiled):
    def walk(value):
        if isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)
        elif isinstance(value, float):
            assert np.isfinite(value)

    walk(profiled[2])
