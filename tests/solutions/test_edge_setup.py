from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError
from solutions.core.hardware.catalogue import DEVICES, find_device
from solutions.core.hardware.profile import detect
from solutions.core.vision.scenes import StreetScene, write_clip
from solutions.core.vision.video import SourceInfo
from solutions.core.zoo.registry import TIERS, embedded
from solutions.phase2_optimization.quantization.fusion_check import check_fusion
from solutions.phase4_production.video_analysis import calibration, edge_setup
from solutions.phase4_production.video_analysis.edge_profiles import EdgeProfile, is_here, profile_of
from solutions.phase4_production.video_analysis.edge_setup import EdgeConfig, find_detector, prepare

SCENE = SourceInfo("scenes:7", "scenes", (180, 320), 30.0, None, "scene", live=False)
FILE = SourceInfo("test.mp4", "file", (180, 320), 30.0, 60, "h264", live=False)


def hardware(tmp_path, board=""):
    if board:
        (tmp_path / "proc/device-tree").mkdir(parents=True)
        (tmp_path / "proc/device-tree/model").write_text(board + "\0")
    return detect(tmp_path, system="Linux")


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_of_the_catalogue_has_a_profile(name):
    profile, device = profile_of(name)
    assert device is not None
    assert profile.tier in TIERS
    assert profile.precision in device.precisions


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_this_machine_is_no_device(name):
    assert profile_of(name) == (EdgeProfile(), None)


@pytest.mark.parametrize(
    ("name", "board", "want"),
    [
        pytest.param("raspberrypi4", "Raspberry Pi 4 Model B Rev 1.4", True, id="a-pi-4"),
        pytest.param("raspberrypi5", "Raspberry Pi 4 Model B Rev 1.4", False, id="a-pi-4-is-no-pi-5"),
        pytest.param("jetson-orin-nano", "NVIDIA Jetson Orin Nano Developer Kit", True, id="an-orin-nano"),
        pytest.param("jetson-nano", "", False, id="no-board-at-all"),
    ],
)
def test_a_board_is_recognised(name, board, want, tmp_path):
    assert is_here(find_device(name), hardware(tmp_path, board)) is want


def test_auto_takes_the_embedded_family_for_scenes_only(monkeypatch):
    asked = []

    def external(name):
        asked.append(name)
        return Path("ssd.onnx")

    monkeypatch.setattr(edge_setup, "external_model", external)
    assert find_detector("auto", "small", SCENE) == (embedded("street-small").onnx, True)
    assert find_detector("auto", "small", FILE) == (Path("ssd.onnx"), False)
    assert asked == ["ssdlite320_mobilenet_v3_large"]


def test_a_name_picks_family_member_or_file(monkeypatch, tmp_path):
    monkeypatch.setattr(edge_setup, "external_model", Path)
    assert find_detector("street", "large", FILE) == (embedded("street-large").onnx, True)
    assert find_detector("street-medium", "large", FILE) == (embedded("street-medium").onnx, True)
    (tmp_path / "x.onnx").write_bytes(b"")
    assert find_detector(str(tmp_path / "x.onnx"), "large", FILE) == (tmp_path / "x.onnx", False)
    with pytest.raises(ModelLoadError, match=r"y\.onnx does not exist"):
        find_detector(str(tmp_path / "y.onnx"), "large", FILE)


def test_offline_real_video_is_refused_with_the_way_out(monkeypatch):
    def offline(name):
        raise BackendUnavailable("no network")

    monkeypatch.setattr(edge_setup, "external_model", offline)
    with pytest.raises(BackendUnavailable, match="knows only the synthetic street"):
        find_detector("auto", "small", FILE)
    with pytest.raises(BackendUnavailable, match="no network"):
        find_detector("ssdlite320", "small", FILE)


@pytest.mark.parametrize("precision", ["int8", "auto"])
def test_int8_is_calibrated_cached_and_really_quantized(precision, tmp_path, monkeypatch):
    monkeypatch.setenv("MLI_CACHE", str(tmp_path))
    monkeypatch.setattr(calibration, "CALIBRATION_SEEDS", range(2_000_000, 2_000_002))
    few = partial(calibration.calibration_pictures, count=8)
    monkeypatch.setattr(edge_setup, "calibration_pictures", few)
    config = EdgeConfig(tier="small", precision=precision, threads=1, classifier="none")
    ready = prepare(config, SCENE, detect())
    ready.pipeline.close()
    files = list((tmp_path / "int8").glob("street-small-int8-*.onnx"))
    assert len(files) == 1
    made_at = files[0].stat().st_mtime_ns
    assert ready.facts["precision"] == "int8" if precision == "int8" else ready.facts["precision"] in ("fp32", "int8")
    again = prepare(config, SCENE, detect())
    again.pipeline.close()
    assert files[0].stat().st_mtime_ns == made_at, "the second run finds the file of the first"
    if precision == "auto":
        assert any("as fast as fp32" in note for note in ready.notes), "the choice is explained"
    else:
        found = check_fusion(next((tmp_path / "bytes").glob("street-small-int8-*.onnx")))
        assert found.float == 0, "what was quantized is integer in the file that runs, which takes bytes"
        assert found.integer == 12


def test_fp16_of_a_live_source_needs_no_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("MLI_CACHE", str(tmp_path))
    live = SourceInfo("rtsp://x", "url", (180, 320), 30.0, None, "h264", live=True)
    config = EdgeConfig(detector="street", tier="small", precision="fp16", threads=1, classifier="none")
    ready = prepare(config, live, detect())
    ready.pipeline.close()
    assert ready.facts["precision"] == "fp16"
    assert any("casts back" in note for note in ready.notes)


def test_int8_on_a_live_source_wants_pictures():
    live = SourceInfo("rtsp://x", "url", (180, 320), 30.0, None, "h264", live=True)
    frames = calibration.calibration_frames(None, live, street=False)
    with pytest.raises(ConfigError, match="--calibration"):
        next(frames)


def test_calibration_pictures_come_from_a_folder_or_a_video(tmp_path):
    write_clip(StreetScene(1, size_hw=(96, 160)), tmp_path / "v.mp4", None, frames=20)
    from_video = list(calibration.calibration_frames(str(tmp_path / "v.mp4"), FILE, street=False))
    assert len(from_video) == 20
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k in range(3):
        cv2.imwrite(str(folder / f"{k}.png"), from_video[k])
    (folder / "notes.txt").write_text("no picture")
    pictures = list(calibration.calibration_frames(str(folder), FILE, street=False))
    assert len(pictures) == 3
    np.testing.assert_array_equal(pictures[1], from_video[1])


def test_precisions_are_not_compared_on_what_they_were_calibrated_with(tmp_path):
    write_clip(StreetScene(1, size_hw=(96, 160)), tmp_path / "v.mp4", None, frames=30)
    spec = SourceInfo(str(tmp_path / "v.mp4"), "file", (96, 160), 30.0, 30, "h264", live=False)
    found = calibration.calibration_pictures(None, spec, street=False, count=8)
    assert (len(found.learnt), len(found.judged)) == (8, 4)
    assert not any(np.array_equal(one, other) for one in found.learnt for other in found.judged)
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), np.zeros((96, 160, 3), np.uint8))
    found = calibration.calibration_pictures(str(folder), spec, street=False, count=8)
    assert (len(found.learnt), len(found.judged)) == (1, 4), "judged on the video, calibrated on the folder"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty gave no picture"):
        calibration.calibration_pictures(str(tmp_path / "empty"), spec, street=False)
