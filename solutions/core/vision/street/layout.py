"""The plan of a street seen from above: lanes, bike lane, parking, sidewalks, crosswalk, and the bend at its end.

The street runs along z with x = 0 between the two directions (right-hand traffic: x > 0 drives away from the camera).
At its far end it meets a cross street: everything turns there and leaves behind the corner houses, so nothing ever
shrinks to a few pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from solutions.core.vision.street.dice import Dice

LANE_M = 3.1
BIKE_M = 1.7
PARKING_M = 2.3
SIDEWALK_M = 3.5
START_Z = -14.0
RUN_OUT_M = 16.0  # length of the hidden piece of a path in the cross street


@dataclass(frozen=True, slots=True)
class Path:
    """A lane: straight along the street, then a quarter turn, then along the cross street."""

    x: float
    bend_x: float
    bend_z: float
    away: bool

    @property
    def radius(self) -> float:
        """Radius of the bend in metres."""
        return abs(self.bend_x - self.x)

    @property
    def length(self) -> float:
        """Metres from where things appear to where they vanish."""
        return (self.bend_z - START_Z) + self.radius * math.pi / 2 + RUN_OUT_M

    def place(self, s: float) -> tuple[float, float, float]:
        """(x, z, heading) after s metres; heading 0 looks along +z, pi/2 along +x."""
        side = 1.0 if self.x > 0 else -1.0
        d = s if self.away else self.length - s
        straight, r = self.bend_z - START_Z, self.radius
        if d <= straight:
            x, z, heading = self.x, START_Z + d, 0.0
        elif d <= straight + r * math.pi / 2:
            turn = (d - straight) / r
            x = self.bend_x - side * r * math.cos(turn)
            z, heading = self.bend_z + r * math.sin(turn), side * turn
        else:
            x = self.bend_x + side * (d - straight - r * math.pi / 2)
            z, heading = self.bend_z + r, side * math.pi / 2
        return x, z, heading if self.away else heading + math.pi

    def at_z(self, z: float) -> float:
        """The s at which the straight piece passes z."""
        return z - START_Z if self.away else self.length - (z - START_Z)


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the street, in distances from x = 0."""

    sign: int
    lanes: int
    extra: str  # "bike", "parking" or "none", between the lanes and the curb

    @property
    def lanes_x(self) -> float:
        """Where the lanes end."""
        return self.lanes * LANE_M

    @property
    def curb_x(self) -> float:
        """Where the sidewalk begins."""
        return self.lanes_x + {"bike": BIKE_M, "parking": PARKING_M, "none": 0.35}[self.extra]

    @property
    def wall_x(self) -> float:
        """Where the buildings begin."""
        return self.curb_x + SIDEWALK_M


@dataclass(frozen=True, slots=True)
class Layout:
    """Both sides, the crosswalk and the end of the street."""

    left: Side
    right: Side
    crosswalk_z: float
    houses_end_z: float

    @staticmethod
    def roll(dice: Dice) -> Layout:
        """A random street with 2-4 lanes and at least one bike lane."""
        left, right = dice.pick(((1, 1), (1, 1), (1, 2), (2, 1), (2, 2)))
        extras = dice.pick(
            (("bike", "bike"), ("bike", "parking"), ("parking", "bike"), ("bike", "none"), ("none", "bike"))
        )
        return Layout(
            Side(-1, left, extras[0]), Side(1, right, extras[1]), dice.uniform(17.0, 22.0), dice.uniform(30.0, 37.0)
        )

    @property
    def sides(self) -> tuple[Side, Side]:
        """(left, right)."""
        return self.left, self.right

    @property
    def bend_z(self) -> float:
        """z of the centres of the bends."""
        return self.houses_end_z + 1.0

    def bend_x(self, side: Side) -> float:
        """Signed x of the centre of that side's bend."""
        return side.sign * (side.curb_x + 2.5)

    @property
    def far_curb_z(self) -> float:
        """z of the far edge of the cross street."""
        return self.bend_z + max(side.curb_x for side in self.sides) + 3.0

    @property
    def far_wall_z(self) -> float:
        """z of the facades that close the view."""
        return self.far_curb_z + SIDEWALK_M

    def path(self, side: Side, offset: float) -> Path:
        """The path at that distance from x = 0."""
        return Path(side.sign * offset, self.bend_x(side), self.bend_z, side.sign > 0)

    def lanes(self) -> list[Path]:
        """Car lanes."""
        return [self.path(side, (k + 0.5) * LANE_M) for side in self.sides for k in range(side.lanes)]

    def bike_lanes(self) -> list[Path]:
        """Bicycle lanes."""
        return [self.path(side, side.lanes_x + BIKE_M / 2) for side in self.sides if side.extra == "bike"]
