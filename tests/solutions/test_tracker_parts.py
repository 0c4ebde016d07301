"""The parts of the tracker: its filter against full matrices, its association against the Hungarian method."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from solutions.core.vision.detection import iou_matrix
from solutions.phase4_production.video_analysis.association import assign, overlapping_pairs
from solutions.phase4_production.video_analysis.kalman import V, X, height_motion, sort_motion


def reach_of(boxes):
    """Reach [5, N] of boxes [4, N] given by their corners."""
    return np.stack([-boxes[0], -boxes[1], boxes[2], boxes[3], (boxes[2] - boxes[0]) * (boxes[3] - boxes[1])])


def measured(model, boxes):
    out = np.empty(boxes.shape)
    model.measure(boxes[2:] - boxes[:2], reach_of(boxes), out)
    return out


def begun(model, boxes):
    filters = np.zeros((5, *boxes.shape))
    model.start(filters, measured(model, boxes))
    return filters


# --- the filter -------------------------------------------------------------------------------------------------------


def textbook(kind, boxes):
    """Means of a Kalman filter with full 8x8 matrices, fed with boxes [frames, 4] in the order predict, update."""
    transition = np.eye(8) + np.eye(8, k=4)
    look = np.eye(4, 8)

    def code(box):
        width, height = box[2] - box[0], box[3] - box[1]
        size = (width * height, width / height) if kind == "sort" else (width / height, height)
        return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, *size])

    def noises(height):
        if kind == "sort":
            return (
                np.diag([1, 1, 1, 1, 0.01, 0.01, 0.0001, 0.0]),
                np.diag([1.0, 1, 10, 10]),
                np.diag([10.0] * 4 + [1e4] * 3 + [0]),
            )
        place, speed = height / 20, height / 160
        return (
            np.diag(np.square([place, place, 1e-2, place, speed, speed, 1e-5, speed])),
            np.diag(np.square([place, place, 1e-1, place])),
            np.diag(np.square([2 * place, 2 * place, 1e-2, 2 * place, 10 * speed, 10 * speed, 1e-5, 10 * speed])),
        )

    mean = np.concatenate([code(boxes[0]), np.zeros(4)])
    covariance = noises(mean[3])[2]
    means = [mean]
    for box in boxes[1:]:
        process = noises(mean[3])[0]
        mean, covariance = transition @ mean, transition @ covariance @ transition.T + process
        measurement = noises(mean[3])[1]
        gain = covariance @ look.T @ np.linalg.inv(look @ covariance @ look.T + measurement)
        mean = mean + gain @ (code(box) - look @ mean)
        covariance = covariance - gain @ look @ covariance
        means.append(mean)
    return np.array(means)


@pytest.mark.parametrize("kind", ["sort", "byte"])
def test_closed_form_equals_the_matrix_filter(kind):
    model = sort_motion() if kind == "sort" else height_motion()
    rng = np.random.default_rng(1)
    corners = np.cumsum(rng.normal(1, 2, (30, 3, 2)), axis=0) + 50
    boxes = np.concatenate([corners, corners + rng.uniform(30, 60, (30, 3, 2))], axis=2)  # [frames, tracks, 4]
    filters = begun(model, boxes[0].T)
    for frame in boxes[1:]:
        model.predict(filters)
        model.update(filters, measured(model, frame.T))
    for track in range(3):
        want = textbook(kind, boxes[:, track])[-1]
        np.testing.assert_allclose(filters[[X, V], :, track].ravel(), want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", [sort_motion(), height_motion()], ids=["sort", "byte"])
def test_boxes_and_measurements_are_inverse(model):
    boxes = np.array([[0.0, -5, 100], [1, -8, 200], [30, 5, 101], [61, 8, 290]])
    coded = measured(model, boxes)
    np.testing.assert_allclose(model.boxes(coded), boxes)
    np.testing.assert_allclose(model.reach(coded), reach_of(boxes))


@pytest.mark.parametrize("model", [sort_motion(), height_motion()], ids=["sort", "byte"])
def test_a_size_never_shrinks_to_nothing(model):
    filters = begun(model, np.array([[0.0], [0], [10], [20]]))
    filters[V, 2:] = -1000
    for _ in range(5):
        model.predict(filters)
    assert (filters[X, 2:] > 0).all()
    assert np.isfinite(model.boxes(filters[X])).all()


# --- association ------------------------------------------------------------------------------------------------------


def random_boxes(rng, count):
    corner = rng.uniform(0, 60, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(5, 40, (count, 2))], axis=1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=5), st.integers(0, 10**6))
def test_pairs_and_matching_equal_the_hungarian_method_on_each_stream(sizes, seed):
    rng = np.random.default_rng(seed)
    tracks = [random_boxes(rng, count) for count, _ in sizes]
    detections = [random_boxes(rng, count) for _, count in sizes]
    row_edges, col_edges = (np.cumsum([0, *map(len, parts)]) for parts in (tracks, detections))
    floor, extra = float(rng.choice([0.0, 0.1, 0.4])), float(rng.choice([0.0, 0.2]))
    pairs = overlapping_pairs(
        reach_of(np.concatenate(tracks).T), row_edges, reach_of(np.concatenate(detections).T), col_edges, floor=floor
    )
    rows, cols = assign(pairs, pairs.iou - floor - extra, row_edges, col_edges)
    assert len(set(rows.tolist())) == len(rows)
    assert len(set(cols.tolist())) == len(cols)
    found = dict(zip(rows.tolist(), cols.tolist(), strict=True))
    listed = 0
    for k, (a, b) in enumerate(zip(tracks, detections, strict=True)):
        iou = iou_matrix(a, b)
        gain = np.maximum(iou - floor - extra, 0)
        listed += int((iou > floor).sum())
        best = gain[linear_sum_assignment(gain, maximize=True)].sum()
        mine = {
            row - row_edges[k]: found[row] - col_edges[k] for row in found if row_edges[k] <= row < row_edges[k + 1]
        }
        assert all(0 <= col < len(b) for col in mine.values()), "a pair crosses two streams"
        assert all(gain[row, col] > 0 for row, col in mine.items()), "a pair below the floor"
        assert sum(gain[row, col] for row, col in mine.items()) == pytest.approx(best)
    assert len(pairs.rows) == listed
