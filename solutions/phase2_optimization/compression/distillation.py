"""Distillation: a small network learns from the answers of a large one, not from the truth alone.

A label says "truck". A teacher says "truck, a little like a bus, nothing like a pedestrian", and that tells the student
how classes lie to each other (Hinton, Vinyals and Dean 2015). A temperature T above 1 softens the answers so that the
small probabilities count. Whether it helps is a question of measurement: the teacher's mistakes are taught as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from solutions.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Distillation:
    """How much the teacher counts.

    Attributes:
        temperature: > 0; logits are divided by it before softmax. Higher values show more of the unlikely classes.
        weight: 0..1, share of the teacher's loss; the truth has the rest.
    """

    temperature: float = 3.0
    weight: float = 0.7

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be > 0, got {self.temperature}")
        if not 0 <= self.weight <= 1:
            raise ConfigError(f"weight must lie in [0, 1], got {self.weight}")


def soft_target_loss(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 times the divergence KL(teacher || student) of the softened classes, mean over the batch.

    The factor T^2 keeps the gradient's size when T changes (section 2 of the paper). The loss is 0 where both agree.

    Args:
        student: logits [N, C].
        teacher: logits [N, C]; no gradient flows into them.
        temperature: > 0.
    """
    want = functional.log_softmax(teacher.detach() / temperature, dim=1)
    got = functional.log_softmax(student / temperature, dim=1)
    return functional.kl_div(got, want, reduction="batchmean", log_target=True) * temperature**2


def mix(truth: torch.Tensor, teacher: torch.Tensor, settings: Distillation) -> torch.Tensor:
    """The loss against the truth and the loss against the teacher, weighed."""
    return (1 - settings.weight) * truth + settings.weight * teacher


def grid_loss(student: torch.Tensor, teacher: torch.Tensor, *, classes: int) -> torch.Tensor:
    """How far a detector's grid is from its teacher's: a scalar >= 0, and 0 where both agree.

    Scores are compared by binary cross-entropy with the teacher's probabilities as targets, each cell weighed by the
    larger of the two: thousands of cells of empty street would drown the few that matter. Boxes are compared where the
    teacher sees something, weighed by how sure it is: smooth L1 on the log distances. Both sums are divided by the sum
    of the teacher's best scores, as the loss on the truth is by its qualities.

    Args:
        student: grid [N, classes + 4, h, w] as `networks.StreetNet` gives it.
        teacher: likewise; no gradient flows into it.
        classes: number of class channels.
    """
    teacher = teacher.detach().float()
    student = student.float()
    want = teacher[:, :classes].sigmoid()
    surprise = functional.binary_cross_entropy_with_logits(student[:, :classes], want, reduction="none")
    # At the optimum cross-entropy is the teacher's own entropy; what counts is the rest.
    rest = surprise - functional.binary_cross_entropy(want, want, reduction="none")
    weight = torch.maximum(want, student[:, :classes].detach().sigmoid())
    sure = want.amax(1, keepdim=True)
    boxes = functional.smooth_l1_loss(student[:, classes:], teacher[:, classes:], reduction="none", beta=0.1)
    total = sure.sum().clamp(min=1.0)
    return (rest * weight).sum() / total + (boxes * sure).sum() / total
