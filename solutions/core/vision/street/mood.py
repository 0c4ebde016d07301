"""Time of day and weather: the colours of sky, sun and shade, and how they fall on a surface."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from solutions.core.vision.street.dice import Dice

Rgb = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Mood:
    """Colours are RGB; `sun` and `ambient` multiply a surface's own colour."""

    name: str
    sky_top: Rgb
    sky_low: Rgb
    cloud: Rgb
    sun: Rgb
    ambient: Rgb
    elevation_deg: float
    shadow: float  # how much darker a cast shadow is, 0..1
    lit_windows: float  # probability
    clouds: int
    cast: float  # length of a cast shadow as a fraction of the geometric one: short under a diffuse sky


MOODS = (
    Mood("morning", (116, 168, 214), (250, 226, 198), (255, 244, 232), (0.62, 0.54, 0.44), (0.62, 0.65, 0.70), 27, 0.36,
         0.05, 6, 0.8),
    Mood("noon", (64, 136, 214), (194, 222, 240), (255, 255, 255), (0.56, 0.54, 0.49), (0.60, 0.62, 0.66), 55, 0.40,
         0.0, 8, 1.0),
    Mood("golden", (112, 142, 190), (255, 202, 132), (255, 222, 182), (0.74, 0.57, 0.37), (0.80, 0.74, 0.70), 22, 0.38,
         0.12, 6, 0.7),
    Mood("dusk", (58, 66, 120), (238, 152, 124), (206, 138, 150), (0.42, 0.27, 0.22), (0.54, 0.53, 0.66), 12, 0.24,
         0.55, 5, 0.35),
    Mood("overcast", (150, 164, 178), (214, 220, 224), (232, 236, 240), (0.12, 0.12, 0.12), (0.80, 0.82, 0.85), 65,
         0.30, 0.12, 9, 0.25),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Light:
    """A mood with the sun put somewhere."""

    mood: Mood
    sun_to: tuple[float, float, float]  # unit vector towards the sun

    @staticmethod
    def roll(dice: Dice, yaw: float) -> Light:
        """The sun stands behind the viewer or to a side, so that what one sees is lit."""
        mood = dice.pick(MOODS)
        azimuth = yaw + math.pi + dice.pick((-1.0, 1.0)) * dice.uniform(0.35, 1.25)
        elevation = math.radians(mood.elevation_deg)
        flat = math.cos(elevation)
        return Light(mood, (flat * math.sin(azimuth), math.sin(elevation), flat * math.cos(azimuth)))

    def shade(self, rgb: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """float64 [n, 3] RGB of surfaces [n, 3] with unit normals [n, 3]."""
        facing = np.maximum(normals @ np.array(self.sun_to), 0.0)[:, None]
        sky = 0.86 + 0.14 * normals[:, 1:2]  # what looks up sees more of the sky
        out: np.ndarray = rgb * (np.array(self.mood.ambient) * sky + np.array(self.mood.sun) * facing)
        return out

    def shade_one(self, rgb: Rgb, normal: tuple[float, float, float]) -> Rgb:
        """`shade` of a single surface."""
        out = self.shade(np.array([rgb], dtype=np.float64), np.array([normal], dtype=np.float64))[0]
        return float(out[0]), float(out[1]), float(out[2])

    def haze(self, depth_m: float) -> float:
        """Share of sky colour in what stands that far away, 0..1."""
        return min(max(0.0, (depth_m - 14.0) / 120.0), 0.75)

    def shadow_offset(self, height_m: float) -> tuple[float, float]:
        """Where on the ground (dx, dz) the shadow of a point at that height falls."""
        x, y, z = self.sun_to
        reach = min(self.mood.cast * height_m / y, 2.2 * height_m)
        flat = math.hypot(x, z)
        return -x / flat * reach, -z / flat * reach


def mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    """`a` with that share of `b`."""
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share
