"""Blobs and crops: colours in their places, buffers reused."""

import cv2
import numpy as np
import pytest

from solutions.core.errors import ConfigError
from solutions.core.vision.images import IMAGENET_RGB, PixelFormat, crop_batch, to_blob
from solutions.core.vision.letterbox import Letterboxer, letterbox


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


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


def test_blob_fills_a_part_of_a_larger_one():
    out = np.zeros((1, 3, 10, 12), np.float32)
    to_blob(picture(8, 8), out=out[:, :, 1:9, 2:10])
    np.testing.assert_array_equal(out[:, :, 1:9, 2:10], to_blob(picture(8, 8)))
    assert out.sum() == out[:, :, 1:9, 2:10].sum()


def test_blob_of_a_view_that_is_not_contiguous():
    frame = picture(40, 40)
    np.testing.assert_array_equal(to_blob(frame[::2, ::-2]), to_blob(frame[::2, ::-2].copy()))


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_frame_is_refused(bad):
    for function in (to_blob, Letterboxer((8, 8), fit="corner"), lambda pixels: letterbox(pixels, (8, 8), centre=True)):
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
        (lambda: PixelFormat(std=(1, 0, 1)), "must not be 0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
