"""Letterbox, blobs and crops: geometry there and back, colours in their places, buffers reused."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solutions.core.errors import ConfigError
from solutions.core.vision.images import (
    IMAGENET_RGB,
    Letterboxer,
    LetterboxTransform,
    PixelFormat,
    crop_batch,
    letterbox,
    plain_resize,
    to_blob,
)


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


def test_a_frame_of_the_right_size_is_not_copied():
    frame = picture(64, 96)
    canvas, transform = letterbox(frame, (64, 96), centre=True)
    assert canvas is frame
    assert transform == LetterboxTransform((64, 96))


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


@pytest.mark.parametrize("centre", [False, True])
def test_a_picture_scaled_before_lands_where_the_frame_would(centre):
    frame = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    boxer = Letterboxer((64, 96), centre=centre)
    height, width = boxer.inner_hw((90, 160))
    scaled = np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR))
    want, want_transform = letterbox(frame, (64, 96), centre=centre)
    canvas, transform = boxer(scaled, frame_hw=(90, 160))
    np.testing.assert_array_equal(canvas, want)
    assert transform == want_transform
    odd, transform = boxer(scaled[:-1], frame_hw=(90, 160))  # neither size: scaled, and still mapped to the frame
    assert odd.shape == want.shape
    assert transform == want_transform


def test_letterboxer_reuses_its_canvas_and_cleans_up_after_another_size():
    boxer = Letterboxer((64, 64))
    first, _ = boxer(picture(32, 64))
    second, transform = boxer(np.full((64, 32, 3), 9, np.uint8))
    assert first is second
    assert (second[:, :32] == 9).all()
    assert (second[:, 32:] == 114).all()
    assert transform.frame_hw == (64, 32)


def test_plain_resize_scales_the_axes_apart():
    canvas, transform = plain_resize(picture(50, 100), (100, 50))
    assert canvas.shape == (100, 50, 3)
    np.testing.assert_allclose(transform.to_frame(np.array([0, 0, 25, 50])), [0, 0, 50, 25])


@pytest.mark.parametrize("pixel_format", [PixelFormat(), PixelFormat(rgb=True, scale=1 / 255), IMAGENET_RGB])
def test_blob_is_the_formula(pixel_format):
    frame = picture(33, 47)
    got = to_blob(frame, pixel_format)
    ordered = frame[..., ::-1] if pixel_format.rgb else frame
    want = (ordered * pixel_format.scale - np.array(pixel_format.mean)) / np.array(pixel_format.std)
    assert (got.dtype, got.shape, got.flags.c_contiguous) == (np.float32, (1, 3, 33, 47), True)
    np.testing.assert_allclose(got[0], want.transpose(2, 0, 1), rtol=1e-5, atol=1e-5)


def test_blob_fills_the_buffer_it_is_given():
    out = np.empty((1, 3, 8, 8), np.float32)
    assert to_blob(picture(8, 8), out=out) is out
    with pytest.raises(ConfigError, match=r"\(1, 3, 8, 9\)"):
        to_blob(picture(8, 9), out=out)


def test_blob_of_a_view_that_is_not_contiguous():
    frame = picture(40, 40)
    np.testing.assert_array_equal(to_blob(frame[::2, ::-2]), to_blob(frame[::2, ::-2].copy()))


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_frame_is_refused(bad):
    for function in (to_blob, Letterboxer((8, 8)), lambda pixels: plain_resize(pixels, (8, 8))):
        with pytest.raises(ConfigError, match="a frame must be uint8"):
            function(bad)


def test_crops_are_the_boxes_resized():
    frame = picture(60, 80)
    crops = crop_batch(frame, np.array([[10, 20, 26, 36], [0, 0, 80, 60]]), (16, 16))
    assert (crops.dtype, crops.shape) == (np.uint8, (2, 3, 16, 16))
    np.testing.assert_array_equal(crops[0], frame[20:36, 10:26].transpose(2, 0, 1))
    whole = cv2.resize(frame, (16, 16), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(crops[1], whole.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([-50, -50, -10, -10], id="beyond-top-left"),
        pytest.param([500, 500, 600, 600], id="beyond-bottom-right"),
        pytest.param([10, 10, 10, 10], id="no-area"),
        pytest.param([30, 30, 10, 10], id="inside-out"),
    ],
)
def test_a_hopeless_box_still_gives_its_row(box):
    assert crop_batch(picture(60, 80), np.array([box]), (8, 8)).shape == (1, 3, 8, 8)


def test_crops_in_a_pixel_format_and_of_nothing():
    frame = picture(60, 80)
    as_float = crop_batch(frame, np.array([[0, 0, 8, 8]]), (8, 8), PixelFormat(rgb=True, scale=1 / 255))
    np.testing.assert_allclose(as_float[0], frame[:8, :8, ::-1].transpose(2, 0, 1) / 255, rtol=1e-6)
    assert crop_batch(frame, np.zeros((0, 4)), (8, 8)).shape == (0, 3, 8, 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Letterboxer((0, 8)), "at least 1 pixel"),
        (lambda: Letterboxer((8, 8), pad=256), "0..255"),
        (lambda: PixelFormat(std=(1, 0, 1)), "must not be 0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
