"""Non-maximum suppression against torchvision's, and its edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import batched_nms
from torchvision.ops import nms as torch_nms

from solutions.core.errors import ConfigError
from solutions.core.vision.detection import Detections, iou_matrix, nms


def crowd(count, objects, classes=3, seed=0):
    """`count` noisy boxes around `objects` places."""
    random = np.random.default_rng(seed)
    which = random.integers(0, objects, count)
    centres = random.uniform(20, 600, (objects, 2))[which] + random.normal(0, 4, (count, 2))
    sizes = random.uniform(20, 80, (objects, 2))[which] * random.uniform(0.8, 1.2, (count, 2))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    return Detections(
        boxes.astype(np.float32), random.uniform(0, 1, count).astype(np.float32), (which % classes).astype(np.int64)
    )


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 400), st.integers(1, 40), st.sampled_from([0.3, 0.45, 0.7]), st.integers(0, 2**32 - 1))
def test_nms_is_torchvisions(count, objects, threshold, seed):
    found = crowd(count, objects, seed=seed)
    boxes, scores, classes = map(torch.from_numpy, (found.boxes, found.scores, found.class_ids))
    per_class = nms(found, iou_threshold=threshold)
    np.testing.assert_array_equal(per_class.boxes, boxes[batched_nms(boxes, scores, classes, threshold)].numpy())
    overall = nms(found, iou_threshold=threshold, class_wise=False)
    np.testing.assert_array_equal(overall.boxes, boxes[torch_nms(boxes, scores, threshold)].numpy())


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_nms_at_the_ends_of_the_threshold(threshold):
    found = Detections(
        np.array([[0, 0, 4, 4], [0, 0, 4, 4], [3, 3, 9, 9], [4, 4, 8, 8]], np.float32),
        np.array([0.9, 0.8, 0.7, 0.6], np.float32),
        np.zeros(4, np.int64),
    )
    assert len(nms(found, iou_threshold=threshold)) == (2 if threshold == 0 else 4)


def test_nms_of_nothing_and_of_boxes_without_area():
    assert len(nms(Detections.empty())) == 0
    flat = Detections(np.zeros((3, 4), np.float32), np.array([0.1, 0.3, 0.2], np.float32), np.zeros(3, np.int64))
    np.testing.assert_array_equal(nms(flat).scores, np.array([0.3, 0.2, 0.1], np.float32))


def test_equal_scores_keep_their_order():
    found = Detections(
        np.array([[0, 0, 4, 4], [0, 0, 4, 4.1]], np.float32), np.ones(2, np.float32), np.zeros(2, np.int64)
    )
    np.testing.assert_array_equal(nms(found).boxes, found.boxes[:1])


def test_nms_refuses_an_impossible_threshold():
    with pytest.raises(ConfigError, match=r"\[0, 1\], got 1.5"):
        nms(Detections.empty(), iou_threshold=1.5)


def test_detections_check_their_shapes():
    with pytest.raises(ConfigError, match=r"scores \[N\]"):
        Detections(np.zeros((2, 4)), np.zeros(3), np.zeros(2))


def test_iou_matrix_broadcasts_over_streams():
    a, b = np.random.default_rng(0).uniform(0, 9, (2, 5, 3, 4))
    assert iou_matrix(a, b).shape == (5, 3, 3)
    assert iou_matrix(np.zeros((2, 4)), np.zeros((2, 4))).tolist() == [[0, 0], [0, 0]]
