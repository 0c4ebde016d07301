"""Street data that need no rendering: grey pictures whose labels say what a test wants."""

import numpy as np

from solutions.core.zoo.training.dataset import StreetData


def data_of(count):
    """Pictures with one car each, crops with classes and colours in turn."""
    crops = np.full((count, 3, 48, 48), 7, np.uint8)
    boxes = np.tile(np.float32([[8, 8, 24, 24]]), (count, 1))
    labels = np.stack([np.arange(count) % 5, np.arange(count) % 7], 1)
    pictures, starts = np.zeros((count, 32, 32, 3), np.uint8), np.arange(count + 1)
    return StreetData(pictures, starts, boxes, np.zeros(count, np.int64), np.zeros(count, bool), crops, labels)
