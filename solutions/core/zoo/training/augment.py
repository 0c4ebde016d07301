"""Batches for training: random flips, zooms, shifts and light, each drawn from one seeded generator."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from solutions.core.zoo.training.dataset import INPUT_HW, StreetData
from solutions.core.zoo.training.losses import Targets

PAD = 114


def detection_batch(data: StreetData, rows: np.ndarray, chance: np.random.Generator) -> tuple[torch.Tensor, Targets]:
    """Images float32 [N, 3, 192, 320] and their truth, both transformed alike."""
    pictures, truths = [], []
    for row in rows:
        picture, *truth = _zoom_and_shift(data, int(row), chance)
        pictures.append(_light(picture, chance))
        truths.append(truth)
    images = torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2)).float()
    return images, pad_targets(truths)


def pad_targets(truths: list[list[np.ndarray]]) -> Targets:
    """(boxes, class_ids, ignore) of each image, padded to the longest."""
    longest = max(1, *(len(boxes) for boxes, _, _ in truths))
    boxes = torch.zeros(len(truths), longest, 4)
    class_ids = torch.zeros(len(truths), longest, dtype=torch.int64)
    real, ignore = torch.zeros(2, len(truths), longest, dtype=torch.bool)
    for n, (own_boxes, own_ids, own_ignore) in enumerate(truths):
        count = len(own_boxes)
        boxes[n, :count] = torch.from_numpy(own_boxes)
        class_ids[n, :count] = torch.from_numpy(own_ids)
        ignore[n, :count] = torch.from_numpy(own_ignore)
        real[n, :count] = torch.from_numpy(~own_ignore)
    return Targets(boxes, class_ids, real, ignore)


def crop_images(crops: np.ndarray, chance: np.random.Generator | None) -> torch.Tensor:
    """Crops uint8 [N, 3, 48, 48] as float32; flipped and relit at random when `chance` is given."""
    if chance is not None:
        flip = chance.random(len(crops)) < 0.5
        crops = np.where(flip[:, None, None, None], crops[..., ::-1], crops)
        gain = chance.uniform(0.85, 1.15, (len(crops), 1, 1, 1)).astype(np.float32)
        crops = np.clip(crops * gain, 0, 255)
    return torch.from_numpy(crops).float()


def _zoom_and_shift(
    data: StreetData, row: int, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    picture = np.asarray(data.images[row])
    labels = slice(data.starts[row], data.starts[row + 1])
    boxes, class_ids, ignore = data.boxes[labels].copy(), data.class_ids[labels], data.ignore[labels].copy()
    height, width = INPUT_HW
    if chance.random() < 0.5:
        picture = picture[:, ::-1]
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    if chance.random() < 0.6:
        zoom = np.exp(chance.uniform(-0.35, 0.35))
        x = chance.uniform(-0.15, 0.15) * width + (1 - zoom) * width / 2
        y = chance.uniform(-0.15, 0.15) * height + (1 - zoom) * height / 2
        # The half pixels keep box edges, which lie between pixels, where the picture's edges go.
        matrix = np.array([[zoom, 0, x + (zoom - 1) / 2], [0, zoom, y + (zoom - 1) / 2]], np.float32)
        picture = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(PAD,) * 3)
        boxes = boxes * np.float32(zoom) + np.array([x, y, x, y], np.float32)
        whole = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        boxes[:, [0, 2]] = boxes[:, [0, 2]].clip(0, width)
        boxes[:, [1, 3]] = boxes[:, [1, 3]].clip(0, height)
        left = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        ignore |= left < 0.4 * whole
        keep = left > 0.02 * whole
        boxes, class_ids, ignore = boxes[keep], class_ids[keep], ignore[keep]
    return np.ascontiguousarray(picture), boxes, class_ids, ignore


def _light(picture: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    gain, offset = chance.uniform(0.75, 1.25), chance.uniform(-15, 15)
    return cv2.convertScaleAbs(picture, alpha=gain, beta=max(offset, 0)) if chance.random() < 0.5 else picture
