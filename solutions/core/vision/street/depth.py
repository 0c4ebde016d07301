"""Who stands before whom: footprints on the ground, and the order in which a painter lays them down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from solutions.core.vision.street.traffic import PEDESTRIAN, Actor


def far_to_near(actors: Sequence[Actor], eye: np.ndarray) -> list[Actor]:
    """Far to near: whoever stands before nobody else that is left comes last."""
    if len(actors) < 2:
        return list(actors)
    boxes = rectangles(actors)
    hides = hides_matrix(boxes[:, None, :], boxes[None], eye)
    np.fill_diagonal(hides, False)
    distance = [(a.x - eye[0]) ** 2 + a.z**2 for a in actors]
    left = sorted(range(len(actors)), key=lambda k: -distance[k])
    rows: list[list[bool]] = hides.tolist()
    out = []
    while left:
        # the farthest that hides none of the others; a cycle (crossed bodies) is cut at the farthest
        chosen = next((k for k in left if not any(rows[k][j] for j in left)), left[0])
        left.remove(chosen)
        out.append(actors[chosen])
    return out


def half_sizes(actor: Actor) -> tuple[float, float]:
    """Half the width and half the length of what an actor covers of the ground."""
    return (0.2, 0.2) if actor.kind == PEDESTRIAN else (actor.width / 2, actor.length / 2)


def footprint(actor: Actor) -> tuple[float, float]:
    """Half extents along x and z of the actor's rectangle on the ground."""
    fx, fz = half_sizes(actor)
    s, c = abs(float(np.sin(actor.heading))), abs(float(np.cos(actor.heading)))
    return fx * c + fz * s, fx * s + fz * c


def rectangles(actors: Sequence[Actor]) -> np.ndarray:
    """float64 [N, 4]: x0, x1, z0, z1 of each footprint."""
    return np.array([(a.x - fx, a.x + fx, a.z - fz, a.z + fz) for a in actors for fx, fz in [footprint(a)]])


def hides_matrix(a: np.ndarray, b: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """True where rectangle a [..., 4] can hide rectangle b: a line along x or z parts them and a has the camera's side.

    Where both kinds of line exist and disagree neither can hide the other; where none exists (they overlap) the nearer
    middle wins.
    """
    ex, ez = float(eye[0]), float(eye[2])
    front = ((a[..., 1] <= b[..., 0]) & (ex < b[..., 0])) | ((a[..., 0] >= b[..., 1]) & (ex > b[..., 1]))
    front |= ((a[..., 3] <= b[..., 2]) & (ez < b[..., 2])) | ((a[..., 2] >= b[..., 3]) & (ez > b[..., 3]))
    back = ((b[..., 1] <= a[..., 0]) & (ex < a[..., 0])) | ((b[..., 0] >= a[..., 1]) & (ex > a[..., 1]))
    back |= ((b[..., 3] <= a[..., 2]) & (ez < a[..., 2])) | ((b[..., 2] >= a[..., 3]) & (ez > a[..., 3]))
    ax, az = (a[..., 0] + a[..., 1]) / 2 - ex, (a[..., 2] + a[..., 3]) / 2 - ez
    bx, bz = (b[..., 0] + b[..., 1]) / 2 - ex, (b[..., 2] + b[..., 3]) / 2 - ez
    nearer = ax * ax + az * az < bx * bx + bz * bz
    out: np.ndarray = np.where(front | back, front & ~back, nearer)
    return out
