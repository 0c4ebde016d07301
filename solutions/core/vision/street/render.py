"""Drawing the road users into the empty street, and the exact truth that falls out of it.

Every actor is drawn alone on a small transparent tile at twice the resolution; the tile is its silhouette. Tiles are
laid over the background far to near; where a piece of furniture stands before the actor the background stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from solutions.core.vision.street.backdrop import Backdrop
from solutions.core.vision.street.camera import Camera
from solutions.core.vision.street.depth import far_to_near, hides_matrix, rectangles
from solutions.core.vision.street.dice import Dice
from solutions.core.vision.street.mesh import Mesh
from solutions.core.vision.street.mood import Light, Rgb, mix
from solutions.core.vision.street.painter import SUB, SUPER, bgr_rows
from solutions.core.vision.street.people import Body, body_of
from solutions.core.vision.street.pose import Pose, outlines, phase_of, pose
from solutions.core.vision.street.shadows import cast
from solutions.core.vision.street.traffic import BICYCLE, PEDESTRIAN, Actor
from solutions.core.vision.street.vehicles import vehicle

PAINTS: tuple[Rgb, ...] = (
    (236, 236, 232), (132, 136, 142), (38, 40, 45), (202, 36, 34), (36, 84, 182), (34, 132, 68), (244, 198, 36),
)  # fmt: skip
Scalar = tuple[int, int, int, int]  # BGR and alpha
VISIBLE = 128  # alpha from which a pixel counts as the object's
SHUTTER_S = 1 / 50
MAX_SMEAR = 15  # pixels


@dataclass(slots=True)
class Seen:
    """The truth about one actor in one frame."""

    actor: Actor
    box: tuple[float, float, float, float]
    visible: float


@dataclass(slots=True)
class _Tile:
    left: int
    top: int
    pixels: np.ndarray  # uint8 [h, w, 4], premultiplied BGR and alpha, frame resolution, smeared by the motion
    alpha: np.ndarray  # uint8 [h, w], not smeared: the silhouette at the middle of the exposure


@dataclass(slots=True)
class _Shape:
    pixels: np.ndarray  # float64 [P, 2]
    starts: list[int]  # polygon k owns pixels[starts[k]:starts[k + 1]]
    order: list[int]
    colours: list[Scalar]
    rings: int  # leading pairs of polygons (outer, inner) that are wheels
    smear: tuple[int, int] = (1, 1)  # how far it moves while the shutter is open, x and y: odd numbers of pixels


class Renderer:
    """Draws actors for one camera, light and backdrop; keeps the meshes of those it has met."""

    def __init__(self, camera: Camera, light: Light, backdrop: Backdrop) -> None:
        self.camera, self.light, self.backdrop = camera, light, backdrop
        self._axes, self._position = camera.axes, camera.position
        self._meshes: dict[int, Mesh] = {}
        self._bodies: dict[int, Body] = {}
        self._poses: dict[tuple[int, int, bool, float], tuple[Pose, list[Scalar]]] = {}
        self._shades: dict[tuple[int, int], list[Scalar]] = {}
        self._ground = np.where(backdrop.things == 0, 255, 0).astype(np.uint8)
        self._hides = np.zeros((0, 256), bool)

    def draw(self, actors: Sequence[Actor]) -> tuple[np.ndarray, list[Seen]]:
        """The street with these actors (uint8 BGR) and the truth about each that shows at least one pixel."""
        frame = self.backdrop.image.copy()
        near = [a for a in far_to_near(actors, self._position) if self._in_view(a)]
        cast(frame, self._ground, near, self.camera, self.light)
        self._hides = self._table(near)
        h, w = self.camera.size_hw
        owners = np.zeros((h, w), np.uint8)
        drawn: list[tuple[Actor, tuple[float, float, float, float], int, tuple[int, int, int, int], int]] = []
        for row, (actor, shape) in enumerate(zip(near, self._shapes(near), strict=True)):
            tile = self._tile(shape)
            if tile is None:
                continue
            alpha = tile.alpha
            solid = alpha >= VISIBLE
            total = int(np.count_nonzero(solid))
            th, tw = alpha.shape
            x0, y0, x1, y1 = max(tile.left, 0), max(tile.top, 0), min(tile.left + tw, w), min(tile.top + th, h)
            if x0 >= x1 or y0 >= y1 or not total:
                continue
            part = (slice(y0 - tile.top, y1 - tile.top), slice(x0 - tile.left, x1 - tile.left))
            inside = solid[part]
            bx, by, bw, bh = cv2.boundingRect(inside.astype(np.uint8))
            if not bw:
                continue
            code = len(drawn) + 1
            area = (slice(y0, y1), slice(x0, x1))
            self._lay(frame, owners, area, tile.pixels[part], inside, self._hidden(row, area), code)
            drawn.append((actor, (x0 + bx, y0 + by, x0 + bx + bw, y0 + by + bh), total, (x0, y0, x1, y1), code))
        seen = []
        for actor, box, total, (x0, y0, x1, y1), code in drawn:
            shows = int(np.count_nonzero(owners[y0:y1, x0:x1] == code))
            if shows:
                seen.append(Seen(actor, box, min(1.0, shows / total)))
        return frame, seen

    def _lay(
        self, frame: np.ndarray, owners: np.ndarray, area: tuple[slice, slice], pixels: np.ndarray, inside: np.ndarray,
        hidden: np.ndarray | None, code: int,
    ) -> None:  # fmt: skip
        view = frame[area]
        if hidden is not None:
            inside = inside & ~hidden
            pixels = pixels * ~hidden[..., None]
        alpha: np.ndarray = cv2.extractChannel(pixels, 3)
        # 256 - alpha' with alpha' in 0..256 makes fully covered and free pixels exact
        keep = 256 - alpha.astype(np.uint16) - (alpha >> 7)
        mixed = np.multiply(view, cv2.merge((keep, keep, keep)), dtype=np.uint16)
        mixed >>= 8
        cv2.add(mixed.astype(np.uint8), cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR), dst=view)
        np.copyto(owners[area], np.uint8(code), where=inside)

    def _table(self, actors: Sequence[Actor]) -> np.ndarray:
        """bool [N, 256]: whether the thing of that number stands before that actor."""
        table = np.zeros((len(actors), 256), bool)
        boxes = self.backdrop.boxes
        if len(actors) and len(boxes):
            table[:, 1 : len(boxes) + 1] = hides_matrix(boxes[None], rectangles(actors)[:, None], self._position)
        return table

    def _hidden(self, row: int, area: tuple[slice, slice]) -> np.ndarray | None:
        """Where in the area something that stands before the actor is painted."""
        hidden: np.ndarray = self._hides[row].take(self.backdrop.things[area])
        return hidden if hidden.any() else None

    def _in_view(self, actor: Actor) -> bool:
        x, y, z = self._axes @ (np.array([actor.x, 0.8, actor.z]) - self._position)
        reach = actor.length / 2 + 1.0
        h, w = self.camera.size_hw
        if z < 2.0 - reach / 2 or z < 1.2:
            return False
        tan_x, tan_y = w / 2 / (self.camera.focal * h), 0.5 / self.camera.focal
        return bool(abs(x) < tan_x * z + reach * 1.2 and -tan_y * z - actor.height - 1 < y < tan_y * z + 1)

    def _shapes(self, actors: Sequence[Actor]) -> list[_Shape]:
        """Everybody's polygons on the screen, projected in one go."""
        people = [k for k, actor in enumerate(actors) if actor.kind in (BICYCLE, PEDESTRIAN)]
        poses = [self._person(actors[k]) for k in people]
        drawn = outlines([actors[k] for k in people], [p for p, _, _ in poses], self._position, self._axes)
        found = {k: (points, *pose) for k, points, pose in zip(people, drawn, poses, strict=True)}
        solids, flats = [], []
        for k, actor in enumerate(actors):
            if k in found:
                points, figure, order, colours = found[k]
                flats.append((figure.starts, order, colours, 2 if actor.kind == BICYCLE else 0))
            else:
                points, starts, order, colours = self._vehicle(actor)
                flats.append((starts, order, colours, 0))
            solids.append(points)
        if not solids:
            return []
        pixels = self.camera.screen((np.concatenate(solids) - self._position) @ self._axes.T)
        shapes, at = [], 0
        for points, flat, smear in zip(solids, flats, self._smears(actors), strict=True):
            shapes.append(_Shape(pixels[at : at + len(points)], *flat, smear))
            at += len(points)
        return shapes

    def _smears(self, actors: Sequence[Actor]) -> list[tuple[int, int]]:
        """How far each actor moves on the screen while the shutter is open."""
        middles = np.array([(a.x, a.height / 2, a.z) for a in actors])
        steps = np.array([(math.sin(a.heading) * a.speed, 0.0, math.cos(a.heading) * a.speed) for a in actors])
        ends = np.stack((middles, middles + steps * SHUTTER_S)) - self._position
        before, after = self.camera.screen(ends @ self._axes.T)
        # An odd kernel keeps the middle of the smear where the actor is.
        pixels = np.minimum(np.abs(after - before) / 2, MAX_SMEAR // 2).astype(int) * 2 + 1
        return [(x, y) for x, y in pixels.tolist()]

    def _tile(self, shape: _Shape) -> _Tile | None:
        pixels, starts, order, colours, rings = shape.pixels, shape.starts, shape.order, shape.colours, shape.rings
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        h, w = self.camera.size_hw
        beyond_x, beyond_y = 2 + shape.smear[0] // 2, 2 + shape.smear[1] // 2
        left, top = max(int(low[0]) - beyond_x, -w), max(int(low[1]) - beyond_y, -h)
        right, bottom = min(int(high[0]) + 1 + beyond_x, 2 * w), min(int(high[1]) + 1 + beyond_y, 2 * h)
        if right <= max(left, 0) or bottom <= max(top, 0) or left >= w or top >= h:
            return None
        fixed = np.rint(((pixels - (left, top)) * SUPER - 0.5) * SUB).astype(np.int32)
        canvas = np.zeros(((bottom - top) * SUPER, (right - left) * SUPER, 4), np.uint8)
        for k in range(rings):
            pair = [fixed[starts[2 * k] : starts[2 * k + 1]], fixed[starts[2 * k + 1] : starts[2 * k + 2]]]
            cv2.fillPoly(canvas, pair, colours[2 * k], cv2.LINE_8, 4)
        fill = cv2.fillConvexPoly
        for k in order:
            fill(canvas, fixed[starts[k] : starts[k + 1]], colours[k], cv2.LINE_8, 4)
        small = cv2.resize(canvas, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
        alpha = cv2.extractChannel(small, 3)
        return _Tile(left, top, small if shape.smear == (1, 1) else cv2.blur(small, shape.smear), alpha)

    def _vehicle(self, actor: Actor) -> tuple[np.ndarray, list[int], list[int], list[Scalar]]:
        mesh = self._meshes.get(actor.id)
        if mesh is None:
            mesh = self._meshes[actor.id] = vehicle(actor.kind, paint_of(actor), actor.look)
        to_world = _turn(actor.heading)
        origin = np.array([actor.x, 0.0, actor.z])
        eye = to_world @ (self._position - origin)
        facing = (mesh.normals @ eye > mesh.offsets + 1e-9).tolist()
        order = [k for k in (mesh.order_front if eye[2] > 0 else mesh.order_back) if facing[k]]
        key = (actor.id, round(actor.heading * 12))  # shading in steps, so that it does not depend on the frames before
        colours = self._shades.get(key)
        if colours is None:
            lit = self.light.shade(mesh.colours, mesh.normals @ _turn(key[1] / 12))
            bright = mesh.colours * (1.0 if self.light.mood.lit_windows > 0.3 else 0.9)
            lit = np.where(mesh.glows[:, None], np.maximum(bright, lit), lit)
            colours = self._shades[key] = bgr_rows(lit)
            if len(self._shades) > 600:  # an endless run meets endlessly many cars
                self._shades.pop(next(iter(self._shades)))
                self._meshes = {k: m for k, m in self._meshes.items() if k > actor.id - 300}
                self._bodies = {k: b for k, b in self._bodies.items() if k > actor.id - 300}
        return mesh.points @ to_world + origin, mesh.starts, order, colours

    def _person(self, actor: Actor) -> tuple[Pose, list[int], list[Scalar]]:
        dx, dz = self._position[0] - actor.x, self._position[2] - actor.z
        s, c = math.sin(actor.heading), math.cos(actor.heading)
        near = 1.0 if dx * c - dz * s > 0 else -1.0
        key = (actor.id, *phase_of(actor), near)
        known = self._poses.get(key)
        if known is None:
            body = self._bodies.get(actor.id)
            if body is None:
                body = self._bodies[actor.id] = body_of(actor.look, paint_of(actor))
            fresh = pose(actor, body, key[1], key[2], near)
            sun = max(0.0, -float(np.dot(self.light.sun_to, self._axes[2]))) * 0.5 + 0.4
            tint = np.array(self.light.mood.ambient) * 0.95 + np.array(self.light.mood.sun) * sun
            if len(self._poses) > 4000:  # an endless run meets endlessly many people
                self._poses.clear()
            known = self._poses[key] = fresh, bgr_rows(np.array(fresh.colours) * tint)
        figure, colours = known
        order = figure.order
        if actor.kind == BICYCLE and abs(s * self._axes[0][0] + c * self._axes[0][2]) < 0.3:
            order = [4, 5, *order]
        return figure, order, colours


def paint_of(actor: Actor) -> Rgb:
    """The actor's own shade of its colour."""
    dice = Dice(actor.look, 5)
    base = PAINTS[actor.colour]
    if dice.chance(0.5):
        return mix(base, (255, 255, 255), dice.uniform(0, 0.07))
    return mix(base, (0, 0, 0), dice.uniform(0, 0.12))


def _turn(heading: float) -> np.ndarray:
    """float64 [3, 3]: row vectors in local axes times this are in world axes."""
    s, c = math.sin(heading), math.cos(heading)
    return np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])
