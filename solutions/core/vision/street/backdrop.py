"""The street without anybody in it: sky, ground, houses and furniture, painted once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from solutions.core.vision.street import furniture, houses
from solutions.core.vision.street.camera import Camera
from solutions.core.vision.street.dice import Dice
from solutions.core.vision.street.layout import BIKE_M, LANE_M, PARKING_M, Layout
from solutions.core.vision.street.mood import Light, Rgb, mix
from solutions.core.vision.street.painter import Painter, bgr, blend, soften

ASPHALT: Rgb = (130, 131, 136)
PAVING: Rgb = (200, 194, 184)
CURB: Rgb = (214, 210, 202)
PAINT: Rgb = (238, 238, 232)
BIKE_PAVINGS: tuple[Rgb, ...] = ((164, 88, 74), (92, 134, 104), (158, 92, 82))
HILLS: Rgb = (112, 136, 128)
SIDE_REACH = 3.2  # metres of the sidewalk that houses shade


@dataclass(frozen=True, slots=True)
class Backdrop:
    """The empty street and what in it may hide someone."""

    image: np.ndarray  # uint8 [H, W, 3] BGR
    things: np.ndarray  # uint8 [H, W]: 0 or 1 + index into boxes
    boxes: np.ndarray  # float64 [K, 4]: x0, x1, z0, z1 on the ground


def paint(layout: Layout, camera: Camera, light: Light, seed: int) -> Backdrop:
    """The background of a street as that camera sees it in that light."""
    dice = Dice(seed, 7)
    p = Painter(camera, light)
    _sky(p, dice)
    _ground(p, layout, dice)
    _markings(p, layout)
    _grain(p, dice)
    plan = furniture.plan(layout, camera, dice)
    _shadows(p, layout, plan)
    houses.paint_far(p, layout, dice)
    furniture.paint(p, [item for item in plan if not item.inwards])
    houses.paint_sides(p, layout, dice)
    furniture.paint(p, [item for item in plan if item.inwards])
    image, things = p.finish()
    return Backdrop(image, things, np.array(p.boxes, dtype=np.float64).reshape(-1, 4))


def _sky(p: Painter, dice: Dice) -> None:
    mood, camera = p.light.mood, p.camera
    h, w = p.canvas.shape[:2]
    horizon = 0.5 - camera.focal * math.tan(camera.pitch)
    share = np.clip(np.arange(h) / h / max(horizon, 0.05), 0.0, 1.0)[:, None] ** 1.3
    rows = np.array(mood.sky_top)[None] * (1 - share) + np.array(mood.sky_low)[None] * share
    p.canvas[..., :3] = np.rint(rows[:, ::-1]).astype(np.uint8)[:, None, :]
    mask = np.zeros((h, w), np.uint8)
    scratch = Painter(camera, p.light)
    for _ in range(mood.clouds):
        x, y = dice.uniform(-0.1, 1.1), dice.uniform(0.0, horizon * 0.8)
        size = dice.uniform(0.014, 0.042)
        for _ in range(9):
            ex, ey = x + dice.uniform(-1.7, 1.7) * size, y + dice.uniform(-0.3, 0.25) * size
            angles = np.arange(16) * (2 * np.pi / 16)
            r = size * dice.uniform(0.4, 0.9)
            ring = np.stack([(ex + r * np.cos(angles)) * w / 2, ey * h / 2 + 0.42 * r * np.sin(angles) * w / 2], axis=1)
            scratch.flat(ring, (200.0, 200.0, 200.0))
    mask = soften(np.ascontiguousarray(scratch.canvas[..., 0]), h // 60)
    blend(p.canvas, mask, bgr(mood.cloud))
    for layer, depth in enumerate((0.6, 0.3)):  # two ridges of far hills
        lift = 0.045 - 0.02 * layer
        phase, wave = dice.uniform(0, 6.28), dice.uniform(2.5, 5.0)
        xs = np.arange(41) / 40
        ys = horizon - lift * (1 + 0.5 * np.sin(phase + wave * xs * 2) + 0.3 * np.sin(2.3 * phase + 9 * xs))
        tint = mix(p.light.shade_one(HILLS, (0, 1, 0)), mood.sky_low, depth)
        hh, ww = camera.size_hw
        outline = [(x * ww, y * hh) for x, y in zip(xs, ys, strict=True)]
        p.flat(np.array([*outline, (ww, hh), (0, hh)]), tint)


def _ground(p: Painter, layout: Layout, dice: Dice) -> None:
    p.ground(-90, 90, 1, 130, (120, 138, 92))
    left, right = layout.sides
    far = layout.far_curb_z
    p.ground(-60, 60, layout.houses_end_z - 2, layout.far_wall_z + 1, PAVING)
    p.ground(-60, 60, layout.bend_z + 2.5, far, ASPHALT)
    p.ground(-left.wall_x, right.wall_x, 0.5, layout.houses_end_z + 1, PAVING)
    p.ground(-left.curb_x, right.curb_x, 0.5, layout.bend_z + 2.6, ASPHALT)
    bike = dice.pick(BIKE_PAVINGS)
    for side in layout.sides:
        s, cx = side.sign, layout.bend_x(side)
        z0, z1 = (layout.bend_z, layout.bend_z + 2.6)
        corner = [(s * side.curb_x, 0, z0), (s * side.curb_x, 0, z1), (cx, 0, z1)]
        arc = [(cx - s * 2.5 * math.cos(a), 0.0, z0 + 2.5 * math.sin(a)) for a in np.linspace(math.pi / 2, 0, 7)]
        p.poly([*corner, *arc], ASPHALT, (0, 1, 0))  # the rounded corner of the sidewalk
        if side.extra == "bike":
            x0, x1 = s * (side.lanes_x + 0.08), s * (side.lanes_x + BIKE_M)
            p.ground(min(x0, x1), max(x0, x1), 0.5, layout.bend_z, bike)
        if side.extra == "parking":
            x0, x1 = s * side.lanes_x, s * side.curb_x
            p.ground(min(x0, x1), max(x0, x1), 0.5, layout.houses_end_z - 2, (132, 130, 130))
        a, b = s * side.curb_x, s * (side.curb_x + 0.22)
        p.ground(min(a, b), max(a, b), 0.5, layout.bend_z, CURB)
        joint = mix(PAVING, (90, 84, 78), 0.28)
        for x in (1.2, 2.2):
            at = s * (side.curb_x + x)
            p.ground(at - 0.015, at + 0.015, 0.5, layout.bend_z, joint)
        for z in np.arange(2.0, layout.bend_z, 1.25):
            a, b = s * (side.curb_x + 0.22), s * side.wall_x
            p.ground(min(a, b), max(a, b), float(z), float(z) + 0.03, joint)
    p.ground(-60, 60, far, far + 0.25, CURB)
    for _ in range(9):  # repairs of the asphalt
        x, z = dice.uniform(-left.lanes_x, right.lanes_x - 1), dice.uniform(6, layout.houses_end_z)
        tone = mix(ASPHALT, (60, 62, 68), dice.uniform(0.1, 0.28))
        p.ground(x, x + dice.uniform(0.6, 1.8), z, z + dice.uniform(1.0, 5.0), tone)
    for side in layout.sides:  # darker tracks where the tyres run, manhole covers
        for k in range(side.lanes):
            middle = side.sign * (k + 0.5) * LANE_M
            for x in (-0.75, 0.75):
                p.ground(middle + x - 0.25, middle + x + 0.25, 0.5, layout.bend_z, mix(ASPHALT, (70, 72, 78), 0.16))
            z = dice.uniform(9, layout.houses_end_z)
            ring = [(middle + 0.4 * math.cos(t), 0.0, z + 0.4 * math.sin(t)) for t in np.arange(14) * (math.pi / 7)]
            p.poly(ring, (74, 74, 78), (0, 1, 0))


def _markings(p: Painter, layout: Layout) -> None:
    zc, end = layout.crosswalk_z, layout.bend_z - 0.5
    worn = mix(PAINT, ASPHALT, 0.12)

    def dashes(x: float, length: float, gap: float, width: float = 0.13) -> None:
        z = 1.0
        while z < end:
            if abs(z + length / 2 - zc) > 2.6 + length / 2:
                p.ground(x - width / 2, x + width / 2, z, min(z + length, end), worn)
            z += length + gap

    gold: Rgb = (232, 190, 84)
    for x in (-0.13, 0.13):
        for z0, z1 in ((0.5, zc - 3.2), (zc + 3.2, end)):
            p.ground(x - 0.055, x + 0.055, z0, z1, gold)
    for side in layout.sides:
        for k in range(1, side.lanes):
            dashes(side.sign * k * LANE_M, 1.8, 2.6)
        if side.extra != "none":
            x = side.sign * side.lanes_x
            for z0, z1 in ((0.5, zc - 2.6), (zc + 2.6, end)):
                p.ground(x - 0.07, x + 0.07, z0, z1, worn)
        if side.extra == "parking":
            z = 7.0
            while z < layout.houses_end_z - 2:
                a, b = side.sign * side.lanes_x, side.sign * (side.lanes_x + PARKING_M)
                p.ground(min(a, b), max(a, b), z, z + 0.1, worn)
                z += 5.6
        if side.extra == "bike":
            for z in (10.5, zc + 6.5, zc + 14.5):
                _bike_sign(p, side.sign * (side.lanes_x + BIKE_M / 2), z, worn)
        stop = zc - 2.7 if side.sign > 0 else zc + 2.4
        a, b = side.sign * 0.25, side.sign * (side.lanes_x - 0.1)
        p.ground(min(a, b), max(a, b), stop, stop + 0.32, worn)
    x, right = -layout.left.curb_x + 0.35, layout.right.curb_x - 0.3
    while x < right:
        p.ground(x, min(x + 0.5, right), zc - 1.7, zc + 1.7, PAINT)
        x += 1.0


def _bike_sign(p: Painter, x: float, z: float, rgb: Rgb) -> None:
    for dz in (0.0, 0.95):
        for k in range(10):
            a, b = k * math.pi / 5, (k + 1) * math.pi / 5
            ring = [(x + r * math.cos(t), 0.0, z + dz * 1.5 + 1.6 * r * math.sin(t))
                    for r, t in ((0.36, a), (0.36, b), (0.27, b), (0.27, a))]  # fmt: skip
            p.poly(ring, rgb, (0, 1, 0))
    p.ground(x - 0.05, x + 0.05, z + 0.1, z + 1.3, rgb)


def _grain(p: Painter, dice: Dice) -> None:
    """The roughness of the ground: fine noise that is the same in the world of any frame size it is painted for."""
    h, w = p.canvas.shape[:2]
    tile = dice.noise((180, 320), -9, 9)
    reps = (h + 179) // 180, (w + 319) // 320
    noise = np.tile(tile, reps)[:h, :w, None]
    p.canvas[..., :3] = np.clip(p.canvas[..., :3].astype(np.int64) + noise, 0, 255).astype(np.uint8)


def _shadows(p: Painter, layout: Layout, plan: list[furniture.Item]) -> None:
    share = p.light.mood.shadow
    polygons = []
    dx, _ = p.light.shadow_offset(6.0)
    for side in layout.sides:  # houses shade their sidewalk and, when the sun is low, some of the road
        reach = -side.sign * dx
        if reach > 0:
            x0, x1 = side.sign * side.wall_x, side.sign * (side.wall_x - min(reach, SIDE_REACH))
            polygons.append(_strip(x0, x1, layout.houses_end_z))
    for item in plan:
        polygons += furniture.shadow(item, p.light)
    p.dim(polygons, share, 9)
    foot = []
    for side in layout.sides:
        x0, x1 = side.sign * side.wall_x, side.sign * (side.wall_x - 0.35)
        foot.append(_strip(x0, x1, layout.houses_end_z))
    p.dim(foot, 0.28, 15)


def _strip(x0: float, x1: float, end_z: float) -> np.ndarray:
    return np.array([(x0, 0, 1), (x1, 0, 1), (x1, 0, end_z), (x0, 0, end_z)])
