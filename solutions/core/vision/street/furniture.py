"""Trees, lamp posts, planters, benches and bins along the sidewalks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from solutions.core.vision.street.camera import Camera
from solutions.core.vision.street.dice import Dice
from solutions.core.vision.street.layout import Layout
from solutions.core.vision.street.mood import Light, Rgb, mix
from solutions.core.vision.street.painter import Painter, bgr, blend, soften

LEAVES: tuple[Rgb, ...] = ((92, 140, 62), (112, 150, 58), (74, 124, 72), (186, 140, 52), (214, 150, 170))
BARK: Rgb = (104, 82, 64)
IRON: Rgb = (56, 62, 66)
WOOD: Rgb = (158, 112, 72)
POTS: tuple[Rgb, ...] = ((176, 108, 82), (146, 142, 136), (92, 96, 104))
PETALS: tuple[Rgb, ...] = ((226, 74, 92), (250, 200, 70), (238, 236, 230), (170, 96, 190))

SMALL_THINGS = (("planter", 0.5, 0.75), ("bench", 0.35, 0.8), ("bin", 0.3, 0.95), ("planter", 0.4, 0.7))


@dataclass(frozen=True, slots=True)
class Item:
    """A piece of furniture; `size` is its height in metres, `inwards` the x-direction of the road."""

    kind: str
    x: float
    z: float
    size: float
    inwards: int
    look: int


def plan(layout: Layout, camera: Camera, dice: Dice) -> list[Item]:
    """What stands where, far to near. Nothing tall stands right before the camera."""
    items: list[Item] = []
    lamp_first = dice.chance(0.5)
    leafy = dice.uniform(0.45, 0.95)
    for side in layout.sides:
        own = (camera.x > 0) == (side.sign > 0)
        z, k = dice.uniform(5.0, 9.0), int(lamp_first)
        x = side.sign * (side.curb_x + 0.55)
        while z < layout.houses_end_z - 1:
            free = abs(z - layout.crosswalk_z) > 3.0
            if free and k % 2 == 0 and (not own or z > 24) and dice.chance(leafy):
                items.append(Item("tree", x, z, dice.uniform(4.2, 6.0), -side.sign, dice.below(1 << 30)))
            elif free and k % 2 == 1 and (not own or z > 15):
                items.append(Item("lamp", x, z, 5.6, -side.sign, 0))
            z += dice.uniform(4.2, 5.8)
            k += 1
        for kind, share, size in SMALL_THINGS:
            z = dice.uniform(11.0 if own else 8.0, layout.houses_end_z - 2)
            clear = all(abs(z - i.z) > 1.3 for i in items if i.inwards == -side.sign)
            if dice.chance(share + 0.2) and clear and abs(z - layout.crosswalk_z) > 2.8:
                items.append(Item(kind, x, z, size, -side.sign, dice.below(1 << 30)))
    spare = Dice(dice.below(1 << 30), 3)
    for x in np.arange(-24.0, 25.0, 6.5):  # a row of trees before the facades that close the view
        if spare.chance(0.75):
            at = float(x) + spare.uniform(-1, 1)
            items.append(Item("tree", at, layout.far_curb_z + 0.9, spare.uniform(4.5, 6.5), 0, spare.below(1 << 30)))
    return sorted(items, key=lambda i: -math.hypot(i.x - camera.x, i.z))


def shadow(item: Item, light: Light) -> list[np.ndarray]:
    """Ground polygons of the item's shadow."""
    out = []
    if item.kind == "tree":
        dx, dz = light.shadow_offset(item.size * 0.7)
        for k, (ox, oz, r) in enumerate(((0, 0, 1.5), (0.8, 0.5, 1.0), (-0.8, 0.3, 1.0), (0.2, -0.8, 0.9))):
            ring = np.arange(14) * (2 * np.pi / 14) + k
            x, z = item.x + dx + ox + r * np.cos(ring), item.z + dz + oz + r * np.sin(ring)
            out.append(np.stack([x, 0 * ring, z], axis=1))
    width = {"tree": 0.12, "lamp": 0.06}.get(item.kind, 0.3)
    dx, dz = light.shadow_offset(item.size * (0.7 if item.kind == "tree" else 1.0))
    out.append(np.array([(item.x - width, 0, item.z), (item.x + width, 0, item.z),
                         (item.x + width + dx, 0, item.z + dz), (item.x - width + dx, 0, item.z + dz)]))  # fmt: skip
    return out


def paint(p: Painter, items: list[Item]) -> None:
    """Paint the items in the given order."""
    glows: list[tuple[float, float, float]] = []
    for item in items:
        own = Dice(item.look, 4)
        x, z = item.x, item.z
        if item.kind == "tree":
            p.begin(x - 0.15, x + 0.15, z - 0.15, z + 0.15)
            _tree(p, item, own)
        elif item.kind == "lamp":
            p.begin(x - 0.1, x + 0.1, z - 0.1, z + 0.1)
            p.box(x - 0.12, x + 0.12, 0, 0.6, z - 0.12, z + 0.12, IRON)
            p.box(x - 0.055, x + 0.055, 0.6, item.size, z - 0.055, z + 0.055, IRON)
            tip = x + item.inwards * 1.5
            p.box(min(x, tip), max(x, tip), item.size, item.size + 0.09, z - 0.04, z + 0.04, IRON)
            a, b = tip, tip - item.inwards * 0.6
            lit = p.light.mood.lit_windows > 0.3
            p.box(min(a, b), max(a, b), item.size - 0.1, item.size + 0.08, z - 0.12, z + 0.12,
                  (255, 232, 170) if lit else (206, 208, 206))  # fmt: skip
            if lit:
                glows.append((tip, item.size - 0.1, z))
        elif item.kind == "planter":
            p.begin(x - 0.4, x + 0.4, z - 0.6, z + 0.6)
            p.box(x - 0.36, x + 0.36, 0, 0.5, z - 0.6, z + 0.6, own.pick(POTS))
            petals = own.pick(PETALS)
            for _ in range(26):
                at = (x + own.uniform(-0.33, 0.33), 0.5 + own.uniform(0.0, 0.3), z + own.uniform(-0.55, 0.55))
                green = p.light.shade_one(mix((84, 128, 64), (50, 90, 48), own.uniform(0, 1)), (0, 1, 0))
                p.blob(at, own.uniform(0.07, 0.14), green)
            for _ in range(12):
                at = (x + own.uniform(-0.3, 0.3), 0.68 + own.uniform(0.0, 0.18), z + own.uniform(-0.5, 0.5))
                p.blob(at, 0.05, p.light.shade_one(petals, (0, 1, 0)))
        elif item.kind == "bench":
            p.begin(x - 0.3, x + 0.3, z - 0.9, z + 0.9)
            for dz in (-0.75, 0.7):
                p.box(x - 0.2, x + 0.2, 0, 0.42, z + dz, z + dz + 0.06, IRON)
            back = x + item.inwards * 0.24
            parts = [(back - 0.03, back + 0.03, 0.5, 0.85), (x - 0.25, x + 0.25, 0.42, 0.48)]
            for x0, x1, y0, y1 in parts if (p.camera.x - x) * item.inwards < 0 else parts[::-1]:
                p.box(x0, x1, y0, y1, z - 0.9, z + 0.9, WOOD)
        else:
            p.begin(x - 0.25, x + 0.25, z - 0.25, z + 0.25)
            p.box(x - 0.24, x + 0.24, 0, 0.9, z - 0.24, z + 0.24, (62, 92, 78))
            p.box(x - 0.27, x + 0.27, 0.9, 0.98, z - 0.27, z + 0.27, IRON)
    p.end()
    _glow(p, glows)


def _tree(p: Painter, item: Item, dice: Dice) -> None:
    x, z, h = item.x, item.z, item.size
    leaf = dice.pick(LEAVES[:3]) if dice.chance(0.72) else dice.pick(LEAVES)
    across = np.array([p.camera.axes[0][0], 0.0, p.camera.axes[0][2]])
    base, top = np.array([x, 0.0, z]), np.array([x, h * 0.62, z])
    side = across * 0.13
    p.poly([base - side * 1.25, base + side * 1.25, top + side * 0.6, top - side * 0.6], BARK, (0, 0.3, -0.9))
    p.poly([base, base + side * 1.25, top + side * 0.6, top], mix(BARK, (0, 0, 0), 0.25), (0, 0.3, -0.9))
    spread, rise = h * 0.26, h * 0.27
    sun = np.array(p.light.sun_to)
    lean = float(sun @ across)  # on which side of the crown, as seen, the sun shines
    for count, out, radius in ((16, 1.0, 0.4), (34, 1.0, 0.26), (90, 1.05, 0.13), (120, 1.12, 0.065)):
        for _ in range(count):
            angle, r = dice.uniform(0, 2 * math.pi), math.sqrt(dice.uniform(0, 1)) * out
            u, v = r * math.cos(angle), r * math.sin(angle)
            at = np.array([x, h * 0.72, z]) + across * (u * spread) + np.array([0.0, v * rise, 0.0])
            lit = 0.5 + 0.34 * v + 0.26 * lean * u + dice.uniform(-0.2, 0.2) - (0.18 if radius > 0.3 else 0.0)
            tone = mix(mix(leaf, (24, 44, 34), 0.62), mix(leaf, (236, 240, 150), 0.25), min(1.0, max(0.0, lit)))
            rgb = p.light.shade_one(tone, (0.0, 0.8, -0.6))
            p.blob(at, radius * h * 0.22 * dice.uniform(0.8, 1.25), rgb, 0.9)


def _glow(p: Painter, lamps: list[tuple[float, float, float]]) -> None:
    h, w = p.canvas.shape[:2]
    mask = np.zeros((h, w), np.uint8)
    for lamp in lamps:
        viewed = p.camera.view(np.array(lamp))
        if viewed[2] < 2:
            continue
        x, y = p.camera.screen(viewed) * 2
        r = 0.5 * p.camera.focal * h / viewed[2]
        ring = np.arange(16) * (2 * np.pi / 16)
        scratch = Painter(p.camera, p.light)
        scratch.flat(np.stack([x + r * np.cos(ring), y + r * np.sin(ring)], axis=1) / 2, (120.0, 120.0, 120.0))
        mask = np.maximum(mask, scratch.canvas[..., 0])
    if lamps:
        blend(p.canvas, soften(mask, h // 16), bgr((255, 226, 160)))
