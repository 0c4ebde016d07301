"""The race: which of many candidates is fastest, found with as few measurements as the noise allows.

Candidates enter one after another and meet the leader in a duel of interleaved rounds; who is slower beyond doubt is
out after three. What is left runs a final until the leader is within the tolerance of the best, beyond doubt. Each
round measures both sides right after one another, so what the machine does to one it does to the other, and what
decides is the interval of their ratio.

At three rounds a bootstrap can only draw what it has seen three times over. So the decisions rest on Student's t of the
logarithms of the ratios: an outlier widens the interval, and who would have been thrown out wrongly stays in the race.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from scipy.special import stdtrit

from solutions.core.errors import ConfigError, CourseError
from solutions.phase2_optimization.tuning.standing import Standing, State

Timing = Callable[[], float]

# An interval that spans more than this factor comes from a machine that is busy in bursts as long as a round: rounds
# are not independent then, and three of them that agree prove nothing.
_STEADY = 3.0

_COSTLY_DUEL = 3  # times as many rounds before a costly question is asked


class Entrant(Protocol):
    """A candidate as the race sees it."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def is_costly(self) -> bool:
        """True when `qualify` takes much longer than a duel: so that is only asked who is near beyond doubt."""

    def hopeless(self, best_s: float) -> str:
        """Why it need not even be prepared, given the leader's time in seconds; "" where it may win."""

    def enter(self) -> Timing:
        """Prepare it; each call of what comes back measures it once, in seconds. A CourseError says why not."""

    def qualify(self) -> str:
        """Why it may not win although it is fast; "" where it may."""

    def leave(self) -> None:
        """Free what it holds; it will not be measured again."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How sure the race has to be.

    Attributes:
        tolerance: a candidate that cannot be faster than the leader by more than this share is out. Wider is quicker.
        confidence: of the intervals that decide.
        least_rounds: of a duel.
        duel_rounds: at most; who is undecided then goes into the final.
        final_rounds: at most.
    """

    tolerance: float = 0.02
    confidence: float = 0.98
    least_rounds: int = 3
    duel_rounds: int = 8
    final_rounds: int = 30

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1 or not 0 < self.confidence < 1:
            raise ConfigError(
                f"tolerance must lie in [0, 1) and confidence in (0, 1), got {self.tolerance} and {self.confidence}"
            )
        if not 2 <= self.least_rounds <= self.duel_rounds or self.final_rounds < 1:
            raise ConfigError(
                "a race needs 2 <= least_rounds <= duel_rounds and final_rounds >= 1, got "
                f"{self.least_rounds}, {self.duel_rounds} and {self.final_rounds}"
            )


@dataclass(slots=True)
class _Runner:
    entrant: Entrant
    timing: Timing
    seconds: list[float] = field(default_factory=list)

    def measure(self) -> float:
        self.seconds.append(self.timing())
        return self.seconds[-1]

    def median(self) -> float:
        return float(np.median(self.seconds))

    def out(self, state: State, leader: _Runner, ratio: tuple[float, float, float], reason: str = "") -> Standing:
        self.entrant.leave()
        name, against = self.entrant.name, leader.entrant.name
        middle, low, high = ratio
        why = reason or f"x{middle:.2f} [{low:.2f}, {high:.2f}] the time of {against}"
        return Standing(name, state, tuple(self.seconds), why, against, ratio)


def ratio_interval(ratios: Sequence[float], confidence: float) -> tuple[float, float, float]:
    """Middle, low and high end of what a ratio is, from its rounds: Student's t on logarithms.

    One round tells nothing about its own doubt: the interval is everything.

    >>> [round(value, 3) for value in ratio_interval([1.99, 2.0, 2.01], 0.98)]
    [2.0, 1.96, 2.041]
    """
    logs = np.log(np.asarray(ratios, np.float64))
    middle = float(logs.mean())
    if logs.size < 2:
        return math.exp(middle), 0.0, math.inf
    reach = float(stdtrit(logs.size - 1, (1 + confidence) / 2)) * float(logs.std(ddof=1)) / math.sqrt(logs.size)
    return math.exp(middle), math.exp(middle - reach), math.exp(min(middle + reach, 700.0))


def race(
    entrants: Iterable[Entrant],
    rules: Rules = Rules(),
    *,
    expired: Callable[[], bool] = lambda: False,
    told: Callable[[Standing], object] = lambda standing: None,
) -> tuple[Standing, ...]:
    """What became of each candidate, in the order of entry; at most one is the winner.

    "tied" are those that could not be told from the winner; all of them have been left, the winner has not.

    Args:
        entrants: the likely winners first: they make the others' duels short.
        rules: how sure to be.
        expired: true when the time is over: who has not entered by then is spared, and the leader wins as it stands.
        told: hears of each candidate that is out.
    """
    standings: dict[str, Standing] = {}
    order: list[str] = []
    running: list[_Runner] = []  # the leader is the first

    def note(standing: Standing) -> None:
        standings[standing.name] = standing
        told(standing)

    for entrant in entrants:
        order.append(entrant.name)
        why = entrant.hopeless(running[0].median()) if running else ""
        if running and expired():
            why = "the time was over"
        if why:
            note(Standing(entrant.name, "spared", (), why))
            continue
        try:
            runner = _Runner(entrant, entrant.enter())
        except CourseError as error:
            entrant.leave()
            note(Standing(entrant.name, "unavailable", (), str(error)))
            continue
        _admit(runner, running, rules, note)
    _final(running, rules, expired, note)
    return tuple(standings[name] for name in order)


def _admit(runner: _Runner, running: list[_Runner], rules: Rules, note: Callable[[Standing], None]) -> None:
    """Let a prepared candidate meet the leader, and put it where it belongs."""
    if not running:
        for _ in range(rules.least_rounds):
            runner.measure()
        if why := runner.entrant.qualify():
            note(runner.out("refused", runner, (1.0, 1.0, 1.0), why))
        else:
            running.append(runner)
        return
    leader = running[0]
    middle, low, high = ratio = _duel(leader, runner, rules)
    if low > 1 - rules.tolerance:
        note(runner.out("beaten", leader, ratio))
    elif why := runner.entrant.qualify():
        note(runner.out("refused", leader, ratio, why))
    elif high < 1:
        running[0] = runner
        note(leader.out("beaten", runner, (1 / middle, 1 / high, 1 / low if low else math.inf)))
    else:
        running.insert(0 if middle < 1 else len(running), runner)


def _duel(leader: _Runner, challenger: _Runner, rules: Rules) -> tuple[float, float, float]:
    ratios: list[float] = []
    most = rules.duel_rounds * (_COSTLY_DUEL if challenger.entrant.is_costly else 1)
    while True:
        ratios.append(_round(leader, challenger, len(ratios)))
        _, low, high = interval = ratio_interval(ratios, rules.confidence)
        decided = low > 1 - rules.tolerance or high < 1
        steady = high <= _STEADY * low
        if len(ratios) >= (rules.least_rounds if decided and steady else most):
            return interval


def _round(leader: _Runner, challenger: _Runner, index: int) -> float:
    """Challenger over leader; who goes first takes turns, so a steady drift cancels over two rounds."""
    if index % 2:
        second, first = challenger.measure(), leader.measure()
    else:
        first, second = leader.measure(), challenger.measure()
    return second / first


def _final(running: list[_Runner], rules: Rules, expired: Callable[[], bool], note: Callable[[Standing], None]) -> None:
    """Run all that are left until the leader is within the tolerance of the best; only the winner stays prepared."""
    if not running:
        return
    times: dict[str, list[float]] = {runner.entrant.name: [] for runner in running}
    while len(running) > 1 and not expired():
        turn = len(times[running[0].entrant.name])
        if turn >= rules.final_rounds:
            break
        for runner in running if turn % 2 else reversed(running):
            times[runner.entrant.name].append(runner.measure())
        if turn + 1 < rules.least_rounds:
            continue
        running.sort(key=lambda runner: float(np.median(times[runner.entrant.name])))
        best = times[running[0].entrant.name]
        for runner in running[1:]:
            interval = ratio_interval(np.divide(times[runner.entrant.name], best).tolist(), rules.confidence)
            if interval[1] > 1 - rules.tolerance:
                running.remove(runner)
                state: State = "beaten" if interval[1] > 1 else "tied"
                note(runner.out(state, running[0], interval))
    winner = running[0]
    for runner in running[1:]:
        both = times[runner.entrant.name], times[winner.entrant.name]
        ratios = np.divide(*both) if both[0] else np.array([runner.median() / winner.median()])
        ratio = ratio_interval(ratios.tolist(), rules.confidence)
        note(runner.out("tied", winner, ratio, f"could not be told from {winner.entrant.name}"))
    note(Standing(winner.entrant.name, "winner", tuple(winner.seconds)))
