"""Pictures whose colours and corners are known, and how to store them."""

import numpy as np

ORIENTATION = 0x0112


def corners(height=24, width=40):
    """RGB: red, green, blue, yellow quarters, so that every rotation and channel order shows."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[: height // 2, : width // 2] = (255, 0, 0)
    rgb[: height // 2, width // 2 :] = (0, 255, 0)
    rgb[height // 2 :, : width // 2] = (0, 0, 255)
    rgb[height // 2 :, width // 2 :] = (255, 255, 0)
    return rgb


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(path, image, **options):
    image.save(path, **options)
    return path
