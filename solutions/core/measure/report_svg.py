"""Line, scatter and bar plots as inline SVG text: no script, no font, no network; colours follow the page's theme."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from solutions.core.errors import ConfigError

_WIDTH, _HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 20, 52
_CHARACTER = 6.5  # about the width of one in 12 px text; no font is at hand to measure it
_SERIES_COLOURS = 6  # classes c0..c5 of the page's style sheet

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Plot:
    """Curves or clouds of points over a common pair of axes.

    `series` maps a legend to (x, y) points; a line joins them in the order given. Axes start where the data do, the y
    axis at 0 unless `from_zero` is False. `log_x` and `log_y` want values above 0. `lines` names the series of a
    scatter plot that are lines all the same, such as a bound over measured points. `names` holds, for a series, what
    to write beside each of its points.
    """

    title: str
    x_label: str
    y_label: str
    series: dict[str, Sequence[Point]]
    kind: Literal["line", "scatter"] = "line"
    from_zero: bool = True
    log_x: bool = False
    log_y: bool = False
    lines: Sequence[str] = ()
    names: Mapping[str, Sequence[str]] | None = None

    def __post_init__(self) -> None:
        for name, labels in (self.names or {}).items():
            if name not in self.series or len(labels) != len(self.series[name]):
                raise ConfigError(f"plot {self.title!r} names {len(labels)} points of {name!r}, which it does not have")
        points = [point for series in self.series.values() for point in series]
        if not points:
            raise ConfigError(f"plot {self.title!r} has no points")
        if not all(math.isfinite(value) for point in points for value in point):
            raise ConfigError(f"plot {self.title!r} holds a value that is not finite")
        if (self.log_x and min(x for x, _ in points) <= 0) or (self.log_y and min(y for _, y in points) <= 0):
            raise ConfigError(f"plot {self.title!r} has a logarithmic axis and a value that is not above 0")


@dataclass(frozen=True, slots=True)
class Bars:
    """One bar per name, drawn from 0 to the right, its value written at its end. `whiskers` are (low, high) by name."""

    title: str
    x_label: str
    values: dict[str, float]
    whiskers: dict[str, tuple[float, float]] | None = None

    def __post_init__(self) -> None:
        if not self.values:
            raise ConfigError(f"plot {self.title!r} has no bars")
        if not all(math.isfinite(value) and value >= 0 for value in self.values.values()):
            raise ConfigError(f"bars of {self.title!r} must be finite and >= 0, got {self.values}")


def scatter(
    title: str, x_label: str, y_label: str, points: Mapping[str, Mapping[str, Point]], *, log_x: bool = False
) -> Plot:
    """A plot with one named dot per point: legend -> name -> (x, y). Both axes start where the data do.

    Groups without points are left out; a single group needs no legend and gets none.
    """
    groups = {group: named for group, named in points.items() if named}
    return Plot(
        title,
        x_label,
        y_label,
        {group: list(named.values()) for group, named in groups.items()},
        kind="scatter",
        from_zero=False,
        log_x=log_x,
        names={group: list(named) for group, named in groups.items()},
    )


def draw(plot: Plot | Bars) -> str:
    """The plot as one <svg> element, 720 units wide."""
    return _draw_bars(plot) if isinstance(plot, Bars) else _draw_plot(plot)


def ticks(low: float, high: float, *, log: bool = False, about: int = 6) -> list[float]:
    """Round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten; powers of ten on a log axis.

    >>> ticks(0, 47)
    [0.0, 10.0, 20.0, 30.0, 40.0]
    >>> ticks(0.5, 2000, log=True)
    [1.0, 10.0, 100.0, 1000.0]
    """
    if log:
        first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
        decades = [float(10.0**power) for power in range(first, last + 1)]
        return decades if len(decades) > 1 else [low, high]
    if high <= low:
        return [low]
    rough = (high - low) / about
    power = float(10.0 ** math.floor(math.log10(rough)))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


class _Axis:
    """Maps values to pixels, along one direction."""

    def __init__(self, low: float, high: float, start: float, end: float, log: bool) -> None:
        if high <= low:
            low, high = (low / 2, low * 2) if log else (low - 0.5, high + 0.5)
        self.low, self.high, self.log = low, high, log
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        return self._start + (value - low) / (high - low) * (self._end - self._start)

    def ticks(self) -> list[float]:
        return ticks(self.low, self.high, log=self.log)


def _draw_plot(plot: Plot) -> str:
    xs = [x for series in plot.series.values() for x, _ in series]
    ys = [y for series in plot.series.values() for _, y in series]
    bottom = min(0.0, *ys) if plot.from_zero and not plot.log_y else min(ys)
    top = max(ys) if plot.log_y else max(ys) + 0.05 * (max(ys) - bottom)
    if plot.names and not plot.log_y:
        bottom -= 0.05 * (top - bottom)  # room for text below the lowest points
    parts, ceiling = _legend(list(plot.series)) if len(plot.series) > 1 else ([], _TOP)
    x = _Axis(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT, plot.log_x)
    y = _Axis(bottom, top, _HEIGHT - _BOTTOM, ceiling, plot.log_y)
    for value in y.ticks():
        parts.append(f'<path class="grid" d="M{_LEFT} {y(value):.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(_label(_LEFT - 8, y(value) + 4, f"{value:g}", "end"))
    for value in x.ticks():
        parts.append(f'<path class="grid" d="M{x(value):.1f} {ceiling}V{_HEIGHT - _BOTTOM}"/>')
        parts.append(_label(x(value), _HEIGHT - _BOTTOM + 18, f"{value:g}", "middle"))
    for index, (name, series) in enumerate(plot.series.items()):
        colour = f"c{index % _SERIES_COLOURS}"
        points = [(x(px), y(py)) for px, py in series]
        line = plot.kind == "line" or name in plot.lines
        if line and len(points) > 1:
            path = "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
            parts.append(f'<path class="line {colour}" d="M{path}"/>')
        if not line or (plot.kind == "line" and len(points) <= 60):
            parts += [f'<circle class="dot {colour}" cx="{px:.1f}" cy="{py:.1f}" r="3.2"/>' for px, py in points]
    named = [
        (x(px), y(py), label)
        for name, labels in (plot.names or {}).items()
        for (px, py), label in zip(plot.series[name], labels, strict=True)
    ]
    parts += _point_names(named, ceiling)
    parts.append(_label((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, plot.x_label, "middle"))
    middle = (ceiling + _HEIGHT - _BOTTOM) / 2
    parts.append(f'<g transform="rotate(-90 14 {middle})">{_label(14, middle, plot.y_label, "middle")}</g>')
    return _svg(plot.title, _HEIGHT, parts)


def _point_names(named: Sequence[tuple[float, float, str]], ceiling: float) -> list[str]:
    """Text beside points: right or left of them, as near as other texts and points allow; far ones on a thin line."""
    parts: list[str] = []
    taken = [(px - 6, px + 6, py + 4) for px, py, _ in named]  # left end, right end, baseline

    def is_free(left: float, width: float, base: float) -> bool:
        inside = left >= _LEFT and left + width <= _WIDTH and ceiling < base < _HEIGHT - _BOTTOM
        return inside and not any(a < left + width and left < b and abs(base - y) < 12 for a, b, y in taken)

    for px, py, text in sorted(named, key=lambda point: (point[1], point[0])):
        width = _CHARACTER * len(text)
        shifts = (0, *(sign * 12 * row for row in range(1, 13) for sign in (1, -1)))
        places = [(left, py + 4 + shift) for shift in shifts for left in (px + 8, px - 8 - width)]
        left, base = next((place for place in places if is_free(place[0], width, place[1])), places[0])
        taken.append((left, left + width, base))
        if abs(base - py - 4) > 12:
            parts.append(f'<path class="grid" d="M{px:.1f} {py:.1f}L{max(left, px - 8):.1f} {base - 4:.1f}"/>')
        to_left = left < px
        parts.append(_label(px - 8 if to_left else px + 8, base, text, "end" if to_left else "start"))
    return parts


def _legend(names: Sequence[str]) -> tuple[list[str], float]:
    """The names with their colours, in rows above the plot, and the height at which the plot may begin."""
    parts = []
    x, y = float(_LEFT), float(_TOP)
    for index, name in enumerate(names):
        width = 30 + _CHARACTER * len(name)
        if x + width > _WIDTH - _RIGHT and x > _LEFT:
            x, y = float(_LEFT), y + 18
        parts.append(f'<circle class="dot c{index % _SERIES_COLOURS}" cx="{x + 5:.1f}" cy="{y - 4}" r="5"/>')
        parts.append(_label(x + 15, y, name, "start"))
        x += width
    return parts, y + 12


def _draw_bars(plot: Bars) -> str:
    whiskers = plot.whiskers or {}
    left = min(280, 24 + 7 * max(len(name) for name in plot.values))
    row = 30
    height = _TOP + row * len(plot.values) + _BOTTOM
    longest = max(*plot.values.values(), *(high for _, high in whiskers.values()), 0.0)
    x = _Axis(0.0, longest or 1.0, left, _WIDTH - 80, log=False)
    parts = []
    for value in x.ticks():
        parts.append(f'<path class="grid" d="M{x(value):.1f} {_TOP}V{height - _BOTTOM}"/>')
        parts.append(_label(x(value), height - _BOTTOM + 18, f"{value:g}", "middle"))
    for index, (name, value) in enumerate(plot.values.items()):
        top = _TOP + row * index + 5
        colour = f"c{index % _SERIES_COLOURS}"
        width = x(value) - left
        parts.append(
            f'<rect class="bar {colour}" x="{left}" y="{top}" width="{width:.1f}" height="{row - 10}" rx="2"/>'
        )
        parts.append(_label(left - 8, top + 14, name, "end"))
        end = x(value)
        if name in whiskers:
            low, high = x(whiskers[name][0]), x(whiskers[name][1])
            middle = top + (row - 10) / 2
            parts.append(f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}"/>')
            end = max(end, high)
        parts.append(_label(end + 6, top + 14, f"{value:.3g}", "start"))
    parts.append(_label((left + _WIDTH - 80) / 2, height - 10, plot.x_label, "middle"))
    return _svg(plot.title, height, parts)


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    head = f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">'
    return f"{head}<title>{escape(title)}</title>{''.join(parts)}</svg>"
