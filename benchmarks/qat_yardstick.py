"""torchao's PT2E training for int8, with the same batches, loss and steps as ours: the yardstick.

Its quantizer for x86 puts the codes (unsigned activations, signed weights per channel), its modules observe ranges by
moving averages, and torch's own exporter writes the QDQ file, so both sides run in ONNX Runtime.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import onnx
import torch

from solutions.core.errors import BackendUnavailable
from solutions.core.optional import require
from solutions.core.zoo.export import export_onnx
from solutions.core.zoo.registry import cache_folder, embedded
from solutions.phase2_optimization.compilation.quiet import quiet_torch
from solutions.phase2_optimization.qat.embedded import EmbeddedRecipe, embedded_task

_WHY = "torchao's training for int8"
_INSTALL = "pip install --no-deps torchao==0.18.0"
_CLIP = 10.0  # of the gradient's norm, as in our own loop


def torchao_file(name: str, recipe: EmbeddedRecipe) -> Path:
    """The QDQ file of an embedded model after torchao's training, in the cache folder; made anew each time.

    Raises:
        BackendUnavailable: torchao is not installed, or cannot do it.
    """
    with quiet_torch():
        steps: Any = require("torchao.quantization.pt2e.quantize_pt2e", why=_WHY, install=_INSTALL)
        x86: Any = require("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer", why=_WHY, install=_INSTALL)
        pt2e: Any = require("torchao.quantization.pt2e", why=_WHY, install=_INSTALL)
    try:
        return _trained(name, recipe, steps, x86, pt2e)
    except Exception as error:  # whatever torchao and torch's exporter raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise BackendUnavailable(f"torchao's training of {name} failed: {lines[0]}") from error


def _trained(name: str, recipe: EmbeddedRecipe, steps: Any, x86: Any, pt2e: Any) -> Path:
    task = embedded_task(name, recipe)
    with quiet_torch():
        program = torch.export.export(
            copy.deepcopy(task.model).train(), (task.make_batch(0)[0],), dynamic_shapes=(task.sizes,)
        ).module()
        config = x86.get_default_x86_inductor_quantization_config(is_qat=True)
        module = steps.prepare_qat_pt2e(program, x86.X86InductorQuantizer().set_global(config))
    schedule = recipe.schedule
    optimizer = torch.optim.AdamW(module.parameters(), lr=schedule.peak_rate, weight_decay=schedule.weight_decay)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, schedule.steps)
    for step in range(schedule.steps):
        optimizer.zero_grad()
        task.loss(module, task.make_batch(step)).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(module.parameters(), _CLIP)
        optimizer.step()
        scheduler.step()
    path = cache_folder() / "qat" / f"torchao-{name}.onnx"
    shipped = onnx.load(embedded(name).onnx, load_external_data=False).graph
    inputs, outputs = ([value.name for value in values] for values in (shipped.input, shipped.output))
    with quiet_torch():
        pt2e.move_exported_model_to_eval(module)
        quantized = steps.convert_pt2e(module)
        export_onnx(
            quantized, task.make_batch(0)[0][:2], path, inputs=inputs, outputs=outputs, sizes=task.sizes, facts={}
        )
    return path
