"""1.2: a picture as the model saw pictures in its training."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from solutions.core.classroom.values import Recipe
from tests.grader.checks import check, check_close, check_equal

pytestmark = pytest.mark.exercise("1.2")

SMALL = Recipe(shorter_side=64, crop_hw=(56, 56))
# float32: five roundings (mean, std, / 255, - mean, / std) of at most eps / 2 each on values up to 1 / 0.224, doubled
# for other orders of the same arithmetic. A difference of one grey level would be 0.017.
TOLERANCE = 5 * float(np.finfo(np.float32).eps) / 0.224


def random_picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)


def as_torchvision(picture: np.ndarray, recipe: Recipe) -> np.ndarray:
    """What torchvision's transforms make of a BGR picture, in float64; tests/meta compares it with torchvision itself.

    Spelled out here because a first import of torchvision can take longer than a test may.
    """
    image = Image.fromarray(np.ascontiguousarray(picture[..., ::-1]))
    longer = int(recipe.shorter_side * max(image.size) / min(image.size))
    wide = image.width > image.height
    image = image.resize(
        (longer, recipe.shorter_side) if wide else (recipe.shorter_side, longer), Image.Resampling.BILINEAR
    )
    height, width = recipe.crop_hw
    top, left = round((image.height - height) / 2.0), round((image.width - width) / 2.0)
    values = np.asarray(image.crop((left, top, left + width, top + height)), np.float64) / 255
    return ((values - recipe.mean) / recipe.std).transpose(2, 0, 1)[None]


def plain(side_h: int, side_w: int) -> Recipe:
    """A recipe that only cuts and keeps 0..1: what is not scaled can be compared cell by cell."""
    return Recipe(shorter_side=8, crop_hw=(side_h, side_w), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    "bgr",
    [
        pytest.param((30, 120, 250), id="reddish"),
        pytest.param((0, 0, 0), id="black"),
        pytest.param((255, 255, 255), id="white"),
    ],
)
def test_colours(graded, bgr):
    """Red comes first, and every channel is normalised by its own mean and std."""
    recipe = SMALL
    got = graded(np.full((80, 80, 3), bgr, np.uint8), recipe)
    want = [(bgr[2 - c] / 255 - recipe.mean[c]) / recipe.std[c] for c in range(3)]
    check_close(
        np.asarray(got)[0, :, 20, 20],
        want,
        TOLERANCE,
        breaks="red first, each channel (value / 255 - mean) / std",
        likely="BGR was not turned into RGB, or the values were not brought to 0..1 before the mean was taken off",
    )


def test_layout(graded):
    """The tensor is float32 [1, 3, h, w], C-contiguous, every pixel at its place."""
    picture = random_picture(8, 8)
    got = graded(picture, plain(8, 8))
    check_equal(got.shape, (1, 3, 8, 8), breaks="the shape is [1, 3, h, w]", likely="the channels were left at the end")
    check_equal(str(got.dtype), "float32", breaks="the type is float32", likely="Python numbers made it float64")
    check_close(
        got[0].transpose(1, 2, 0),
        picture[..., ::-1] / 255,
        TOLERANCE,
        breaks="row y, column x of channel c of the picture is at [0, c, y, x]",
        likely="the axes were relabelled with reshape, where transpose moves them",
    )
    check(
        got.flags.c_contiguous,
        breaks="the tensor is C-contiguous",
        likely="transpose gives a view; np.ascontiguousarray copies it",
    )


@pytest.mark.parametrize(
    ("height", "width", "crop", "corner"),
    [
        pytest.param(8, 16, (8, 8), (0, 4), id="wide"),
        pytest.param(16, 8, (8, 8), (4, 0), id="upright"),
        pytest.param(8, 11, (8, 8), (0, 2), id="odd-rest-1.5-rounds-to-2"),
        pytest.param(8, 9, (8, 8), (0, 0), id="odd-rest-0.5-rounds-to-0"),
        pytest.param(8, 12, (4, 6), (2, 3), id="crop-that-is-not-square"),
    ],
)
def test_middle(graded, height, width, crop, corner):
    """The middle is cut out, its corner at round((size - crop) / 2)."""
    picture = random_picture(height, width)  # its shorter side is 8 already: nothing is scaled
    top, left = corner
    want = picture[top : top + crop[0], left : left + crop[1], ::-1] / 255
    check_close(
        np.asarray(graded(picture, plain(*crop)))[0].transpose(1, 2, 0),
        want,
        TOLERANCE,
        breaks="the crop comes from the middle",
        likely="the crop starts at the top left, the whole picture was stretched, or // rounded 1.5 down to 1",
    )


def test_smoothing(graded):
    """A picture that shrinks is smoothed: fine black and white squares become grey."""
    rows, columns = np.indices((512, 512))
    board = np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    recipe = Recipe(shorter_side=73, crop_hw=(56, 56), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    # a triangle filter over 14 of the squares: what is left of their contrast is below 1 / 14^2; plus a grey level
    check_close(
        graded(board, recipe),
        np.full((1, 3, 56, 56), 0.5),
        0.5 / 14**2 + 1 / 255,
        breaks="every pixel of a shrunken picture is a mean over the pixels it stands for",
        likely="cv2.resize looks at a few pixels and skips the rest; Pillow's BILINEAR takes all of them",
    )


@pytest.mark.parametrize(
    ("height", "width"),
    [
        pytest.param(120, 200, id="wide"),
        pytest.param(200, 120, id="upright"),
        pytest.param(100, 100, id="square"),
        pytest.param(97, 131, id="odd-sizes"),
        pytest.param(20, 30, id="smaller-than-the-crop"),
        pytest.param(64, 64, id="of-the-size-already"),
        pytest.param(30, 900, id="panorama"),
    ],
)
def test_as_torchvision(graded, height, width):
    """The tensor is the one that torchvision's own transforms make of the picture."""
    picture = random_picture(height, width)
    check_close(
        graded(picture, SMALL),
        as_torchvision(picture, SMALL),
        TOLERANCE,
        breaks="the same numbers as torchvision's Resize, CenterCrop, ToTensor, Normalize",
        likely="another filter, the longer side rounded up, or the aspect ratio was not kept",
    )


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda big: big[::2, ::2], id="every-second-pixel"),
        pytest.param(lambda big: big[10:110, 20:150], id="cut-from-a-frame"),
        pytest.param(lambda big: big[:, ::-1], id="mirrored"),
    ],
)
def test_views_and_no_side_effects(graded, view):
    """A view is read right, and the caller's picture stays as it was."""
    picture = view(random_picture(200, 300))
    before = picture.copy()
    got = np.array(graded(picture, SMALL))
    check_equal(picture, before, breaks="the picture is not written to", likely="a slice of it was assigned to")
    check_equal(
        got.shape, (1, 3, 56, 56), breaks="the shape is [1, 3, h, w]", likely="the channels were left at the end"
    )
    check_close(
        got,
        graded(before, SMALL),
        0.0,
        breaks="a view gives what a copy of it gives",
        likely="the memory was read without its strides",
    )
