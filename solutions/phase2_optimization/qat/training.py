"""Short training of a module with fake quantization: with labels, or towards the answers of the float model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from solutions.core.errors import ConfigError
from solutions.core.zoo.training.loop import Schedule, train
from solutions.phase2_optimization.qat.layers import freeze_norms
from solutions.phase2_optimization.qat.prepare import QatModel

Loss = Callable[[nn.Module, Any], torch.Tensor]
_LEAST_VARIANCE = 1e-6  # an output that hardly varies must not outweigh all others


@dataclass(frozen=True, slots=True)
class QatSchedule:
    """How long and how fast.

    Attributes:
        steps: batches.
        peak_rate: of AdamW; rises over `warmup` steps, then falls along a cosine. Fine-tuning wants a small one.
        warmup: steps.
        freeze_after: share of the steps after which BatchNorm keeps its statistics, 0 from the start.
        average: how slowly the averaged weights, which are the result, follow.
        weight_decay: of weights; biases, norms and steps are left alone.
    """

    steps: int = 200
    peak_rate: float = 1e-4
    warmup: int = 20
    freeze_after: float = 0.5
    average: float = 0.98
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.warmup < 0 or self.peak_rate <= 0:
            raise ConfigError(
                f"steps must be >= 1, warmup >= 0 and peak_rate > 0, got {self.steps}, {self.warmup}, {self.peak_rate}"
            )
        if not (0 <= self.freeze_after <= 1 and 0 <= self.average < 1):
            raise ConfigError(
                f"freeze_after must lie in [0, 1] and average in [0, 1), got {self.freeze_after} and {self.average}"
            )


def train_qat(
    qat: QatModel,
    make_batch: Callable[[int], Any],
    loss_of: Loss,
    schedule: QatSchedule = QatSchedule(),
    *,
    progress: Callable[[int, float], None] | None = None,
) -> QatModel:
    """The trained model, its weights averaged over the last steps, in eval mode; `qat` itself is changed.

    Args:
        qat: from `prepare_qat`.
        make_batch: step -> batch; the same step must give the same batch, then the same call gives the same model.
        loss_of: (module, batch) -> scalar; `distillation(float_module)` needs no labels.
        schedule: how long and how fast.
        progress: called with the steps done and the loss.
    """
    freeze_at = round(schedule.freeze_after * schedule.steps)
    freeze_norms(qat.module, freeze_at == 0)

    def done(step: int, loss: float) -> None:
        if step == freeze_at:
            freeze_norms(qat.module)
        if progress is not None:
            progress(step, loss)

    plan = Schedule(
        schedule.steps,
        peak_rate=schedule.peak_rate,
        warmup=schedule.warmup,
        weight_decay=schedule.weight_decay,
        average=schedule.average,
        checkpoint_every=schedule.steps,
    )
    with tempfile.TemporaryDirectory() as folder:
        module = train(qat.module, make_batch, loss_of, plan, Path(folder) / "qat.checkpoint", progress=done)
    return replace(qat, module=module)  # type: ignore[arg-type]


def distillation(teacher: nn.Module, inputs: Callable[[Any], Any] = lambda batch: batch) -> Loss:
    """A loss without labels: the squared distance to the teacher's outputs, each in units of its variance.

    Args:
        teacher: the float module; put into eval mode.
        inputs: batch -> input tensor, or a tuple of several.
    """
    teacher.eval()

    def loss(module: nn.Module, batch: Any) -> torch.Tensor:
        fed = inputs(batch)
        fed = fed if isinstance(fed, tuple) else (fed,)
        with torch.no_grad():
            wanted = _tensors(teacher(*fed))
        parts = [
            (got - want).square().mean() / want.var().clamp(min=_LEAST_VARIANCE)
            for got, want in zip(_tensors(module(*fed)), wanted, strict=True)
        ]
        return torch.stack(parts).sum()

    return loss


def _tensors(outputs: Any) -> list[torch.Tensor]:
    return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
