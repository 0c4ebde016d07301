"""Who is in the street and where: vehicles and cyclists that follow lanes, pedestrians that follow waypoints.

Vehicles keep their distance and stop for people at the crosswalk; people wait until the vehicles can stop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from solutions.core.vision.street.dice import Dice
from solutions.core.vision.street.layout import PARKING_M, RUN_OUT_M, Layout, Path, Side

CAR, TRUCK, BUS, BICYCLE, PEDESTRIAN = range(5)
COLOUR_COUNT = 7
BRAKE = 3.2
STEP_S = 0.1  # longest step of the simulation
CALM_S = 9.0  # at least so much time for the cars between two groups at the crosswalk


@dataclass(slots=True)
class Actor:
    """One road user; `look` seeds what is individual about it, (x, z, heading) is its pose on the ground."""

    id: int
    kind: int
    colour: int
    look: int
    length: float
    width: float
    height: float
    cruise: float
    x: float = 0.0
    z: float = 0.0
    heading: float = 0.0
    speed: float = 0.0
    travelled: float = 0.0
    s: float = 0.0
    waypoints: list[tuple[float, float]] = field(default_factory=list)
    gate: int = -1  # number of waypoints left when it stands at the curb of the crosswalk; -1 = does not cross
    waiting: bool = False
    crossing: bool = False


class Traffic:
    """The simulation; `actors()` lists everybody."""

    def __init__(self, layout: Layout, dice: Dice, amount: float) -> None:
        self.layout = layout
        self._dice = dice
        self._amount = amount
        self._next_id = 1
        self._decks: dict[str, list[int]] = {}
        self._lanes: list[tuple[Path, list[Actor]]] = [(path, []) for path in layout.lanes()]
        self._bikes: list[tuple[Path, list[Actor]]] = [(path, []) for path in layout.bike_lanes()]
        self._walkers: list[Actor] = []
        self._parked: list[Actor] = []
        self._calm_s = 0.0
        n = len(self._lanes)
        self._due_lane = [dice.uniform(0.0, 3.0) for _ in range(n)]
        self._due_bike = [dice.uniform(0.0, 4.0) for _ in self._bikes]
        self._due_walker = 0.0
        if amount > 0:
            self._park()

    def actors(self) -> list[Actor]:
        """Everybody, in no particular order."""
        moving = [a for _, queue in self._lanes for a in queue] + [a for _, queue in self._bikes for a in queue]
        return moving + self._walkers + self._parked

    def advance(self, seconds: float) -> None:
        """Move the world on."""
        steps = max(1, math.ceil(seconds / STEP_S - 1e-9))
        for _ in range(steps):
            self._step(seconds / steps)

    def _draw(self, deck: str, cards: tuple[int, ...]) -> int:
        # decks, not dice: every class and colour turns up regularly in every street
        left = self._decks.get(deck)
        if not left:
            left = self._decks[deck] = self._dice.shuffled(cards)
        return left.pop()

    def _make(self, kind: int) -> Actor:
        dice, colour = self._dice, self._draw(f"colour{kind // 3}", tuple(range(COLOUR_COUNT)) * 2)
        look = dice.below(1 << 30)
        length, width, height, cruise = {
            CAR: (4.3, 1.8, 1.5, dice.uniform(6.0, 9.5)),
            TRUCK: (6.4, 2.3, 3.0, dice.uniform(5.5, 7.5)),
            BUS: (9.4, 2.5, 3.1, dice.uniform(5.0, 7.0)),
            BICYCLE: (1.75, 0.6, 1.75, dice.uniform(3.4, 5.6)),
            PEDESTRIAN: (0.5, 0.5, dice.uniform(1.56, 1.9), dice.uniform(0.95, 1.6)),
        }[kind]
        if kind == PEDESTRIAN and dice.chance(0.12):
            height = dice.uniform(1.15, 1.4)
        actor = Actor(self._next_id, kind, colour, look, length, width, height, cruise, speed=cruise)
        self._next_id += 1
        return actor

    def _park(self) -> None:
        for side in self.layout.sides:
            if side.extra != "parking":
                continue
            z = self._dice.uniform(10.0, 13.0)
            while z < self.layout.houses_end_z - 4.0:
                if abs(z - self.layout.crosswalk_z) > 6.0 and self._dice.chance(0.33):
                    car = self._make(CAR)
                    car.x, car.z = side.sign * (side.lanes_x + PARKING_M / 2), z
                    car.heading, car.speed = (0.0 if side.sign > 0 else math.pi), 0.0
                    self._parked.append(car)
                z += 5.6

    def _step(self, dt: float) -> None:
        self._calm_s -= dt
        if self._amount > 0:
            self._spawn(dt)
        crossing = any(a.crossing for a in self._walkers)
        claimed = crossing or (self._calm_s <= 0 and any(a.waiting for a in self._walkers))
        for path, queue in self._lanes:
            self._drive(path, queue, dt, claimed)
        for path, queue in self._bikes:
            self._drive(path, queue, dt, claimed)
        free = claimed and self._crosswalk_free()
        for actor in self._walkers:
            self._walk(actor, dt, free)
        if any(not a.waypoints for a in self._walkers):
            self._walkers = [a for a in self._walkers if a.waypoints]
        if crossing and not any(a.crossing for a in self._walkers):
            self._calm_s = CALM_S

    def _drive(self, path: Path, queue: list[Actor], dt: float, claimed: bool) -> None:
        zc = self.layout.crosswalk_z
        line = path.at_z(zc - 3.0 if path.away else zc + 3.0)
        ahead = 1e9  # rear bumper of the one in front
        for actor in queue:
            half = actor.length / 2
            gap = ahead - (actor.s + half) - 1.6
            to_line = line - (actor.s + half)
            if claimed and to_line > -0.6 and to_line + 0.7 > actor.speed * actor.speed / (2 * 1.6 * BRAKE):
                gap = min(gap, to_line)
            allowed = math.sqrt(2 * BRAKE * gap) if gap > 0 else 0.0
            in_bend = actor.s > path.at_z(path.bend_z) - 3 if path.away else actor.s < path.at_z(path.bend_z) + 1
            want = min(actor.cruise, 4.6) if in_bend else actor.cruise
            speed = min(actor.speed + 2.2 * dt, max(want, actor.speed - 2.6 * dt), allowed)
            actor.speed = speed
            actor.s += speed * dt
            actor.travelled += speed * dt
            actor.x, actor.z, actor.heading = path.place(actor.s)
            ahead = actor.s - half
        if queue and queue[0].s > path.length:
            del queue[0]

    def _crosswalk_free(self) -> bool:
        """True when every vehicle has passed, stands, or is far enough to stop."""
        zc = self.layout.crosswalk_z
        for path, queue in self._lanes + self._bikes:
            middle = path.at_z(zc)
            for actor in queue:
                front, rear = actor.s + actor.length / 2 - middle, actor.s - actor.length / 2 - middle
                stopping = actor.speed * actor.speed / (2 * BRAKE)
                if front > -2.6 - 0.7 * stopping and rear < 2.0 and (actor.speed > 0.3 or front > -2.2):
                    return False
        return True

    def _walk(self, actor: Actor, dt: float, free: bool) -> None:
        actor.waiting = False
        if len(actor.waypoints) == actor.gate:
            if not free:
                actor.waiting = True
                actor.speed = 0.0
                return
            actor.crossing = True
            actor.gate = -1
        actor.speed = actor.cruise
        left = actor.speed * dt
        actor.travelled += left
        tx, tz = actor.waypoints[0]
        dx, dz = tx - actor.x, tz - actor.z
        distance = math.hypot(dx, dz)
        if distance <= left:
            actor.x, actor.z = tx, tz
            actor.waypoints.pop(0)
            if actor.crossing:
                actor.crossing = False
            return
        actor.x += dx / distance * left
        actor.z += dz / distance * left
        want = math.atan2(dx, dz)
        turn = (want - actor.heading + math.pi) % (2 * math.pi) - math.pi
        actor.heading += max(-5.0 * dt, min(5.0 * dt, turn))

    def _spawn(self, dt: float) -> None:
        dice = self._dice
        for lanes, due, pause in ((self._lanes, self._due_lane, 8.0), (self._bikes, self._due_bike, 11.0)):
            for k, (_, queue) in enumerate(lanes):
                due[k] -= dt
                if due[k] > 0 or (queue and queue[-1].s < 14.0):
                    continue
                if lanes is self._bikes:
                    actor = self._make(BICYCLE)
                else:
                    actor = self._make(self._draw("kind", (CAR,) * 6 + (TRUCK,) * 2 + (BUS,) * 2))
                queue.append(actor)
                due[k] = pause * dice.uniform(0.45, 1.55) * (0.4 + 0.3 * len(lanes)) / self._amount
        self._due_walker -= dt
        if self._due_walker <= 0:
            self._walkers.append(self._walker())
            self._due_walker = 6.0 * dice.uniform(0.3, 1.7) / self._amount

    def _walker(self) -> Actor:
        dice, layout = self._dice, self.layout
        side = dice.pick(layout.sides)
        away = dice.chance(0.5)
        actor = self._make(PEDESTRIAN)
        end_side, crossing = side, dice.chance(0.5)
        points = self._end(side, not away, x := side.sign * (side.curb_x + dice.uniform(0.75, 2.1)))[::-1]
        if crossing:
            end_side = layout.left if side is layout.right else layout.right
            zc = layout.crosswalk_z + dice.uniform(-1.2, 1.2)
            points += [(x, zc), (side.sign * (side.curb_x + 0.35), zc)]
            x = end_side.sign * (end_side.curb_x + dice.uniform(0.75, 2.1))
            points += [(end_side.sign * (end_side.curb_x + 0.3), zc), (x, zc)]
        out = self._end(end_side, away if not crossing else dice.chance(0.5), x)
        points += out
        if crossing:
            actor.gate = 2 + len(out)
        (actor.x, actor.z), actor.waypoints = points[0], points[1:]
        actor.heading = math.atan2(points[1][0] - actor.x, points[1][1] - actor.z)
        return actor

    def _end(self, side: Side, far: bool, x: float) -> list[tuple[float, float]]:
        if not far:
            return [(x, -8.0)]
        corner_z = self.layout.houses_end_z + 0.9 + (abs(x) - side.curb_x) * 0.5
        return [(x, corner_z), (side.sign * (side.wall_x + RUN_OUT_M * 0.7), corner_z)]
