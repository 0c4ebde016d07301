"""Task-aligned assignment of truth to cells, and the loss on it.

Which cells answer for which box is decided by the network's own predictions: the cells inside a box that score high
and localise well (TOOD, Feng et al. 2021). The class target of such a cell is how well it localises, so the score of a
detection says both what it is and how good its box is, which is what NMS sorts by.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from solutions.core.zoo.networks import STRIDE

TOP_K, SCORE_POWER, IOU_POWER = 9, 0.5, 4.0
BOX_WEIGHT = 2.5


@dataclass(frozen=True, slots=True)
class Targets:
    """Truth of one batch, padded to M boxes per image.

    boxes float32 [N, M, 4] xyxy network pixels; class_ids int64 [N, M]; real and ignore bool [N, M]. Padding is neither
    real nor ignore; an ignored box asks for nothing and forbids nothing.
    """

    boxes: torch.Tensor
    class_ids: torch.Tensor
    real: torch.Tensor
    ignore: torch.Tensor


def cell_centres(height: int, width: int) -> torch.Tensor:
    """Centres of the cells in network pixels: float32 [height * width, 2] as x, y, row by row."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack((x, y), -1).reshape(-1, 2) + 0.5) * STRIDE


def boxes_from(distances: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """xyxy boxes [N, A, 4] from log distances [N, A, 4] in cells."""
    reach = distances.clamp(max=6.0).exp() * STRIDE
    return torch.cat((centres - reach[..., :2], centres + reach[..., 2:]), -1)


def pairwise_giou(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """IoU and generalised IoU of boxes that broadcast against each other (Rezatofighi et al. 2019)."""
    overlap = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    areas = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    union = (areas - overlap).clamp(min=1e-6)
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1).clamp(min=1e-6)
    iou = overlap / union
    return iou, iou - (hull - union) / hull


@torch.no_grad()
def assign(
    scores: torch.Tensor, boxes: torch.Tensor, centres: torch.Tensor, targets: Targets
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which truth each cell answers for.

    Args:
        scores: class probabilities [N, A, C].
        boxes: predicted boxes [N, A, 4].
        centres: [A, 2].
        targets: the truth.

    Returns:
        row of the truth per cell [N, A] (0 where none), target quality 0..1 [N, A] (0 where none), and which cells to
        leave out of the class loss [N, A].
    """
    truth = targets.boxes[:, :, None, :]  # [N, M, 1, 4]
    inside = ((centres > truth[..., :2]) & (centres < truth[..., 2:])).all(-1)  # [N, M, A]
    middle = (targets.boxes[..., :2] + targets.boxes[..., 2:]) / 2
    nearest = (centres - middle[:, :, None]).square().sum(-1).argmin(-1, keepdim=True)
    inside.scatter_(2, nearest, True)  # a box smaller than a cell may hold no centre at all
    unwanted = (inside & targets.ignore[..., None]).any(1)
    inside &= targets.real[..., None]
    iou, _ = pairwise_giou(truth, boxes[:, None])
    own_class = targets.class_ids[:, :, None].expand(-1, -1, scores.shape[1])
    score = scores.permute(0, 2, 1).gather(1, own_class)
    metric = score.pow(SCORE_POWER) * iou.clamp(min=0.01).pow(IOU_POWER) * inside
    chosen = torch.zeros_like(inside).scatter_(2, metric.topk(min(TOP_K, metric.shape[2]), dim=2).indices, True)
    metric = metric * chosen
    best, row = metric.max(1)  # a cell claimed by two boxes goes to the better fit
    mine = torch.zeros_like(inside).scatter_(1, row[:, None], True) & (metric > 0)
    metric = metric * mine
    top_metric = metric.amax(2, keepdim=True).clamp(min=1e-9)
    top_iou = (iou * mine).amax(2, keepdim=True)
    quality = (metric / top_metric * top_iou).amax(1)
    return row, quality, unwanted & (best == 0)


def detection_loss(grid: torch.Tensor, targets: Targets, *, classes: int) -> torch.Tensor:
    """Scalar loss of a batch of grids [N, classes + 4, h, w]."""
    flat = grid.float().flatten(2).transpose(1, 2)
    logits, distances = flat[..., :classes], flat[..., classes:]
    centres = cell_centres(grid.shape[2], grid.shape[3])
    boxes = boxes_from(distances, centres)
    row, quality, left_out = assign(logits.sigmoid(), boxes, centres, targets)
    positive = quality > 0
    batch = torch.arange(len(row))[:, None]
    want = functional.one_hot(targets.class_ids[batch, row], classes) * quality[..., None]
    class_loss = functional.binary_cross_entropy_with_logits(logits, want, reduction="none")
    # Easy background would drown the few actors: weigh it by its own score (the focal part of varifocal loss).
    weight = torch.where(want > 0, 1.0, logits.detach().sigmoid().square() * 0.75) * ~left_out[..., None]
    total = quality.sum().clamp(min=1.0)
    _, giou = pairwise_giou(boxes[positive], targets.boxes[batch, row][positive])
    return (class_loss * weight).sum() / total + BOX_WEIGHT * ((1 - giou) * quality[positive]).sum() / total
