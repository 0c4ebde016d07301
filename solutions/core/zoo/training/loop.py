"""The training loop: AdamW, cosine learning rate, averaged weights, checkpoints that a later run goes on from."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

Batch = Any


@dataclass(frozen=True, slots=True)
class Schedule:
    """`steps` batches; the learning rate rises over `warmup` steps, then falls along a cosine to 1 % of its peak."""

    steps: int
    peak_rate: float = 3e-3
    warmup: int = 300
    weight_decay: float = 0.02
    average: float = 0.998
    checkpoint_every: int = 500

    def rate(self, step: int) -> float:
        """Learning rate at `step`, counted from 0."""
        if step < self.warmup:
            return self.peak_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.peak_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def ahead(make: Callable[[int], Batch], first: int, last: int) -> Iterator[tuple[int, Batch]]:
    """(step, make(step)) in order, each made in a second thread while the one before is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(make, first) if first < last else None
        for step in range(first, last):
            batch = coming.result()  # type: ignore[union-attr]
            coming = pool.submit(make, step + 1) if step + 1 < last else None
            yield step, batch


def train(
    model: nn.Module,
    make_batch: Callable[[int], Batch],
    loss_of: Callable[[nn.Module, Batch], torch.Tensor],
    schedule: Schedule,
    checkpoint: Path,
    *,
    progress: Callable[[int, float], None],
) -> nn.Module:
    """The averaged model after all steps.

    Batch `step` depends on `step` alone, so a run that is stopped and resumed sees what an unbroken one sees.
    `progress` is called with the steps done and the loss.
    """
    model = model.to(memory_format=torch.channels_last).train()
    averaged = copy.deepcopy(model)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": schedule.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=schedule.peak_rate,
    )
    first = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        averaged.load_state_dict(saved["averaged"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
    for step, batch in ahead(make_batch, first, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        _average(averaged, model, min(schedule.average, (1 + step) / (10 + step)))
        progress(step + 1, loss.item())
        if (step + 1) % schedule.checkpoint_every == 0 or step + 1 == schedule.steps:
            state = {
                "model": model.state_dict(),
                "averaged": averaged.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
            }
            torch.save(state, checkpoint.with_suffix(".new"))
            os.replace(checkpoint.with_suffix(".new"), checkpoint)
    return averaged.to(memory_format=torch.contiguous_format).eval()


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, keep: float) -> None:
    for mean, value in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value.to(mean), 1 - keep)
        else:
            mean.copy_(value)
