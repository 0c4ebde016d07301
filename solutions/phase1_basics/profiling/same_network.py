"""One network on several runtimes of the CPU: the model that was loaded, its ONNX export, OpenVINO."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from solutions.core.errors import CourseError
from solutions.core.optional import available
from solutions.core.tensors import Model
from solutions.core.zoo.export import export_onnx
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase1_basics.runtimes.openvino import load_openvino

TORCH, ORT, OPENVINO = "torch eager", "ONNX Runtime", "OpenVINO"


@dataclass(frozen=True, slots=True)
class SameNetwork:
    """The network by runtime, the loaded model first; its ONNX graph where there is one; in words, what is missing."""

    models: dict[str, Model]
    graph: Path | None
    missing: str


@contextmanager
def cpu_runtimes(model: Model, path: Path, feeds: Mapping[str, np.ndarray], *, threads: int) -> Iterator[SameNetwork]:
    """The network on every CPU runtime that can run it; open while the block runs.

    All use `threads` threads, and none spins while it waits: an idle runtime must not rob the one being timed.

    Args:
        model: on the CPU; what is opened here is closed here, this one is not.
        path: the file it came from.
        feeds: an example, whose first axis becomes free in an export where the model's is.
        threads: per operator.
    """
    missing: list[str] = []
    with ExitStack() as stack:
        models: dict[str, Model] = {}

        def add(title: str, make: Callable[[], Model]) -> None:
            try:
                models[title] = made = make()
                stack.callback(made.close)
            except CourseError as error:
                missing.append(f"{title}: {error}")

        module = eager_module(model)
        graph = path if model.format == "onnx" else None
        if module is not None:
            models[TORCH] = model
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="same-network-"))
            try:
                graph = export_module(module, model, feeds, Path(folder) / "network.onnx")
            except Exception as error:  # the exporter raises dozens of kinds of its own
                missing.append(f"{ORT} and {OPENVINO}: the export to ONNX failed ({_first_line(error)})")
        elif model.format == "onnx":
            missing.append(f"{TORCH}: an ONNX file holds a graph, which torch does not run")
        else:
            models[model.format] = model
            missing.append(f"{ORT} and {OPENVINO}: neither runs a {model.format} file")
        if graph is not None:
            add(ORT, lambda: OnnxModel(graph, device="cpu", threads=threads, spinning=False))
            if available("openvino"):
                add(OPENVINO, lambda: load_openvino(graph, device="cpu", threads=threads))
            else:
                missing.append(f'{OPENVINO}: not installed (pip install "ml-inference[openvino]")')
        yield SameNetwork(models, graph, "; ".join(missing))


def eager_module(model: Model) -> nn.Module | None:
    """The nn.Module behind a model whose layers can be seen and exported; None for graphs that run as one piece."""
    module = getattr(model, "module", None)
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule | torch.fx.GraphModule):
        return None
    return module


def export_module(module: nn.Module, model: Model, feeds: Mapping[str, np.ndarray], path: Path) -> Path:
    """The module as an ONNX file: one input, its first axis free where the model's is.

    Raises:
        Exception: whatever torch's exporter raises, for modules that it cannot follow.
    """
    (spec,) = model.inputs
    example = torch.from_numpy(feeds[spec.name])
    free = spec.shape[0] is None
    if free and example.shape[0] == 1:
        example = example.repeat(2, *[1] * (example.ndim - 1))  # a batch of 1 would be taken for a constant
    sizes = {0: torch.export.Dim("batch")} if free else {}
    export_onnx(
        module,
        example,
        path,
        inputs=[spec.name],
        outputs=[output.name for output in model.outputs],
        sizes=sizes,
        facts={},
    )
    return path


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
