"""Files that hold weights and no graph: torch.save files of both formats, safetensors, and pickles of whole modules."""

from __future__ import annotations

import contextlib
import difflib
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.phase1_basics.runtimes.feeds import check_settings, one_line
from solutions.phase1_basics.runtimes.torch_architectures import (
    Architecture,
    architecture_names,
    infer_architecture,
    named_architecture,
    nearest_architecture,
)
from solutions.phase1_basics.runtimes.torch_checkpoint import Checkpoint, own_names, unwrap
from solutions.phase1_basics.runtimes.torch_meta import Shapes, fill
from solutions.phase1_basics.runtimes.torch_model import TorchModel, choose_device
from solutions.phase1_basics.runtimes.torch_module import module_model
from solutions.phase1_basics.runtimes.torch_pickle import read_bare, read_saved
from solutions.phase1_basics.runtimes.torch_safetensors import read_safetensors
from solutions.phase1_basics.runtimes.torch_specs import named_inputs, probe_given, renamed

Arch = str | Callable[[], nn.Module]

_OPTIONS = ("arch", "trust_pickle", "input_shape")


def load_saved(path: Path, *, device: str = "auto", threads: int | None = None, **options: Any) -> TorchModel:
    """A model from a torch.save file: weights with or without what surrounds them in a training checkpoint.

    Args:
        path: the file.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        threads: threads inside one operator (see `TorchModel`).
        options: `arch`, an architecture's name, "package.module:function" or a function without arguments that makes
            the module; `trust_pickle`, run pickled code; `input_shape`, such as (None, 3, 224, 224), or a sequence of
            TensorSpec, for a module that does not tell what it takes.

    Raises:
        ModelLoadError: damaged, hostile, or of no architecture known here.
        BackendUnavailable: the device is not here.
        ConfigError: a setting cannot be used.
    """
    check_settings("PyTorch", threads, options, _OPTIONS)
    with path.open("rb") as handle:
        kind = "torch-weights" if handle.read(2) == b"PK" else "torch-legacy"
    on = choose_device(device)
    saved = read_saved(path, trust_pickle=options.get("trust_pickle", False))
    return _model(path, kind, unwrap(path, saved), on, threads, options)


def load_pickle(path: Path, *, device: str = "auto", threads: int | None = None, **options: Any) -> TorchModel:
    """A model from a file that pickle.dump wrote: refused unless trusted. Arguments and errors as `load_saved`."""
    check_settings("PyTorch", threads, options, _OPTIONS)
    on = choose_device(device)
    saved = read_bare(path, trust_pickle=options.get("trust_pickle", False))
    return _model(path, "pickle", unwrap(path, saved), on, threads, options)


def load_safetensors(path: Path, *, device: str = "auto", threads: int | None = None, **options: Any) -> TorchModel:
    """A model from a safetensors file, which nothing can hide in. Arguments and errors as `load_saved`."""
    check_settings("PyTorch", threads, options, _OPTIONS)
    on = choose_device(device)
    tensors, metadata = read_safetensors(path)
    if not tensors:
        raise ModelLoadError(f"{path} holds no weights at all. Download or save it again.")
    arch = metadata.get("arch") or metadata.get("architecture")
    return _model(path, "safetensors", Checkpoint(own_names(tensors), arch, metadata), on, threads, options)


def _model(
    path: Path,
    kind: str,
    found: Checkpoint | nn.Module,
    device: torch.device,
    threads: int | None,
    options: Mapping[str, Any],
) -> TorchModel:
    arch, shape = options.get("arch"), options.get("input_shape")
    if isinstance(found, nn.Module):
        return module_model(found.to(device), path, kind, device=device, threads=threads, input_shape=shape)
    shapes = {name: tuple(tensor.shape) for name, tensor in found.state.items()}
    if callable(arch) or (isinstance(arch, str) and ":" in arch):
        module = _filled(path, _own_module(arch), found)
        return module_model(
            module.to(device), path, kind, device=device, threads=threads, input_shape=shape, metadata=found.metadata
        )
    known = _architecture(path, arch, found.arch, shapes)
    module = _filled(path, known.module, found).to(device)
    inputs, outputs = known.inputs, known.outputs
    if shape is not None:
        inputs = named_inputs([inputs[0].name], shape)
        outputs = renamed(probe_given(path, lambda tensors: module(*tensors), inputs, device), outputs)
    return TorchModel(
        module, name=path.stem, format=kind, device=device, inputs=inputs, outputs=outputs, threads=threads,
        metadata={**known.facts, **found.metadata, "arch": known.name},
    )  # fmt: skip


def _architecture(path: Path, wanted: str | None, claimed: str | None, shapes: Shapes) -> Architecture:
    """The architecture that the user named, else the one that the file claims, else what the weights show."""
    if wanted is not None:
        if wanted not in architecture_names():
            near = difflib.get_close_matches(wanted, architecture_names(), n=1)
            hint = f"; did you mean {near[0]}?" if near else ";"
            raise ConfigError(f"{wanted} is not an architecture known here{hint} --list-archs shows those that are.")
        try:
            return named_architecture(wanted, shapes)
        except ModelLoadError as error:
            raise ModelLoadError(f"{path}: {error}") from error
    if claimed in architecture_names():
        with contextlib.suppress(ModelLoadError):  # the weights know better
            return named_architecture(claimed, shapes)
    known = infer_architecture(shapes)
    if known is not None:
        return known
    nearest = nearest_architecture(shapes)
    like = f"; the nearest is {nearest[0]}, but {nearest[1]}" if nearest else ""
    raise ModelLoadError(
        f"{path} holds weights only, and their names fit no model I know{like}. Name the architecture: --arch resnet50 "
        "(see --list-archs), or your own: --arch package.module:function."
    )


def _own_module(arch: Arch) -> nn.Module:
    """The module that the user's function makes."""
    function: Any = arch
    if isinstance(arch, str):
        module_name, _, attribute = arch.partition(":")
        try:
            function = getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"--arch {arch} cannot be imported: {one_line(error)}.") from error
    try:
        module = function()
    except Exception as error:  # the user's code
        raise ConfigError(f"the function for --arch fails: {one_line(error)}.") from error
    if not isinstance(module, nn.Module):
        raise ConfigError(f"the function for --arch must make an nn.Module, and made a {type(module).__name__}.")
    return module


def _filled(path: Path, module: nn.Module, found: Checkpoint) -> nn.Module:
    try:
        fill(module, found.state)
    except Exception as error:  # torch lists every difference
        raise ModelLoadError(
            f"{path}: the weights do not fit {type(module).__name__}: {_second_line(error)}."
        ) from error
    return module.eval()


def _second_line(error: Exception) -> str:
    """What torch says after "Error(s) in loading state_dict for ...:"."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[1] if len(lines) > 1 else lines[0] if lines else type(error).__name__)[:200].rstrip(". ")
