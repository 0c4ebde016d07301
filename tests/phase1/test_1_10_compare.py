"""1.10: a fair comparison of two functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.grader.checks import check, check_close, check_equal, check_raises
from tests.phase1.fakes import FakeClock

pytestmark = pytest.mark.exercise("1.10")

ROUNDING = 1e-9  # relative: a few hundred additions of at most eps each on a clock that shows thousands of seconds
Cost = Callable[[int, int], float]


def play(graded, cost_a: Cost, cost_b: Cost, *, rounds: int, **options):
    """What the comparison says, and the order of its calls.

    A cost is a function of the round and of the place in it (0 to 3); the first call of each, untimed, takes 4096 s.
    """
    clock, order = FakeClock(), []

    def runner(name: str, cost: Cost) -> Callable[[], None]:
        def fn() -> None:
            first = name not in order
            order.append(name)
            turn, place = divmod(len(order) - 3, 4)
            clock.advance(4096.0 if first else cost(turn, place))

        return fn

    found = graded(runner("a", cost_a), runner("b", cost_b), rounds=rounds, clock=clock, **options)
    return found, "".join(order)


def always(seconds: float) -> Cost:
    return lambda turn, place: seconds


def noise(rounds: int) -> np.ndarray:
    """A ratio per round, no two alike, in no order."""
    return np.random.default_rng(5).permutation(np.linspace(0.5, 1.5, rounds))


@pytest.mark.parametrize(
    "rounds", [pytest.param(1, id="one-round"), pytest.param(3, id="three"), pytest.param(30, id="30")]
)
def test_order(graded, rounds):
    """After one untimed call of each, every round runs a, b, b, a."""
    found, order = play(graded, always(1.0), always(0.75), rounds=rounds)
    check_equal(
        ("".join(sorted(order[:2])), order[2:]),
        ("ab", "abba" * rounds),
        breaks="one call of each, then a b b a in every round",
        likely="all of a was timed before all of b: that measures how the machine changed in between",
    )
    check_close(
        found.ratio,
        0.75,
        ROUNDING,
        breaks="the ratio is b over a, without the slow first calls",
        likely="a over b, or the untimed calls were timed",
    )


@pytest.mark.parametrize(
    "drift", [pytest.param(0.25, id="getting-slower"), pytest.param(-0.03125, id="getting-faster")]
)
def test_drift_cancels(graded, drift):
    """A machine that drifts steadily makes two equal functions look equal."""

    def cost(turn: int, place: int) -> float:
        return 8.0 + drift * (4 * turn + place)

    found, _ = play(graded, cost, cost, rounds=32)
    check_close(
        [found.ratio, found.low, found.high],
        [1.0, 1.0, 1.0],
        ROUNDING,
        breaks="a drift that is steady over a round falls on a and b alike",
        likely="the order a b a b favours a, or the first pair of each round alone was compared",
    )


def test_slow_rounds_cancel(graded):
    """What slows down a whole round does not widen the interval."""
    pace = np.random.default_rng(2).integers(1, 50, 20)
    found, _ = play(graded, lambda r, _: float(pace[r]), lambda r, _: 0.75 * float(pace[r]), rounds=20)
    check_close(
        [found.ratio, found.low, found.high],
        [0.75] * 3,
        ROUNDING,
        breaks="each round gives a ratio of its own, from which the pace of the round has gone",
        likely="times of a and b were summed or resampled apart: then slow rounds decide",
    )


@pytest.mark.parametrize(
    ("ratios", "at_most", "want"),
    [
        pytest.param([0.75] * 20, 1.0, "pass", id="faster"),
        pytest.param([1.25] * 20, 1.0, "fail", id="slower"),
        pytest.param([0.75] * 20, 0.75, "pass", id="exactly-the-bar"),
        pytest.param([0.75] * 20, 0.5, "fail", id="faster-but-not-enough"),
        pytest.param([1.25] * 20, 1.5, "pass", id="slower-but-allowed"),
        pytest.param([0.5, 1.5] * 10, 1.0, "inconclusive", id="half-of-the-rounds-each-way"),
        pytest.param([0.5, 0.9, 1.5] * 5, 1.0, "inconclusive", id="median-below-interval-across"),
        pytest.param([0.5, 1.1, 1.5] * 5, 1.0, "inconclusive", id="median-above-interval-across"),
    ],
)
def test_verdict(graded, ratios, at_most, want):
    """The whole interval decides; one that straddles the bar is inconclusive."""
    found, _ = play(graded, always(1.0), lambda r, _: ratios[r], rounds=len(ratios), at_most=at_most)
    check_equal(
        found.verdict,
        want,
        breaks="pass where high <= at_most, fail where low > at_most, else inconclusive",
        likely="the median alone decided, which calls noise a result",
    )


def test_outlier(graded):
    """One call that something else interrupted changes little."""
    found, _ = play(graded, always(1.0), lambda r, place: 512.0 if (r, place) == (7, 1) else 0.75, rounds=21)
    check_close(
        [found.ratio, found.high],
        [0.75, 0.75],
        ROUNDING,
        breaks="the median over rounds, and the medians of the resamples, do not follow one outlier",
        likely="a mean: of the ratios, of the times, or of the resamples",
    )


def test_interval(graded):
    """The interval holds 95 % of the resampled medians: not less, and not all."""
    ratios = noise(31)
    found, _ = play(graded, always(1.0), lambda r, _: float(ratios[r]), rounds=31)
    ordered = np.sort(ratios)
    # A resample's median lies at or below the k-th of 31 ratios with P(Binomial(31, k / 31) >= 16): 0.7 % for k = 9,
    # 2.0 % for 10, 4.8 % for 11, 18 % for 13. So the 2.5 % point is the 11th; two ranks either way for the resampling.
    check(
        ordered[8] <= found.low <= ordered[12] and ordered[18] <= found.high <= ordered[22],
        breaks="low and high are the 2.5 % and 97.5 % points of the medians of the resamples",
        expected=f"low in {ordered[8]:.3f} to {ordered[12]:.3f}, high in {ordered[18]:.3f} to {ordered[22]:.3f}",
        got=[found.low, found.high],
        likely="the spread of the rounds themselves, or of single draws, was taken for that of their median",
    )
    check_close(found.ratio, float(np.median(ratios)), ROUNDING, breaks="the ratio is the median of the rounds")


def test_same_seed(graded):
    """The same seed gives the same interval."""
    # 15 rounds: the 2.5 % point falls between two of them, so another generator lands now here, now there
    ratios = noise(15)
    found = [play(graded, always(1.0), lambda r, _: float(ratios[r]), rounds=15, seed=3)[0] for _ in range(24)]
    check_equal(
        {(one.low, one.high) for one in found},
        {(found[0].low, found[0].high)},
        breaks="24 comparisons of the same times with the same seed give one interval",
        likely="the generator was made without the seed",
    )


@pytest.mark.parametrize("rounds", [pytest.param(0, id="none"), pytest.param(-1, id="minus-one")])
def test_refusals(graded, rounds):
    """Fewer than one round is refused."""
    check_raises(
        ValueError,
        lambda: graded(lambda: None, lambda: None, rounds=rounds, clock=FakeClock()),
        breaks="rounds < 1 raises ValueError",
        likely="the median of nothing is NaN",
    )
