"""Pictures from files of any kind: what each kind becomes, and one sentence for what is no whole picture."""

import io
import struct
import time
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from solutions.core.errors import ConfigError, CourseError, ImageError
from solutions.phase1_basics.prediction.image_files import decode_image, image_paths, read_image

ORIENTATION = 0x0112


def corners(height=24, width=40):
    """RGB: red, green, blue, yellow quarters, so that every rotation and channel order shows."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[: height // 2, : width // 2] = (255, 0, 0)
    rgb[: height // 2, width // 2 :] = (0, 255, 0)
    rgb[height // 2 :, : width // 2] = (0, 0, 255)
    rgb[height // 2 :, width // 2 :] = (255, 255, 0)
    return rgb


def saved(path, image, **options):
    image.save(path, **options)
    return path


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


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


@pytest.mark.parametrize("share", [0.002, 0.03, 0.5, 0.95])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "bmp", "gif", "jp2", "ppm"])
def test_a_file_that_ends_early_is_refused(tmp_path, suffix, share):
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(noise(120, 160)))
    whole = path.read_bytes()
    path.write_bytes(whole[: max(12, int(len(whole) * share))])
    with pytest.raises(ImageError, match="damaged or cut off") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"hello, I am a letter", "not a picture of a kind known here", id="text"),
        pytest.param(bytes(4096), "not a picture", id="zeros"),
        pytest.param(b"<html>Sign in</html>", "not a picture", id="web-page"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture", id="a-program-eps"),
        pytest.param(b"\0\0\0\x18ftypheic" + bytes(64), "HEIC", id="heic"),
        pytest.param(b"\xff\xd8\xff\xe0", "damaged or cut off", id="four-bytes-of-jpeg"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, content, message):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message) as caught:
        read_image(path)
    assert isinstance(caught.value, CourseError)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)


def bomb(width, height):
    """A PNG of a few hundred bytes that announces any size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 10_000, 13_000, 60_000])
def test_a_bomb_is_refused_from_its_header(side):
    content = bomb(side, side)
    tracemalloc.start()
    start_s = time.perf_counter()
    with pytest.raises(ImageError, match=r"refused before decoding"):
        decode_image(content)
    assert time.perf_counter() - start_s < 1
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_the_limit_is_exact(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(noise(10, 12)))
    assert read_image(path, max_pixels=120).shape == (10, 12, 3)
    with pytest.raises(ImageError, match="12 x 10 pixels, and the limit is 119"):
        read_image(path, max_pixels=119)
    with pytest.raises(ConfigError, match="at least 1"):
        read_image(path, max_pixels=0)


def test_text_bombs_in_a_png_cost_one_sentence():
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 3_000_000, zip=True)  # 3 MB behind 3 kB
    buffer = io.BytesIO()
    Image.fromarray(corners()).save(buffer, "PNG", pnginfo=info)
    with pytest.raises(ImageError, match="damaged"):
        decode_image(buffer.getvalue())


def test_folders_give_their_pictures_by_name(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "d.png").mkdir()
    assert image_paths([tmp_path, "else.webp"]) == [tmp_path / "a.jpg", tmp_path / "b.PNG", *image_paths(["else.webp"])]
    with pytest.raises(ImageError, match="holds no pictures"):
        image_paths([tmp_path / "d.png"])


def encoded(suffix):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image = Image.fromarray(noise(20, 30))
    image.save(buffer, suffix, **({} if suffix in ("GIF", "PPM", "BMP") else {"exif": exif}))
    return buffer.getvalue()


ENCODED = {kind: encoded(kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM")}


@pytest.mark.filterwarnings("ignore")  # Pillow warns of some kinds of damage and raises for the rest
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.differing_executors])
@given(st.sampled_from(sorted(ENCODED)), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8))
def test_damage_gives_a_picture_or_one_sentence(kind, damage):
    content = bytearray(ENCODED[kind])
    for where, value in damage:
        content[min(int(where * len(content)), len(content) - 1)] = value
    try:
        pixels = decode_image(bytes(content), max_pixels=10_000)
    except ImageError as error:
        sentence = str(error)
    else:
        assert (pixels.dtype, pixels.ndim) == (np.uint8, 3)
        return
    assert "\n" not in sentence
