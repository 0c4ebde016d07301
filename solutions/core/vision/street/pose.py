"""People as polygons in world space: the limbs of one phase of a step, and everybody's outlines in one go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solutions.core.vision.street.mood import Rgb
from solutions.core.vision.street.people import Body, rider_parts, walker_parts
from solutions.core.vision.street.traffic import PEDESTRIAN, Actor

DISC_POINTS = 12
_ANGLES = np.arange(DISC_POINTS) * (2 * np.pi / DISC_POINTS)
_COS, _SIN = np.cos(_ANGLES), np.sin(_ANGLES)


@dataclass(frozen=True, slots=True)
class Pose:
    """A person in one phase of a step, in local axes; poses are few per person, so a renderer keeps them."""

    limbs: np.ndarray  # float64 [L, 8]: joint, joint, radius, radius
    discs: np.ndarray  # float64 [D, 4]: centre, radius
    starts: list[int]  # polygon k owns points[starts[k]:starts[k + 1]]: wheels, then strokes, then discs
    order: list[int]  # drawing order of strokes and discs
    colours: list[Rgb]


PHASES = 32
TYRE: Rgb = (28.0, 28.0, 30.0)


def phase_of(actor: Actor) -> tuple[int, bool]:
    """The phase of the step or pedal turn as a whole number, and whether the person moves."""
    metres = 0.95 if actor.kind != PEDESTRIAN else 0.42 * actor.height * 2 / math.pi
    moving = actor.speed > 0.05
    return round(actor.travelled / metres / (2 * math.pi) * PHASES) % PHASES, moving or actor.kind != PEDESTRIAN


def pose(actor: Actor, body: Body, phase: int, moving: bool, near: float) -> Pose:
    """The limbs of a walker or cyclist; `near` is +1 when the camera is to the right of the person, else -1."""
    angle = phase * (2 * math.pi / PHASES)
    cycling = actor.kind != PEDESTRIAN
    parts = rider_parts(angle, body, near) if cycling else walker_parts(actor.height, angle, moving, body, near)
    limbs = [p for p in parts if len(p) == 9]
    discs = [p for p in parts if len(p) == 5]
    wheels = 6 if cycling else 0
    sizes = [DISC_POINTS] * 4 + [4] * 2 if cycling else []
    sizes += [8] * len(limbs) + [DISC_POINTS] * len(discs)
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    order, stroke, disc = [], wheels, wheels + len(limbs)
    for part in parts:
        if len(part) == 9:
            order.append(stroke)
            stroke += 1
        else:
            order.append(disc)
            disc += 1
    colours = [TYRE] * wheels + [p[-1] for p in limbs] + [p[-1] for p in discs]
    return Pose(np.array([p[:8] for p in limbs]), np.array([p[:4] for p in discs]), starts, order, colours)


_WHEEL = np.array([[0.0, 0.34 + r * y, z + r * x] for z in (-0.52, 0.54) for r in (0.35, 0.285)
                   for x, y in zip(_COS, _SIN, strict=True)])  # fmt: skip
# seen from ahead or behind a ring is a line: this gives the tyre its thickness
_TREAD = np.array([[x, y, z] for z in (-0.52, 0.54)
                   for x, y in ((-0.028, 0), (0.028, 0), (0.028, 0.69), (-0.028, 0.69))])  # fmt: skip
_RIDE = np.concatenate([_WHEEL, _TREAD])


def outlines(
    actors: Sequence[Actor], poses: Sequence[Pose], position: np.ndarray, axes: np.ndarray
) -> list[np.ndarray]:
    """Per person float64 [P, 3] world points for a camera at `position` with `axes` (right, up, forward)."""
    if not actors:
        return []
    limb_counts = [len(p.limbs) for p in poses]
    disc_counts = [len(p.discs) for p in poses]
    ground = np.array([(a.x, 0.0, a.z) for a in actors])
    turns = np.array([(math.sin(a.heading), math.cos(a.heading)) for a in actors])
    sights = ground - position
    sights[:, 1] += [a.height * 0.5 for a in actors]
    sights /= np.sqrt((sights * sights).sum(axis=1, keepdims=True))
    limbs, owner = np.concatenate([p.limbs for p in poses]), np.repeat(np.arange(len(actors)), limb_counts)
    a, b = _to_world(limbs[:, 0:3], turns[owner], ground[owner]), _to_world(limbs[:, 3:6], turns[owner], ground[owner])
    sight = sights[owner]
    across = _cross(b - a, sight)
    across /= np.sqrt((across * across).sum(axis=1, keepdims=True)) + 1e-9
    tip = _cross(sight, across)  # along the limb as seen, also when it points at the camera
    ra, rb = limbs[:, 6:7], limbs[:, 7:8]
    ca, cb, ta, tb = across * ra, across * rb, tip * (ra * 0.75), tip * (rb * 0.75)
    strokes = np.empty((len(a), 8, 3))
    strokes[:, 0], strokes[:, 1], strokes[:, 4], strokes[:, 5] = a + ca, b + cb, b - cb, a - ca
    strokes[:, 2], strokes[:, 3] = b + cb * 0.55 + tb, b - cb * 0.55 + tb
    strokes[:, 6], strokes[:, 7] = a - ca * 0.55 - ta, a + ca * 0.55 - ta
    discs, owner = np.concatenate([p.discs for p in poses]), np.repeat(np.arange(len(actors)), disc_counts)
    centres = _to_world(discs[:, 0:3], turns[owner], ground[owner])
    spokes = _COS[:, None] * axes[0] + _SIN[:, None] * axes[1]
    rounds = centres[:, None] + discs[:, 3:4, None] * spokes
    out, i, j = [], 0, 0
    for k, actor in enumerate(actors):
        parts = [strokes[i : i + limb_counts[k]].reshape(-1, 3), rounds[j : j + disc_counts[k]].reshape(-1, 3)]
        if actor.kind != PEDESTRIAN:
            parts.insert(0, _to_world(_RIDE, turns[k : k + 1], ground[k]))
        out.append(np.concatenate(parts))
        i, j = i + limb_counts[k], j + disc_counts[k]
    return out


def _to_world(points: np.ndarray, turns: np.ndarray, ground: np.ndarray) -> np.ndarray:
    s, c = turns[:, 0], turns[:, 1]
    out = np.empty_like(points)
    out[:, 0] = points[:, 0] * c + points[:, 2] * s
    out[:, 1] = points[:, 1]
    out[:, 2] = points[:, 2] * c - points[:, 0] * s
    out += ground
    return out


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # np.cross costs several times as much on arrays this small
    out = np.empty_like(a)
    out[:, 0] = a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1]
    out[:, 1] = a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2]
    out[:, 2] = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return out
