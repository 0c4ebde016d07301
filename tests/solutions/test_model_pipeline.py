from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solutions.core.errors import ConfigError, PipelineStopped
from solutions.core.vision.detection import Detections
from solutions.phase4_production.video_analysis.classifier import ClassifierConfig, CropClassifier
from solutions.phase4_production.video_analysis.model_pipeline import Pipeline, PipelineConfig
from solutions.phase4_production.video_analysis.motion import MotionConfig
from solutions.phase4_production.video_analysis.tracker_config import TrackerConfig
from tests.solutions.pipeline_parts import ColourModel, FakeClock, ScriptedDetector, detections, frame

EAGER = TrackerConfig.byte()
BOX = (20.0, 20.0, 60.0, 80.0)


def pipeline(answer=lambda pixels: detections(BOX), classifier=None, **config):
    detector = ScriptedDetector(answer)
    built = Pipeline(detector, classifier, PipelineConfig(tracker=EAGER, **config), clock=FakeClock())
    return built, detector


def test_a_result_keeps_the_identity_of_its_frame():
    built, _ = pipeline()
    shown = frame(5, stream="gate")
    result = built.process(shown)
    assert (result.stream_id, result.index, result.pts_s) == ("gate", 5, shown.pts_s)
    assert result.captured_at_s == shown.captured_at_s
    assert result.latency_s == result.finished_at_s - shown.captured_at_s


def test_an_object_that_stays_keeps_its_id():
    built, _ = pipeline()
    ids = [built.process(frame(k)).tracks.ids.tolist() for k in range(5)]
    assert ids == [[1]] * 5


@pytest.mark.parametrize(
    ("every", "want"),
    [pytest.param(1, [0, 1, 2, 3, 4, 5], id="every-frame"), pytest.param(3, [0, 3], id="every-third")],
)
def test_detector_interval(every, want):
    built, detector = pipeline(detect_every=every)
    results = [built.process(frame(k)) for k in range(6)]
    assert [r.index for r in results if r.detections is not None] == want
    assert len(detector.batches) == len(want) == built.detected
    assert all(len(r.tracks) == 1 for r in results), "the tracker predicts in between"


def test_still_frames_are_gated_and_tracks_stay():
    built, detector = pipeline(motion=MotionConfig(max_still=4))
    results = [built.process(frame(k)) for k in range(10)]
    assert [r.index for r in results if r.detections is not None] == [0, 5], "looks again after max_still frames"
    assert built.gated == 8
    assert all(len(r.tracks) == 1 for r in results)
    moved = frame(10)
    moved.pixels[40:80, 40:80] = 250
    assert built.process(moved).detections is not None
    assert len(detector.batches) == 3


def test_streams_go_through_the_models_as_one_batch_and_do_not_mix():
    def by_brightness(pixels):
        x = float(pixels[0, 0, 0])
        return detections((x, 10.0, x + 30, 60.0))

    built, detector = pipeline(by_brightness)
    for k in range(3):
        results = built.process_batch([frame(k, stream="a", value=10), frame(k, stream="b", value=90)])
    assert detector.batches == [2, 2, 2]
    assert [r.stream_id for r in results] == ["a", "b"]
    np.testing.assert_allclose(results[0].tracks.boxes, [[10, 10, 40, 60]], atol=0.5)
    np.testing.assert_allclose(results[1].tracks.boxes, [[90, 10, 120, 60]], atol=0.5)
    assert [r.tracks.ids.tolist() for r in results] == [[1], [1]], "ids count per stream"


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        pytest.param([frame(0), frame(1)], "one frame per stream", id="two-frames-of-one-stream"),
        pytest.param([frame(2)], "must come in order", id="the-same-frame-again"),
        pytest.param([frame(1)], "must come in order", id="an-older-frame"),
    ],
)
def test_frames_out_of_order_are_refused(batch, message):
    built, _ = pipeline()
    built.process(frame(2))
    with pytest.raises(ConfigError, match=message):
        built.process_batch(batch)


def test_a_refused_batch_changes_nothing():
    built, detector = pipeline()
    built.process(frame(0, stream="a"))
    with pytest.raises(ConfigError):
        built.process_batch([frame(1, stream="b"), frame(0, stream="a")])
    assert [r.tracks.ids.tolist() for r in built.process_batch([frame(1, stream="b"), frame(1, stream="a")])] == [
        [1],
        [1],
    ]
    assert detector.batches == [1, 2]


def test_boxes_are_cut_to_the_frame_and_those_outside_left_out():
    built, _ = pipeline(lambda pixels: detections((-20.0, -10.0, 30.0, 50.0), (150.0, 100.0, 200.0, 150.0)))
    for k in range(3):
        result = built.process(frame(k))
    np.testing.assert_allclose(
        result.tracks.boxes[np.argsort(result.tracks.boxes[:, 0])], [[0, 0, 30, 50], [150, 100, 160, 120]], atol=0.5
    )


def test_own_time_is_everything_but_the_model():
    built, _ = pipeline()
    times = built.process(frame(0)).times
    assert times.preprocess_s == pytest.approx(0.001)
    assert times.detect_s == pytest.approx(0.0025)
    assert times.own_s == pytest.approx(0.0015)


def test_closing_twice_closes_the_models_once_and_stops_the_pipeline():
    model = ColourModel()
    built, detector = pipeline(classifier=CropClassifier(model))
    built.close()
    built.close()
    assert (detector.closed, model.closed) == (1, 1)
    with pytest.raises(PipelineStopped, match="closed"):
        built.process(frame(0))


def test_a_removed_stream_begins_anew():
    built, _ = pipeline()
    for k in range(3):
        built.process(frame(k))
    built.remove("cam")
    built.remove("never seen")
    assert built.process(frame(0)).tracks.ids.tolist() == [1]


def test_bad_interval_is_refused():
    with pytest.raises(ConfigError, match="detect_every must be >= 1, got 0"):
        PipelineConfig(detect_every=0)


def test_a_track_is_classified_once_while_sure():
    model = ColourModel()
    built, _ = pipeline(classifier=CropClassifier(model))
    results = [built.process(frame(k, value=200)) for k in range(30)]
    assert model.crops == 1
    assert {str(r.labels[1]) for r in results} == {"bright"}
    assert results[-1].labels[1].looks == 1


def test_an_unsure_track_is_looked_at_again_but_not_for_ever():
    model = ColourModel(sharpness=0.2)
    built = Pipeline(
        ScriptedDetector(lambda pixels: detections(BOX)),
        CropClassifier(model),
        PipelineConfig(tracker=EAGER, classifier=ClassifierConfig(refresh_every=5, max_looks=4)),
    )
    looks = [built.process(frame(k, value=200)).labels[1].looks for k in range(40)]
    assert looks[:6] == [1, 1, 1, 1, 1, 2]
    assert model.crops == 4 == looks[-1]


def test_a_crowd_is_classified_over_several_frames():
    model = ColourModel()
    crowd = detections(*[(10.0 * k, 20.0, 10.0 * k + 9, 60.0) for k in range(10)])
    built = Pipeline(
        ScriptedDetector(lambda pixels: crowd),
        CropClassifier(model),
        PipelineConfig(tracker=EAGER, classifier=ClassifierConfig(max_batch=4)),
    )
    labelled = [len(built.process(frame(k)).labels) for k in range(4)]
    assert labelled == [4, 8, 10, 10]


def test_small_boxes_wait_until_they_are_nearer():
    model = ColourModel()
    built, _ = pipeline(lambda pixels: detections((20.0, 20.0, 28.0, 28.0)), classifier=CropClassifier(model))
    for k in range(3):
        assert built.process(frame(k)).labels == {}
    assert model.crops == 0


def test_a_track_first_seen_cut_by_the_edge_is_looked_at_afresh_when_whole():
    model = ColourModel()
    boxes = iter([(0.0, 20.0, 40.0, 80.0)] * 3 + [(10.0, 20.0, 50.0, 80.0)] * 5)
    built, _ = pipeline(lambda pixels: detections(next(boxes)), classifier=CropClassifier(model))
    words = [str(built.process(frame(k, value=50 if k < 3 else 200)).labels[1]) for k in range(8)]
    assert words[:3] == ["dark"] * 3
    assert words[-1] == "bright", "what was seen at the edge no longer counts"
    assert model.crops == 2


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True), min_size=1, max_size=12),
    st.integers(1, 4),
)
def test_every_frame_that_goes_in_comes_out_once_and_in_order(batches, every):
    """Conservation: whatever streams take part in a batch, each frame gives one result of its own identity."""
    built, _ = pipeline(lambda pixels: Detections.empty(), detect_every=every)
    following = dict.fromkeys(range(4), 0)
    came_out = []
    for streams in batches:
        shown = []
        for stream in streams:
            shown.append(frame(following[stream], stream=str(stream)))
            following[stream] += 1
        results = built.process_batch(shown)
        assert [(r.stream_id, r.index) for r in results] == [(f.stream_id, f.index) for f in shown]
        came_out += results
    for stream, count in following.items():
        assert [r.index for r in came_out if r.stream_id == str(stream)] == list(range(count))
    assert built.detected == sum(r.detections is not None for r in came_out)
