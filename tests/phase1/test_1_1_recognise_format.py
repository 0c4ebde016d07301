"""1.1: what a file is, by its first bytes."""

from __future__ import annotations

import json
import tracemalloc

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.grader.checks import check, check_equal

pytestmark = pytest.mark.exercise("1.1")


def onnx_bytes() -> bytes:
    """A whole ONNX file: y = relu(x)."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    model = helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y]))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def torch_bytes(folder) -> bytes:
    """What torch.save writes for a state dict."""
    torch.save({"weight": torch.zeros(2)}, folder / "made")
    return (folder / "made").read_bytes()


def safetensors_bytes(header_length: int) -> bytes:
    """A whole safetensors file of one float, its header padded with spaces, as the format allows."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return header_length.to_bytes(8, "little") + header.ljust(header_length) + bytes(4)


def recognise(graded, folder, name: str, content: bytes):
    path = folder / name
    path.write_bytes(content)
    return graded(path)


@pytest.mark.parametrize(
    ("name", "make", "want"),
    [
        pytest.param("net.onnx", torch_bytes, "torch", id="torch-named-onnx"),
        pytest.param("net.pth", lambda _: onnx_bytes(), "onnx", id="onnx-named-pth"),
        pytest.param("net.bin", lambda _: safetensors_bytes(64), "safetensors", id="safetensors-named-bin"),
        pytest.param("net.pb", lambda _: b"\x1c\0\0\0TFL3" + bytes(64), "tflite", id="tflite-named-pb"),
        pytest.param("net", lambda _: b"\x89HDF\r\n\x1a\n" + bytes(64), "hdf5", id="hdf5-without-a-suffix"),
        pytest.param("net.onnx", lambda _: b"<!doctype html><html>", "unknown", id="web-page-named-onnx"),
    ],
)
def test_content_decides(graded, tmp_path, name, make, want):
    """The content decides, never the suffix."""
    check_equal(
        recognise(graded, tmp_path, name, make(tmp_path)),
        want,
        breaks="the content decides, never the suffix",
        likely="path.suffix was looked at, or a signature has a wrong byte or place",
    )


@pytest.mark.parametrize(
    ("content", "want"),
    [
        # 264 = 0x0108: the length alone, 08 01, would pass for the start of an ONNX file
        pytest.param(safetensors_bytes(264), "safetensors", id="safetensors-that-starts-like-onnx"),
        pytest.param(b"\x08\x01\0\0TFL3" + bytes(8), "tflite", id="tflite-that-starts-like-onnx"),
    ],
)
def test_order_of_the_rows(graded, tmp_path, content, want):
    """Where two signatures fit, the row that comes first in the table decides."""
    check_equal(
        recognise(graded, tmp_path, "model", content),
        want,
        breaks="the first row that fits decides",
        likely="two bytes of ONNX were asked about before the longer signatures",
    )


@pytest.mark.parametrize(
    ("content", "want"),
    [
        pytest.param(b"", "unknown", id="empty"),
        pytest.param(b"\x08", "unknown", id="one-byte"),
        pytest.param(b"PK", "unknown", id="half-a-zip-signature"),
        pytest.param(b"PK\x05\x06" + bytes(18), "unknown", id="zip-without-entries"),
        pytest.param(b"TFL3" + bytes(8), "unknown", id="tflite-signature-at-the-wrong-place"),
        pytest.param(bytes(8), "unknown", id="only-zeros"),
        pytest.param(b"\x08\x01", "onnx", id="lowest-ir-version"),
        pytest.param(b"\x08\x1e", "onnx", id="highest-ir-version"),
        pytest.param(b"\x08\x00\x12", "unknown", id="ir-version-0"),
        pytest.param(b"\x08\x1f\x12", "unknown", id="ir-version-31"),
    ],
)
def test_short_files(graded, tmp_path, content, want):
    """Empty, short and nearly right files are told without an error."""
    check_equal(
        recognise(graded, tmp_path, "model.onnx", content),
        want,
        breaks="a file with less than a whole signature is unknown",
        likely="a byte was read that is not there, or a bound is off by one",
    )


def test_large_file_is_not_read(graded, tmp_path):
    """Of a large file only the first bytes are read."""
    size = 12 << 20
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.write(b"\x08\x0a")
        file.truncate(size)  # sparse: takes no room on the disk
    tracemalloc.start()
    try:
        found = graded(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    check_equal(found, "onnx", breaks="a large file is recognised like a small one")
    check(
        peak < 1 << 20,
        breaks="a few bytes are read of a file of 12 MiB",
        expected="less than 1 MiB of memory",
        got=f"{peak / 2**20:.1f} MiB",
        likely="read_bytes() or read() without a number takes the whole file",
    )
