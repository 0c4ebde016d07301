import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solutions.core.errors import ConfigError
from solutions.core.vision.detection import Detections
from solutions.core.vision.detection_metrics import ANY_CLASS, TruthBoxes, average_precision, judge_frames


def boxes_at(*lefts, width=10):
    return np.array([[x, 0, x + width, 10] for x in lefts], np.float32).reshape(-1, 4)


def truth(*lefts, classes=None, ignore=None):
    count = len(lefts)
    return TruthBoxes(
        boxes_at(*lefts), np.array(classes or [0] * count, np.int64), np.array(ignore or [False] * count, bool)
    )


def seen(*lefts, scores, classes=None):
    return Detections(boxes_at(*lefts), np.array(scores, np.float32), np.array(classes or [0] * len(lefts), np.int64))


@pytest.mark.parametrize(
    ("detections", "labelled", "want"),
    [
        pytest.param(seen(0, 50, scores=[0.9, 0.8]), truth(0, 50), 1.0, id="perfect"),
        pytest.param(seen(0, scores=[0.9]), truth(0, 50), 0.5, id="half-found"),
        pytest.param(seen(90, 0, scores=[0.9, 0.8]), truth(0), 0.5, id="a-confident-mistake"),
        pytest.param(seen(0, 90, scores=[0.9, 0.8]), truth(0), 1.0, id="a-mistake-below-the-last-find-is-free"),
        pytest.param(seen(0, 1, scores=[0.9, 0.8]), truth(0, 50), 0.5, id="a-double-finds-nothing"),
        pytest.param(seen(scores=[]), truth(0), 0.0, id="nothing-detected"),
        pytest.param(seen(0, 1, 50, scores=[0.9, 0.8, 0.7]), truth(0, 50, ignore=[True, False]), 1.0, id="absorbed"),
        pytest.param(seen(2, scores=[0.9]), truth(0, 2, ignore=[True, False]), 1.0, id="real-truth-before-ignored"),
        pytest.param(seen(3, scores=[0.9]), truth(3, 0, ignore=[True, False]), 1.0, id="even-at-a-smaller-overlap"),
        pytest.param(seen(0, scores=[0.9], classes=[1]), truth(0), 0.0, id="wrong-class"),
        pytest.param(seen(0, 60, 90, scores=[0.9, 0.8, 0.7]), truth(0, 90), (1 + 2 / 3) / 2, id="envelope"),
    ],
)
def test_one_frame(detections, labelled, want):
    assert average_precision([(detections, labelled)]).mean == pytest.approx(want)


def test_score_order_is_over_all_frames_and_not_within_one():
    frames = [(seen(90, scores=[0.5]), truth(0)), (seen(0, scores=[0.9]), truth(0))]
    assert average_precision(frames).mean == pytest.approx(0.5)
    frames = [(seen(90, scores=[0.9]), truth(0)), (seen(0, scores=[0.5]), truth(0))]
    assert average_precision(frames).mean == pytest.approx(0.25)


def test_per_class_and_mean_leave_out_classes_without_truth():
    result = average_precision(
        [(seen(0, 50, 90, scores=[0.9, 0.8, 0.7], classes=[0, 2, 7]), truth(0, 90, classes=[0, 2]))]
    )
    assert result.ap == {0: 1.0, 2: 0.0}
    assert result.mean == 0.5
    assert result.truths == {0: 1, 2: 1}


def test_without_classes_everything_is_one():
    result = average_precision([(seen(0, scores=[0.9], classes=[3]), truth(0, classes=[1]))], class_aware=False)
    assert result.ap == {ANY_CLASS: 1.0}


def test_no_truth_gives_nan_and_not_a_perfect_score():
    assert math.isnan(average_precision([(seen(0, scores=[0.9]), truth())]).mean)
    assert math.isnan(average_precision([]).mean)


def test_bad_threshold_is_refused():
    with pytest.raises(ConfigError, match="iou_threshold"):
        average_precision([], iou_threshold=0.0)


def test_shapes_are_checked():
    with pytest.raises(ConfigError, match="TruthBoxes want"):
        TruthBoxes(np.zeros((2, 4)), np.zeros(2, np.int64), np.zeros(1, bool))


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_ap_depends_on_the_order_of_scores_alone(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    frames, cubed = [], []
    for _ in range(3):
        lefts = rng.integers(0, 60, 5)
        scores = rng.permutation(1000)[:5] / 1000
        labelled = truth(*rng.integers(0, 60, 3), ignore=list(rng.random(3) < 0.3))
        frames.append((seen(*lefts, scores=scores), labelled))
        cubed.append((seen(*lefts, scores=scores**3), labelled))
    a, b = average_precision(frames), average_precision(cubed)
    assert a.ap == b.ap
    assert all(0 <= value <= 1 for value in a.ap.values())


def test_a_frame_drawn_twice_counts_as_two_frames_and_one_left_out_as_none():
    random = np.random.default_rng(0)
    frames = []
    for _ in range(6):
        labelled = truth(*random.uniform(0, 200, 4), classes=random.integers(0, 2, 4).tolist())
        found = labelled.boxes + random.normal(0, 2, (4, 4))
        frames.append((Detections(found.astype(np.float32), random.random(4), labelled.class_ids), labelled))
    judged = judge_frames(frames)
    assert judged.average_precision() == average_precision(frames)
    times = np.array([1, 0, 1, 1, 0, 1])
    without = average_precision([frames[k] for k in np.flatnonzero(times)])
    assert judged.average_precision(times).ap == pytest.approx(without.ap)
    assert judged.average_precision(times).truths == without.truths
    every_one_twice = judged.average_precision(np.full(6, 2))
    assert every_one_twice.mean == pytest.approx(average_precision(frames).mean)
    assert judged.average_precision(np.zeros(6, int)).ap == {}
