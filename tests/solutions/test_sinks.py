from __future__ import annotations

import contextlib
import json

import av
import numpy as np
import pytest

from solutions.core.errors import VideoError
from solutions.core.vision.mot import read_results
from solutions.core.vision.tracks import Tracks
from solutions.phase4_production.video_analysis.results import FrameResult, Label
from solutions.phase4_production.video_analysis.sinks import AnnotatedVideo, EventLog, MotResults
from tests.solutions.pipeline_parts import frame

LABELS = ("car", "bus")


def result(index=0):
    tracks = Tracks(
        np.array([3, 8]),
        np.array([[10, 12, 50.25, 60], [70, 20, 120, 100]], np.float32),
        np.array([0.9, 0.5], np.float32),
        np.array([0, 1]),
    )
    return FrameResult("cam", index, index / 30, 1.0, 1.02, None, tracks, {3: Label("car", "red", 0.93, 2)})


def test_events_are_one_json_object_per_frame(tmp_path):
    sink = EventLog(tmp_path / "e.jsonl", labels=LABELS)
    for k in range(3):
        sink.write(frame(k), result(k))
    sink.close()
    lines = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2]
    first = lines[0]
    assert (first["stream"], first["detected"], first["latency_ms"]) == ("cam", False, 20.0)
    assert first["objects"] == [
        {
            "id": 3,
            "class": "car",
            "score": 0.9,
            "box": [10.0, 12.0, 50.2, 60.0],
            "label": {"class": "car", "colour": "red", "confidence": 0.93, "looks": 2},
        },
        {"id": 8, "class": "bus", "score": 0.5, "box": [70.0, 20.0, 120.0, 100.0]},
    ]


def test_mot_rows_count_frames_from_one_and_read_back(tmp_path):
    sink = MotResults(tmp_path / "t.txt")
    for k in (0, 1, 4):
        sink.write(frame(k), result(k))
    sink.close()
    assert (tmp_path / "t.txt").read_text().splitlines()[0] == "1,3,10.000,12.000,40.250,48.000,0.9000,-1,-1,-1"
    back = read_results(tmp_path / "t.txt")
    assert [len(tracks) for tracks in back] == [2, 2, 0, 0, 2]
    np.testing.assert_allclose(back[0].boxes, result().tracks.boxes)


def test_annotated_video_plays_and_shows_the_boxes(tmp_path):
    sink = AnnotatedVideo(tmp_path / "v.mp4", size_hw=(120, 160), fps=30, labels=LABELS)
    shown = [frame(k) for k in range(12)]
    for k, picture in enumerate(shown):
        before = picture.pixels.copy()
        sink.write(picture, result(k))
        np.testing.assert_array_equal(picture.pixels, before, err_msg="the frame itself must stay clean")
    sink.close()
    sink.close()
    with av.open(str(tmp_path / "v.mp4")) as container:
        frames = [decoded.to_ndarray(format="bgr24") for decoded in container.decode(video=0)]
    assert len(frames) == 12
    edge = frames[6][60:90, 69:72].astype(int)  # the left edge of the second box, away from the HUD
    inside = frames[6][60:90, 85:110].astype(int)
    assert abs(edge - 90).max() > 40
    assert abs(inside - 90).max() < 25


def _write_often(sink, event):
    for _ in range(200):  # the buffer is written out when it is full
        sink.write(*event)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: EventLog(path, labels=LABELS), id="events"),
        pytest.param(lambda path: MotResults(path), id="mot"),
        pytest.param(lambda path: AnnotatedVideo(path, size_hw=(64, 64), fps=30, labels=LABELS), id="video"),
    ],
)
def test_a_place_that_does_not_exist_is_one_sentence(make, tmp_path):
    with pytest.raises(VideoError, match="cannot be"):
        make(tmp_path / "no" / "such" / "folder.out")


def test_a_full_disk_is_one_sentence():
    sink = EventLog("/dev/full", labels=LABELS)
    event = (frame(0), result(0))
    with pytest.raises(VideoError, match=r"/dev/full cannot be written: No space left"):
        _write_often(sink, event)
    with contextlib.suppress(VideoError):  # what is still in the buffer may fail once more
        sink.close()
