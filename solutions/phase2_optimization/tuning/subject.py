"""What is tuned: one network as an ONNX graph and, where there is one, as a PyTorch module with the same weights."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnx.external_data_helper import uses_external_data

from solutions.core.errors import ConfigError
from solutions.core.zoo.formats import write_model
from solutions.core.zoo.registry import cache_folder, embedded_names
from solutions.core.zoo.settling import settle_batch_norms
from solutions.phase1_basics.model_loader import locate
from solutions.phase1_basics.profiling.feeds import sample_feeds
from solutions.phase1_basics.runtimes.content import recognise_content
from solutions.phase2_optimization.compilation.source import is_zoo_name, onnx_source, torch_source

_RECIPE = 1  # part of the cache's file names: raise it when what is made changes
_SETTLING = (2, 16)  # batches and their size: means and variances of channels need no more


@dataclass(frozen=True, slots=True)
class Subject:
    """The network.

    Attributes:
        name: what people call it.
        graph: its ONNX file, float32.
        module: a PyTorch file with the same weights; None where there is none.
        loader: options of `load_model` for that file.
        untrained: random weights: its answers mean nothing, its times do.
    """

    name: str
    graph: Path
    module: Path | None = None
    loader: Mapping[str, Any] = field(default_factory=dict)
    untrained: bool = False

    def digest(self) -> str:
        """SHA-256 of the graph, weights that lie outside of it included."""
        sums = hashlib.sha256(self.graph.read_bytes())
        for tensor in onnx.load(self.graph, load_external_data=False).graph.initializer:
            if uses_external_data(tensor):
                places = {entry.key: entry.value for entry in tensor.external_data}
                sums.update((self.graph.parent / places["location"]).read_bytes())
        return sums.hexdigest()


def find_subject(
    model: str | Path, *, workshop: Path, random: bool = False, loader: Mapping[str, Any] | None = None
) -> Subject:
    """The network behind a file or a zoo name; files that have to be made go to `workshop`, those of the zoo are kept.

    Args:
        model: an ONNX or PyTorch file, or a zoo name.
        workshop: a folder that lives as long as the subject is used.
        random: untrained weights of a zoo model.
        loader: options for PyTorch files: `arch`, `input_shape`, `trust_pickle`.

    Raises:
        ConfigError: `random` for a file.
        CourseError: it cannot be loaded or exported.
    """
    text, options = str(model), dict(loader or {})
    if is_zoo_name(model):
        if text in embedded_names():
            module = workshop / f"{text}.pth"
            write_model(text, module)
            return Subject(text, locate(text), module, options)
        if random:
            graph, module = settled_files(text)
            return Subject(text, graph, module, options, untrained=True)
        module = workshop / f"{text}.pth"
        graph = onnx_source(text, workshop=workshop)
        write_model(text, module)
        return Subject(text, graph, module, options)
    if random:
        raise ConfigError(f"--random is for models of the zoo, and {model} is none")
    path = locate(model)
    if recognise_content(path).kind == "onnx":
        return Subject(path.stem, path)
    return Subject(path.stem, onnx_source(path, workshop=workshop, options=options), path, options)


def settled_files(name: str) -> tuple[Path, Path]:
    """ONNX and PyTorch file of a zoo model with random weights whose BatchNorm statistics fit them; made once.

    The statistics are those of two batches of noise, see `settle_batch_norms`.

    Raises:
        CourseError: it cannot be exported.
    """
    import torch
    import torchvision

    from solutions.phase2_optimization.compilation.export import export_model

    folder = cache_folder() / "tuning" / "models"
    stem = f"{name}-settled-torchvision{torchvision.__version__}-{_RECIPE}"
    graph, module = folder / f"{stem}.onnx", folder / f"{stem}.pth"
    if graph.exists() and module.exists():
        return graph, module
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be made: {error.strerror}. MLI_CACHE names another cache folder."
        ) from error
    with torch_source(name, random=True) as loaded, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        batches, size = _SETTLING
        shapes = {key: array.shape for key, array in sample_feeds(loaded, batch=size).items()}
        noise = (tuple(torch.randn(shapes[spec.name]) for spec in loaded.inputs) for _ in range(batches))
        network = settle_batch_norms(loaded.module, noise)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as making:
            made = export_model(loaded, Path(making) / graph.name).path
            torch.save(network.state_dict(), Path(making) / module.name)
            os.replace(Path(making) / module.name, module)
            os.replace(made, graph)
    return graph, module
