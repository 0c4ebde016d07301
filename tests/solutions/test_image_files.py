"""Pictures from files of any kind: what each kind becomes."""

import cv2
import numpy as np
import pytest
from PIL import Image

from solutions.core.errors import ImageError
from solutions.phase1_basics.prediction.image_files import read_image
from tests.solutions.picture_builders import ORIENTATION, corners, noise, saved


def test_colours_come_as_bgr_like_opencv(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(noise(20, 30)))
    got = read_image(path)
    assert (got.dtype, got.shape, got.flags.c_contiguous, got.flags.writeable) == (np.uint8, (20, 30, 3), True, True)
    np.testing.assert_array_equal(got, noise(20, 30)[..., ::-1])
    np.testing.assert_array_equal(got, cv2.imread(str(path)))


def test_jpeg_agrees_with_opencv(tmp_path):
    smooth = cv2.GaussianBlur(noise(64, 96), (15, 15), 5)
    path = saved(tmp_path / "a.jpg", Image.fromarray(smooth), quality=90)
    # two builds of libjpeg-turbo may round the inverse DCT and the colour conversion apart by one each
    np.testing.assert_allclose(read_image(path).astype(int), cv2.imread(str(path)).astype(int), atol=2)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "ppm", "gif", "jp2"])
def test_lossless_kinds(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(corners()), **options)
    np.testing.assert_array_equal(read_image(path), corners()[..., ::-1])


def test_the_content_counts_not_the_suffix(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.fromarray(corners()), format="PNG")
    np.testing.assert_array_equal(read_image(path), corners()[..., ::-1])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    upright = corners(64, 96)
    stored = {  # how a camera stores an upright picture under each orientation: the inverse of the tag's meaning
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](upright)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"quality": 95, "subsampling": 0} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(np.ascontiguousarray(stored)), exif=exif, **options)
    got = read_image(path)
    assert got.shape == upright.shape
    centres = (slice(16, 64, 32), slice(24, 96, 48))
    np.testing.assert_allclose(got[centres].astype(int), upright[..., ::-1][centres].astype(int), atol=6)  # JPEG's loss


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_means_nothing_changes_nothing(tmp_path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = saved(tmp_path / "a.png", Image.fromarray(corners()), exif=exif)
    np.testing.assert_array_equal(read_image(path), corners()[..., ::-1])


def test_damaged_exif_costs_no_picture(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.fromarray(corners()), exif=b"Exif\0\0II*\0\xff\xff\xff\x7fgarbage")
    assert read_image(path).shape == (24, 40, 3)


def grey_ramp():
    return np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize(
    ("image", "want"),
    [
        pytest.param(Image.fromarray(grey_ramp()), grey_ramp(), id="grey"),
        pytest.param(Image.fromarray(grey_ramp() > 99), (grey_ramp() > 99) * np.uint8(255), id="black-and-white"),
        pytest.param(Image.merge("LA", [Image.fromarray(grey_ramp())] * 2), None, id="grey-and-alpha"),
        pytest.param(Image.fromarray(grey_ramp().astype(np.uint16) * 257), grey_ramp(), id="16-bit-grey"),
        pytest.param(Image.fromarray(grey_ramp().astype(np.uint16) * 256 + 255), grey_ramp(), id="16-bit-upper-byte"),
    ],
)
def test_grey_becomes_three_equal_channels(tmp_path, image, want):
    got = read_image(saved(tmp_path / "a.png", image))
    if want is None:  # value and alpha v, over white: v * v / 255 + 255 - v
        value = grey_ramp().astype(float)
        want = value * value / 255 + 255 - value
    for channel in range(3):
        np.testing.assert_allclose(got[..., channel].astype(float), want, atol=0.75)  # Pillow's blend rounds twice


def test_16_bit_colour_keeps_the_upper_byte(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (8, 9, 3), dtype=np.uint16)
    for suffix in ("png", "tiff"):
        path = tmp_path / f"a.{suffix}"
        cv2.imwrite(str(path), deep)
        np.testing.assert_array_equal(read_image(path), deep >> 8)


def test_16_bit_big_endian_tiff(tmp_path):
    values = grey_ramp().astype(">u2") * 256 + 7
    image = Image.frombytes("I;16B", (16, 16), values.astype(">u2").tobytes())
    np.testing.assert_array_equal(read_image(saved(tmp_path / "a.tiff", image))[..., 0], grey_ramp())


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bit_is_refused(tmp_path, dtype):
    path = saved(tmp_path / "a.tiff", Image.fromarray(grey_ramp().astype(dtype)))
    with pytest.raises(ImageError, match="32 bits per channel"):
        read_image(path)


def test_transparency_lies_on_white(tmp_path):
    rgba = np.dstack([corners(), np.full((24, 40), 255, np.uint8)])
    rgba[:12, :20] = (255, 0, 0, 0)
    rgba[:12, 20:] = (0, 255, 0, 128)
    got = read_image(saved(tmp_path / "a.png", Image.fromarray(rgba)))
    np.testing.assert_array_equal(got[0, 0], [255, 255, 255])
    np.testing.assert_allclose(got[0, 39].astype(int), [127, 255, 127], atol=1)
    np.testing.assert_array_equal(got[23, 0], [255, 0, 0])


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_palettes(tmp_path, suffix):
    image = Image.fromarray(corners()).quantize(4)
    np.testing.assert_array_equal(read_image(saved(tmp_path / f"a.{suffix}", image)), corners()[..., ::-1])
    see_through = image.getpixel((0, 0))
    got = read_image(saved(tmp_path / f"b.{suffix}", image, transparency=see_through))
    np.testing.assert_array_equal(got[0, 0], [255, 255, 255])
    np.testing.assert_array_equal(got[0, 39], [0, 255, 0])


def test_one_transparent_colour_of_an_rgb_png(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(corners()), transparency=(255, 0, 0))
    got = read_image(path)
    np.testing.assert_array_equal(got[[0, 23], [0, 0]], [[255, 255, 255], [255, 0, 0]])


def test_cmyk_jpeg_is_not_inverted(tmp_path):
    image = Image.fromarray(corners(64, 96)).convert("CMYK")
    got = read_image(saved(tmp_path / "a.jpg", image, quality=95))
    np.testing.assert_allclose(got[16, 24].astype(int), [0, 0, 255], atol=6)
    np.testing.assert_allclose(got[48, 24].astype(int), [255, 0, 0], atol=6)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (9, 7), colour) for colour in ("red", "blue", "green")]
    for suffix in ("gif", "png", "webp", "tiff"):
        options = {"lossless": True} if suffix == "webp" else {}
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(read_image(path), np.full((7, 9, 3), (0, 0, 255), np.uint8))
