"""The whole file is read for the sake of 16 bytes."""

from __future__ import annotations


def recognise_format(path):
    head = path.read_bytes()
    if head[7:9] == b"\x00{":
        return "safetensors"
    if head[4:8] == b"TFL3":
        return "tflite"
    if head.startswith(b"PK\x03\x04"):
        return "torch"
    if head.startswith(b"\x89HDF"):
        return "hdf5"
    return "onnx" if len(head) > 1 and head[0] == 8 and 1 <= head[1] <= 30 else "unknown"
