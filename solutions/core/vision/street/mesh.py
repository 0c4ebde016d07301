"""Small solids: convex flat faces in drawing order, grouped into pieces.

Local axes of a mesh: x to its right, y up, z forward. A face is visible when it looks at the camera; a piece is convex,
so its visible faces need no sorting, and details follow the face they lie on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solutions.core.vision.street.mood import Rgb

Quad = np.ndarray  # float64 [n, 3]


@dataclass(frozen=True, slots=True)
class Mesh:
    """All faces of a solid as flat arrays; face k owns points[starts[k]:starts[k + 1]]."""

    points: np.ndarray  # float64 [P, 3]
    starts: list[int]  # F + 1
    normals: np.ndarray  # float64 [F, 3], outwards
    offsets: np.ndarray  # float64 [F]: normal . point
    colours: np.ndarray  # float64 [F, 3] RGB
    glows: np.ndarray  # bool [F]: shines by itself
    order_front: list[int]  # drawing order when the camera is ahead of the solid
    order_back: list[int]


class MeshBuilder:
    """Collects faces; `piece()` starts a new convex piece. The first piece lies under all others (a chassis)."""

    def __init__(self) -> None:
        self._pieces: list[list[tuple[Quad, np.ndarray, Rgb, bool]]] = [[]]

    def piece(self) -> None:
        """Start the next piece, from rear to front of the solid."""
        self._pieces.append([])

    def face(
        self, points: Quad | Sequence[tuple[float, float, float]], outwards: tuple[float, float, float], rgb: Rgb, *,
        glows: bool = False,
    ) -> Quad:  # fmt: skip
        """Add a face that looks roughly `outwards`; gives the points back for details on it."""
        points = np.asarray(points, dtype=np.float64)
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = points[:3].tolist()
        ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - bx, cy - by, cz - bz
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        size = math.sqrt(nx * nx + ny * ny + nz * nz)
        if nx * outwards[0] + ny * outwards[1] + nz * outwards[2] < 0:
            size = -size
        normal = np.array([nx / size, ny / size, nz / size])
        self._pieces[-1].append((points, normal, rgb, glows))
        return points

    def box(
        self, z0: float, z1: float, y0: float, y1: float, half: float, rgb: Rgb, *,
        top_z: tuple[float, float] | None = None, top_half: float | None = None, roof: Rgb | None = None,
    ) -> dict[str, Quad]:  # fmt: skip
        """A box or frustum; returns its faces by name with corners (bottom-left, bottom-right, top-right, top-left)."""
        t0, t1 = top_z or (z0, z1)
        th = half if top_half is None else top_half
        b = {(sx, sz): (sx * half, y0, z1 if sz > 0 else z0) for sx in (-1, 1) for sz in (-1, 1)}
        t = {(sx, sz): (sx * th, y1, t1 if sz > 0 else t0) for sx in (-1, 1) for sz in (-1, 1)}
        return {
            "back": self.face(np.array([b[-1, -1], b[1, -1], t[1, -1], t[-1, -1]]), (0, 0, -1), rgb),
            "front": self.face(np.array([b[1, 1], b[-1, 1], t[-1, 1], t[1, 1]]), (0, 0, 1), rgb),
            "right": self.face(np.array([b[1, -1], b[1, 1], t[1, 1], t[1, -1]]), (1, 0, 0), rgb),
            "left": self.face(np.array([b[-1, 1], b[-1, -1], t[-1, -1], t[-1, 1]]), (-1, 0, 0), rgb),
            "top": self.face(np.array([t[-1, -1], t[1, -1], t[1, 1], t[-1, 1]]), (0, 1, 0), roof or rgb),
        }

    def profile(self, outline: list[tuple[float, float]], half: float, rgb: Rgb) -> list[Quad]:
        """Extrude a convex (z, y) outline; returns the strips between its points."""
        strips = []
        middle = np.mean(np.array(outline), axis=0)
        for (z0, y0), (z1, y1) in zip(outline, outline[1:] + outline[:1], strict=True):
            out = (0.0, (y0 + y1) / 2 - float(middle[1]), ((z0 + z1) / 2 - float(middle[0])) * 0.2)
            if abs(z1 - z0) < abs(y1 - y0):
                out = (0.0, 0.0, (z0 + z1) / 2 - float(middle[0]))
            quad = np.array([(-half, y0, z0), (half, y0, z0), (half, y1, z1), (-half, y1, z1)])
            strips.append(self.face(quad, out, rgb))
        for sx in (-1, 1):
            self.face(np.array([(sx * half, y, z) for z, y in outline]), (sx, 0, 0), rgb)
        return strips

    def disc(self, x: float, y: float, z: float, radius: float, rgb: Rgb, *, upper: bool = False) -> None:
        """A disc on the side of a solid; only its upper half for a wheel arch."""
        n = 12
        angles = np.arange(n + 1 if upper else n) * (np.pi / n if upper else 2 * np.pi / n)
        ring = np.stack([np.full(len(angles), x), y + radius * np.sin(angles), z + radius * np.cos(angles)], axis=1)
        self.face(ring, (1.0 if x > 0 else -1.0, 0, 0), rgb)

    def detail(
        self, quad: Quad, u: tuple[float, float], v: tuple[float, float], out: tuple[float, float, float], rgb: Rgb, *,
        glows: bool = False,
    ) -> None:  # fmt: skip
        """Paint the part (u0..u1, v0..v1) of a four-cornered face."""
        a, b, c, d = quad

        def at(p: float, q: float) -> np.ndarray:
            low, high = a + (b - a) * p, d + (c - d) * p
            point: np.ndarray = low + (high - low) * q
            return point

        corners = np.array([at(u[0], v[0]), at(u[1], v[0]), at(u[1], v[1]), at(u[0], v[1])])
        self.face(corners, out, rgb, glows=glows)

    def build(self) -> Mesh:
        """The finished mesh."""
        faces = [face for piece in self._pieces for face in piece]
        index, orders = 0, []
        for piece in self._pieces:
            orders.append(list(range(index, index + len(piece))))
            index += len(piece)
        normals = np.array([normal for _, normal, _, _ in faces])
        starts = [0]
        for points, _, _, _ in faces:
            starts.append(starts[-1] + len(points))
        return Mesh(
            points=np.concatenate([points for points, _, _, _ in faces]),
            starts=starts,
            normals=normals,
            offsets=np.array([float(normal @ points[0]) for points, normal, _, _ in faces]),
            colours=np.array([rgb for _, _, rgb, _ in faces], dtype=np.float64),
            glows=np.array([glows for _, _, _, glows in faces]),
            order_front=[k for piece in orders for k in piece],
            order_back=[k for piece in orders[:1] + orders[:0:-1] for k in piece],
        )
