"""Programs of torch.export (.pt2), of the archive that PyTorch writes since 2.8 and of the zip before it."""

from __future__ import annotations

import contextlib
import logging
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass
from torch.utils import _pytree as pytree

from solutions.core.errors import ModelLoadError
from solutions.core.tensors import TensorSpec
from solutions.phase1_basics.runtimes.feeds import check_settings, one_line
from solutions.phase1_basics.runtimes.torch_architectures import infer_architecture
from solutions.phase1_basics.runtimes.torch_archive import extra_files
from solutions.phase1_basics.runtimes.torch_export_audit import audit_exported
from solutions.phase1_basics.runtimes.torch_model import TorchModel, choose_device
from solutions.phase1_basics.runtimes.torch_specs import flatten_outputs, numpy_dtype, renamed

_TRAINING_FLAG = {"aten.dropout.default": 2, "aten.batch_norm.default": 5}  # operator -> position of `training`


def load_exported(path: Path, *, device: str = "auto", threads: int | None = None, **options: Any) -> TorchModel:
    """A model from a program that torch.export saved.

    Its names are those of the program, or, where its weights are those of a network known here, the ones that the
    course's ONNX exports use. Its facts are the archive's extra files.

    Args:
        path: the file.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        threads: threads inside one operator (see `TorchModel`).
        options: `trust_pickle`, load it even where loading it could run code.

    Raises:
        ModelLoadError: damaged, hostile, of another version's format, or exported in training mode.
        BackendUnavailable: the device is not here.
        ConfigError: a setting cannot be used.
    """
    check_settings("torch.export", threads, options, ("trust_pickle",))
    on = choose_device(device)
    if not options.get("trust_pickle", False):
        audit_exported(path)
    program, facts = _read(path)
    _refuse_training(path, program)
    inputs, outputs, structure = _specs(path, program)
    known = infer_architecture({name: tuple(tensor.shape) for name, tensor in program.state_dict.items()})
    if known is not None and len(inputs) == 1 and len(outputs) == len(known.outputs):
        inputs, outputs = renamed(inputs, known.inputs), renamed(outputs, known.outputs)
        facts = {**known.facts, **facts}

    def call(module: Any, tensors: list[torch.Tensor]) -> Any:
        positional, keywords = pytree.tree_unflatten(tensors, structure)
        return module(*positional, **keywords)

    if on.type != "cpu":
        program = move_to_device_pass(program, on)
    return TorchModel(
        program.module(), name=path.stem, format="torch-export", device=on, inputs=inputs, outputs=outputs,
        threads=threads, metadata=facts, call=call,
    )  # fmt: skip


def _read(path: Path) -> tuple[ExportedProgram, dict[str, str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            facts = extra_files(archive)
        with path.open("rb") as handle, warnings.catch_warnings(), _silent("torch.export"):
            warnings.simplefilter("ignore")  # about the age of the format
            program = torch.export.load(handle)
    except Exception as error:  # the loader asserts and raises all sorts
        raise ModelLoadError(
            f"{path} cannot be loaded by PyTorch {torch.__version__}: {one_line(error)}. A .pt2 file is made for one "
            "version of PyTorch: export it again with this one."
        ) from error
    return program, facts


@contextlib.contextmanager
def _silent(logger: str) -> Iterator[None]:
    """torch logs whole tracebacks of attempts that it then recovers from."""
    loggers = [logging.getLogger(name) for name in (logger, f"{logger}.pt2_archive._package")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _refuse_training(path: Path, program: ExportedProgram) -> None:
    """Eval mode is a property of the graph, and cannot be switched on afterwards."""
    for node in program.graph.nodes:
        position = _TRAINING_FLAG.get(str(node.target))
        if position is not None and len(node.args) > position and node.args[position] is True:
            raise ModelLoadError(
                f"{path} was exported in training mode, so its answers are random or change with the batch. Call "
                "model.eval() before torch.export.export()."
            )


def _specs(
    path: Path, program: ExportedProgram
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], pytree.TreeSpec]:
    """Inputs under the program's names; outputs named as `flatten_outputs` does; how the inputs nest as arguments."""
    nodes = {node.name: node for node in program.graph.nodes}
    signature = program.module_call_graph[0].signature
    taken = [name for name in program.graph_signature.user_inputs if isinstance(name, str)]
    given = [name for name in program.graph_signature.user_outputs if isinstance(name, str)]
    if signature is None or len(taken) != signature.in_spec.num_leaves or len(given) != signature.out_spec.num_leaves:
        raise ModelLoadError(f"{path} takes or gives other things than tensors; only tensors can be used here.")
    inputs = tuple(_spec(name, nodes[name].meta["val"]) for name in taken)
    values = pytree.tree_unflatten([nodes[name].meta["val"] for name in given], signature.out_spec)
    return inputs, tuple(_spec(name, value) for name, value in flatten_outputs(values)), signature.in_spec


def _spec(name: str, value: torch.Tensor) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorSpec(name, shape, numpy_dtype(value.dtype))
