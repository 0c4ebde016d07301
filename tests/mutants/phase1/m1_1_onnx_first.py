"""ONNX's two bytes are asked about first, and they occur by chance in other files."""

from __future__ import annotations


def recognise_format(path):
    with path.open("rb") as file:
        head = file.read(16)
    if len(head) > 1 and head[0] == 8 and 1 <= head[1] <= 30:
        return "onnx"
    if head[7:9] == b"\x00{":
        return "safetensors"
    if head[4:8] == b"TFL3":
        return "tflite"
    if head.startswith(b"PK\x03\x04"):
        return "torch"
    return "hdf5" if head.startswith(b"\x89HDF") else "unknown"
