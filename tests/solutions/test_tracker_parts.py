"""The parts of the tracker: its filter against full matrices, its association against the Hungarian method."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from solutions.core.vision.detection import iou_matrix
from solutions.phase4_production.video_analysis import association
from solutions.phase4_production.video_analysis.association import assign, overlapping_pairs
from solutions.phase4_production.video_analysis.kalman import V, X, centre_and_size, height_motion, sort_motion


def reach_of(boxes):
    """Reach [5, N] of boxes [4, N] given by their corners."""
    return np.stack([-boxes[0], -boxes[1], boxes[2], boxes[3], (boxes[2] - boxes[0]) * (boxes[3] - boxes[1])])


def measured(model, boxes):
    reach, out = reach_of(boxes), np.empty(boxes.shape)
    centre_and_size(reach, out)
    model.measure(reach, out)
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


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10**6))
def test_matrix_products_give_the_bits_of_plain_formulas(count, seed):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-500, 2000, (2, count)).astype(np.float32)
    boxes = np.concatenate([corner, corner + rng.uniform(1, 500, (2, count)).astype(np.float32)])
    x1, y1, x2, y2 = boxes.astype(np.float64)
    width, height = x2 - x1, y2 - y1
    centre = [x1 + width / 2, y1 + height / 2]
    for model, size in (
        (sort_motion(), [width * height, width / height]),
        (height_motion(), [width / height, height]),
    ):
        coordinates = measured(model, boxes.astype(np.float64))
        np.testing.assert_array_equal(coordinates, np.stack([*centre, *size]))
        np.testing.assert_array_equal(
            model.reach(coordinates)[:, -1:], model.reach(coordinates[:, -1:]), "not as alone"
        )
    (x, y), aspect = centre, width / height
    half_width, half_height = aspect * (height / 2), height / 2
    extent = [half_width - x, half_height - y, half_width + x, half_height + y, aspect * height * height]
    np.testing.assert_array_equal(height_motion().reach(coordinates), extent)
    np.testing.assert_array_equal(height_motion().boxes(coordinates), np.array(extent[:4]) * [[-1], [-1], [1], [1]])


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
    assert len(pairs.rows) == (listed if len(sizes) > 1 else sizes[0][0] * sizes[0][1])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 9), st.integers(0, 9), st.sampled_from([0.0, 0.1, 0.4]), st.integers(0, 10**6))
def test_one_stream_is_matched_as_it_is_among_picked_pairs_and_in_company(tall, wide, floor, seed):
    rng = np.random.default_rng(seed)
    a, b = reach_of(random_boxes(rng, tall).T), reach_of(random_boxes(rng, wide).T)
    stranger = reach_of(random_boxes(rng, 2).T)

    def matched(a, a_edges, b, b_edges):
        pairs = overlapping_pairs(a, a_edges, b, b_edges, floor=floor)
        rows, cols = assign(pairs, pairs.iou - floor, a_edges, b_edges)
        return len(pairs.rows), {
            (row, col) for row, col in zip(rows.tolist(), cols.tolist(), strict=True) if row < tall
        }

    count, whole = matched(a, [0, tall], b, [0, wide])
    assert count == tall * wide
    with patch.object(association, "_FEW", -1):
        assert matched(a, [0, tall], b, [0, wide])[1] == whole
    both = np.concatenate([a, stranger], axis=1), np.concatenate([b, stranger], axis=1)
    assert matched(both[0], np.array([0, tall, tall + 2]), both[1], np.array([0, wide, wide + 2]))[1] == whole
