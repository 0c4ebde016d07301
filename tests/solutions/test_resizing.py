"""Resizing against Pillow and torchvision, which trained the models; and pictures of extreme shapes."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode, functional

from solutions.core.errors import ConfigError
from solutions.phase1_basics.prediction.resizing import LETTERBOX_GREY, Resize


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_torchvision(pixels, shorter_side, crop_hw, interpolation="bilinear"):
    """torchvision's classification preset up to the crop, on a Pillow picture, as its models were trained."""
    image = functional.to_pil_image(pixels)
    image = functional.resize(image, [shorter_side], InterpolationMode(interpolation), antialias=True)
    return np.asarray(functional.center_crop(image, list(crop_hw)))


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(8, 700), st.integers(8, 700)),
    st.sampled_from([(224, 232), (224, 256), (224, 224), (48, 64), (63, 64), (64, 101)]),
    st.sampled_from(["bilinear", "bicubic", "nearest"]),
)
def test_crop_gives_torchvisions_bytes(picture_hw, sizes, interpolation):
    pixels = noise(*picture_hw)
    if max(picture_hw) > 16 * min(picture_hw):
        return  # beyond, only the middle is scaled; see the test of extreme shapes
    side, shorter = sizes
    got = Resize("crop", shorter, interpolation).to(pixels, (side, side))
    np.testing.assert_array_equal(got, by_torchvision(pixels, shorter, (side, side), interpolation))


def test_torchvisions_tensor_path_is_one_level_apart():
    pixels = noise(300, 400)
    tensor = functional.resize(torch.from_numpy(pixels.transpose(2, 0, 1).copy()), [232], antialias=True)
    want = functional.center_crop(tensor, [224, 224]).numpy().transpose(1, 2, 0)
    got = Resize("crop", 232).to(pixels, (224, 224))
    assert np.abs(got.astype(int) - want.astype(int)).max() <= 1  # both round the same sums, in another order


def test_the_crop_is_the_middle_for_odd_remainders():
    pixels = np.zeros((10, 15, 3), np.uint8)
    pixels[:] = np.arange(15, dtype=np.uint8)[None, :, None]
    got = Resize("crop", 10).to(pixels, (10, 10))
    np.testing.assert_array_equal(got[0, :, 0], np.arange(2, 12))  # 2.5 goes to the even 2, as in torchvision


def test_shorter_side_defaults_to_the_classic_share():
    pixels = noise(300, 500)
    np.testing.assert_array_equal(Resize().to(pixels, (224, 224)), Resize("crop", 256).to(pixels, (224, 224)))


def test_antialias_matters_when_shrinking():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    smooth = Resize("stretch").to(stripes, (64, 64))
    sampled = Resize("stretch", interpolation="nearest").to(stripes, (64, 64))
    assert np.abs(smooth[:, 1:-1].astype(int) - 127.5).max() < 1  # at the border half of the filter is missing
    assert set(np.unique(sampled)) <= {0, 255}


def test_without_antialias_it_is_opencv():
    pixels = noise(300, 400)
    got = Resize("stretch", antialias=False).to(pixels, (64, 96))
    np.testing.assert_array_equal(got, cv2.resize(pixels, (96, 64), interpolation=cv2.INTER_LINEAR))


def test_letterbox_keeps_the_whole_picture_in_the_middle():
    got = Resize("letterbox").to(np.full((50, 100, 3), 200, np.uint8), (64, 64))
    want = np.full((64, 64, 3), LETTERBOX_GREY, np.uint8)
    want[16:48] = 200
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("rule", ["crop", "stretch", "letterbox"])
@pytest.mark.parametrize("picture_hw", [(1, 1), (1, 80_000), (80_000, 1), (2, 3000), (224, 224)])
def test_extreme_shapes_stay_small(rule, picture_hw):
    assert Resize(rule).to(np.full((*picture_hw, 3), 7, np.uint8), (224, 160)).shape == (224, 160, 3)


def test_a_long_picture_is_cropped_to_its_middle():
    pixels = np.zeros((10, 1000, 3), np.uint8)
    pixels[:, 480:520] = 255
    assert (Resize("crop", 32).to(pixels, (32, 32)) == 255).all()


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        pytest.param({"rule": "zoom"}, "crop, stretch, letterbox", id="rule"),
        pytest.param({"interpolation": "area"}, "nearest, bilinear, bicubic", id="interpolation"),
        pytest.param({"shorter_side": 0}, "must be >= 1", id="no-side"),
        pytest.param({"rule": "stretch", "shorter_side": 256}, "goes with crop", id="stretch-has-no-shorter-side"),
    ],
)
def test_settings_are_checked(settings_, message):
    with pytest.raises(ConfigError, match=message):
        Resize(**settings_)


def test_what_cannot_be_resized():
    with pytest.raises(ConfigError, match="cannot be cut from a shorter side of 200"):
        Resize("crop", 200).to(noise(300, 300), (224, 224))
    for bad in (noise(0, 5), noise(5, 5)[..., :2], noise(5, 5).astype(np.float32)):
        with pytest.raises(ConfigError, match="uint8"):
            Resize().to(bad, (8, 8))
