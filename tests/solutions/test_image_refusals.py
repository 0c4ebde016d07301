"""Files that are no whole picture, or too large a one: one sentence for each, and no harm done."""

import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from solutions.core.errors import ConfigError, CourseError, ImageError
from solutions.phase1_basics.prediction.image_files import decode_image, read_image
from tests.solutions.picture_builders import ORIENTATION, corners, noise, saved


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
