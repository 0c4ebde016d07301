"""A module that came whole (pickled, TorchScript, made by the user's own function) as a `Model`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from solutions.core.tensors import TensorSpec
from solutions.phase1_basics.runtimes.torch_architectures import infer_architecture
from solutions.phase1_basics.runtimes.torch_meta import module_shapes
from solutions.phase1_basics.runtimes.torch_model import TorchModel, set_threads
from solutions.phase1_basics.runtimes.torch_specs import (
    argument_names,
    named_inputs,
    probe_given,
    probe_outputs,
    unknown_inputs,
)


def module_model(
    module: Any,
    path: Path,
    kind: str,
    *,
    device: torch.device,
    threads: int | None,
    input_shape: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
    examples: Sequence[TensorSpec] = (),
    metadata: Mapping[str, str] | None = None,
) -> TorchModel:
    """The model of a module that is on `device`; what it takes and gives is found out where nobody says it.

    In this order: `input_shape`; a known architecture, by the names of the weights; `examples`, first with a free
    batch and then as they are; the fact `input_hw`. Each is tried on zeros, and what the module refuses is passed over.

    Args:
        module: an nn.Module or ScriptModule.
        path: the file, for the name and for errors.
        kind: the kind of file, `Model.format`.
        device: where the module is.
        threads: see `TorchModel`.
        input_shape: a shape with None for free sizes, or a sequence of TensorSpec.
        names: of the arguments; default those of `forward`.
        examples: inputs that the file itself shows.
        metadata: facts that the file carries.

    Raises:
        ModelLoadError: nothing says what it takes.
        ConfigError: it does not run with the `input_shape` given.
    """
    module.eval()
    set_threads(threads)  # the probes are inferences too
    names = argument_names(module.forward) if names is None else names
    facts = dict(metadata or {})

    def made(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], known: Mapping[str, str]) -> TorchModel:
        return TorchModel(
            module, name=path.stem, format=kind, device=device, inputs=inputs, outputs=outputs, threads=threads,
            metadata={**known, **facts},
        )  # fmt: skip

    def probed(inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        return probe_outputs(lambda tensors: module(*tensors), inputs, device)

    if input_shape is not None:
        inputs = named_inputs(names, input_shape)
        return made(inputs, probe_given(path, lambda tensors: module(*tensors), inputs, device), {})
    known = infer_architecture(module_shapes(module))
    if known is not None and len(names) == 1:
        try:
            outputs = probed(known.inputs)
        except RuntimeError:  # the names of that network around another forward
            outputs = ()
        if [(spec.shape, spec.dtype) for spec in outputs] == [(spec.shape, spec.dtype) for spec in known.outputs]:
            return made(known.inputs, known.outputs, known.facts)
    for inputs in _guesses(names, examples, facts):
        try:
            return made(inputs, probed(inputs), {})
        except RuntimeError:
            continue
    raise unknown_inputs(path, "a TorchScript module" if kind == "torchscript" else f"a {type(module).__name__}", names)


def _guesses(
    names: Sequence[str], examples: Sequence[TensorSpec], facts: Mapping[str, str]
) -> list[tuple[TensorSpec, ...]]:
    guesses = []
    if examples:
        free = tuple(TensorSpec(spec.name, (None, *spec.shape[1:]), spec.dtype) for spec in examples if spec.shape)
        guesses += [free, tuple(examples)]
    sides = facts.get("input_hw", "").split(",")
    if len(names) == 1 and len(sides) == 2 and all(side.strip().isdigit() for side in sides):
        guesses.append((TensorSpec(names[0], (None, 3, int(sides[0]), int(sides[1]))),))
    return guesses
