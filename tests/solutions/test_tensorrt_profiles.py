"""Profiles: the sizes between which an engine must work, given or made up."""

import pytest

from solutions.core.errors import ConfigError
from solutions.core.tensors import TensorSpec
from solutions.phase2_optimization.compilation.tensorrt_profiles import (
    ShapeRange,
    check_profile,
    parse_shapes,
    profile_for,
)

IMAGES = (TensorSpec("images", (None, 3, None, None)), TensorSpec("mask", (1, 4)))


def test_a_profile_takes_batches_and_the_sizes_of_the_file():
    profile = profile_for(IMAGES, batches=(1, 2, 4), input_hw=(192, 320))
    assert profile == {"images": ShapeRange((1, 3, 192, 320), (2, 3, 192, 320), (4, 3, 192, 320))}


def test_a_free_size_that_nothing_tells_is_asked_for():
    with pytest.raises(ConfigError, match="say between which sizes the engine must work"):
        profile_for(IMAGES)


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        pytest.param({}, "lacks images, whose size is free", id="missing"),
        pytest.param({"pixels": ShapeRange((1,), (1,), (1,))}, "names pixels, and the inputs are", id="unknown"),
        pytest.param({"images": ShapeRange((1, 3), (1, 3), (1, 3))}, "its profile has 2 axes", id="rank"),
        pytest.param(
            {"images": ShapeRange((1, 1, 8, 8), (1, 1, 8, 8), (1, 1, 8, 8))}, "axis 1 of images is always 3", id="fixed"
        ),
    ],
)
def test_a_profile_that_does_not_fit_is_refused(profile, message):
    with pytest.raises(ConfigError, match=message):
        check_profile(IMAGES, profile)


@pytest.mark.parametrize(
    "shapes",
    [
        pytest.param(((4, 3), (1, 3), (8, 3)), id="usual-below-smallest"),
        pytest.param(((1, 3), (9, 3), (8, 3)), id="usual-above-largest"),
        pytest.param(((0, 3), (1, 3), (8, 3)), id="empty"),
        pytest.param(((1, 3), (1, 3, 1), (8, 3)), id="ranks"),
    ],
)
def test_a_range_out_of_order_is_refused(shapes):
    with pytest.raises(ConfigError, match="profile"):
        ShapeRange(*shapes)


@pytest.mark.parametrize("text", ["x", "x=1x3", "x=1x3:2x3:ax3", "=1:1:1"])
def test_shapes_written_otherwise_are_refused(text):
    with pytest.raises(ConfigError, match="written like"):
        parse_shapes(text)
