"""Pictures from files of any kind, as the project's frames: uint8 [H, W, 3] in BGR order.

What a file may hide and what comes out:

- EXIF orientation is applied: a phone stores its portraits lying down and a tag that says so.
- Transparent pixels lie on white. What hides beneath them is arbitrary, and pictures with transparency are mostly
  drawn for white pages.
- 16 bits per channel become 8 by keeping the upper byte, never by clipping. 32-bit pictures are refused: nobody
  agrees on what their black and white are.
- Grey, palette, CMYK and YCCK become colour; colour profiles are ignored, as in torchvision's training.
- Of an animation or a many-page TIFF comes the first frame.
- A file that ends too early is refused. Half a picture would be classified with as much confidence as a whole one.

The number of pixels is checked in the header, before any memory is taken: 40 kB of PNG can announce 10 GB.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import threading
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageOps

from solutions.core.errors import ConfigError, ImageError

MAX_PIXELS = 80_000_000  # 240 MB decoded; below the 89 million from which Pillow itself begins to warn
SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)

# Only what carries pictures: Pillow also opens EPS, through an interpreter that runs the file as a program. Importing a
# plugin registers it; left to itself Pillow imports all 45 when it meets a WebP or TIFF, 0.2 s into the first picture.
for _plugin in ("Avif", "Bmp", "Gif", "Jpeg2K", "Jpeg", "Mpo", "Png", "Ppm", "Tiff", "WebP"):
    with contextlib.suppress(ModuleNotFoundError):  # AVIF came with Pillow 11.3
        importlib.import_module(f"PIL.{_plugin}ImagePlugin")
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
_KNOWN = [kind for kind in _FORMATS if kind in Image.OPEN]
_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"BM", b"RIFF", b"\0\0\0\x0cjP", b"P5", b"P6")
_ALPHA_MODES = frozenset({"LA", "PA", "RGBA", "La", "RGBa"})
_BOMB_LOCK = threading.Lock()


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The picture in a file, uint8 [H, W, 3] BGR, C-contiguous; see the module for what is applied.

    Args:
        path: a JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, JPEG 2000 or AVIF file; its content counts, not its suffix.
        max_pixels: the most pixels it may have. Memory use is about 8 bytes a pixel while decoding.

    Raises:
        ImageError: the file is missing, no picture, damaged, cut off, or larger than `max_pixels`.
    """
    path = Path(path)
    if path.is_dir():
        raise ImageError(f"{path} is a folder, not a picture; name the files in it.")
    try:
        with path.open("rb") as handle:
            return _decode(handle, str(path), max_pixels)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}.") from error


def decode_image(data: bytes, *, name: str = "the picture", max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The picture in the bytes of a file, as `read_image`; `name` is what errors call it."""
    return _decode(io.BytesIO(data), name, max_pixels)


def image_paths(paths: Iterable[str | Path]) -> list[Path]:
    """The pictures behind files and folders: files as given, folders as their pictures by name, not recursively.

    Raises:
        ImageError: a folder holds no file with a picture's suffix.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        if not inside:
            raise ImageError(f"the folder {path} holds no pictures ({', '.join(sorted(SUFFIXES))}).")
        found += inside
    return found


def _decode(handle: BinaryIO, name: str, max_pixels: int) -> np.ndarray:
    if max_pixels < 1:
        raise ConfigError(f"max_pixels must be at least 1, got {max_pixels}")
    start = handle.read(32)
    if not start:
        raise ImageError(f"{name} is empty: 0 bytes.")
    with _open(handle, start, name, max_pixels) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError(_too_large(name, f"{width} x {height} pixels", max_pixels))
        try:
            image.load()
            _rotate_upright(image)
            return _to_bgr(image, name)
        except ImageError:
            raise
        except Exception as error:  # decoders raise whatever they stumble over: OSError, SyntaxError, struct.error, ...
            raise ImageError(
                f"{name} is damaged or cut off: it announces {width} x {height} pixels and cannot be decoded to the "
                "end. Copy or download it again."
            ) from error


def _open(handle: BinaryIO, start: bytes, name: str, max_pixels: int) -> Image.Image:
    """The picture with its header read and no pixel decoded.

    Raises:
        ImageError: it is not a picture, its header is damaged, or even Pillow finds it too large.
    """
    try:
        # Our own limit has the last word, so Pillow's warning would only be a second message. The filters of
        # `warnings` belong to the whole process: the lock keeps our threads from restoring each other's.
        with _BOMB_LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Image.open(handle, formats=_KNOWN)
    except Image.DecompressionBombError as error:
        raise ImageError(_too_large(name, "too many pixels even for Pillow", max_pixels)) from error
    except Exception as error:
        if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"msf1"):
            raise ImageError(f"{name} is a HEIC picture, which cannot be read here. Save it as JPEG.") from error
        if start.startswith(_STARTS):
            raise ImageError(
                f"{name} begins like a picture, but its header is damaged or cut off. Copy or download it again."
            ) from error
        kinds = ", ".join(kind for kind in _KNOWN if kind != "MPO")
        raise ImageError(f"{name} is not a picture of a kind known here ({kinds}).") from error


def _too_large(name: str, size: str, max_pixels: int) -> str:
    return (
        f"{name} announces {size}, and the limit is {max_pixels:,}: refused before decoding. If you trust it, "
        "raise max_pixels or make it smaller."
    )


def _rotate_upright(image: Image.Image) -> None:
    """Apply the EXIF orientation; a tag that makes no sense counts as none, the pixels being whole."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # damaged EXIF raises what the parser stumbles over
        return


def _to_bgr(image: Image.Image, name: str) -> np.ndarray:
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):  # older Pillows say I for 16 bits
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if mode in ("I", "F"):
        raise ImageError(f"{name} has 32 bits per channel and no agreed black and white. Save it with 8 or 16 bits.")
    if mode in _ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        page.alpha_composite(image)
        image = page
    return np.asarray(cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR))
