"""A model of the zoo as one file, in the format that its name asks for."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from solutions.core.errors import ConfigError
from solutions.core.zoo.export import load_weights
from solutions.core.zoo.external import external_model, external_module, external_names, is_external
from solutions.core.zoo.networks import SIZES, CropNet, StreetNet
from solutions.core.zoo.registry import CLASSIFIER, DETECTORS, embedded, embedded_names

# Format -> the suffixes that may carry it, the usual one first. A suffix alone means the first format that lists it.
FORMATS = {
    "state-dict": (".pth", ".pt"),
    "safetensors": (".safetensors",),
    "onnx": (".onnx",),
    "torchscript": (".ts", ".torchscript", ".pt", ".pth"),
    "pt2": (".pt2",),
}
TITLES = {
    "state-dict": "torch state dict",
    "safetensors": "safetensors state dict",
    "onnx": "ONNX graph",
    "torchscript": "TorchScript archive (legacy)",
    "pt2": "torch.export program",
}

Saver = Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Written:
    """What `write_model` wrote: `random` says that the weights are untrained."""

    path: Path
    name: str
    format: str
    size_bytes: int
    random: bool


def write_model(name: str, target: str | Path, *, format: str | None = None, random: bool = False) -> Written:
    """Write one file, whole or not at all; a file that is there is replaced.

    State dicts are float32 with the names of the network's own parameters. ONNX graphs, traced and exported programs
    take any batch.

    Args:
        name: an embedded model, or one that `is_external` knows.
        target: the file; its folder must exist.
        format: a key of FORMATS; None goes by the suffix of `target`.
        random: untrained weights, the same in every format and every time; external models only.

    Raises:
        ConfigError: the name, format or place cannot be used.
        BackendUnavailable, ModelLoadError: the trained weights cannot be had (see `external_model`).
    """
    path = Path(target).expanduser()
    _check_place(path, name)
    chosen = choose_format(path, format)
    _check_name(name, random)
    _write_whole(path, _saver(name, chosen, random))
    return Written(path, name, chosen, path.stat().st_size, random)


def choose_format(path: Path, format: str | None = None) -> str:
    """The format named, else the one that the suffix stands for.

    >>> choose_format(Path("a/model.pt")), choose_format(Path("model.pt"), "torchscript")
    ('state-dict', 'torchscript')

    Raises:
        ConfigError: neither says, or they contradict each other.
    """
    suffix = path.suffix.lower()
    meant = next((name for name, suffixes in FORMATS.items() if suffix in suffixes), None)
    if format is None:
        if meant is None:
            known = ", ".join(sorted({suffix for suffixes in FORMATS.values() for suffix in suffixes}))
            raise ConfigError(
                f"{path.name} does not say which format is wanted: end it in {known}, or name a --format."
            )
        return meant
    if format not in FORMATS:
        raise ConfigError(f"{format} is not a format. Known: {', '.join(FORMATS)}.")
    if meant is not None and suffix not in FORMATS[format]:
        raise ConfigError(f"{path.name} would be taken for {meant}: for {format}, end it in {FORMATS[format][0]}.")
    return format


def embedded_input(name: str) -> tuple[int, int]:
    """Height and width that the embedded model `name` was made for, as its ONNX file records them."""
    for entry in onnx.load(embedded(name).onnx).metadata_props:
        if entry.key == "input_hw":
            height, width = entry.value.split(",")
            return int(height), int(width)
    raise ConfigError(f"{embedded(name).onnx} does not record its input_hw: restore the file from the repository.")


def _check_place(path: Path, name: str) -> None:
    """Refuse before the work, which may be a download, what would fail after it."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder: name a file in it, such as {path / name}.pth.")
    if not path.parent.is_dir():
        raise ConfigError(
            f"{path} cannot be written: {path.parent} is not a folder. Create it, or choose another place."
        )


def _check_name(name: str, random: bool) -> None:
    if name in embedded_names():
        if random:
            raise ConfigError(f"{name} comes with its trained weights: leave out --random.")
    elif not is_external(name):
        near = difflib.get_close_matches(name, (*embedded_names(), *external_names()), n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise ConfigError(f"{name} is not a model of the zoo. {hint}`python -m solutions.core.zoo list` shows them.")


def _saver(name: str, format: str, random: bool) -> Saver:
    """What writes the model to a path: all the work that can fail for other reasons than the disk is done already."""
    if format == "onnx":
        made = embedded(name).onnx if name in embedded_names() else external_model(name, random=random)
        return lambda path: shutil.copyfile(made, path)
    module, (height, width) = _network(name, random)
    if format == "state-dict":
        return lambda path: torch.save(module.state_dict(), path)
    if format == "safetensors":
        tensors = {key: tensor.contiguous() for key, tensor in module.state_dict().items()}
        return lambda path: save_file(tensors, path, metadata={"arch": name})
    example = torch.rand(2, 3, height, width)
    return _traced(module, example) if format == "torchscript" else _exported(module, example, name)


def _network(name: str, random: bool) -> tuple[nn.Module, tuple[int, int]]:
    if name not in embedded_names():
        return external_module(name, random=random)
    net = CropNet() if name == CLASSIFIER else StreetNet(SIZES[name.removeprefix("street-")])
    return load_weights(net, embedded(name).weights), embedded_input(name)


def _traced(module: nn.Module, example: torch.Tensor) -> Saver:
    def save(path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            torch.jit.save(traced, path)

    with warnings.catch_warnings(), torch.no_grad():
        # TorchScript is deprecated and written all the same: files of its kind are around, and a loader must read them.
        # Tracing also warns of every size that it makes a constant: whether that harms, the check with one image tells.
        warnings.simplefilter("ignore")
        one = (example[:1],)
        traced = torch.jit.trace(module, example, check_inputs=[one])  # type: ignore[no-untyped-call]
    return save


def _exported(module: nn.Module, example: torch.Tensor, name: str) -> Saver:
    sizes = {0: torch.export.Dim("batch")}
    if name in DETECTORS:  # free in size too, like their ONNX graphs
        sizes |= {2: 32 * torch.export.Dim("rows32"), 3: 32 * torch.export.Dim("columns32")}
    program = torch.export.export(module, (example,), dynamic_shapes=(sizes,))
    program.example_inputs = None  # pixels of a few MB that would travel in the file
    return lambda path: torch.export.save(program, path)


def _write_whole(target: Path, save: Saver) -> None:
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as workshop:
            made = Path(workshop) / target.name
            save(made)
            os.chmod(made, 0o644)  # safetensors makes its files private
            os.replace(made, target)
    except (
        OSError,
        RuntimeError,
        SafetensorError,
    ) as error:  # torch and safetensors have their own words for a full disk
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise ConfigError(f"{target} cannot be written: {reason}. Choose another place.") from error
