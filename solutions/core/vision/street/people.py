"""Pedestrians and cyclists as limbs: tapered strokes that always show their full width to the camera.

A limb is a line between two joints with a thickness at each end; a head is a disc. Both become flat polygons in world
space, so people go through the same projection as vehicles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from solutions.core.vision.street.dice import Dice
from solutions.core.vision.street.mood import Rgb, mix

SKINS: tuple[Rgb, ...] = ((240, 200, 170), (222, 172, 136), (182, 126, 92), (120, 80, 58))
HAIRS: tuple[Rgb, ...] = ((40, 32, 30), (84, 54, 36), (150, 106, 60), (206, 170, 110), (136, 134, 134))
TROUSERS: tuple[Rgb, ...] = ((52, 62, 88), (70, 66, 64), (40, 42, 46), (132, 116, 94), (96, 100, 108))
SHOE: Rgb = (44, 40, 42)
FRAMES: tuple[Rgb, ...] = ((40, 44, 50), (140, 44, 40), (44, 90, 120), (206, 206, 200))


@dataclass(frozen=True, slots=True)
class Body:
    """What is individual about a person."""

    jacket: Rgb
    trousers: Rgb
    skin: Rgb
    hair: Rgb
    accent: Rgb
    bag: bool
    long_coat: bool
    long_hair: bool


Limb = tuple[float, float, float, float, float, float, float, float, Rgb]  # x, y, z, x, y, z, radius, radius, colour
Disc = tuple[float, float, float, float, Rgb]  # x, y, z, radius, colour


def body_of(look: int, jacket: Rgb) -> Body:
    """The person of a look seed."""
    d = Dice(look, 2)
    colours = d.pick(TROUSERS), d.pick(SKINS), d.pick(HAIRS), d.pick(FRAMES)
    return Body(jacket, *colours, bag=d.chance(0.3), long_coat=d.chance(0.3), long_hair=d.chance(0.4))


def walker_parts(h: float, stride: float, moving: bool, body: Body, near: float) -> list[Limb | Disc]:
    """Limbs and discs of a person h metres tall, in drawing order; `stride` is the phase of the step in radians."""
    going = 1.0 if moving else 0.12
    swing = math.sin(stride) * 0.52 * going
    bob = abs(math.cos(stride)) * 0.012 * h * going
    hip, knee_len, shoulder = 0.5 * h + bob, 0.245 * h, 0.8 * h + bob
    jacket, shade = body.jacket, mix(body.jacket, (0, 0, 0), 0.22)

    def leg(side: float, angle: float, tint: float) -> list[Limb | Disc]:
        x = side * 0.05 * h
        bend = max(0.0, -math.sin(angle)) * 0.5 + 0.12 * going
        kz, ky = math.sin(angle) * knee_len, hip - math.cos(angle) * knee_len
        az, ay = kz + math.sin(angle - bend) * knee_len, ky - math.cos(angle - bend) * knee_len
        ay = max(ay, 0.03 * h)
        cloth = mix(body.trousers, (0, 0, 0), tint)
        return [
            (x, hip, 0.0, x, ky, kz, 0.062 * h, 0.045 * h, cloth),
            (x, ky, kz, x, ay, az, 0.045 * h, 0.032 * h, cloth),
            (x, ay - 0.012 * h, az - 0.02 * h, x, ay - 0.015 * h, az + 0.075 * h, 0.026 * h, 0.022 * h, SHOE),
        ]

    def arm(side: float, angle: float, cloth: Rgb) -> list[Limb | Disc]:
        x = side * 0.125 * h
        ez, ey = math.sin(angle) * 0.16 * h, shoulder - 0.015 * h - math.cos(angle) * 0.16 * h
        hz, hy = ez + math.sin(angle + 0.35) * 0.14 * h, ey - math.cos(angle + 0.35) * 0.14 * h
        return [
            (x * 0.9, shoulder - 0.015 * h, 0.0, x, ey, ez, 0.04 * h, 0.034 * h, cloth),
            (x, ey, ez, x, hy, hz, 0.034 * h, 0.027 * h, cloth),
            (x, hy, hz, 0.024 * h, body.skin),
        ]

    hem = 0.36 * h if body.long_coat else 0.47 * h
    parts = leg(-near, -swing, 0.25) + arm(-near, swing * 1.1, shade) + leg(near, swing, 0.0)
    if body.bag:
        parts.append((0.0, 0.56 * h, -0.1 * h, 0.0, 0.76 * h, -0.1 * h, 0.075 * h, 0.065 * h, body.accent))
    for x in (-0.055 * h, 0.055 * h):
        parts.append((x, hem, 0.0, x * 1.25, shoulder, 0.0, 0.07 * h, 0.062 * h, jacket))
    parts.append((0.0, hem + 0.02 * h, 0.0, 0.0, shoulder, 0.0, 0.07 * h, 0.07 * h, jacket))
    parts.append((0.0, shoulder, 0.0, 0.0, 0.88 * h, 0.01 * h, 0.034 * h, 0.034 * h, body.skin))
    parts += arm(near, -swing * 1.1, mix(jacket, (0, 0, 0), 0.1))
    head = 0.925 * h + bob
    if body.long_hair:
        parts.append((0.0, head, -0.025 * h, 0.0, head - 0.12 * h, -0.035 * h, 0.068 * h, 0.05 * h, body.hair))
    parts.append((0.0, head + 0.012 * h, -0.012 * h, 0.07 * h, body.hair))
    parts.append((0.0, head - 0.012 * h, 0.03 * h, 0.054 * h, body.skin))
    return parts


def rider_parts(turn: float, body: Body, near: float) -> list[Limb | Disc]:
    """A cyclist and the bicycle's frame (its wheels are rings, drawn first); `turn` is the angle of the pedals."""
    jacket, metal = body.jacket, body.accent

    def leg(side: float, phase: float, tint: float) -> list[Limb | Disc]:
        x, fz, fy = side * 0.11, 0.02 + 0.16 * math.cos(phase), 0.33 + 0.16 * math.sin(phase)
        hz, hy = -0.2, 0.96
        mz, my = (fz + hz) / 2, (fy + hy) / 2
        dz, dy = fz - hz, fy - hy
        d = math.hypot(dz, dy)
        out = math.sqrt(max(0.0, 0.42 * 0.42 - d * d / 4))
        kz, ky = mz - dy / d * out, my + dz / d * out
        cloth = mix(body.trousers, (0, 0, 0), tint)
        return [
            (x * 0.8, hy, hz, x, ky, kz, 0.1, 0.072, cloth),
            (x, ky, kz, x, fy, fz, 0.068, 0.05, cloth),
            (x, fy - 0.03, fz - 0.05, x, fy - 0.04, fz + 0.12, 0.042, 0.035, SHOE),
        ]

    def arm(side: float, cloth: Rgb) -> list[Limb | Disc]:
        return [
            (side * 0.19, 1.4, 0.12, side * 0.24, 1.19, 0.26, 0.064, 0.052, cloth),
            (side * 0.24, 1.19, 0.26, side * 0.22, 1.04, 0.46, 0.05, 0.042, cloth),
            (side * 0.22, 1.03, 0.47, 0.045, body.skin),
        ]

    dark = mix(jacket, (0, 0, 0), 0.2)
    parts: list[Limb | Disc] = leg(-near, turn + math.pi, 0.25)
    parts += [
        (0.0, 0.36, -0.52, 0.0, 0.33, 0.02, 0.024, 0.024, metal),
        (0.0, 0.36, -0.52, 0.0, 0.82, -0.18, 0.022, 0.022, metal),
        (0.0, 0.33, 0.02, 0.0, 0.9, -0.2, 0.026, 0.026, metal),
        (0.0, 0.33, 0.02, 0.0, 0.82, 0.38, 0.03, 0.03, metal),
        (0.0, 0.8, -0.18, 0.0, 0.84, 0.37, 0.028, 0.028, metal),
        (0.0, 0.36, 0.54, 0.0, 0.98, 0.36, 0.026, 0.026, metal),
        (-0.24, 1.02, 0.45, 0.24, 1.02, 0.45, 0.022, 0.022, SHOE),
        (0.0, 0.92, -0.36, 0.0, 0.93, -0.08, 0.05, 0.04, SHOE),
    ]
    parts += arm(-near, dark)
    for x in (-0.09, 0.09):
        parts.append((x, 0.98, -0.22, x * 1.3, 1.42, 0.1, 0.12, 0.11, jacket))
    if body.bag:
        parts.append((0.0, 1.1, -0.22, 0.0, 1.36, -0.04, 0.13, 0.11, body.trousers))
    parts += leg(near, turn, 0.0) + arm(near, mix(jacket, (0, 0, 0), 0.08))
    parts.append((0.0, 1.42, 0.12, 0.0, 1.54, 0.2, 0.06, 0.06, body.skin))
    parts.append((0.0, 1.6, 0.22, 0.1, body.skin))
    parts.append((0.0, 1.645, 0.2, 0.112, body.hair))
    return parts
