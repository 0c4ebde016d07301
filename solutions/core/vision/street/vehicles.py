"""Cars, trucks and buses as small solids."""

from __future__ import annotations

from solutions.core.vision.street.dice import Dice
from solutions.core.vision.street.mesh import Mesh, MeshBuilder, Quad
from solutions.core.vision.street.mood import Rgb, mix
from solutions.core.vision.street.traffic import BUS, TRUCK

GLASS: Rgb = (44, 58, 72)
GLASS_SKY: Rgb = (104, 132, 156)
TYRE: Rgb = (30, 30, 33)
RIM: Rgb = (168, 172, 178)
TRIM: Rgb = (38, 40, 44)
LAMP: Rgb = (252, 244, 214)
TAIL: Rgb = (206, 28, 26)
PLATE: Rgb = (236, 236, 226)
BLACK: Rgb = (0, 0, 0)
WHITE: Rgb = (255, 255, 255)
FRONT, BACK, RIGHT, LEFT, UP = (0, 0.3, 1), (0, 0.3, -1), (1, 0.05, 0), (-1, 0.05, 0), (0, 1, 0)


def vehicle(kind: int, rgb: Rgb, look: int) -> Mesh:
    """The mesh of a vehicle of that class and body colour; `look` chooses its variant."""
    dice = Dice(look, 1)
    m = MeshBuilder()
    if kind == TRUCK:
        _truck(m, rgb, dice)
    elif kind == BUS:
        _bus(m, rgb, dice)
    else:
        _car(m, rgb, dice)
    return m.build()


def _treads(m: MeshBuilder, axles: tuple[float, ...], half: float, radius: float) -> None:
    for z in axles:
        for x in (-half + 0.14, half - 0.14):
            for out, dz in ((FRONT, 0.75), (BACK, -0.75)):
                zz, x0, x1 = z + radius * dz, x - 0.12, x + 0.12
                m.face([(x0, 0.0, zz), (x1, 0.0, zz), (x1, radius, zz), (x0, radius, zz)], out, TYRE)


def _wheels(m: MeshBuilder, axles: tuple[float, ...], half: float, radius: float) -> None:
    for z in axles:
        for x in (-half - 0.005, half + 0.005):
            m.disc(x, radius + 0.02, z, radius * 1.2, TRIM, upper=True)
            m.disc(x, radius, z, radius, TYRE)
            m.disc(x, radius, z, radius * 0.62, RIM)
            m.disc(x, radius, z, radius * 0.2, TRIM)


def _pane(
    m: MeshBuilder, quad: Quad, u: tuple[float, float], v: tuple[float, float], out: tuple[float, float, float]
) -> None:
    """A window whose upper part mirrors the sky."""
    m.detail(quad, u, v, out, GLASS)
    m.detail(quad, u, (v[0] + (v[1] - v[0]) * 0.6, v[1]), out, GLASS_SKY)


def _car(m: MeshBuilder, rgb: Rgb, dice: Dice) -> None:
    style = dice.pick(("sedan", "hatch", "suv", "van"))
    tall = {"sedan": 0.0, "hatch": 0.06, "suv": 0.22, "van": 0.16}[style]
    radius = 0.36 if style == "suv" else 0.32
    belt, roof_y, low = 0.92 + tall * 0.6, 1.42 + tall, 0.26 + tall * 0.3
    dark = mix(rgb, BLACK, 0.35)
    _treads(m, (-1.32, 1.36), 0.88, radius)
    outline = [
        (-2.12, low), (-2.2, 0.5), (-2.12, belt - 0.04), (-1.85, belt + 0.02), (0.95, belt), (1.95, belt - 0.17),
        (2.17, belt - 0.36), (2.12, low),
    ]  # fmt: skip
    strips = m.profile(outline, 0.9, rgb)
    rear, nose, bumper = strips[1], strips[5], strips[6]
    m.detail(strips[0], (0.02, 0.98), (0.0, 1.0), BACK, TRIM)
    for u in ((0.02, 0.2), (0.8, 0.98)):
        m.detail(rear, u, (0.4, 0.85), BACK, TAIL, glows=True)
        m.detail(nose, u, (0.1, 0.85), FRONT, LAMP, glows=True)
    m.detail(rear, (0.38, 0.62), (0.3, 0.6), BACK, PLATE)
    m.detail(bumper, (0.2, 0.8), (0.15, 0.55), FRONT, TRIM)
    m.detail(bumper, (0.39, 0.61), (0.5, 0.8), FRONT, PLATE)
    m.detail(strips[4], (0.12, 0.88), (0.08, 0.9), UP, mix(rgb, WHITE, 0.12))
    for x, out in ((-0.905, LEFT), (0.905, RIGHT)):
        m.face([(x, low, -2.0), (x, low, 2.05), (x, low + 0.12, 2.1), (x, low + 0.12, -2.08)], out, TRIM)
        m.face([(x, belt - 0.14, -2.1), (x, belt - 0.16, 1.8), (x, belt - 0.1, 1.6), (x, belt - 0.07, -2.05)], out,
               mix(rgb, WHITE, 0.2))  # fmt: skip
        m.face([(x, 0.36, -0.28), (x, 0.36, -0.25), (x, belt - 0.05, -0.25), (x, belt - 0.05, -0.28)], out, dark)
        handle = ((belt - 0.22, -0.5), (belt - 0.22, -0.34), (belt - 0.18, -0.34), (belt - 0.18, -0.5))
        m.face([(x, y, z) for y, z in handle], out, dark)
    _wheels(m, (-1.32, 1.36), 0.9, radius)
    z0, t0 = {"sedan": (-1.7, -1.05), "hatch": (-2.05, -1.7), "suv": (-2.1, -1.85), "van": (-2.1, -1.98)}[style]
    z1, t1 = (1.35, 0.75) if style == "van" else (1.0, 0.2)
    cabin = m.box(z0, z1, belt, roof_y, 0.86, rgb, top_z=(t0, t1), top_half=0.69, roof=mix(rgb, WHITE, 0.1))
    _pane(m, cabin["front"], (0.05, 0.95), (0.04, 0.9), FRONT)
    _pane(m, cabin["back"], (0.08, 0.92), (0.12, 0.86), BACK)
    for name, out in (("right", RIGHT), ("left", LEFT)):
        first, second = ((0.06, 0.5), (0.54, 0.93)) if name == "right" else ((0.5, 0.94), (0.07, 0.46))
        _pane(m, cabin[name], first, (0.08, 0.86), out)
        _pane(m, cabin[name], second, (0.08, 0.86), out)
    if style == "suv":
        m.detail(cabin["top"], (0.2, 0.8), (0.25, 0.75), UP, TRIM)


def _truck(m: MeshBuilder, rgb: Rgb, dice: Dice) -> None:
    dark = mix(rgb, BLACK, 0.18)
    stripe: Rgb = dice.pick(((244, 244, 240), (60, 64, 70), (226, 180, 90)))
    _treads(m, (-1.9, 2.1), 1.1, 0.46)
    chassis = m.box(-3.15, 3.1, 0.42, 0.8, 1.05, TRIM)
    for u in ((0.04, 0.2), (0.8, 0.96)):
        m.detail(chassis["back"], u, (0.3, 0.85), BACK, TAIL, glows=True)
    m.detail(chassis["back"], (0.4, 0.6), (0.2, 0.8), BACK, PLATE)
    _wheels(m, (-1.9, 2.1), 1.12, 0.46)
    m.piece()
    box = m.box(-3.2, 1.15, 0.8, 3.05, 1.16, rgb, roof=mix(rgb, WHITE, 0.15))
    for name, out in (("right", RIGHT), ("left", LEFT)):
        m.detail(box[name], (0.0, 1.0), (0.0, 0.05), out, TRIM)
        m.detail(box[name], (0.0, 1.0), (0.16, 0.24), out, stripe)
        for joint in (0.25, 0.5, 0.75):
            m.detail(box[name], (joint, joint + 0.008), (0.05, 1.0), out, dark)
        m.detail(box[name], (0.3, 0.7), (0.5, 0.7), out, stripe)
    m.detail(box["back"], (0.03, 0.97), (0.04, 0.96), BACK, dark)
    m.detail(box["back"], (0.05, 0.49), (0.06, 0.94), BACK, rgb)
    m.detail(box["back"], (0.51, 0.95), (0.06, 0.94), BACK, rgb)
    m.piece()
    cab = m.box(1.3, 3.15, 0.62, 1.5, 1.08, dark, top_z=(1.3, 3.12))
    top = m.box(1.3, 3.12, 1.5, 2.5, 1.08, rgb, top_z=(1.3, 2.75), top_half=0.98)
    _pane(m, top["front"], (0.06, 0.94), (0.04, 0.84), FRONT)
    for name, out, u in (("right", RIGHT, (0.32, 0.9)), ("left", LEFT, (0.1, 0.68))):
        _pane(m, top[name], u, (0.06, 0.8), out)
    m.detail(cab["front"], (0.22, 0.78), (0.35, 0.85), FRONT, TRIM)
    m.detail(cab["front"], (0.4, 0.6), (0.06, 0.24), FRONT, PLATE)
    for u in ((0.03, 0.18), (0.82, 0.97)):
        m.detail(cab["front"], u, (0.12, 0.4), FRONT, LAMP, glows=True)


def _bus(m: MeshBuilder, rgb: Rgb, dice: Dice) -> None:
    band: Rgb = dice.pick(((244, 244, 240), mix(rgb, BLACK, 0.3), mix(rgb, WHITE, 0.45)))
    _treads(m, (-2.7, 2.9), 1.2, 0.48)
    lower = m.box(-4.65, 4.65, 0.3, 1.3, 1.25, rgb)
    for name, out in (("right", RIGHT), ("left", LEFT)):
        m.detail(lower[name], (0.0, 1.0), (0.0, 0.12), out, TRIM)
        m.detail(lower[name], (0.0, 1.0), (0.72, 0.84), out, band)
    for u in ((0.03, 0.18), (0.82, 0.97)):
        m.detail(lower["front"], u, (0.2, 0.42), FRONT, LAMP, glows=True)
        m.detail(lower["back"], u, (0.45, 0.7), BACK, TAIL, glows=True)
    m.detail(lower["front"], (0.0, 1.0), (0.0, 0.12), FRONT, TRIM)
    m.detail(lower["front"], (0.4, 0.6), (0.14, 0.3), FRONT, PLATE)
    m.detail(lower["back"], (0.3, 0.7), (0.15, 0.6), BACK, TRIM)
    _wheels(m, (-2.7, 2.9), 1.25, 0.48)
    upper = m.box(-4.65, 4.65, 1.3, 2.95, 1.25, rgb, top_z=(-4.55, 4.45), top_half=1.14, roof=mix(rgb, WHITE, 0.22))
    for name, out in (("right", RIGHT), ("left", LEFT)):
        for k in range(6):
            start = 0.025 + k * 0.162
            _pane(m, upper[name], (start, start + 0.14), (0.06, 0.68), out)
    for d0, d1 in ((0.84, 0.955), (0.44, 0.56)):  # doors
        middle = (d0 + d1) / 2
        m.detail(lower["right"], (d0, d1), (0.1, 1.0), RIGHT, TRIM)
        m.detail(lower["right"], (d0 + 0.008, middle - 0.004), (0.14, 1.0), RIGHT, GLASS_SKY)
        m.detail(lower["right"], (middle + 0.004, d1 - 0.008), (0.14, 1.0), RIGHT, GLASS_SKY)
    _pane(m, upper["front"], (0.04, 0.96), (0.0, 0.74), FRONT)
    m.detail(upper["front"], (0.12, 0.88), (0.78, 0.96), FRONT, TRIM)
    m.detail(upper["front"], (0.2, 0.8), (0.82, 0.92), FRONT, (255, 186, 60), glows=True)
    _pane(m, upper["back"], (0.08, 0.92), (0.2, 0.7), BACK)
    m.box(-2.6, -0.2, 2.95, 3.15, 0.8, (206, 210, 212))
