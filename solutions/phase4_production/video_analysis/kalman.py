"""The Kalman filter of every track at once, with no matrix in sight.

A box moves with constant velocity in four coordinates (centre x, centre y and two for its size). When the noise of the
coordinates is independent, as it is in SORT (Bewley et al., 2016) and in DeepSORT and ByteTrack (Wojke et al., 2017;
Zhang et al., 2022), the 8x8 covariance stays block-diagonal for ever: four 2x2 blocks [[p, c], [c, w]], the variance of
the position, its covariance with the velocity, the variance of the velocity. The innovation is then four scalars, its
inverse a division, and one NumPy expression serves all tracks of all streams:

    predict   x += v          p += 2c + w + q_x      c += w        w += q_v
    update    s = p + r       k_x = p / s            k_v = c / s   y = z - x
              x += k_x y      v += k_v y             p -= k_x p    w -= k_v c    c -= k_x c

A filter bank is one float64 array [5, 4, T]: x, v, p, c, w of four coordinates of T tracks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

_HEIGHT = 3


class Size(Enum):
    """What the third and fourth coordinate of a state mean."""

    AREA_ASPECT = "w*h, w/h (SORT)"
    ASPECT_HEIGHT = "w/h, h (DeepSORT, ByteTrack)"


def _column(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows if len(rows) > 1 else rows[0], np.float64)[..., None]


@dataclass(frozen=True, slots=True)
class MotionModel:
    """How boxes are coded and how far they are trusted.

    Each noise is an array of variances, `fixed + relative * height**2`: [2, 4, 1] for the process and the initial state
    (four positions in pixels, four velocities in pixels a frame), [4, 1] for the measurement. `relative` is None where
    noise does not grow with the object.
    """

    size: Size
    process: np.ndarray
    initial: np.ndarray
    measurement: np.ndarray
    process_relative: np.ndarray | None = field(default=None)
    initial_relative: np.ndarray | None = field(default=None)
    measurement_relative: np.ndarray | None = field(default=None)
    freeze_lost_height: bool = False

    def measure(self, boxes: np.ndarray) -> np.ndarray:
        """Coordinates [4, N] of boxes [4, N] (rows x1 y1 x2 y2)."""
        coded = np.empty(boxes.shape)
        sizes = boxes[2:] - boxes[:2]
        np.add(boxes[:2], 0.5 * sizes, out=coded[:2])
        width, height = sizes[0], sizes[1]
        if self.size is Size.AREA_ASPECT:
            np.multiply(width, height, out=coded[2])
            np.divide(width, height, out=coded[3])
        else:
            np.divide(width, height, out=coded[2])
            coded[3] = height
        return coded

    def boxes(self, x: np.ndarray) -> np.ndarray:
        """Boxes [4, T], rows x1 y1 x2 y2, of coordinates [4, T]: the inverse of `measure`."""
        half = np.empty((2, x.shape[1]))
        if self.size is Size.AREA_ASPECT:  # area * aspect is width squared
            quarter = 0.25 * x[2]
            np.sqrt(quarter * x[3], out=half[0])
            np.divide(quarter, half[0], out=half[1])
        else:
            np.multiply(x[_HEIGHT], 0.5, out=half[1])
            np.multiply(x[2], half[1], out=half[0])
        corners = np.empty((4, x.shape[1]))
        np.subtract(x[:2], half, out=corners[:2])
        np.add(x[:2], half, out=corners[2:])
        return corners

    def start(self, measured: np.ndarray) -> np.ndarray:
        """Filters [5, 4, N] of objects seen for the first time at `measured` [4, N]: at rest, and little known."""
        filters = np.zeros((5, *measured.shape))
        filters[0] = measured
        filters[2::2] = self._noise(self.initial, self.initial_relative, measured)
        return filters

    def predict(self, filters: np.ndarray, lost: np.ndarray | None = None) -> None:
        """Move every filter one frame ahead, in place.

        A size that would shrink to nothing keeps its value and loses its velocity. `lost` (bool [T]) marks tracks that
        were not seen in the last detection.
        """
        x, v, p, c = filters[:4]
        if self.freeze_lost_height and lost is not None:
            np.putmask(v[_HEIGHT], lost, 0.0)
        noise = self._noise(self.process, self.process_relative, x)
        x += v
        vanished = x[2:] <= 0
        if np.count_nonzero(vanished):
            x[2:][vanished] -= v[2:][vanished]
            v[2:][vanished] = 0.0
        filters[2:4] += filters[3:]  # p + c and c + w
        p += c
        filters[2::2] += noise  # p and w

    def update(self, filters: np.ndarray, rows: np.ndarray, measured: np.ndarray) -> None:
        """Correct the filters `rows` (int [M], each at most once) by `measured` [4, M], in place."""
        everyone = len(rows) == filters.shape[2]
        if everyone:  # put the measurements in the order of the filters rather than the filters in theirs
            chosen, inverse = filters, np.empty_like(rows)
            inverse[rows] = np.arange(len(rows))
            measured = measured.take(inverse, axis=1)
        else:
            chosen = filters.take(rows, axis=2)
        x, _, p, c, w = chosen
        gain = chosen[2:4] / (p + self._noise(self.measurement, self.measurement_relative, x))
        chosen[:2] += gain * (measured - x)
        w -= gain[1] * c
        chosen[2:4] -= gain[0] * chosen[2:4]
        if not everyone:
            filters[:, :, rows] = chosen

    def _noise(self, fixed: np.ndarray, relative: np.ndarray | None, x: np.ndarray) -> np.ndarray:
        """Variances [.., 4, T], or [.., 4, 1] where they are the same for all."""
        if relative is None:
            return fixed
        noise: np.ndarray = relative * (x[_HEIGHT] * x[_HEIGHT])
        noise += fixed
        return noise


def sort_motion() -> MotionModel:
    """The filter of SORT: fixed noise, area and aspect, the aspect without a velocity."""
    return MotionModel(
        Size.AREA_ASPECT,
        process=_column((1, 1, 1, 1), (1e-2, 1e-2, 1e-4, 0)),
        initial=_column((10, 10, 10, 10), (1e4, 1e4, 1e4, 0)),
        measurement=_column((1, 1, 10, 10)),
    )


def height_motion(*, box_trust: float = 1.0) -> MotionModel:
    """The filter of DeepSORT and ByteTrack: standard deviations of height/20 for places, height/160 for velocities.

    `box_trust` divides the standard deviation of the measurement. The paper's is 1; 2 suits detectors whose boxes fit
    well: tracks follow turns and a moving camera sooner, and tremble more with a poor detector.
    """
    place, speed, trust = 1 / 20**2, 1 / 160**2, 1 / box_trust**2
    return MotionModel(
        Size.ASPECT_HEIGHT,
        process=_column((0, 0, 1e-4, 0), (0, 0, 1e-10, 0)),
        initial=_column((0, 0, 1e-4, 0), (0, 0, 1e-10, 0)),
        measurement=_column((0, 0, 1e-2 * trust, 0)),
        process_relative=_column((place, place, 0, place), (speed, speed, 0, speed)),
        initial_relative=4 * _column((place, place, 0, place), (25 * speed, 25 * speed, 0, 25 * speed)),
        measurement_relative=trust * _column((place, place, 0, place)),
        freeze_lost_height=True,
    )
