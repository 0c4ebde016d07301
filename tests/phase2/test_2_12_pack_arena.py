"""2.12: one block of memory for all activations."""

from __future__ import annotations

import numpy as np
import pytest

from solutions.core.classroom.graph_values import Life
from tests.grader.checks import check, check_equal

pytestmark = pytest.mark.exercise("2.12")


def chain(*sizes: int) -> list[Life]:
    """Tensors of a chain: each lives at its own step and at the next."""
    return [Life("abcdefghij"[i], size, i, min(i + 1, len(sizes) - 1)) for i, size in enumerate(sizes)]


def arena(lives: list[Life], places: dict[str, int]) -> int:
    return max((places[life.name] + life.bytes for life in lives), default=0)


def meet(a: Life, b: Life) -> bool:
    """Whether both live at one step."""
    return a.first <= b.last and b.first <= a.last


def by_rule(lives: list[Life], align: int) -> int:
    """Size of the block that the rule makes, by trying one aligned place after the other."""
    placed: list[tuple[Life, int]] = []
    for life in sorted(lives, key=lambda one: (-one.bytes, one.first)):
        place = 0
        while any(meet(life, other) and place < at + other.bytes and at < place + life.bytes for other, at in placed):
            place += align
        placed.append((life, place))
    return max((at + life.bytes for life, at in placed), default=0)


def drawn(seed: int) -> list[Life]:
    """Up to 24 tensors of up to 20 units of 64 bytes, some not a multiple of it."""
    dice = np.random.default_rng(seed)
    lives = []
    for index in range(int(dice.integers(2, 25))):
        first = int(dice.integers(0, 12))
        lives.append(Life(f"t{index}", int(dice.integers(1, 1281)), first, first + int(dice.integers(0, 6))))
    return lives


GRAPHS = [
    pytest.param(chain(640, 1280, 640, 64), id="a-chain"),
    pytest.param(
        [Life("x", 256, 0, 3), Life("a", 512, 1, 2), Life("b", 512, 2, 3), Life("s", 256, 3, 3)], id="a-residual"
    ),
    pytest.param([Life(name, 100, 0, 2) for name in "abcd"], id="all-at-once"),
    pytest.param([Life(name, 100, i, i) for i, name in enumerate("abcd")], id="one-after-the-other"),
    *(pytest.param(drawn(seed), id=f"drawn-{seed}") for seed in range(12)),
]


def laid_out(graded, lives: list[Life], align: int = 64) -> dict[str, int]:
    places = dict(graded(lives, align=align))
    check_equal(sorted(places), sorted(life.name for life in lives), breaks="every tensor has a place")
    return places


@pytest.mark.parametrize("lives", GRAPHS)
def test_no_overlap(graded, lives):
    """Tensors that live at the same time do not share a byte."""
    places = laid_out(graded, lives)
    clashes = [
        (a.name, b.name)
        for index, a in enumerate(lives)
        for b in lives[:index]
        if meet(a, b)
        and places[a.name] < places[b.name] + b.bytes and places[b.name] < places[a.name] + a.bytes
    ]  # fmt: skip
    check_equal(
        clashes,
        [],
        breaks="tensors that live at the same step do not overlap",
        likely="`last` is included: a step needs its inputs while it writes its output",
    )


@pytest.mark.parametrize("align", [1, 64, 256])
@pytest.mark.parametrize("seed", range(4))
def test_aligned(graded, seed, align):
    """Every place is a multiple of the alignment and not below 0."""
    places = laid_out(graded, drawn(seed), align)
    check(
        all(place >= 0 and place % align == 0 for place in places.values()),
        breaks=f"every tensor begins at a multiple of {align}",
        got=list(places.values()),
        likely="the end of the tensor before was taken as it is",
    )


@pytest.mark.parametrize("lives", GRAPHS)
def test_size(graded, lives):
    """The block is as small as placing the largest first makes it."""
    want, found = by_rule(lives, 64), arena(lives, laid_out(graded, lives))
    check_equal(
        found,
        want,
        breaks="largest first, each at the lowest place that is free during its life",
        likely="tensors in the order of the steps, memory that is not used again, or gaps that are left unused",
    )


@pytest.mark.parametrize(
    ("lives", "want"),
    [
        pytest.param(chain(640, 640, 640, 640, 640), 1280, id="two-buffers-in-turn"),
        pytest.param([Life("a", 640, 0, 1), Life("b", 640, 2, 3), Life("c", 64, 0, 3)], 704, id="used-again"),
        # the two large ones leave a gap below the third, which the small one fills
        pytest.param(
            [Life("a", 1280, 0, 1), Life("b", 640, 1, 2), Life("c", 576, 2, 3), Life("d", 64, 2, 4)], 1920, id="a-gap"
        ),
        pytest.param([Life("a", 65, 0, 1), Life("b", 65, 0, 1)], 193, id="a-padding"),
        pytest.param([Life("a", 0, 0, 5), Life("b", 64, 0, 5)], 64, id="no-bytes"),
        pytest.param([], 0, id="no-tensors"),
    ],
)
def test_by_hand(graded, lives, want):
    """Small plans that can be checked on paper."""
    check_equal(
        arena(lives, laid_out(graded, lives)),
        want,
        breaks=f"{len(lives)} tensors fit in {want} bytes",
        likely="memory of dead tensors was not used again, or padding was added where none is needed",
    )


def test_inputs_stay(graded):
    """The tensors that came in keep their order."""
    lives = drawn(3)
    kept = list(lives)
    laid_out(graded, lives)
    check_equal(lives, kept, breaks="the sequence stays as it was", likely="sorted in place")
