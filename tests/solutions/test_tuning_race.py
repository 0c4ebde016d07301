"""The race finds the fastest in noise, measures little, and says of each candidate what became of it.

A fake machine stands for the clock: every measurement is the candidate's true time, times the load of the moment that
all of them share, times noise of its own, now and then doubled by an interruption.
"""

from __future__ import annotations

import numpy as np
import pytest

from solutions.core.errors import BackendUnavailable, ConfigError
from solutions.phase2_optimization.tuning.race import Rules, race, ratio_interval
from solutions.phase2_optimization.tuning.standing import Standing, over_winner

FULL_ROUNDS = 50  # of a sweep that measures every candidate to the end


class Machine:
    """Time that passes only when something is measured."""

    def __init__(self, seed: int, *, noise: float = 0.0, spikes: float = 0.0, drift: float = 0.0) -> None:
        self.random = np.random.default_rng(seed)
        self.noise, self.spikes, self.drift = noise, spikes, drift
        self.measured = 0
        self.level = 0.0

    def run(self, true_s: float) -> float:
        self.measured += 1
        self.level += self.drift * self.random.normal()
        spike = 2.0 if self.random.random() < self.spikes else 1.0
        return true_s * float(np.exp(self.level + self.noise * self.random.normal())) * spike


class Fake:
    """A candidate whose true time is known."""

    def __init__(self, name, true_s, machine, *, refused="", hopeless=0.0, missing=False, costly=False):
        self.name, self.true_s, self.machine = name, true_s, machine
        self.refused, self.least_s, self.missing = refused, hopeless, missing
        self.is_costly = costly
        self.entered = self.left = self.asked = 0

    def hopeless(self, best_s):
        return "too slow by estimate" if self.least_s > best_s else ""

    def enter(self):
        self.entered += 1
        if self.missing:
            raise BackendUnavailable("it is not installed")
        return lambda: self.machine.run(self.true_s)

    def qualify(self):
        self.asked += 1
        return self.refused

    def leave(self):
        self.left += 1


def field(seed: int, machine: Machine) -> list[Fake]:
    """4 to 20 candidates over a factor of 8 in time, in any order; some so close that noise hides the difference."""
    random = np.random.default_rng(seed)
    times = np.exp(random.uniform(0, np.log(8), random.integers(4, 21))) * 1e-3
    times[random.integers(len(times))] = times.min() * random.uniform(1, 1.04)
    return [Fake(f"c{index}", float(true_s), machine) for index, true_s in enumerate(times)]


@pytest.mark.parametrize(
    ("noise", "spikes", "drift", "at_worst"),
    [
        pytest.param(0.01, 0.0, 0.0, 1.05, id="quiet"),
        pytest.param(0.03, 0.02, 0.02, 1.05, id="a-desktop"),
        # each decision is 98 % sure: where neighbours are within the noise, one race in a hundred errs by more
        pytest.param(0.08, 0.05, 0.05, 1.10, id="a-busy-machine"),
    ],
)
def test_the_winner_is_within_5_percent_of_the_best_for_a_third_of_the_work(noise, spikes, drift, at_worst):
    worst, shares = [], []
    for seed in range(200):
        machine = Machine(seed, noise=noise, spikes=spikes, drift=drift)
        fakes = field(seed, machine)
        states = {standing.name: standing.state for standing in race(fakes)}
        winner = next(fake for fake in fakes if states[fake.name] == "winner")
        worst.append(winner.true_s / min(fake.true_s for fake in fakes))
        shares.append(machine.measured / (FULL_ROUNDS * len(fakes)))
    assert np.quantile(worst, 0.99) <= 1.05
    assert max(worst) <= at_worst
    assert np.mean(shares) <= 1 / 3


def test_without_noise_the_best_wins_and_the_rest_is_out_after_three_rounds():
    machine = Machine(0)
    fakes = [Fake(name, true_s, machine) for name, true_s in (("a", 3e-3), ("b", 1e-3), ("c", 2e-3), ("d", 1.5e-3))]
    standings = {standing.name: standing for standing in race(fakes)}
    assert {name: standing.state for name, standing in standings.items()} == {
        "a": "beaten", "b": "winner", "c": "beaten", "d": "beaten",
    }  # fmt: skip
    assert len(standings["c"].seconds) == 3
    assert standings["a"].reason == "x3.00 [3.00, 3.00] the time of b"
    assert [fake.left for fake in fakes] == [1, 0, 1, 1]


def test_a_drifting_machine_does_not_decide():
    """Everything gets slower by 2 % with each measurement, and the one that comes last is the fastest."""
    clock = iter(1.02**step for step in range(10_000))
    machine = Machine(0)
    machine.run = lambda true_s: true_s * next(clock)
    fakes = [Fake("first", 1.1e-3, machine), Fake("second", 1.06e-3, machine), Fake("last", 1e-3, machine)]
    assert [standing.state for standing in race(fakes)] == ["beaten", "beaten", "winner"]


def test_equals_do_not_run_to_the_end():
    machine = Machine(3, noise=0.005)
    standings = race([Fake("a", 1e-3, machine), Fake("b", 1e-3, machine)])
    assert sorted(standing.state for standing in standings) in (["beaten", "winner"], ["tied", "winner"])
    assert machine.measured < 30


def test_who_may_not_win_does_not():
    machine = Machine(0)
    fakes = [
        Fake("float", 2e-3, machine),
        Fake("wrong", 1e-3, machine, refused="its answers are wrong"),
        Fake("slow", 3e-3, machine, refused="never asked"),
    ]
    float_, wrong, slow = race(fakes)
    assert (float_.state, wrong.state, slow.state) == ("winner", "refused", "beaten")
    assert wrong.reason == "its answers are wrong"
    assert fakes[1].left == 1


def test_what_cannot_win_is_not_prepared_and_what_cannot_run_is_named():
    machine = Machine(0)
    fakes = [
        Fake("gone", 1e-3, machine, missing=True),
        Fake("good", 1e-3, machine),
        Fake("costly", 5e-3, machine, hopeless=4e-3),
        Fake("hopeful", 5e-3, machine, hopeless=0.5e-3),
    ]
    standings = race(fakes)
    assert [standing.state for standing in standings] == ["unavailable", "winner", "spared", "beaten"]
    assert standings[0].reason == "it is not installed"
    assert [fake.entered for fake in fakes] == [1, 1, 0, 1]


def test_who_is_costly_to_ask_is_measured_longer_first():
    """8 % slower in 10 % noise: eight rounds cannot tell, and two dozen mostly can."""
    asked = dict.fromkeys((False, True), 0)
    for seed in range(40):
        for costly in asked:
            machine = Machine(seed, noise=0.07)
            fakes = [Fake("a", 1e-3, machine), Fake("b", 1.08e-3, machine, costly=costly)]
            race(fakes)
            asked[costly] += fakes[1].asked
    assert asked[True] < 0.6 * asked[False]


def test_when_the_time_is_over_the_leader_wins():
    machine = Machine(0)
    fakes = [Fake(f"c{index}", 1e-3 * (3 - index), machine) for index in range(3)]
    standings = race(fakes, expired=lambda: machine.measured > 5)
    assert [standing.state for standing in standings] == ["beaten", "winner", "spared"]
    assert standings[2].reason == "the time was over"


def test_nobody_wins_where_nobody_runs():
    machine = Machine(0)
    assert race([]) == ()
    assert [s.state for s in race([Fake("a", 1.0, machine, missing=True)])] == ["unavailable"]


def test_each_end_is_told_once():
    heard = []
    machine = Machine(1, noise=0.05)
    standings = race(field(1, machine), told=heard.append)
    assert sorted(s.name for s in heard) == sorted(s.name for s in standings)


def test_times_follow_the_chain_of_who_was_measured_beside_whom():
    standings = [
        Standing("first", "beaten", ratio=(2.0, 1.9, 2.1), against="second"),
        Standing("slow", "beaten", ratio=(3.0, 2.9, 3.1), against="first"),
        Standing("second", "beaten", ratio=(1.5, 1.4, 1.6), against="winner"),
        Standing("spared", "spared"),
        Standing("winner", "winner"),
    ]
    assert over_winner(standings) == {"first": 3.0, "slow": 9.0, "second": 1.5, "winner": 1.0}
    lost = [
        Standing("a", "tied", ratio=(1.0, 1, 1), against="b"),
        Standing("b", "tied", ratio=(1.0, 1, 1), against="a"),
    ]
    assert over_winner(lost) == {}


def test_one_round_says_nothing_and_outliers_widen():
    assert ratio_interval([2.0], 0.98)[1:] == (0.0, np.inf)
    calm, wild = ratio_interval([1.4, 1.5, 1.45], 0.98), ratio_interval([1.4, 1.5, 4.0], 0.98)
    assert calm[1] > 1 > wild[1]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"tolerance": 1.0}, id="tolerance"),
        pytest.param({"confidence": 0.0}, id="confidence"),
        pytest.param({"least_rounds": 1}, id="rounds-without-doubt"),
        pytest.param({"duel_rounds": 2}, id="duel-shorter-than-its-least"),
        pytest.param({"final_rounds": 0}, id="no-final"),
    ],
)
def test_rules_that_cannot_decide_are_refused(settings):
    with pytest.raises(ConfigError):
        Rules(**settings)
