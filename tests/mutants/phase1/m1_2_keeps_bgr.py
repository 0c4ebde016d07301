"""The channels stay in the order blue, green, red."""

from __future__ import annotations

import numpy as np
from PIL import Image


def preprocess(picture, recipe):
    height, width = picture.shape[:2]
    short = recipe.shorter_side
    scaled_wh = (short * width // height, short) if height <= width else (short, short * height // width)
    rgb = Image.fromarray(np.ascontiguousarray(picture))
    scaled = np.asarray(rgb.resize(scaled_wh, Image.Resampling.BILINEAR))
    crop_h, crop_w = recipe.crop_hw
    top, left = round((scaled.shape[0] - crop_h) / 2), round((scaled.shape[1] - crop_w) / 2)
    values = scaled[top : top + crop_h, left : left + crop_w].astype(np.float32) / 255
    normalised = (values - np.array(recipe.mean, np.float32)) / np.array(recipe.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])
