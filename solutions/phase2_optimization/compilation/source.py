"""What a compiler starts from: a file or a zoo model, as an ONNX graph or as a PyTorch module, whichever is needed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from solutions.core.errors import ConfigError
from solutions.core.zoo.external import external_model, is_external
from solutions.core.zoo.formats import write_model
from solutions.core.zoo.registry import embedded_names
from solutions.phase1_basics.model_loader import load_model, locate
from solutions.phase1_basics.runtimes.content import recognise_content
from solutions.phase1_basics.runtimes.torch_model import TorchModel


def is_zoo_name(model: str | Path) -> bool:
    """True for the name of a zoo model; a file of that name wins."""
    text = str(model)
    return not Path(text).exists() and (text in embedded_names() or is_external(text))


@contextmanager
def torch_source(
    model: str | Path | TorchModel,
    *,
    threads: int | None = None,
    random: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Iterator[TorchModel]:
    """The network as a module on the CPU, with names for its inputs and outputs; closed at the end unless it came open.

    Args:
        model: a PyTorch file, the name of a zoo model, or a loaded one.
        threads: per operator.
        random: untrained weights of a zoo model, so that nothing is downloaded.
        options: for the loader: `arch`, `input_shape`, `trust_pickle`.

    Raises:
        ConfigError: it has no module: an ONNX file, say.
        CourseError: it cannot be loaded.
    """
    if isinstance(model, TorchModel):
        yield model
        return
    with tempfile.TemporaryDirectory(prefix="compile-") as workshop:
        path = Path(model)
        if is_zoo_name(model):
            path = Path(workshop) / f"{model}.pth"
            write_model(str(model), path, random=random and str(model) not in embedded_names())
        loaded = load_model(path, device="cpu", threads=threads, **dict(options or {}))
        try:
            if not isinstance(loaded, TorchModel):
                raise ConfigError(
                    f"{model} is {recognise_content(path).description}, a graph without a PyTorch module: give the "
                    "PyTorch file, or choose the backend onnxruntime, openvino or tensorrt."
                )
            yield loaded
        finally:
            loaded.close()


def onnx_source(
    model: str | Path, *, workshop: Path, random: bool = False, options: Mapping[str, Any] | None = None
) -> Path:
    """The network as an ONNX file: the file itself, the zoo's, or a fresh export into `workshop`.

    Raises:
        CourseError: it cannot be loaded or exported.
    """
    from solutions.phase2_optimization.compilation.export import export_model

    if is_zoo_name(model):
        return locate(model) if str(model) in embedded_names() else external_model(str(model), random=random)
    path = locate(model)
    if recognise_content(path).kind == "onnx":
        return path
    with torch_source(path, options=options) as loaded:
        return export_model(loaded, workshop / f"{path.stem}.onnx").path


def eager_module(model: TorchModel) -> nn.Module:
    """The module behind a loaded model, in eval mode.

    Raises:
        ConfigError: it is a TorchScript archive or a torch.export program, which cannot be exported or compiled anew.
    """
    module = model.module
    if isinstance(module, torch.jit.ScriptModule):
        raise ConfigError(
            f"{model.name} is a TorchScript archive, which no exporter of today takes: start from the module or the "
            "weights that it was made from."
        )
    try:
        return module.eval()
    except NotImplementedError as error:  # what torch.export wrote knows no modes
        raise ConfigError(
            f"{model.name} is a torch.export program, a graph without its module: start from the module or the weights "
            "that it was made from."
        ) from error
