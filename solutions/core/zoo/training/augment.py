"""Batches for training: random windows, flips and light, all drawn from one seeded generator."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from solutions.core.zoo.training.dataset import StreetData
from solutions.core.zoo.training.losses import Targets

PAD = 114
WINDOW_HW = (192, 320)


@dataclass(frozen=True, slots=True)
class View:
    """How a training window is laid over a picture: the range of zooms (window pixels per picture pixel), and how far
    it may reach beyond the picture's edge, as a share of the window.
    """

    min_zoom: float
    max_zoom: float
    beyond: float


# Whole pictures first: large actors and the layout of streets. Then windows at the scale that a camera's frame has in
# the network: small actors in their full detail, for 42 % of the pixels of whole pictures.
WHOLE = View(0.45, 0.95, 0.1)
WINDOWS = View(0.62, 1.25, 0.02)


def detection_batch(
    data: StreetData, rows: np.ndarray, view: View, chance: np.random.Generator
) -> tuple[torch.Tensor, Targets]:
    """Images float32 [N, 3, 192, 320] and their truth, both transformed alike."""
    pictures, truths = [], []
    for row in rows:
        picture, *truth = _through(view, data, int(row), chance)
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


def _through(
    view: View, data: StreetData, row: int, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What the window shows of a picture at a random zoom and place: pixels, boxes, class ids, which to ignore."""
    picture = np.asarray(data.images[row])
    labels = slice(data.starts[row], data.starts[row + 1])
    boxes, class_ids, ignore = data.boxes[labels].copy(), data.class_ids[labels], data.ignore[labels].copy()
    height, width = WINDOW_HW
    if chance.random() < 0.5:
        picture = picture[:, ::-1]
        boxes[:, [0, 2]] = picture.shape[1] - boxes[:, [2, 0]]
    zoom = np.float32(np.exp(chance.uniform(np.log(view.min_zoom), np.log(view.max_zoom))))
    room = np.array([width - zoom * picture.shape[1], height - zoom * picture.shape[0]])
    x, y = room * chance.uniform(0, 1, 2) + chance.uniform(-view.beyond, view.beyond, 2) * (width, height)
    # The half pixels keep box edges, which lie between pixels, where the picture's edges go.
    matrix = np.array([[zoom, 0, x + (zoom - 1) / 2], [0, zoom, y + (zoom - 1) / 2]], np.float32)
    picture = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(PAD,) * 3)
    boxes = boxes * zoom + np.array([x, y, x, y], np.float32)
    whole = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    boxes[:, [0, 2]] = boxes[:, [0, 2]].clip(0, width)
    boxes[:, [1, 3]] = boxes[:, [1, 3]].clip(0, height)
    left = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    ignore |= left < 0.4 * whole
    keep = left > 0.02 * whole
    return picture, boxes[keep], class_ids[keep], ignore[keep]


def _light(picture: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    gain, offset = chance.uniform(0.75, 1.25), chance.uniform(-15, 15)
    return cv2.convertScaleAbs(picture, alpha=gain, beta=max(offset, 0)) if chance.random() < 0.5 else picture
