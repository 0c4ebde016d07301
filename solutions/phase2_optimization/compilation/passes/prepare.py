"""A model made ready for the passes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import inliner

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.phase1_basics.runtimes.onnx import read_checked

_LARGEST = 2**31 - 1  # what protobuf can hold


def prepared(model: str | Path | onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> onnx.ModelProto:
    """A copy to work on: no local functions, no initializer that is an input too, the given input sizes.

    Args:
        model: an ONNX file (weights outside it are read in), or the model.
        shapes: fixes free sizes of inputs; a named size is fixed wherever its name occurs.

    Raises:
        ModelLoadError: no usable model, or more of it than protobuf holds.
        ConfigError: an unknown input, or a shape that the file contradicts.
    """
    if isinstance(model, onnx.ModelProto):
        work = onnx.ModelProto()
        work.CopyFrom(model)
    else:
        read_checked(Path(model))
        work = onnx.load(str(model))
    if work.ByteSize() > _LARGEST:
        raise ModelLoadError(f"the model has {work.ByteSize() / 1e9:.1f} GB, and this optimiser takes 2.1 GB at most.")
    if work.functions:
        work = inliner.inline_local_functions(work)
    if work.ir_version < 4:  # initializers had to be inputs then, and no runtime lets a caller replace them
        stored = {tensor.name for tensor in work.graph.initializer}
        inputs = [value for value in work.graph.input if value.name not in stored]
        del work.graph.input[:]
        work.graph.input.extend(inputs)
        work.ir_version = 4
    _fix_sizes(work, shapes)
    return work


def _fix_sizes(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    inputs = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
    named: dict[str, int] = {}
    for name, shape in shapes.items():
        dims = inputs.get(name)
        if dims is None:
            raise ConfigError(f"the model has no input {name!r}: its inputs are {', '.join(inputs)}")
        clash = any(dim.HasField("dim_value") and dim.dim_value != size for dim, size in zip(dims, shape, strict=False))
        if len(dims) != len(shape) or clash or min(shape, default=1) < 1:
            raise ConfigError(f"input {name} cannot have the shape {list(shape)}: the file says otherwise")
        for dim, size in zip(dims, shape, strict=True):
            if dim.dim_param and named.setdefault(dim.dim_param, size) != size:
                raise ConfigError(f"the size {dim.dim_param} cannot be both {named[dim.dim_param]} and {size}")
            dim.dim_value = size
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in named:
                dim.dim_value = named[dim.dim_param]
