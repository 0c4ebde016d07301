"""The Kalman filter of every track at once, with no matrix in sight.

A box moves with constant velocity in four coordinates (centre x, centre y and two for its size). When the noise of the
coordinates is independent, as it is in SORT (Bewley et al., 2016) and in DeepSORT and ByteTrack (Wojke et al., 2017;
Zhang et al., 2022), the 8x8 covariance stays block-diagonal for ever: four 2x2 blocks [[p, c], [c, w]], the variance of
the position, its covariance with the velocity, the variance of the velocity. The innovation is then four scalars, its
inverse a division, and one NumPy expression serves all tracks of all streams:

    predict   x += v          p += 2c + w + q_x      c += w        w += q_v
    update    s = p + r       k_x = p / s            k_v = c / s   y = z - x
              x += k_x y      v += k_v y             p -= k_x p    w -= k_v c    c -= k_x c

A filter bank is one float64 array [5, 4, T]: p, x, c, v, w of four coordinates of T tracks. With the few boxes of one
camera the number of NumPy calls is what an update costs, and a call on whole, contiguous arrays of one shape costs a
third of one that must step or broadcast: hence that order, and noise that is spread over the tracks.

A box is handed over as its reach, float64 [5, N] with rows -x1, -y1, x2, y2, area: how far it goes left, up, right and
down. The least of two reaches is the reach of what the boxes share.

What is linear in a box is one matrix product. Its sums have two terms at most and its factors are powers of 2, so the
order of summation changes no bit, and a box in a crowd gets the same numbers as alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

P, X, C, V, W = range(5)
"""Rows of a filter bank."""
AREA = 4
"""Row of a reach."""

_CENTRE_AND_SIZE_OF_REACH = np.array([[-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5], [1, 0, 1, 0], [0, 1, 0, 1]])
_CORNERS_OF_HALVES = np.array([[1.0, 0, -1, 0, 0], [0, 1, 0, -1, 0], [1, 0, 1, 0, 0], [0, 1, 0, 1, 0]])
_REACH_OF_HALVES = np.array([[-1.0, 0, 1, 0, 0], [0, -1, 0, 1, 0], [1, 0, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 4]])

_HEIGHT = 3
_ZERO, _QUARTER, _HALF = (np.array(value) for value in (0.0, 0.25, 0.5))  # spare NumPy the conversion at every call


def centre_and_size(reach: np.ndarray, out: np.ndarray) -> None:
    """Write to `out` [4, N] centre x and y, width and height of boxes of that reach, all finite."""
    _CENTRE_AND_SIZE_OF_REACH.dot(reach[:AREA], out)


class Size(Enum):
    """What the third and fourth coordinate of a state mean."""

    AREA_ASPECT = "w*h, w/h (SORT)"
    ASPECT_HEIGHT = "w/h, h (DeepSORT, ByteTrack)"


@dataclass(frozen=True, slots=True)
class MotionModel:
    """How boxes are coded and how far they are trusted.

    Each noise is an array of variances, `fixed + relative * height**2`, with a column for either: [8, 2] for process
    and initial state (four positions in pixels, four velocities in pixels a frame), [4, 2] for the measurement. Of the
    two numbers in a row one must be 0. Arrays with a single column are fixed.
    """

    size: Size
    process: np.ndarray
    initial: np.ndarray
    measurement: np.ndarray
    freeze_lost_height: bool = field(default=False)

    def measure(self, reach: np.ndarray, measured: np.ndarray) -> None:
        """Put the area into `reach` [5, N], and coordinates in the place of centre and size, `measured` [4, N].

        Width and height must be positive.
        """
        area, width, height = reach[AREA], measured[2], measured[_HEIGHT]
        np.multiply(width, height, out=area)
        if self.size is Size.AREA_ASPECT:
            np.divide(width, height, out=height)
            width[:] = area
        else:
            np.divide(width, height, out=width)

    def boxes(self, x: np.ndarray) -> np.ndarray:
        """Boxes [4, T], rows x1 y1 x2 y2, of coordinates [4, T]."""
        corners: np.ndarray = _CORNERS_OF_HALVES.dot(self._halves(x))
        return corners

    def reach(self, x: np.ndarray) -> np.ndarray:
        """Reach [5, T] of coordinates [4, T]: the inverse of `measure`."""
        reach: np.ndarray = _REACH_OF_HALVES.dot(self._halves(x))
        return reach

    def _halves(self, x: np.ndarray) -> np.ndarray:
        """Centre x and y, half the width, half the height and a quarter of the area [5, T]."""
        halves = np.empty((5, x.shape[1]))
        halves[:2] = x[:2]
        half_width, half_height, quarter = halves[2], halves[3], halves[4]
        if self.size is Size.AREA_ASPECT:  # area * aspect is width squared
            np.multiply(x[2], _QUARTER, out=quarter)
            np.sqrt(quarter * x[3], out=half_width)
            np.divide(quarter, half_width, out=half_height)
        else:
            np.multiply(x[_HEIGHT], _HALF, out=half_height)
            np.multiply(x[2], half_height, out=half_width)
            np.multiply(half_width, half_height, out=quarter)
        return halves

    def start(self, filters: np.ndarray, measured: np.ndarray) -> None:
        """Begin `filters` (all 0) with objects seen for the first time at `measured` [4, N]: at rest, little known."""
        noise = _noise(self.initial, measured)
        filters[P], filters[X], filters[W] = noise[:4], measured, noise[4:]

    def predict(self, filters: np.ndarray, lost: np.ndarray | None = None) -> None:
        """Move every filter one frame ahead, in place.

        A size that would shrink to nothing keeps its value and loses its velocity. `lost` (int) are the places of
        tracks that were not seen in the last detection.
        """
        if self.freeze_lost_height and lost is not None:
            filters[V, _HEIGHT].put(lost, 0.0)
        # Each view is named before it is changed in place: `filters[P] += c` would also copy it onto itself.
        p, x, c, w = filters[P], filters[X], filters[C], filters[W]
        noise = _noise(self.process, x)
        p_and_x, sizes = filters[:C], x[2:]
        p_and_x += filters[C:W]  # p + c and x + v
        vanished = sizes <= _ZERO
        if np.count_nonzero(vanished):
            speeds = filters[V, 2:]
            sizes[vanished] -= speeds[vanished]
            speeds[vanished] = 0.0
        c += w
        p += c
        p += noise[:4]
        w += noise[4:]

    def update(self, filters: np.ndarray, measured: np.ndarray) -> None:
        """Correct every filter by its column of `measured` [4, T], in place."""
        p, x, c, v, w = filters[P], filters[X], filters[C], filters[V], filters[W]
        spread, surprise = p + _noise(self.measurement, x), measured - x
        gain_x, gain_v = p / spread, c / spread
        x += gain_x * surprise
        v += gain_v * surprise
        p -= gain_x * p
        w -= gain_v * c
        c -= gain_x * c


def _noise(terms: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Variances [.., T] for coordinates [4, T]."""
    height = x[_HEIGHT]
    if terms.shape[1] == 1:
        return terms.repeat(len(height), 1)
    powers = np.empty((2, len(height)))
    powers[0] = 1.0
    np.multiply(height, height, out=powers[1])
    variances: np.ndarray = terms.dot(powers)
    return variances


def _terms(fixed: tuple[float, ...], relative: tuple[float, ...] | None = None) -> np.ndarray:
    return np.stack([fixed] if relative is None else [fixed, relative], axis=1).astype(np.float64)


def sort_motion() -> MotionModel:
    """The filter of SORT: fixed noise, area and aspect, the aspect without a velocity."""
    return MotionModel(
        Size.AREA_ASPECT,
        process=_terms((1, 1, 1, 1, 1e-2, 1e-2, 1e-4, 0)),
        initial=_terms((10, 10, 10, 10, 1e4, 1e4, 1e4, 0)),
        measurement=_terms((1, 1, 10, 10)),
    )


def height_motion(*, box_trust: float = 1.0) -> MotionModel:
    """The filter of DeepSORT and ByteTrack: standard deviations of height/20 for places, height/160 for velocities.

    `box_trust` divides the standard deviation of the measurement. The paper's is 1; 2 suits detectors whose boxes fit
    well: tracks follow turns and a moving camera sooner, and tremble more with a poor detector.
    """
    place, speed, trust = 1 / 20**2, 1 / 160**2, 1 / box_trust**2
    fast = 100 * speed
    return MotionModel(
        Size.ASPECT_HEIGHT,
        process=_terms((0, 0, 1e-4, 0, 0, 0, 1e-10, 0), (place, place, 0, place, speed, speed, 0, speed)),
        initial=_terms((0, 0, 1e-4, 0, 0, 0, 1e-10, 0), (4 * place, 4 * place, 0, 4 * place, fast, fast, 0, fast)),
        measurement=_terms((0, 0, 1e-2 * trust, 0), (trust * place, trust * place, 0, trust * place)),
        freeze_lost_height=True,
    )
