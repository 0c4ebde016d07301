"""The Kalman filter of every track at once, with no matrix in sight.

A box moves with constant velocity in four coordinates (centre x, centre y and two for its size). When the noise of the
coordinates is independent, as it is in SORT (Bewley et al., 2016) and in DeepSORT and ByteTrack (Wojke et al., 2017;
Zhang et al., 2022), the 8x8 covariance stays block-diagonal for ever: four 2x2 blocks [[p, c], [c, w]], the variance of
the position, its covariance with the velocity, the variance of the velocity. The innovation is then four scalars, its
inverse a division, and one NumPy expression serves all tracks of all streams:

    predict   x += v          p += 2c + w + q_x      c += w        w += q_v
    update    s = p + r       k_x = p / s            k_v = c / s   y = z - x
              x += k_x y      v += k_v y             p -= k_x p    w -= k_v c    c -= k_x c

A filter bank is one float64 array [5, 4, T]: p, x, c, v, w of four coordinates of T tracks. In that order the sums and
products above take several quantities at once, as slices without a copy: with the few boxes of one camera the number
of NumPy calls is what an update costs.

A box is handed over as its reach, float64 [5, N] with rows -x1, -y1, x2, y2, area: how far it goes left, up, right and
down. The least of two reaches is the reach of what the boxes share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

P, X, C, V, W = range(5)
"""Rows of a filter bank."""
AREA = 4
"""Row of a reach."""

_HEIGHT = 3
_ZERO, _QUARTER, _HALF = (np.array(value) for value in (0.0, 0.25, 0.5))  # spare NumPy the conversion at every call


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

    def measure(self, sizes: np.ndarray, reach: np.ndarray, out: np.ndarray) -> None:
        """Write to `out` the coordinates [4, N] of boxes of that width and height [2, N] and that reach."""
        np.subtract(_HALF * sizes, reach[:2], out=out[:2])
        width, height = sizes[0], sizes[1]
        if self.size is Size.AREA_ASPECT:
            out[2] = reach[AREA]
            np.divide(width, height, out=out[3])
        else:
            np.divide(width, height, out=out[2])
            out[3] = height

    def boxes(self, x: np.ndarray) -> np.ndarray:
        """Boxes [4, T], rows x1 y1 x2 y2, of coordinates [4, T]."""
        centre, half, corners = x[:2], self._half_sizes(x), np.empty(x.shape)
        np.subtract(centre, half, out=corners[:2])
        np.add(centre, half, out=corners[2:])
        return corners

    def reach(self, x: np.ndarray) -> np.ndarray:
        """Reach [5, T] of coordinates [4, T]: the inverse of `measure`."""
        centre, half, reach = x[:2], self._half_sizes(x), np.empty((5, x.shape[1]))
        np.subtract(half, centre, out=reach[:2])
        np.add(half, centre, out=reach[2:AREA])
        if self.size is Size.AREA_ASPECT:
            reach[AREA] = x[2]
        else:
            height = x[_HEIGHT]
            np.multiply(x[2] * height, height, out=reach[AREA])
        return reach

    def _half_sizes(self, x: np.ndarray) -> np.ndarray:
        """Half the width and half the height [2, T]."""
        half = np.empty((2, x.shape[1]))
        if self.size is Size.AREA_ASPECT:  # area * aspect is width squared
            quarter = _QUARTER * x[2]
            np.sqrt(quarter * x[3], out=half[0])
            np.divide(quarter, half[0], out=half[1])
        else:
            np.multiply(x[_HEIGHT], _HALF, out=half[1])
            np.multiply(x[2], half[1], out=half[0])
        return half

    def start(self, filters: np.ndarray, measured: np.ndarray) -> None:
        """Begin `filters` (all 0) with objects seen for the first time at `measured` [4, N]: at rest, little known."""
        filters[X] = measured
        filters[P::4] = _pairs(_noise(self.initial, measured))

    def predict(self, filters: np.ndarray, lost: np.ndarray | None = None) -> None:
        """Move every filter one frame ahead, in place.

        A size that would shrink to nothing keeps its value and loses its velocity. `lost` (int) are the places of
        tracks that were not seen in the last detection.
        """
        if self.freeze_lost_height and lost is not None:
            filters[V, _HEIGHT].put(lost, 0.0)
        # Each view is named before it is changed in place: `filters[P] += c` would also copy it onto itself.
        p, x, c, w = filters[P], filters[X], filters[C], filters[W]
        noise = _pairs(_noise(self.process, x))
        p_and_x, p_and_w, sizes = filters[:C], filters[P::4], x[2:]
        p_and_x += filters[C:W]  # p + c and x + v
        vanished = sizes <= _ZERO
        if np.count_nonzero(vanished):
            speeds = filters[V, 2:]
            sizes[vanished] -= speeds[vanished]
            speeds[vanished] = 0.0
        c += w
        p += c
        p_and_w += noise

    def update(self, filters: np.ndarray, measured: np.ndarray) -> None:
        """Correct every filter by its column of `measured` [4, T], in place."""
        p, x, c, w = filters[P], filters[X], filters[C], filters[W]
        p_and_c, x_and_v = filters[P:V:2], filters[X:W:2]
        gain = p_and_c / (p + _noise(self.measurement, x))
        x_and_v += gain * (measured - x)
        w -= gain[1] * c
        p_and_c -= gain[0] * p_and_c


def _noise(terms: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Variances [.., T] for coordinates [4, T], or [.., 1] where they are the same for all."""
    if terms.shape[1] == 1:
        return terms
    powers = np.empty((2, x.shape[1]))
    powers[0] = 1.0
    height = x[_HEIGHT]
    np.multiply(height, height, out=powers[1])
    variances: np.ndarray = np.dot(terms, powers)
    return variances


def _pairs(variances: np.ndarray) -> np.ndarray:
    """Variances [8, ..] as [2, 4, ..]: of positions, of velocities."""
    paired: np.ndarray = variances.reshape(2, 4, len(variances[0]))
    return paired


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
