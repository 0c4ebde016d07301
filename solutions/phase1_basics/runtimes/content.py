"""What a model file really is, judged by its bytes and never by its name."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

from solutions.core.errors import ModelLoadError

_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Content:
    """What a path holds.

    Attributes:
        kind: a short name that runtimes register for: "onnx", "tflite", "openvino", "torch-weights", ...
        description: the same as a noun phrase for an error message.
    """

    kind: str
    description: str


def recognise_content(path: Path) -> Content:
    """What lies at `path`. Reads a few kilobytes, whatever the size of the file.

    Raises:
        ModelLoadError: nothing is there, it cannot be read, or it is plainly not a whole model: empty, truncated,
            a web page, a Git-LFS pointer.
    """
    try:
        if path.is_dir():
            return _recognise_folder(path)
        size = path.stat().st_size
        with path.open("rb") as handle:
            head = handle.read(_HEAD_BYTES)
    except FileNotFoundError:
        raise ModelLoadError(f"{path} does not exist. Check the path; a relative one starts at {Path.cwd()}.") from None
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not head:
        raise ModelLoadError(f"{path} is empty (0 bytes). The download or export was cut short: make it again.")
    _refuse_text(path, head)
    return _recognise_bytes(path, head, size)


def _recognise_folder(path: Path) -> Content:
    if (path / "saved_model.pb").exists():
        return Content("savedmodel", "a TensorFlow SavedModel folder")
    if path.suffix == ".mlpackage" or (path / "Manifest.json").exists():
        return Content("coreml", "a Core ML package")
    found = sorted(
        child.name for child in path.iterdir() if child.suffix in (".onnx", ".tflite", ".xml", ".pth", ".pt")
    )
    inside = f" It holds {', '.join(found[:3])}: name that file." if found else ""
    raise ModelLoadError(f"{path} is a folder, not a model file.{inside}")


def _refuse_text(path: Path, head: bytes) -> None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"version https://git-lfs.github.com/spec"):
        raise ModelLoadError(f"{path} is a Git-LFS pointer, not the model. Fetch the real file: git lfs pull.")
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        raise ModelLoadError(
            f"{path} is a web page, not a model: the download saved an error or login page. Download it again."
        )


def _recognise_bytes(path: Path, head: bytes, size: int) -> Content:
    if head[4:8] == b"TFL3":
        return Content("tflite", "a TensorFlow Lite model")
    if head[4:8] == b"ORTM":
        return Content("ort", "an ONNX Runtime .ort file")
    if head.startswith(b"\x89HDF\r\n"):
        return Content("keras-h5", "a Keras HDF5 file")
    if head.startswith(b"PK\x03\x04"):
        return _recognise_zip(path)
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return Content("pickle", "a Python pickle (an old torch.save file?), which can run code when loaded")
    if head[:8].endswith(b"\x00") and head[8:9] == b"{":
        return Content("safetensors", "a safetensors file: weights without a graph")
    if head.lstrip().startswith(b"<") and b"<net" in head:
        return Content("openvino", "an OpenVINO IR (.xml)")
    if _looks_like_onnx(path, head, size):
        return Content("onnx", "an ONNX model")
    return Content("unknown", "a file of no kind known here")


def _recognise_zip(path: Path) -> Content:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        raise ModelLoadError(
            f"{path} is the beginning of a zip or torch.save file; its end is missing. Download or save it again."
        ) from None
    leaves = {name.rpartition("/")[2] for name in names}
    if leaves & {"serialized_exported_program.json", "archive_format"}:
        return Content("torch-export", "a torch.export program (.pt2)")
    if any("/code/" in name for name in names) and "data.pkl" in leaves:
        return Content("torchscript", "a TorchScript archive")
    if "data.pkl" in leaves:
        return Content("torch-weights", "a torch.save file (.pth): weights, or a pickled module")
    if {"config.json", "model.weights.h5"} <= leaves:
        return Content("keras", "a Keras 3 file (.keras)")
    return Content("zip", "a zip archive: unpack it and name the model inside")


_GRAPH_FIELD = 7
_MODEL_FIELDS = {  # field number of ModelProto -> protobuf wire type (0 varint, 2 length-delimited), from onnx.proto
    1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, _GRAPH_FIELD: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2,
}  # fmt: skip


def _looks_like_onnx(path: Path, head: bytes, size: int) -> bool:
    """True when the file is a chain of ModelProto's fields with a graph among them.

    Raises:
        ModelLoadError: the chain begins right and the file ends before a field does.
    """
    position, seen = 0, set()
    with path.open("rb") as handle:
        while position < size:
            handle.seek(position)
            window = handle.read(20)
            key, used = _varint(window)
            field, wire = key >> 3, key & 7
            if _MODEL_FIELDS.get(field) != wire:
                return False
            value, more = _varint(window[used:])
            if used == 0 or more == 0:
                break
            seen.add(field)
            position += used + more + (value if wire == 2 else 0)
            if position > size and _GRAPH_FIELD in seen:
                raise ModelLoadError(
                    f"{path} is a truncated ONNX model: it announces {position:,} bytes and has {size:,}. "
                    "Download or export it again."
                )
    return position == size and _GRAPH_FIELD in seen


def _varint(window: bytes) -> tuple[int, int]:
    """A protobuf varint and the bytes it took; 0 bytes when it does not end within the window."""
    value = 0
    for count, byte in enumerate(window[:10]):
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, count + 1
    return 0, 0


def inside_folder(location: str, folder: Path, real_folder: Path) -> bool:
    """True when the relative `location` stays in `folder`, links followed.

    `real_folder` is where the model itself really lies: model caches link both the model and its weights there.
    """
    if os.path.isabs(location) or ".." in Path(location).parts or "\\" in location:
        return False
    real = Path(os.path.realpath(folder / location))
    return real.is_relative_to(os.path.realpath(folder)) or real.is_relative_to(real_folder)
