"""torch.compile: the module captured by Dynamo, its loops fused and compiled to C++ (or Triton) by Inductor.

It is just-in-time: nothing is written, and the first call of each process pays 7 to 30 s. What pays once and for all
is AOTInductor (`aot`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch._inductor import config as inductor_config

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.phase1_basics.profiling.feeds import has_free_batch, sample_feeds
from solutions.phase1_basics.runtimes.feeds import one_line
from solutions.phase1_basics.runtimes.torch_model import TorchModel
from solutions.phase2_optimization.compilation.compilers import cpp_compiler
from solutions.phase2_optimization.compilation.quiet import quiet_torch
from solutions.phase2_optimization.compilation.source import eager_module, torch_source

MODES = ("default", "reduce-overhead", "max-autotune")


def compile_here(
    model: str | Path | TorchModel,
    *,
    out: str | Path | None = None,
    threads: int | None = None,
    mode: str = "default",
    freeze: bool = True,
    batch: int = 1,
    random: bool = False,
    options: dict[str, Any] | None = None,
) -> TorchModel:
    """The module behind torch.compile, compiled and warmed up for `batch`.

    Another size than the first compiles once more, then for any size: that call takes as long as this one.

    Args:
        model: a PyTorch file, a zoo name, or a loaded model.
        out: refused; torch.compile writes no file.
        threads: see `TorchModel`.
        mode: "default", "reduce-overhead" (CUDA graphs; nothing gained on a CPU) or "max-autotune" (tries variants).
        freeze: weights become constants, so that they can be folded and laid out ahead; worth 1.3 to 1.9x on a CPU.
        batch: of the warm-up, where the batch is free.
        random: untrained weights of a zoo model.
        options: for the loader.

    Raises:
        BackendUnavailable: no C++ compiler.
        ConfigError: a setting cannot be used, or the model has no module.
        ModelLoadError: it cannot be compiled.
    """
    if out is not None:
        raise ConfigError("torch.compile keeps its code in the process and writes no file: use the backend aot")
    if mode not in MODES:
        raise ConfigError(f"mode must be one of {', '.join(MODES)}, got {mode}")
    cpp_compiler("torch.compile")
    with torch_source(model, threads=threads, random=random, options=options) as loaded:
        compiled = TorchModel(
            torch.compile(eager_module(loaded), mode=None if mode == "default" else mode),
            name=loaded.name,
            format="torch-compiled",
            device=torch.device("cpu"),
            inputs=loaded.inputs,
            outputs=loaded.outputs,
            threads=threads,
            metadata=loaded.metadata,
        )
        with quiet_torch(), inductor_config.patch(freezing=freeze):
            try:
                compiled.predict(sample_feeds(loaded, batch=batch if has_free_batch(loaded) else 1))
            except Exception as error:  # Dynamo and Inductor raise dozens of kinds of their own
                raise ModelLoadError(f"torch.compile cannot compile {loaded.name}: {one_line(error)}") from error
        return compiled
