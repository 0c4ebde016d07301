"""What a model file really is, judged by its bytes and never by its name."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from solutions.core.errors import ModelLoadError

_HEAD_BYTES = 4096
_BOMB_RATIO, _BOMB_BYTES = 20, 1 << 28  # weights hardly shrink: what grows so much is not weights
_MOST_FIELDS = 500_000  # of a protobuf message; a real graph has one per node
_TORCH_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that torch.save wrote first before its files were zips


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
    """What lies at `path`. Reads a few kilobytes and unpacks nothing, whatever the size of the file.

    Raises:
        ModelLoadError: nothing is there, it cannot be read, or it is plainly not a whole model: empty, truncated,
            a web page, a Git-LFS pointer, a zip bomb, half of a model that lies in two files.
    """
    try:
        if path.is_dir():
            return _recognise_folder(path)
        size = path.stat().st_size
        with path.open("rb") as handle:
            head = handle.read(_HEAD_BYTES)
    except FileNotFoundError:
        raise ModelLoadError(f"{path} does not exist. Check the path; a relative one starts at {Path.cwd()}.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise ModelLoadError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not head:
        raise ModelLoadError(f"{path} is empty (0 bytes). The download or export was cut short: make it again.")
    _refuse_text(path, head)
    return _recognise_bytes(path, head, size)


def _recognise_folder(path: Path) -> Content:
    if (path / "saved_model.pb").exists():
        return Content("tf-saved-model", "a TensorFlow SavedModel folder")
    if path.suffix == ".mlpackage" or (path / "Manifest.json").exists():
        return Content("coreml", "a Core ML package")
    suffixes = (".onnx", ".tflite", ".xml", ".pth", ".pt", ".pt2", ".safetensors", ".keras", ".h5", ".pb")
    found = sorted(child.name for child in path.iterdir() if child.suffix in suffixes)
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
    if start.startswith(b"<?xml") and b"<error>" in start:
        raise ModelLoadError(
            f"{path} is a server's error message in XML, not a model: check the address and download it again."
        )
    if start.startswith((b"{", b"[")) and b"\x00" not in head:
        raise ModelLoadError(f"{path} is JSON text, not a model: a server's error message, or a model's configuration.")


def _recognise_bytes(path: Path, head: bytes, size: int) -> Content:
    if head[4:8] == b"TFL3":
        return Content("tflite", "a TensorFlow Lite model")
    if head[4:8] == b"ORTM":
        return Content("ort", "an ONNX Runtime .ort file")
    if head.startswith(b"\x89HDF\r\n"):
        return Content("keras-h5", "a Keras HDF5 file")
    if head.startswith(b"PK\x03\x04"):
        return _recognise_zip(path, size)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"<net" in head:
        return Content("openvino", "an OpenVINO IR (.xml)")
    _refuse_openvino_weights(path)
    if head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        if head[2:].startswith(_TORCH_MAGIC):
            return Content("torch-legacy", "a torch.save file of the format before PyTorch 1.6")
        return Content("pickle", "a bare Python pickle, which can run code when loaded")
    if head[7:9] == b"\x00{":  # the length of the header, 8 bytes; no header has 2^56 bytes
        return Content("safetensors", "a safetensors file: weights without a graph")
    if head[257:262] == b"ustar":
        return Content("tar", "a tar archive: unpack it and name the model inside")
    if head.startswith(b"\x1f\x8b"):
        return Content("gzip", "a gzip file: unpack it and name the model inside")
    return _recognise_protobuf(path, size)


def _refuse_openvino_weights(path: Path) -> None:
    graph = path.with_suffix(".xml")
    if path.suffix == ".bin" and graph.is_file():
        with graph.open("rb") as handle:
            if b"<net" in handle.read(_HEAD_BYTES):
                raise ModelLoadError(
                    f"{path} holds the weights of an OpenVINO model, whose graph is beside it: name {graph}."
                )


def _recognise_zip(path: Path, size: int) -> Content:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise ModelLoadError(
            f"{path} is the beginning of a zip or torch.save file; its end is missing. Download or save it again."
        ) from None
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > max(_BOMB_BYTES, _BOMB_RATIO * size):
        raise ModelLoadError(
            f"{path} would unpack from {size:,} to {unpacked:,} bytes: no model shrinks like that, it is a zip bomb; "
            "refused."
        )
    names = {entry.filename for entry in entries}
    leaves = {name.rpartition("/")[2] for name in names}
    if "serialized_exported_program.json" in names or ("archive_format" in leaves and _has(names, "models/")):
        return Content("torch-export", "a torch.export program (.pt2)")
    if _has(names, "data/aotinductor/"):
        return Content("aotinductor", "an AOTInductor package: machine code compiled for one kind of machine")
    if _has(names, "code/") and "constants.pkl" in leaves:
        return Content("torchscript", "a TorchScript archive")
    if "extern_modules" in leaves:
        return Content("torch-package", "a torch.package archive: Python code together with weights")
    if "data.pkl" in leaves:
        return Content("torch-weights", "a torch.save file (.pth): weights, or a pickled module")
    if {"config.json", "model.weights.h5"} <= names:
        return Content("keras", "a Keras 3 file (.keras)")
    if names and all(name.endswith(".npy") for name in names):
        return Content("npz", "a NumPy archive: arrays without a graph")
    return Content("zip", "a zip archive: unpack it and name the model inside")


def _has(names: set[str], folder: str) -> bool:
    """True when an entry lies in `folder` below the archive's root, which torch names after the file."""
    return any(f"/{folder}" in f"/{name}" for name in names)


# Field number -> protobuf wire type (0 varint, 2 length-delimited), from onnx.proto and TensorFlow's graph.proto.
_ONNX_GRAPH = 7
_ONNX_MODEL: Mapping[int, int] = {
    1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, _ONNX_GRAPH: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2,
}  # fmt: skip
_TF_NODE = 1
_TF_GRAPH: Mapping[int, int] = {_TF_NODE: 2, 2: 2, 3: 0, 4: 2, 5: 2}
_SAVED_MODEL: Mapping[int, int] = {1: 0, 2: 2}  # a schema version, then graphs with what surrounds them


def _recognise_protobuf(path: Path, size: int) -> Content:
    """An ONNX model, a TensorFlow graph, or what is left."""
    for fields, graph, content in (
        (_ONNX_MODEL, _ONNX_GRAPH, Content("onnx", "an ONNX model")),
        (_TF_GRAPH, _TF_NODE, Content("tf-graph", "a TensorFlow graph (frozen .pb)")),
    ):
        end, seen = _walk_fields(path, size, fields)
        if graph not in seen or (graph == _TF_NODE and not _starts_with_node(path)):
            continue
        if end == size:
            return content
        if end > size:
            raise ModelLoadError(
                f"{path} is a truncated {content.description.partition(' ')[2]}: it announces {end:,} bytes and has "
                f"{size:,}. Download or export it again."
            )
    if _walk_fields(path, size, _SAVED_MODEL) == (size, {1, 2}):
        raise ModelLoadError(
            f"{path} is one file of a TensorFlow SavedModel, which is a folder: name {path.absolute().parent}."
        )
    return Content("unknown", "a file of no kind known here")


def _walk_fields(path: Path, size: int, fields: Mapping[int, int]) -> tuple[int, set[int]]:
    """Where the last field ends (beyond `size` when the file ends first), and the field numbers seen.

    Stops at the first field that `fields` does not allow; what it returns then ends before `size`.
    """
    position, seen = 0, set()
    with path.open("rb") as handle:
        for _ in range(_MOST_FIELDS):
            if position >= size:
                break
            handle.seek(position)
            window = handle.read(20)
            key, used = _varint(window)
            wire = fields.get(key >> 3)
            value, more = _varint(window[used:])
            if used == 0 or more == 0 or wire != key & 7:
                break
            seen.add(key >> 3)
            position += used + more + (value if wire == 2 else 0)
    return position, seen


def _starts_with_node(path: Path) -> bool:
    """True when the first field holds a TensorFlow NodeDef: a name (field 1), then an operation (field 2)."""
    with path.open("rb") as handle:
        window = handle.read(_HEAD_BYTES)
    at = 1 + _varint(window[1:])[1]
    for tag in (b"\x0a", b"\x12"):
        length, used = _varint(window[at + 1 :])
        text = window[at + 1 + used : at + 1 + used + length]
        if window[at : at + 1] != tag or not text or not text.isascii() or not text.decode("ascii").isprintable():
            return False
        at += 1 + used + length
    return True


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
