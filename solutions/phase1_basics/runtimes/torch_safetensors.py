"""Safetensors files: an announced length, a JSON header, and raw bytes. Nothing in them can run.

The header is checked before anything is allocated, because it comes from a stranger: it may announce more than the
file has, point outside it, or claim shapes that its bytes cannot fill.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from solutions.core.errors import ModelLoadError
from solutions.phase1_basics.runtimes.feeds import one_line

_LARGEST_HEADER = 100_000_000  # bytes; the library's own limit
_LENGTH_BYTES = 8
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors by name, on the CPU, and the metadata of the header.

    Raises:
        ModelLoadError: truncated, or its header lies.
    """
    header, data_bytes = _read_header(path)
    metadata = header.pop("__metadata__", {})
    for name, entry in header.items():
        problem = _problem(entry, data_bytes)
        if problem:
            raise ModelLoadError(f"{path} is damaged: its header says that {name} {problem}. Download it again.")
    try:
        tensors = load_file(path, device="cpu")
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise ModelLoadError(f"{path} is a damaged safetensors file: {one_line(error)}.") from error
    return tensors, {str(key): str(value) for key, value in metadata.items()} if isinstance(metadata, dict) else {}


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header and how many bytes follow it."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(_LENGTH_BYTES), "little")
        if length > _LARGEST_HEADER:
            raise ModelLoadError(
                f"{path} is no sound safetensors file: it announces a header of {length:,} bytes, and "
                f"{_LARGEST_HEADER:,} are allowed."
            )
        if _LENGTH_BYTES + length > size:
            raise ModelLoadError(f"{path} is truncated: it ends within its header. Download it again.")
        text = handle.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(
            f"{path} is a damaged safetensors file: its header is not JSON. Download it again."
        ) from error
    if not isinstance(header, dict):
        raise ModelLoadError(f"{path} is a damaged safetensors file: its header is a {type(header).__name__}.")
    data_bytes = size - _LENGTH_BYTES - length
    ends = [entry["data_offsets"][1] for entry in header.values() if _offsets(entry)]
    if ends and max(ends) > data_bytes:
        raise ModelLoadError(
            f"{path} is truncated: its header announces {max(ends):,} bytes of weights, and {data_bytes:,} are there. "
            "Download it again."
        )
    return header, data_bytes


def _offsets(entry: Any) -> bool:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    return isinstance(offsets, list) and len(offsets) == 2 and all(type(offset) is int for offset in offsets)


def _problem(entry: Any, data_bytes: int) -> str | None:
    """What is wrong with one tensor's entry, as a verb phrase."""
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not _offsets(entry) or not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        return "has no shape or no place"
    start, end = entry["data_offsets"]
    if not 0 <= start <= end <= data_bytes:
        return f"lies at {start} to {end}, outside the file"
    bits = _BITS.get(str(entry.get("dtype")))
    if bits is not None and math.prod(shape) * bits != (end - start) * 8:
        return f"has shape {shape} in {end - start} bytes of {entry['dtype']}"
    return None
