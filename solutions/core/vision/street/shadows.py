"""Soft shadows of the road users on the ground."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from solutions.core.vision.street.camera import Camera
from solutions.core.vision.street.depth import half_sizes
from solutions.core.vision.street.mood import Light
from solutions.core.vision.street.painter import SUB, soften
from solutions.core.vision.street.traffic import Actor

_CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def cast(frame: np.ndarray, ground: np.ndarray, actors: Sequence[Actor], camera: Camera, light: Light) -> None:
    """Darken the frame where actors shade the ground; `ground` (uint8 [H, W]) is 255 where ground is seen, else 0."""
    h, w = camera.size_hw
    grounds = []
    for actor in actors:
        fx, fz = half_sizes(actor)
        s, c = math.sin(actor.heading), math.cos(actor.heading)
        foot = np.array([(a * fx * c + b * fz * s, 0.0, -a * fx * s + b * fz * c) for a, b in _CORNERS])
        foot += (actor.x, 0.0, actor.z)
        dx, dz = light.shadow_offset(actor.height * 0.85)
        grounds.append(np.concatenate([foot, foot + np.array([dx, 0.0, dz])]))
    if not grounds:
        return
    pixels = camera.screen((np.stack(grounds) - camera.position) @ camera.axes.T)
    fixed = np.rint((np.clip(pixels, -2.0 * w, 3.0 * w) - 0.5) * SUB).astype(np.int32)
    mask = np.zeros((h, w), np.uint8)
    strength = round(light.mood.shadow * 255)
    areas = []
    for corners in fixed:
        hull = cv2.convexHull(corners)
        cv2.fillConvexPoly(mask, hull, strength, cv2.LINE_8, 4)
        x, y, bw, bh = cv2.boundingRect(hull)
        pad = 4
        x0, y0 = max(x // SUB - pad, 0), max(y // SUB - pad, 0)
        areas.append((slice(y0, min((y + bh) // SUB + pad, h)), slice(x0, min((x + bw) // SUB + pad, w))))
    soft = soften(mask, h // 90) & ground
    for area in areas:
        part = soft[area]
        if not part.size:
            continue
        view = frame[area]
        keep = 256 - part.astype(np.uint16)
        dark = np.multiply(view, cv2.merge((keep, keep, keep)), dtype=np.uint16)
        dark >>= 8
        view[:] = dark
        part[:] = 0  # where two areas overlap nothing is darkened twice
