"""What became of the candidates of a race, and what that says of their times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["winner", "tied", "beaten", "refused", "spared", "unavailable"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What became of one candidate.

    Attributes:
        name: of the candidate.
        state: how it ended.
        seconds: its measurements.
        reason: a clause that says why.
        against: the leader that it was measured beside.
        ratio: its time over the leader's: middle, low and high end.
    """

    name: str
    state: State
    seconds: tuple[float, ...] = ()
    reason: str = ""
    against: str = ""
    ratio: tuple[float, float, float] | None = None


def over_winner(standings: Sequence[Standing]) -> dict[str, float]:
    """For everyone who was measured, its time over the winner's, along the chain of who was measured beside whom.

    The medians of two candidates that ran minutes apart say more about the machine than about the candidates.
    """
    by_name = {standing.name: standing for standing in standings}
    found = {standing.name: 1.0 for standing in standings if standing.state == "winner"}

    def follow(name: str, seen: tuple[str, ...]) -> float | None:
        standing = by_name[name]
        if name not in found and standing.ratio and standing.against not in (*seen, name):
            rest = follow(standing.against, (*seen, name))
            if rest is not None:
                found[name] = standing.ratio[0] * rest
        return found.get(name)

    for name in by_name:
        follow(name, ())
    return found
