"""Networks as files: ONNX graphs that carry what is to be known about them, and half-precision torch weights."""

from __future__ import annotations

import copy
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import onnx
import torch
from torch import nn

from solutions.core.errors import ConfigError
from solutions.core.zoo.networks import CropNet, StreetNet, fold_batchnorm

Net = TypeVar("Net", bound=nn.Module)


def save_weights(model: nn.Module, path: Path) -> None:
    """Store the state dict with its floating tensors in float16: half the size, and what the ONNX file is made from."""
    state = {name: t.half() if t.is_floating_point() else t for name, t in model.state_dict().items()}
    torch.save(state, path)


def load_weights(model: Net, path: Path) -> Net:
    """`model` in eval mode with the weights of `path`, as float32."""
    state = torch.load(path, weights_only=True, map_location="cpu")
    model.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in state.items()})
    return model.eval()


def export_detector(model: StreetNet, path: Path, *, labels: tuple[str, ...], input_hw: tuple[int, int]) -> None:
    """Write `images` [batch, 3, 32 a, 32 b] -> `grid`; batch, a and b are free."""
    example = torch.rand(2, 3, *input_hw) * 255
    sizes = {0: torch.export.Dim("batch"), 2: 32 * torch.export.Dim("rows32"), 3: 32 * torch.export.Dim("columns32")}
    facts = {"head": "grid", "labels": ",".join(labels), "input_hw": f"{input_hw[0]},{input_hw[1]}"}
    export_onnx(_folded(model), example, path, inputs=["images"], outputs=["grid"], sizes=sizes, facts=facts)


def export_classifier(
    model: CropNet, path: Path, *, labels: tuple[str, ...], colours: tuple[str, ...], input_hw: tuple[int, int]
) -> None:
    """Write `crops` [batch, 3, 48, 48] -> `classes`, `colours`; the batch is free."""
    example = torch.rand(2, 3, *input_hw) * 255
    facts = {
        "head": "crop",
        "labels": ",".join(labels),
        "colours": ",".join(colours),
        "input_hw": f"{input_hw[0]},{input_hw[1]}",
    }
    sizes = {0: torch.export.Dim("batch")}
    export_onnx(
        _folded(model), example, path, inputs=["crops"], outputs=["classes", "colours"], sizes=sizes, facts=facts
    )


def export_onnx(
    model: nn.Module,
    example: torch.Tensor | tuple[torch.Tensor, ...],
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    sizes: dict[int, torch.export.Dim] | tuple[dict[int, torch.export.Dim], ...],
    facts: Mapping[str, str],
    opset: int | None = None,
) -> None:
    """Write one self-contained, checked ONNX file.

    Args:
        model: in eval mode.
        example: an input with a batch of at least 2 (1 would be taken for a constant), or a tuple of several.
        path: the file; written whole or not at all, so two processes may make it at once.
        inputs: names of the inputs.
        outputs: names of the outputs.
        sizes: the free axes of the input, or of each.
        facts: key and value pairs that travel in the file's metadata.
        opset: version of ONNX's operators; None takes the exporter's own.

    Raises:
        ConfigError: the folder cannot be written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations are not ours to mend
        program = torch.onnx.export(
            model,
            example if isinstance(example, tuple) else (example,),
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=sizes if isinstance(sizes, tuple) else (sizes,),
            opset_version=opset,
            verbose=False,
        )
    proto = program.model_proto  # type: ignore[union-attr]
    for node in proto.graph.node:
        node.ClearField("metadata_props")  # where each node came from in Python: 3 times the size of the weights' names
        node.ClearField("doc_string")
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        value.ClearField("metadata_props")
    for key, fact in facts.items():
        proto.metadata_props.add(key=key, value=fact)
    onnx.checker.check_model(proto, full_check=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-") as workshop:
            made = Path(workshop) / path.name
            onnx.save(proto, made)
            os.replace(made, path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror or error}. "
            "Choose another place; MLI_CACHE names the cache folder."
        ) from error


def _folded(model: nn.Module) -> nn.Module:
    return fold_batchnorm(copy.deepcopy(model).eval())
