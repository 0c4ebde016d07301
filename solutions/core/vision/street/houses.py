"""Rows of houses: facades with windows, shops, awnings and roofs."""

from __future__ import annotations

import math
from collections.abc import Callable

from solutions.core.vision.street.dice import Dice
from solutions.core.vision.street.layout import Layout
from solutions.core.vision.street.mood import Rgb, mix
from solutions.core.vision.street.painter import Painter

WALLS: tuple[Rgb, ...] = (
    (214, 186, 150), (196, 122, 96), (226, 214, 192), (168, 182, 186), (222, 178, 112), (186, 146, 132),
    (206, 206, 200), (152, 108, 92), (176, 192, 166), (232, 196, 176), (148, 160, 178),
)  # fmt: skip
ROOFS: tuple[Rgb, ...] = ((150, 84, 66), (98, 96, 104), (122, 76, 62), (84, 92, 104))
SHOPS: tuple[Rgb, ...] = ((52, 84, 78), (120, 52, 52), (52, 66, 104), (84, 66, 54), (196, 150, 62), (60, 60, 66))
AWNINGS: tuple[Rgb, ...] = ((198, 62, 56), (54, 112, 148), (64, 128, 92), (226, 158, 60), (120, 70, 110))
PANE: Rgb = (74, 92, 110)
PANE_SKY: Rgb = (142, 168, 190)
WARM: Rgb = (255, 214, 138)

At = Callable[[float, float, float], tuple[float, float, float]]  # (along, up, out of the wall) to the world


def paint_far(p: Painter, layout: Layout, dice: Dice) -> None:
    """The row that closes the view."""
    p.end()
    z = layout.far_wall_z
    x = -46.0
    while x < 46.0:
        width = dice.uniform(7.0, 11.0)
        left = x

        def far(along: float, up: float, out: float, left: float = left) -> tuple[float, float, float]:
            return left + along, up, z - out

        _house(p, far, (0.0, 0.0, -1.0), width, dice.uniform(6.4, 9.6), dice)
        x += width


def paint_sides(p: Painter, layout: Layout, dice: Dice) -> None:
    """Both sides of the street, each from far to near."""
    for side in layout.sides:
        fronts: list[tuple[float, float]] = []
        end = layout.houses_end_z
        while end > -6.0:
            width = dice.uniform(6.5, 10.0)
            fronts.append((end - width, width))
            end -= width
        for start, width in fronts:
            height = dice.uniform(6.6, 11.0)
            wall = side.sign * side.wall_x

            def near(
                along: float, up: float, out: float, wall: float = wall, start: float = start, s: int = side.sign
            ) -> tuple[float, float, float]:
                return wall - s * out, up, start + along

            p.begin(wall, wall + side.sign * 12.0, start, start + width)
            back = wall + side.sign * 12.0
            tone = dice.pick(WALLS)
            p.poly([(wall, 0, start), (back, 0, start), (back, height, start), (wall, height, start)],
                   mix(tone, (90, 84, 80), 0.2), (0, 0, -1))  # fmt: skip
            _house(p, near, (-float(side.sign), 0.0, 0.0), width, height, dice, tone)
    p.end()


def _house(
    p: Painter, at: At, normal: tuple[float, float, float], width: float, height: float, dice: Dice,
    tone: Rgb | None = None,
) -> None:  # fmt: skip
    wall = tone or dice.pick(WALLS)
    trim = mix(wall, (255, 252, 244), 0.55)

    def rect(a0: float, a1: float, y0: float, y1: float, rgb: Rgb, out: float = 0.0, *, lit: bool = True) -> None:
        p.poly([at(a0, y0, out), at(a1, y0, out), at(a1, y1, out), at(a0, y1, out)], rgb, normal if lit else None)

    roof = dice.pick(ROOFS)
    if dice.chance(0.6):
        ridge = height + dice.uniform(1.4, 2.4)
        a0, a1 = -0.1, width + 0.1
        slope = [at(a0, height, 0.25), at(a1, height, 0.25), at(a1, ridge, -3.5), at(a0, ridge, -3.5)]
        p.poly(slope, roof, (normal[0] * 0.5, 0.85, normal[2] * 0.5))
        if dice.chance(0.6):
            c = dice.uniform(0.2, 0.7) * width
            rect(c, c + 0.7, ridge - 0.9, ridge + 0.7, mix(roof, (180, 120, 100), 0.4), -2.5)
    rect(0, width, 0, height, wall)
    rect(0, width, height - 0.45, height, trim)
    rect(0, width, height - 0.55, height - 0.45, mix(wall, (60, 50, 50), 0.4))
    rect(0, width, 0, 0.4, mix(wall, (70, 66, 66), 0.45))
    rect(0, 0.09, 0, height, mix(wall, (60, 50, 50), 0.3))
    ground = 3.5
    rect(0, width, ground - 0.15, ground + 0.08, trim)
    floors = max(1, int((height - ground - 0.6) // 2.9))
    step = (height - 0.6 - ground) / floors
    columns = max(2, int(width // 2.3))
    shutters, balcony = dice.chance(0.3), dice.chance(0.3)
    shutter = dice.pick(SHOPS)
    for floor in range(floors):
        y = ground + floor * step + step * 0.24
        top = y + step * 0.58
        for k in range(columns):
            middle = (k + 0.5) * width / columns
            half = 0.52
            glow = dice.chance(p.light.mood.lit_windows)
            rect(middle - half - 0.12, middle + half + 0.12, y - 0.1, top + 0.12, trim)
            _window(p, rect, middle - half, middle + half, y, top, glow)
            rect(middle - 0.03, middle + 0.03, y, top, trim)
            if shutters:
                for a in (middle - half - 0.5, middle + half + 0.08):
                    rect(a, a + 0.42, y - 0.05, top + 0.05, shutter)
            if balcony and floor > 0 and k % 2 == 0:
                rect(middle - 0.9, middle + 0.9, y - 0.22, y - 0.1, trim, 0.5)
                for b in range(9):
                    a = middle - 0.88 + b * 0.215
                    rect(a, a + 0.05, y - 0.1, y + 0.55, (60, 62, 66), 0.5)
                rect(middle - 0.9, middle + 0.9, y + 0.55, y + 0.62, (60, 62, 66), 0.5)
            elif dice.chance(0.16):
                rect(middle - half, middle + half, y - 0.12, y + 0.1, (96, 142, 74), 0.15)
                rect(middle - half, middle + half, y + 0.06, y + 0.14, dice.pick(AWNINGS), 0.16)
    _ground_floor(p, rect, at, normal, width, dice)


def _window(p: Painter, rect: Callable[..., None], a0: float, a1: float, y0: float, y1: float, glow: bool) -> None:
    if glow:
        rect(a0, a1, y0, y1, WARM, lit=False)
        rect(a0, a1, y0, y0 + (y1 - y0) * 0.35, mix(WARM, (210, 130, 70), 0.4), lit=False)
        return
    mood = p.light.mood
    rect(a0, a1, y0, y1, mix(PANE, mood.sky_low, 0.08))
    middle = (y0 + y1) / 2
    rect(a0, a1, middle, y1, mix(PANE_SKY, mood.sky_low, 0.3))
    p_low = mix(PANE, (40, 52, 66), 0.5)
    rect(a0, a0 + (a1 - a0) * 0.25, y0, middle, p_low)


def _ground_floor(
    p: Painter, rect: Callable[..., None], at: At, normal: tuple[float, float, float], width: float, dice: Dice
) -> None:
    front = dice.pick(SHOPS)
    door = dice.uniform(0.12, 0.75) * width
    lit = p.light.mood.lit_windows > 0.3 or dice.chance(0.15)
    if dice.chance(0.72):  # a shop
        rect(0.35, width - 0.35, 0.0, 3.2, front)
        rect(0.35, width - 0.35, 2.75, 3.2, mix(front, (255, 255, 255), 0.15))
        letters, a = dice.below(5) + 5, width * 0.3
        for _ in range(letters):  # a name too far away to read
            rect(a, a + dice.uniform(0.12, 0.2), 2.86, 3.08, (244, 238, 220))
            a += 0.3
        pane = 0.55
        while pane < width - 1.6:
            end = min(pane + 1.9, width - 0.5)
            if not pane - 1.0 < door < end:
                _window(p, rect, pane, end, 0.55, 2.6, lit)
                for _ in range(4):  # goods on display
                    g = dice.uniform(pane + 0.1, end - 0.35)
                    rect(g, g + 0.25, 0.55, dice.uniform(0.8, 1.3), mix(dice.pick(AWNINGS), PANE, 0.35))
            pane = end + 0.2
        rect(door - 0.08, door + 1.08, 0, 2.62, mix(front, (0, 0, 0), 0.35))
        _window(p, rect, door + 0.08, door + 0.92, 0.5, 2.4, lit)
        # none under the camera: it would fill the view
        if dice.chance(0.68) and abs(at(0, 0, 0)[0] - p.camera.x) > 2.0:
            stripes, colour = max(5, int(width / 0.75)), dice.pick(AWNINGS)
            for k in range(stripes):
                a0, a1 = 0.4 + k * (width - 0.8) / stripes, 0.4 + (k + 1) * (width - 0.8) / stripes
                rgb = colour if k % 2 else (244, 240, 230)
                up = (normal[0] * 0.4, 0.9, normal[2] * 0.4)
                p.poly([at(a0, 2.95, 0), at(a1, 2.95, 0), at(a1, 2.5, 1.1), at(a0, 2.5, 1.1)], rgb, up)
                hem = [at(a0, 2.5, 1.1), at(a1, 2.5, 1.1), at(a1, 2.28, 1.1), at(a0, 2.28, 1.1)]
                p.poly(hem, mix(rgb, (0, 0, 0), 0.1), normal)
        return
    rect(door - 0.15, door + 1.25, 0, 2.75, (236, 230, 218))
    rect(door, door + 1.1, 0, 2.55, front)
    rect(door + 0.15, door + 0.95, 1.5, 2.3, PANE_SKY)
    rect(door - 0.3, door + 1.4, 0, 0.12, (176, 172, 166), 0.4)
    for k in range(math.floor(width / 2.4)):
        middle = (k + 0.5) * width / math.floor(width / 2.4)
        if abs(middle - door - 0.5) > 1.4:
            rect(middle - 0.62, middle + 0.62, 0.95, 2.65, (236, 230, 218))
            _window(p, rect, middle - 0.5, middle + 0.5, 1.05, 2.55, lit)
