"""TorchScript (legacy): the module traced or scripted, then frozen; taught because files of it are around."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.phase1_basics.profiling.feeds import sample_feeds
from solutions.phase1_basics.runtimes.feeds import one_line
from solutions.phase1_basics.runtimes.torch_model import TorchModel
from solutions.phase2_optimization.compilation.source import torch_source

METHODS = ("trace", "script")


def compile_here(
    model: str | Path | TorchModel,
    *,
    out: str | Path | None = None,
    threads: int | None = None,
    method: str = "trace",
    freeze: bool = True,
    optimize: bool = False,
    random: bool = False,
    options: dict[str, Any] | None = None,
) -> TorchModel:
    """The module as TorchScript.

    Args:
        model: a PyTorch file, a zoo name, or a loaded model.
        out: also write the archive; its facts travel as extra files.
        threads: see `TorchModel`.
        method: "trace" records what one example does (branches disappear), "script" compiles the source of `forward`.
        freeze: weights become constants, and BatchNorm is folded into convolutions.
        optimize: also lay weights out for this machine (torch.jit.optimize_for_inference); such an archive cannot be
            saved.
        random: untrained weights of a zoo model.
        options: for the loader.

    Raises:
        ConfigError: a setting cannot be used, or the model has no module.
        ModelLoadError: TorchScript does not take it.
    """
    if method not in METHODS:
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {method}")
    if optimize and (out is not None or not freeze):
        raise ConfigError("an optimised TorchScript module must be frozen and cannot be saved: leave out one of them")
    with torch_source(model, threads=threads, random=random, options=options) as loaded:
        module = loaded.module.eval()
        feeds = sample_feeds(loaded, batch=2)
        examples = tuple(torch.from_numpy(feeds[spec.name]) for spec in loaded.inputs)
        with warnings.catch_warnings(), torch.no_grad():
            # PyTorch warns that TorchScript is deprecated, and of every size that tracing makes a constant: the first
            # is why this backend is labelled legacy, the second is what the parity check is for.
            warnings.simplefilter("ignore")
            try:
                compiled = _compiled(module, examples, method, freeze)
                if optimize:
                    compiled = torch.jit.optimize_for_inference(compiled)
                if out is not None:
                    facts = {name: text.encode() for name, text in loaded.metadata.items()}
                    torch.jit.save(compiled, str(out), _extra_files=facts)
            except Exception as error:  # its parser and tracer raise kinds of their own
                raise ModelLoadError(f"TorchScript cannot {method} {loaded.name}: {one_line(error)}") from error
        return TorchModel(
            compiled,
            name=loaded.name,
            format="torchscript",
            device=torch.device("cpu"),
            inputs=loaded.inputs,
            outputs=loaded.outputs,
            threads=threads,
            metadata=loaded.metadata,
        )


def _compiled(module: Any, examples: tuple[torch.Tensor, ...], method: str, freeze: bool) -> Any:
    if isinstance(module, torch.jit.ScriptModule):
        compiled: Any = module
    elif method == "trace":
        compiled = torch.jit.trace(module, examples, check_trace=False)  # type: ignore[no-untyped-call]
    else:
        compiled = torch.jit.script(module)
    return torch.jit.freeze(compiled) if freeze else compiled
