"""A fixed pinhole camera over the street.

World axes: x to the right of the street, y up, z along the street away from the camera; metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

NEAR_M = 0.6  # what is nearer than this is pushed to it: such points lie far outside the frame


@dataclass(frozen=True, slots=True)
class Camera:
    """Position in metres, angles in radians, focal length as a fraction of the frame height."""

    x: float
    height: float
    yaw: float
    pitch: float
    focal: float
    size_hw: tuple[int, int]

    @property
    def position(self) -> np.ndarray:
        """float64 [3]."""
        return np.array([self.x, self.height, 0.0])

    @property
    def axes(self) -> np.ndarray:
        """float64 [3, 3]: rows are the camera's right, up and forward in world axes."""
        sy, cy, sp, cp = math.sin(self.yaw), math.cos(self.yaw), math.sin(self.pitch), math.cos(self.pitch)
        return np.array([[cy, 0.0, -sy], [sy * sp, cp, cy * sp], [sy * cp, -sp, cy * cp]])

    def view(self, points: np.ndarray) -> np.ndarray:
        """Camera coordinates (right, up, forward) of world points [..., 3]."""
        out: np.ndarray = (points - self.position) @ self.axes.T
        return out

    def screen(self, viewed: np.ndarray) -> np.ndarray:
        """Pixels [..., 2] of camera coordinates; pixel i spans [i, i + 1)."""
        h, w = self.size_hw
        scale = self.focal * h / np.maximum(viewed[..., 2], NEAR_M)
        return np.stack([w / 2 + viewed[..., 0] * scale, h / 2 - viewed[..., 1] * scale], axis=-1)

    def clip(self, points: np.ndarray) -> np.ndarray:
        """Camera coordinates of a polygon cut at the near plane (Sutherland-Hodgman); may be empty."""
        viewed = self.view(points)
        if (viewed[:, 2] > NEAR_M).all():
            return viewed
        out: list[np.ndarray] = []
        for i in range(len(viewed)):
            a, b = viewed[i - 1], viewed[i]
            if (a[2] > NEAR_M) != (b[2] > NEAR_M):
                out.append(a + (b - a) * ((NEAR_M * 1.0001 - a[2]) / (b[2] - a[2])))
            if b[2] > NEAR_M:
                out.append(b)
        return np.array(out).reshape(-1, 3)
