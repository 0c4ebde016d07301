"""AOTInductor: the module exported, compiled to a shared library once, and packed with its weights into a .pt2 file."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.tensors import TensorSpec
from solutions.phase1_basics.profiling.feeds import sample_feeds
from solutions.phase1_basics.runtimes.feeds import check_settings, one_line
from solutions.phase1_basics.runtimes.torch_model import TorchModel
from solutions.phase2_optimization.compilation.compilers import cpp_compiler
from solutions.phase2_optimization.compilation.onnx_errors import explain_export_error
from solutions.phase2_optimization.compilation.quiet import quiet_torch
from solutions.phase2_optimization.compilation.source import eager_module, torch_source

_FACTS = "ml_inference_facts.json"  # entry of the package that says what goes in and out


def compile_here(
    model: str | Path | TorchModel,
    *,
    out: str | Path | None = None,
    threads: int | None = None,
    freeze: bool = True,
    random: bool = False,
    options: dict[str, Any] | None = None,
) -> TorchModel:
    """The module as machine code; compiling takes 20 to 40 s, loading the package a fraction of a second.

    Args:
        model: a PyTorch file, a zoo name, or a loaded model.
        out: keep the package there (.pt2). It runs on this kind of machine with this version of PyTorch.
        threads: see `TorchModel`.
        freeze: weights become constants of the code.
        random: untrained weights of a zoo model.
        options: for the loader.

    Raises:
        BackendUnavailable: no C++ compiler.
        ConfigError: a setting cannot be used, or the model has no module.
        ModelLoadError: it cannot be exported or compiled.
    """
    target = Path(out) if out is not None else None
    if target is not None and target.suffix != ".pt2":
        raise ConfigError(f"AOTInductor writes .pt2 packages, got {target.name}")
    if target is not None and not target.parent.is_dir():
        raise ConfigError(
            f"{target} cannot be written: {target.parent} is not a folder. Create it, or choose another place."
        )
    cpp_compiler("AOTInductor")
    with (
        torch_source(model, threads=threads, random=random, options=options) as loaded,
        tempfile.TemporaryDirectory(prefix="aot-", dir=target.parent if target else None) as workshop,
    ):
        package = Path(workshop) / f"{loaded.name}.pt2"
        _package(loaded, package, freeze)
        if target is not None:
            package = package.replace(target)
        return load_aot(package, threads=threads, trust_pickle=True)


def _package(loaded: TorchModel, package: Path, freeze: bool) -> None:
    feeds = sample_feeds(loaded, batch=2)  # a batch of 1 would be taken for a constant
    examples = tuple(torch.from_numpy(feeds[spec.name]) for spec in loaded.inputs)
    batch = torch.export.Dim("batch")
    sizes = tuple({0: batch} if spec.shape and spec.shape[0] is None else {} for spec in loaded.inputs)
    with quiet_torch(), torch.no_grad():
        try:
            program = torch.export.export(eager_module(loaded), examples, dynamic_shapes=sizes)
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(package), inductor_configs={"freezing": freeze}
            )
        except ConfigError:
            raise
        except Exception as error:  # dozens of kinds
            raise ModelLoadError(f"AOTInductor cannot compile {loaded.name}: {explain_export_error(error)}.") from error
    inputs = [_batch_only(spec, examples[index].shape) for index, spec in enumerate(loaded.inputs)]
    facts = {
        "torch": torch.__version__,
        "inputs": [[spec.name, spec.shape, spec.dtype] for spec in inputs],
        "outputs": [[spec.name, spec.shape, spec.dtype] for spec in loaded.outputs],
        "metadata": loaded.metadata,
    }
    with zipfile.ZipFile(package, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/extra/{_FACTS}", json.dumps(facts))


def _batch_only(spec: TensorSpec, example: torch.Size) -> TensorSpec:
    """Only the batch is left free: code for a fixed height and width is faster, and every size is compiled anyway."""
    shape = tuple(None if axis == 0 and size is None else example[axis] for axis, size in enumerate(spec.shape))
    return TensorSpec(spec.name, shape, spec.dtype)


def load_aot(path: Path, *, device: str = "auto", threads: int | None = None, **options: Any) -> TorchModel:
    """A model from an AOTInductor package that `compile_here` wrote.

    Args:
        path: the file.
        device: "auto" or "cpu"; the code is for the device it was compiled on.
        threads: see `TorchModel`.
        options: `trust_pickle`: a package is machine code, which loading runs; without this it is refused.

    Raises:
        ModelLoadError: not trusted, damaged, of another version of PyTorch, or made elsewhere.
        ConfigError: a setting cannot be used.
    """
    check_settings("AOTInductor", threads, options, ("trust_pickle",))
    if device not in ("auto", "cpu"):
        raise ConfigError(f"device must be auto or cpu for AOTInductor packages, got {device}")
    if not options.get("trust_pickle", False):
        raise ModelLoadError(
            f"{path} is machine code, which loading it runs. If you trust whoever made it, allow it: --trust-pickle "
            "(trust_pickle=True)."
        )
    facts = _facts(path)
    if facts["torch"] != torch.__version__:
        raise ModelLoadError(
            f"{path} was compiled for PyTorch {facts['torch']}, and this is {torch.__version__}: compile it again."
        )
    try:
        with quiet_torch():
            runner = torch._inductor.aoti_load_package(os.fspath(path))
    except Exception as error:  # the loader of shared libraries
        raise ModelLoadError(f"{path} does not load here: {one_line(error)}. Compile it on this machine.") from error
    return TorchModel(
        _Runner(runner),
        name=path.stem,
        format="aotinductor",
        device=torch.device("cpu"),
        inputs=_specs(facts["inputs"]),
        outputs=_specs(facts["outputs"]),
        threads=threads,
        metadata=facts["metadata"],
    )


def _facts(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            entry = next(name for name in archive.namelist() if name.endswith(f"extra/{_FACTS}"))
            facts: dict[str, Any] = json.loads(archive.read(entry))
    except (OSError, zipfile.BadZipFile, StopIteration, ValueError):
        raise ModelLoadError(
            f"{path} does not say what it takes and gives, so it was not compiled here: load it with "
            "torch._inductor.aoti_load_package, or compile the model again."
        ) from None
    return facts


def _specs(stored: list[list[Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, tuple(shape), dtype) for name, shape, dtype in stored)


class _Runner(torch.nn.Module):
    """The package's function in the place of a module; its weights live inside the compiled code."""

    def __init__(self, runner: Any) -> None:
        super().__init__()
        self._runner = runner

    def forward(self, *tensors: torch.Tensor) -> Any:
        """What the package answers."""
        return self._runner(*tensors)
