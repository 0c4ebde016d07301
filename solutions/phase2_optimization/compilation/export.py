"""torch -> ONNX: one checked file with the axes free that the model promises free, compared with the module itself.

What an exporter gets wrong it gets wrong silently: a NumPy call becomes a constant, a batch of 2 becomes *the* batch.
Both pass on the example that was exported. So the file is run on fresh inputs of other batch sizes before it is given
out, against a tolerance that follows from its own layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch

from solutions.core.errors import ConfigError, CourseError, ModelLoadError
from solutions.core.tensors import TensorSpec
from solutions.core.zoo.export import export_onnx
from solutions.phase1_basics.profiling.feeds import sample_feeds
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase1_basics.runtimes.torch_model import TorchModel
from solutions.phase2_optimization.compilation.onnx_errors import check_onnx, explain_export_error, explain_onnx_error
from solutions.phase2_optimization.compilation.parity import Agreement, check_parity
from solutions.phase2_optimization.compilation.quiet import quiet_torch
from solutions.phase2_optimization.compilation.source import eager_module

OLDEST_OPSET = 13  # per-channel QuantizeLinear came with it; what is older cannot be quantized or optimised here
FREE = ("all", "batch", "none")


@dataclass(frozen=True, slots=True)
class Exported:
    """An ONNX file made from a module: where it is, what it holds, and how far it is from the module."""

    path: Path
    opset: int
    nodes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    agreement: Agreement | None

    def as_dict(self) -> dict[str, Any]:
        """The facts, ready for JSON."""
        return {
            "path": str(self.path),
            "opset": self.opset,
            "nodes": self.nodes,
            "inputs": {spec.name: spec.describe() for spec in self.inputs},
            "outputs": {spec.name: spec.describe() for spec in self.outputs},
            "parity": self.agreement.as_dict() if self.agreement else None,
        }


def export_model(
    model: TorchModel,
    path: str | Path,
    *,
    free: str = "all",
    opset: int | None = None,
    check: bool = True,
    facts: Mapping[str, str] | None = None,
) -> Exported:
    """Write the model as one self-contained ONNX file and tell what came out; exported by torch.export (dynamo).

    Args:
        model: on the CPU; names and free axes are taken from its specs, metadata travels in the file.
        path: the file; it stays away when the export fails or does not agree.
        free: "all" axes that the model's specs leave free, only the "batch", or "none".
        opset: version of ONNX's operators; None takes the exporter's own. Below 18 it depends on the operators whether
            a converter knows the way.
        check: compare with the module on fresh inputs.
        facts: further metadata.

    Raises:
        ConfigError: a setting cannot be used, or an axis that should be free is not.
        ModelLoadError: the network cannot be exported, or the file's answers are not the module's.
    """
    target = Path(path)
    if free not in FREE:
        raise ConfigError(f"free must be one of {', '.join(FREE)}, got {free}")
    if opset is not None and opset < OLDEST_OPSET:
        raise ConfigError(f"opset must be {OLDEST_OPSET} or newer, got {opset}: older ones cannot be quantized")
    module = eager_module(model)
    feeds = sample_feeds(model, batch=2)  # a batch of 1 would be taken for a constant
    examples = tuple(torch.from_numpy(feeds[spec.name]) for spec in model.inputs)
    sizes = _free_axes(model.inputs, free)
    draft = target.with_name(f".draft-{target.name}")
    try:
        with quiet_torch():
            export_onnx(
                module,
                examples,
                draft,
                inputs=[spec.name for spec in model.inputs],
                outputs=[spec.name for spec in model.outputs],
                sizes=sizes,
                facts={**model.metadata, **(facts or {})},
                opset=opset,
            )
        exported = _examined(model, draft, target, sizes, opset, check)
        draft.replace(target)
    except CourseError:
        raise
    except onnx.checker.ValidationError as error:
        raise ModelLoadError(f"{model.name} was exported to an invalid graph: {explain_onnx_error(error)}.") from error
    except Exception as error:  # torch's exporter raises dozens of kinds of its own
        raise ModelLoadError(f"{model.name} cannot be exported to ONNX: {explain_export_error(error)}.") from error
    finally:
        draft.unlink(missing_ok=True)
    return exported


def _free_axes(specs: tuple[TensorSpec, ...], free: str) -> tuple[dict[int, torch.export.Dim], ...]:
    batch = torch.export.Dim("batch")
    found = []
    for spec in specs:
        axes: dict[int, Any] = {}
        for axis, size in enumerate(spec.shape):
            if size is None and free != "none" and (axis == 0 or free == "all"):
                axes[axis] = batch if axis == 0 else torch.export.Dim(f"{spec.name}_{axis}".replace(".", "_"))
        found.append(axes)
    return tuple(found)


def _examined(
    model: TorchModel,
    draft: Path,
    target: Path,
    sizes: tuple[dict[int, torch.export.Dim], ...],
    opset: int | None,
    check: bool,
) -> Exported:
    proto = check_onnx(draft)
    got = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    if opset is not None and got != opset:
        raise ModelLoadError(
            f"{model.name} cannot be exported to opset {opset}: some of its operators have no way there from {got}. "
            f"Leave out --opset, or ask for {got}."
        )
    candidate = OnnxModel(draft, device="cpu", threads=model.threads or 1, graph_level="none", spinning=False)
    try:
        for spec, axes in zip(candidate.inputs, sizes, strict=True):
            fixed = [axis for axis in axes if spec.shape[axis] is not None]
            if fixed:
                raise ConfigError(
                    f"axis {fixed[0]} of {spec.name} should be free and became {spec.shape[fixed[0]]}: the network "
                    "uses its size as a number. Use x.shape in place of numbers, or export with --free none."
                )
        agreement = check_parity(model, candidate, graph=draft) if check else None
        inputs, outputs = candidate.inputs, candidate.outputs
    except ConfigError as error:
        if "cannot run with" in str(error):
            raise ModelLoadError(
                f"{target.name} does not take every batch that {model.name} takes: {error} A size of the example has "
                "become a constant: use x.shape in place of numbers."
            ) from error
        raise
    finally:
        candidate.close()
    if agreement is not None and not agreement.agrees:
        raise ModelLoadError(
            f"{target.name} was not written: its answers on fresh inputs are not those of {model.name} "
            f"({agreement.describe()}). Something that depends on the input was frozen into the graph: a NumPy call, a "
            "random number, a Python branch."
        )
    return Exported(target, got, len(proto.graph.node), inputs, outputs, agreement)
