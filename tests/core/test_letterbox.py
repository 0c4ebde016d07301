"""The letterbox: geometry there and back, blobs placed and padded, buffers reused."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solutions.core.errors import ConfigError
from solutions.core.vision.images import IMAGENET_RGB, PixelFormat, to_blob
from solutions.core.vision.letterbox import Letterboxer, letterbox


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("frame_hw", "size_hw", "centre", "inside"),
    [
        pytest.param((100, 200), (192, 320), False, (slice(0, 160), slice(0, 320)), id="wide-corner"),
        pytest.param((100, 200), (192, 320), True, (slice(16, 176), slice(0, 320)), id="wide-centre"),
        pytest.param((200, 100), (192, 320), False, (slice(0, 192), slice(0, 96)), id="tall-corner"),
        pytest.param((200, 100), (192, 320), True, (slice(0, 192), slice(112, 208)), id="tall-centre"),
        pytest.param((1, 4000), (32, 32), False, (slice(0, 1), slice(0, 32)), id="a-line-keeps-one-row"),
    ],
)
def test_letterbox_puts_the_frame_where_it_says(frame_hw, size_hw, centre, inside):
    frame = np.full((*frame_hw, 3), 200, np.uint8)
    canvas, _ = letterbox(frame, size_hw, centre=centre)
    want = np.full((*size_hw, 3), 114, np.uint8)
    want[inside] = 200
    np.testing.assert_array_equal(canvas, want)


@settings(deadline=None, max_examples=60)
@given(st.tuples(st.integers(16, 900), st.integers(16, 900)), st.booleans(), st.integers(0, 2**32 - 1))
def test_boxes_come_back(frame_hw, centre, seed):
    _, transform = letterbox(np.zeros((*frame_hw, 3), np.uint8), (192, 320), centre=centre)
    corners = np.random.default_rng(seed).uniform(0, 1, (5, 2, 2)) * [frame_hw[1], frame_hw[0]]
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    np.testing.assert_allclose(transform.to_frame(transform.to_canvas(boxes)), boxes, atol=1e-2)


def test_boxes_in_the_padding_are_clipped_to_the_frame():
    _, transform = letterbox(np.zeros((100, 200, 3), np.uint8), (200, 200), centre=True)
    np.testing.assert_array_equal(transform.to_frame(np.array([[-9, 0, 500, 199]])), [[0, 0, 200, 100]])


@pytest.mark.parametrize("pixel_format", [PixelFormat(), IMAGENET_RGB], ids=["raw", "imagenet"])
@pytest.mark.parametrize("centre", [False, True])
@settings(deadline=None, max_examples=25)
@given(st.tuples(st.integers(1, 200), st.integers(1, 200)), st.tuples(st.integers(1, 90), st.integers(1, 90)))
def test_letterboxer_is_the_blob_of_the_letterbox(pixel_format, centre, frame_hw, size_hw):
    frame = picture(*frame_hw)
    canvas, want_transform = letterbox(frame, size_hw, centre=centre)
    boxer = Letterboxer(size_hw, fit="centre" if centre else "corner", pixel_format=pixel_format)
    blob, placement = boxer(frame)
    np.testing.assert_allclose(blob, to_blob(canvas, pixel_format), atol=1e-6)
    assert placement.transform == want_transform


@pytest.mark.parametrize("fit", ["corner", "centre", "stretch"])
def test_a_picture_scaled_before_lands_where_the_frame_would(fit):
    frame = picture(90, 160)
    boxer = Letterboxer((64, 96), fit=fit)
    height, width = boxer.inner_hw((90, 160))
    scaled = np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR))
    want, want_placement = boxer(frame)
    blob, placement = boxer(scaled, frame_hw=(90, 160))
    np.testing.assert_array_equal(blob, want)
    assert placement == want_placement
    other, placement = boxer(scaled[:-1], frame_hw=(90, 160))  # neither size: scaled, and still mapped to the frame
    assert other.shape == want.shape
    assert placement == want_placement


def test_letterboxer_fills_a_buffer_and_cleans_up_after_another_size():
    boxer, out = Letterboxer((64, 64), fit="corner"), np.zeros((1, 3, 64, 64), np.float32)
    blob, holds = boxer(picture(32, 64), out=out)
    assert blob is out
    for height, width in ((64, 32), (64, 32), (32, 64), (30, 64)):  # the same and another place than the one before
        _, holds = boxer(np.full((height, width, 3), 9, np.uint8), out=out, holds=holds)
        assert (out[..., :height, :width] == 9).all()
        assert (out[..., height:, :] == 114).all()
        assert (out[..., width:] == 114).all()
        assert holds.transform.frame_hw == (height, width)
    with pytest.raises(ConfigError, match=r"\(1, 3, 64, 64\)"):
        boxer(picture(32, 64), out=out[:, :, :32])


def test_stretch_scales_the_axes_apart():
    blob, placement = Letterboxer((100, 50), fit="stretch")(picture(50, 100))
    assert blob.shape == (1, 3, 100, 50)
    np.testing.assert_allclose(placement.transform.to_frame(np.array([0, 0, 25, 50])), [0, 0, 50, 25])


@pytest.mark.parametrize(("size_hw", "pad", "message"), [((0, 8), 114, "size_hw"), ((8, 8), 256, "pad")])
def test_a_canvas_that_cannot_be_is_refused(size_hw, pad, message):
    with pytest.raises(ConfigError, match=message):
        Letterboxer(size_hw, fit="corner", pad=pad)
