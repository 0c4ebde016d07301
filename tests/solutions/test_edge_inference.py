"""The edge program as its user meets it: real files in, real files out, and one sentence when it cannot run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from solutions.core.errors import BackendUnavailable
from solutions.core.scripts import run
from solutions.core.vision.mot import read_results
from solutions.core.vision.scenes import StreetScene, write_clip
from solutions.phase4_production.video_analysis import edge_setup
from solutions.phase4_production.video_analysis.edge_inference import main

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "solutions/phase4_production/video_analysis/edge_inference.py"
SUMMARY_KEYS = {"n", "mean", "std", "min", "p50", "p90", "p95", "p99", "max"}
STAGES = {"decode", "preprocess", "detect", "track", "classify", "sink"}


def edge(*arguments):
    """Exit code of the program, run in this process."""
    return run(main, ["--quiet", "--threads", "1", *map(str, arguments)])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A street clip of 60 frames, and its truth."""
    folder = tmp_path_factory.mktemp("clip")
    write_clip(StreetScene(3, size_hw=(180, 320)), folder / "street.mp4", folder / "gt.txt", frames=60)
    return folder / "street.mp4", folder / "gt.txt"


def count_frames(path):
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def assert_books_balance(report):
    frames = report["frames"]
    assert frames["captured"] == frames["finished"] + sum(frames["dropped"].values())


@pytest.mark.parametrize(
    "command", [[str(SCRIPT)], ["-m", "solutions.phase4_production.video_analysis.edge_inference"]]
)
def test_runs_as_a_file_and_as_a_module_from_any_folder(command, tmp_path):
    done = subprocess.run(
        [sys.executable, *command, "--max-frames", "20", "--json", "r.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "FPS end to end" in done.stdout
    assert json.loads((tmp_path / "r.json").read_text())["frames"]["finished"] == 20


def test_the_report_keeps_its_contract(tmp_path, capsys):
    assert edge("--max-frames", 40, "--json", tmp_path / "r.json") == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["schema"] == "ml-inference/edge-report/1"
    assert report["command"][0] == "edge_inference.py"
    assert "--max-frames" in report["command"]
    assert {"cpu", "isa", "usable_cores", "os"} <= report["host"].keys()
    assert {"numpy", "onnxruntime", "av"} <= report["versions"].keys()
    assert report["model"]["name"] == "street-medium"
    assert (report["model"]["precision"], report["model"]["threads"]) == ("fp32", 1)
    assert report["source"]["spec"] == "scenes:7@640x360"
    assert report["frames"] == {
        "captured": 40,
        "finished": 40,
        "dropped": {},
        "detected": 40,
        "gated": 0,
        "reconnects": 0,
    }
    assert report["latency_ms"].keys() == report["own_code_ms"].keys() == SUMMARY_KEYS
    assert report["stages"].keys() == STAGES
    assert all(stage.keys() == SUMMARY_KEYS and stage["n"] == 40 for stage in report["stages"].values())
    assert report["memory"]["peak_rss_mb"] > 0
    assert report["fps"] > 0
    assert report["accuracy"].keys() == {"ap50", "mota", "idf1", "hota", "ids"}
    assert "estimates" not in report
    parts = sum(report["stages"][name]["mean"] for name in STAGES - {"sink"})
    assert parts <= report["latency_ms"]["mean"] * 1.05, "stages lie inside capture to result"
    printed = capsys.readouterr().out
    assert "accuracy against the truth: AP50" in printed


def test_every_output_of_one_run(clip, tmp_path):
    video, truth = clip
    code = edge(
        *("--video", video, "--detector", "street", "--tier", "small", "--truth", truth),
        *("--output", tmp_path / "o.mp4", "--events", tmp_path / "e.jsonl"),
        *("--mot-output", tmp_path / "t.txt", "--json", tmp_path / "r.json"),
    )
    assert code == 0
    assert count_frames(tmp_path / "o.mp4") == 60
    events = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert [event["frame"] for event in events] == list(range(60))
    assert any("label" in thing for event in events for thing in event["objects"])
    assert sum(len(tracks) for tracks in read_results(tmp_path / "t.txt")) == sum(len(e["objects"]) for e in events)
    report = json.loads((tmp_path / "r.json").read_text())
    assert_books_balance(report)
    assert report["frames"]["captured"] == 60
    assert report["accuracy"]["hota"] > 0.5


def test_a_scene_is_tracked_well_against_its_own_truth(tmp_path):
    assert (
        edge("--video", "scenes:7@640x360", "--tier", "small", "--max-frames", 240, "--json", tmp_path / "r.json") == 0
    )
    accuracy = json.loads((tmp_path / "r.json").read_text())["accuracy"]
    assert accuracy["hota"] >= 0.65
    assert accuracy["ap50"] >= 0.85


@pytest.mark.parametrize(
    ("options", "detected"),
    [
        pytest.param(["--detect-every", 3], 10, id="every-third"),
        pytest.param(["--detect-every", 100], 1, id="once"),
        pytest.param(["--motion-gate"], 30, id="a-lively-street-opens-the-gate"),
    ],
)
def test_how_often_the_detector_looks(options, detected, tmp_path):
    assert edge("--max-frames", 30, "--tier", "small", *options, "--json", tmp_path / "r.json") == 0
    frames = json.loads((tmp_path / "r.json").read_text())["frames"]
    assert frames["detected"] + frames["gated"] == detected
    assert frames["finished"] == 30


def test_another_device_is_imitated_and_estimated(tmp_path, capsys):
    assert edge("--max-frames", 10, "--device", "jetson", "--precision", "fp32", "--json", tmp_path / "r.json") == 0
    report = json.loads((tmp_path / "r.json").read_text())
    low, high = report["estimates"]["detector_ms"]
    assert report["estimates"]["kind"] == "estimate"
    assert report["estimates"]["device"] == "jetson-orin-nano"
    assert 0 < low <= high
    printed = capsys.readouterr().out
    assert "This machine is not a NVIDIA Jetson Orin Nano" in printed
    assert "estimate" in printed


def test_a_missed_bar_is_exit_code_1(capsys):
    assert edge("--max-frames", 10, "--tier", "small", "--max-p99-ms", 0.001) == 1
    assert "over the bar of 0.001 ms" in capsys.readouterr().err


def test_realtime_drops_are_counted(tmp_path):
    assert edge("--max-frames", 45, "--realtime", "--tier", "small", "--json", tmp_path / "r.json") == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert_books_balance(report)
    assert report["frames"]["captured"] == 45
    assert set(report["frames"]["dropped"]) <= {"stale"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["--video", "no/such.mp4"], "no/such.mp4 cannot be opened", id="missing-video"),
        pytest.param(["--video", str(SCRIPT)], "edge_inference.py", id="not-a-video"),
        pytest.param(["--video", "scenes:x"], "write scenes:SEED", id="bad-scene"),
        pytest.param(["--video", "scenes:7@63x1"], "size_hw", id="bad-scene-size"),
        pytest.param(["--device", "jetsom"], "Did you mean jetson", id="unknown-device"),
        pytest.param(["--detector", "no/such.onnx"], "no/such.onnx does not exist", id="missing-detector"),
        pytest.param(["--detector", "nonsense"], "neither a file nor a known model", id="unknown-detector"),
        pytest.param(["--detector", str(SCRIPT)], "edge_inference.py", id="text-for-a-detector"),
        pytest.param(["--head", "yolox"], "yolox", id="wrong-head"),
        pytest.param(["--threads", "0"], "--threads must be at least 1, got 0", id="no-threads"),
        pytest.param(["--detect-every", "0"], "detect_every must be >= 1, got 0", id="never-detect"),
        pytest.param(["--score", "2"], "--score must lie in", id="impossible-score"),
        pytest.param(["--classes", "unicorn"], "does not know unicorn", id="unknown-class"),
        pytest.param(["--classifier", "no/such.onnx"], "no/such.onnx", id="missing-classifier"),
        pytest.param(["--max-frames", "0"], "max_frames must be >= 1", id="no-frames"),
        pytest.param(["--truth", "no/such.txt"], "no/such.txt cannot be read", id="missing-truth"),
        pytest.param(["--truth", str(ROOT / "Makefile")], "line 1", id="truth-that-is-not-truth"),
        pytest.param(["--output", "no/such/folder/o.mp4"], "no/such/folder/o.mp4", id="output-nowhere"),
        pytest.param(
            ["--events", "no/such/folder/e.jsonl"], "no/such/folder/e.jsonl cannot be written", id="no-folder"
        ),
        pytest.param(["--timeout", "-1"], "timeout_s must be > 0", id="negative-timeout"),
    ],
)
def test_what_cannot_run_is_one_sentence_and_exit_code_2(arguments, sentence, capsys):
    assert run(main, ["--quiet", "--max-frames", "5", *arguments]) == 2
    message = capsys.readouterr().err
    assert sentence in message
    assert message.startswith("error: ")
    assert len(message.strip().splitlines()) == 1
    assert "Traceback" not in message


def test_real_video_never_gets_the_wrong_model_silently(clip, monkeypatch, capsys):
    def offline(name):
        raise BackendUnavailable("the weights are not cached and cannot be downloaded")

    monkeypatch.setattr(edge_setup, "external_model", offline)
    video, _ = clip
    assert edge("--video", video) == 2
    message = capsys.readouterr().err
    assert "knows only the synthetic street" in message
    assert "--detector" in message


def test_a_full_disk_ends_the_run_with_figures_and_a_playable_video(tmp_path, capsys):
    code = edge(
        *("--max-frames", 200, "--tier", "small", "--events", "/dev/full"),
        *("--output", tmp_path / "o.mp4", "--json", tmp_path / "r.json"),
    )
    assert code == 2
    told = capsys.readouterr()
    assert "/dev/full cannot be written: No space left on device" in told.err
    assert "captured" in told.out
    report = json.loads((tmp_path / "r.json").read_text())
    assert_books_balance(report)
    assert report["frames"]["dropped"] == {"unfinished": 1}
    assert count_frames(tmp_path / "o.mp4") >= report["frames"]["finished"]


def test_a_file_cut_off_in_the_middle_gives_what_it_holds(clip, tmp_path):
    video, _ = clip
    with av.open(str(video)) as source, av.open(str(tmp_path / "whole.ts"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = (tmp_path / "whole.ts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[: len(data) // 2])
    code = edge("--video", tmp_path / "cut.ts", "--detector", "street", "--json", tmp_path / "r.json")
    assert code == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert_books_balance(report)
    assert 10 < report["frames"]["finished"] < 60


@pytest.mark.skipif(os.name != "posix", reason="not run here: signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_complete_files(number, tmp_path):
    events = tmp_path / "e.jsonl"
    process = subprocess.Popen(
        [
            *(sys.executable, str(SCRIPT), "--realtime", "--max-frames", "100000", "--tier", "small"),
            *("--output", str(tmp_path / "o.mp4"), "--events", str(events), "--json", str(tmp_path / "r.json")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 90
        while not (events.exists() and events.stat().st_size) and process.poll() is None:
            assert time.monotonic() < deadline, "the run did not start"
            os.sched_yield()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "stopped as asked" in err
    assert "Traceback" not in err
    report = json.loads((tmp_path / "r.json").read_text())
    assert_books_balance(report)
    finished = report["frames"]["finished"]
    assert finished >= 1
    assert count_frames(tmp_path / "o.mp4") == finished
    assert len(events.read_text().splitlines()) == finished
    assert f"{finished} finished" in out
