"""Figures beside the bars they have to reach, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from solutions.core.measure.metrics import PairedRatio
from solutions.core.measure.report import render_table


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure of a report and what it must reach: `at_least` or `at_most`; neither where it is only shown.

    `low` and `high` are the ends of its interval, where it has one. The figure decides, not its interval.
    """

    case: str
    figure: str
    value: float
    at_least: float | None = None
    at_most: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def held(self) -> bool:
        """True when the figure is on the right side of its bar."""
        over = self.at_least is None or self.value >= self.at_least
        under = self.at_most is None or self.value <= self.at_most
        return over and under

    @property
    def judged(self) -> bool:
        """True when there is a bar."""
        return self.at_least is not None or self.at_most is not None

    def as_dict(self) -> dict[str, Any]:
        """The fields and the verdict, ready for JSON."""
        return asdict(self) | {"held": self.held}


def speedup(case: str, ratio: PairedRatio, *, at_least: float | None = None, figure: str = "speed-up") -> Bar:
    """How many times as fast as the baseline."""
    return Bar(case, figure, ratio.speedup, at_least=at_least, low=1 / ratio.high, high=1 / ratio.low)


def render_bars(title: str, bars: Sequence[Bar]) -> None:
    """Print them: figure, interval, bar and verdict."""
    render_table(
        title,
        ("case", "figure", "value", "interval", "at least", "at most", "verdict"),
        [
            (
                bar.case,
                bar.figure,
                bar.value,
                None if bar.low is None else f"[{bar.low:.3g}, {bar.high:.3g}]",
                bar.at_least,
                bar.at_most,
                ("held" if bar.held else "MISSED") if bar.judged else None,
            )
            for bar in bars
        ],
    )
