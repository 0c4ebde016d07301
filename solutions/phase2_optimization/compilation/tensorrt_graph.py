"""What an engine builder needs to know of an ONNX file: its inputs and outputs, its precision, its fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import onnx

from solutions.core.errors import CourseError, ModelLoadError
from solutions.core.tensors import TensorSpec
from solutions.phase2_optimization.compilation.tensorrt_profiles import Profile, profile_for
from solutions.phase2_optimization.compilation.tensorrt_record import file_sha256


def own_profile(
    inputs: tuple[TensorSpec, ...], proto: onnx.ModelProto, batches: tuple[int, int, int]
) -> tuple[Profile, ...]:
    """A profile of the graph's own sizes, heights and widths as its metadata say; none where nothing is free."""
    facts = {entry.key: entry.value for entry in proto.metadata_props}
    sides = facts.get("input_hw", "").split(",")
    input_hw = (int(sides[0]), int(sides[1])) if len(sides) == 2 and all(s.isdigit() for s in sides) else None
    profile = profile_for(inputs, batches=batches, input_hw=input_hw)
    return (profile,) if profile else ()


def tensor_specs(values: Iterable[onnx.ValueInfoProto], proto: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """The specs of a graph's inputs or outputs, without the weights that old files list among the inputs.

    Raises:
        ModelLoadError: a type that NumPy does not have.
    """
    stored = {tensor.name for tensor in proto.graph.initializer}
    specs = []
    for value in values:
        if value.name in stored:
            continue
        kind = value.type.tensor_type
        shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
        try:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
            specs.append(TensorSpec(value.name, shape, dtype.name))
        except (KeyError, TypeError, CourseError):
            raise ModelLoadError(f"{value.name} is of an element type that no engine takes; use numbers.") from None
    return tuple(specs)


def weight_types(proto: onnx.ModelProto) -> dict[str, int]:
    """Element type of the stored weights -> number of Conv, ConvTranspose, Gemm and MatMul layers that have it."""
    types = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in types:
            types[node.output[0]] = types[node.input[0]]
    found: dict[str, int] = {}
    for node in proto.graph.node:
        if (
            node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")
            and len(node.input) > 1
            and node.input[1] in types
        ):
            name = onnx.TensorProto.DataType.Name(types[node.input[1]]).lower()
            name = {"float": "float32"}.get(name, name)
            found[name] = found.get(name, 0) + 1
    return found


def graph_sha256(path: Path, proto: onnx.ModelProto) -> str:
    """Digest of an ONNX file and of the files that hold its weights."""
    digest = hashlib.sha256(file_sha256(path).encode())
    places = {
        entry.value for tensor in proto.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }
    for place in sorted(places):
        digest.update(file_sha256(path.parent / place).encode())
    return digest.hexdigest()
