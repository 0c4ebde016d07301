"""Painting the part of the street that never moves: world polygons onto a canvas of twice the frame's size.

The canvas has four channels: BGR and the number of the thing that was painted last. The numbers tell later, pixel by
pixel, which piece of furniture may hide a road user.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from solutions.core.vision.street.camera import Camera
from solutions.core.vision.street.mood import Light, Rgb, mix

SUB = 16  # fixed-point units per pixel given to OpenCV
SUPER = 2  # canvas pixels per frame pixel
Point = Sequence[float]


class Painter:
    """Draws far to near; the caller keeps the order."""

    def __init__(self, camera: Camera, light: Light) -> None:
        self.camera, self.light = camera, light
        h, w = camera.size_hw
        self.canvas = np.zeros((h * SUPER, w * SUPER, 4), np.uint8)
        self.boxes: list[tuple[float, float, float, float]] = []  # ground rectangle (x0, x1, z0, z1) of each thing
        self.thing = 0

    def begin(self, x0: float, x1: float, z0: float, z1: float) -> None:
        """What follows belongs to a new thing that stands on this rectangle of ground."""
        if len(self.boxes) < 254:
            self.boxes.append((min(x0, x1), max(x0, x1), min(z0, z1), max(z0, z1)))
        self.thing = len(self.boxes)

    def end(self) -> None:
        """What follows lies flat on the ground or far away and hides nobody."""
        self.thing = 0

    def poly(
        self, points: Sequence[Point | np.ndarray] | np.ndarray, rgb: Rgb,
        normal: tuple[float, float, float] | None = None, *, haze: bool = True,
    ) -> None:  # fmt: skip
        """Fill a planar polygon; with a normal it is lit, without it keeps its colour."""
        viewed = self.camera.clip(np.asarray(points, dtype=np.float64))
        if len(viewed) < 3:
            return
        if normal is not None:
            rgb = self.light.shade_one(rgb, normal)
        if haze:
            rgb = mix(rgb, self.light.mood.sky_low, self.light.haze(float(viewed[:, 2].mean())))
        self.flat(self.camera.screen(viewed), rgb)

    def flat(self, pixels: np.ndarray, rgb: Rgb) -> None:
        """Fill a polygon given in frame pixels."""
        fixed = np.rint(np.clip((pixels * SUPER - 0.5) * SUB, -4e5, 4e5)).astype(np.int32)
        cv2.fillPoly(self.canvas, [fixed], (*bgr(rgb), self.thing), cv2.LINE_8, 4)

    def ground(self, x0: float, x1: float, z0: float, z1: float, rgb: Rgb, y: float = 0.0) -> None:
        """A rectangle of ground, cut in strips so that haze can grow with distance."""
        z, step = z0, 6.0
        while z < z1:
            end = min(z1, z + step)
            self.poly([(x0, y, z), (x1, y, z), (x1, y, end), (x0, y, end)], rgb, (0, 1, 0))
            z = end

    def box(self, x0: float, x1: float, y0: float, y1: float, z0: float, z1: float, rgb: Rgb) -> None:
        """The visible faces of an axis-aligned box."""
        cx, cy, _ = self.camera.position
        if cy > y1:
            self.poly([(x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)], rgb, (0, 1, 0))
        if cx < x0 or cx > x1:
            x, n = (x0, -1.0) if cx < x0 else (x1, 1.0)
            self.poly([(x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0)], rgb, (n, 0, 0))
        if z0 > 0:
            self.poly([(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0)], rgb, (0, 0, -1))

    def blob(self, centre: Point, radius: float, rgb: Rgb, squash: float = 1.0) -> None:
        """A disc that faces the camera."""
        viewed = self.camera.view(np.array(centre, dtype=np.float64))
        if viewed[2] < 1.0:
            return
        x, y = self.camera.screen(viewed)
        r = radius * self.camera.focal * self.camera.size_hw[0] / viewed[2]
        angles = np.arange(14) * (2 * np.pi / 14)
        rgb = mix(rgb, self.light.mood.sky_low, self.light.haze(float(viewed[2])))
        self.flat(np.stack([x + r * np.cos(angles), y + r * squash * np.sin(angles)], axis=1), rgb)

    def dim(self, polygons: Sequence[np.ndarray], share: float, blur: int) -> None:
        """Darken ground polygons with soft borders (shadows that never move)."""
        h, w = self.canvas.shape[:2]
        mask = np.zeros((h, w), np.uint8)
        for points in polygons:
            viewed = self.camera.clip(np.asarray(points, dtype=np.float64))
            if len(viewed) >= 3:
                fixed = np.rint(np.clip((self.camera.screen(viewed) * SUPER - 0.5) * SUB, -4e5, 4e5)).astype(np.int32)
                cv2.fillPoly(mask, [fixed], round(share * 255), cv2.LINE_8, 4)
        blend(self.canvas, soften(mask, blur * h // 720), (18, 14, 14))

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """The frame-sized background (uint8 BGR) and the map of things (uint8, 0 = nothing that hides)."""
        h, w = self.camera.size_hw
        small = cv2.resize(np.ascontiguousarray(self.canvas[..., :3]), (w, h), interpolation=cv2.INTER_AREA)
        return small, np.ascontiguousarray(self.canvas[::SUPER, ::SUPER, 3])


def soften(mask: np.ndarray, size: int) -> np.ndarray:
    """Gaussian blur with an odd kernel of about that size."""
    k = max(1, size) | 1
    out: np.ndarray = cv2.GaussianBlur(mask, (k, k), 0)
    return out


def blend(canvas: np.ndarray, mask: np.ndarray, towards: tuple[int, int, int]) -> None:
    """Move BGR towards a colour by mask / 255, in integers so that every machine rounds alike."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return
    part, m = canvas[rows[0] : rows[-1] + 1], mask[rows[0] : rows[-1] + 1].astype(np.int32)
    for channel in range(3):
        plane = part[..., channel].astype(np.int32)
        part[..., channel] = plane + (((towards[channel] - plane) * m) >> 8)


def bgr(rgb: Rgb) -> tuple[int, int, int]:
    """Rounded and clipped, in OpenCV's order."""
    r, g, b = (min(255, max(0, round(v))) for v in rgb)
    return b, g, r


def bgr_rows(rgb: np.ndarray) -> list[tuple[int, int, int, int]]:
    """The same for float [n, 3], with a solid alpha."""
    table = np.full((len(rgb), 4), 255, np.int64)
    table[:, :3] = np.clip(np.rint(rgb[:, ::-1]), 0, 255)
    return [(b, g, r, a) for b, g, r, a in table.tolist()]
