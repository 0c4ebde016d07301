"""Short trainings on the synthetic street: a fresh variant from nothing, or a pruned network back to what it was.

The loop, the data, the augmentation and the losses are those that made the embedded models; what is new is the teacher.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from solutions.core.vision.scenes import CLASSES
from solutions.core.zoo.training.augment import WINDOWS, crop_images, detection_batch
from solutions.core.zoo.training.dataset import StreetData
from solutions.core.zoo.training.loop import Schedule, train
from solutions.core.zoo.training.losses import detection_loss
from solutions.phase2_optimization.compression.distillation import Distillation, grid_loss, mix, soft_target_loss
from solutions.phase2_optimization.compression.scaling import CropScale

_WHOLE = CropScale()
_USUAL = Distillation()
SMOOTH = 0.05  # a crop may show nothing that tells white from grey in the shade


@dataclass(frozen=True, slots=True)
class Task:
    """What to learn: batch number `step` (it depends on nothing else), and the loss of a network on a batch."""

    batch: Callable[[int], Any]
    loss: Callable[[nn.Module, Any], torch.Tensor]


def crop_task(
    data: StreetData,
    *,
    seed: int = 0,
    batch: int = 128,
    scale: CropScale = _WHOLE,
    teacher: nn.Module | None = None,
    settings: Distillation = _USUAL,
) -> Task:
    """Class and colour of crops; with a teacher, its softened answers count beside the truth.

    Args:
        data: whose crops and labels to learn from.
        seed: of the batches.
        batch: crops in a batch.
        scale: the resolution that the network sees. The teacher sees the full one.
        teacher: a CropNet in eval mode.
        settings: how much the teacher counts.
    """

    def make(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        chance = np.random.default_rng((seed, step))
        rows = chance.integers(len(data.crops), size=batch)
        return crop_images(data.crops[rows], chance), torch.from_numpy(data.crop_labels[rows])

    def loss(model: nn.Module, made: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        crops, labels = made
        found = model(scale.shrink(crops).contiguous(memory_format=torch.channels_last))
        by_label = [
            functional.cross_entropy(logits, labels[:, place], label_smoothing=SMOOTH)
            for place, logits in enumerate(found)
        ]
        truth = by_label[0] + by_label[1]
        if teacher is None:
            return truth
        with torch.no_grad():
            wanted = teacher(crops)
        taught = [soft_target_loss(got, want, settings.temperature) for got, want in zip(found, wanted, strict=True)]
        return mix(truth, taught[0] + taught[1], settings)

    return Task(make, loss)


def street_task(
    data: StreetData,
    *,
    seed: int = 0,
    batch: int = 16,
    teacher: nn.Module | None = None,
    settings: Distillation = _USUAL,
) -> Task:
    """Boxes of actors in windows of street pictures; with a teacher, its grid counts beside the truth."""

    def make(step: int) -> Any:
        chance = np.random.default_rng((seed, step))
        return detection_batch(data, chance.integers(len(data), size=batch), WINDOWS, chance)

    def loss(model: nn.Module, made: Any) -> torch.Tensor:
        pictures, targets = made
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            grid = model(pictures)
        truth = detection_loss(grid, targets, classes=len(CLASSES))
        if teacher is None:
            return truth
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            wanted = teacher(pictures)
        return mix(truth, grid_loss(grid, wanted, classes=len(CLASSES)), settings)

    return Task(make, loss)


def train_briefly(
    module: nn.Module,
    task: Task,
    steps: int,
    checkpoint: Path,
    *,
    peak_rate: float = 2e-3,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> nn.Module:
    """The module after `steps` batches, weights averaged, in eval mode; masks that it carries hold.

    Args:
        module: fresh or pruned; it is trained in place, and an average of its course comes back.
        task: what to learn.
        steps: batches, > 0.
        checkpoint: file that a run which was stopped goes on from.
        peak_rate: highest learning rate; take about a third for a network that is nearly there.
        progress: called with the steps done and the loss.
    """
    schedule = Schedule(steps, peak_rate=peak_rate, warmup=max(1, steps // 10), average=0.98)
    return train(module, task.batch, task.loss, schedule, checkpoint, progress=progress)
