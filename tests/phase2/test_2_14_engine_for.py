"""2.14: engines are built once and used again, where they fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from solutions.core.classroom.graph_values import Engine, Wish
from tests.grader.checks import check, check_equal, check_raises

pytestmark = pytest.mark.exercise("2.14")

KEY = {"model": "3f9c", "precision": "f16", "device": "SM89", "version": "10.8"}
HERE = Wish(**KEY, shape=(1, 3, 64, 64))


def wish(batch: int = 1, side: int = 64, **other: str) -> Wish:
    return Wish(**{**KEY, **other}, shape=(batch, 3, side, side))


def engine(number: int, batches: tuple[int, int] = (1, 4), sides: tuple[int, int] = (64, 64), **other: str) -> Engine:
    """An engine for these batches and sizes; the number tells it from others."""
    ends = [(batches[end], 3, sides[end], sides[end]) for end in (0, 1)]
    return Engine(**{**KEY, **other}, least=ends[0], most=ends[1], plan=number)


class Builder:
    """Builds for the batch sizes up to the next multiple of 4, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Wish] = []

    def __call__(self, wanted: Wish) -> Engine:
        self.asked.append(wanted)
        most = -(-wanted.shape[0] // 4) * 4
        rest = wanted.shape[1:]
        return Engine(
            wanted.model, wanted.precision, wanted.device, wanted.version, (most - 3, *rest), (most, *rest),
            plan=100 + len(self.asked),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("batches", "builds"),
    [
        pytest.param([1, 1, 1], 1, id="the-same"),
        pytest.param([1, 4, 3, 2], 1, id="within-one-profile"),
        pytest.param([4, 5], 2, id="one-beyond"),
        pytest.param([5, 4], 2, id="one-below"),
        pytest.param([1, 5, 9, 1, 8, 12, 2], 3, id="three-profiles-in-turn"),
    ],
)
def test_builds(graded, batches, builds):
    """An engine is built once per profile, and every wish gets one that takes its shape."""
    stored, builder = [], Builder()
    for batch in batches:
        found = graded(wish(batch), stored, builder)
        check(
            found.least[0] <= batch <= found.most[0],
            breaks=f"the engine for batch {batch} takes it",
            got=(found.least, found.most),
            likely="an engine was used again for a shape outside of its profile",
        )
    check_equal(
        len(builder.asked),
        builds,
        breaks=f"the batch sizes {batches} need {builds} builds",
        likely="built anew each time, for each shape, or one end of the profile left out",
    )
    check_equal([one.plan for one in sorted(stored, key=lambda one: one.plan)], [*range(101, 101 + builds)],
                breaks="what was built is stored, once")  # fmt: skip


SHAPES = {
    "least": ((2, 3, 64, 64), True),
    "most": ((8, 3, 96, 96), True),
    "between": ((5, 3, 80, 64), True),
    "batch-too-small": ((1, 3, 64, 64), False),
    "batch-too-large": ((9, 3, 64, 64), False),
    "other-channels": ((2, 4, 64, 64), False),
    "too-low": ((2, 3, 63, 64), False),
    "too-wide": ((2, 3, 64, 97), False),
    "fewer-axes": ((2, 3, 64), False),
    "more-axes": ((2, 3, 64, 64, 1), False),
    "one-axis": ((2,), False),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shape(graded, name):
    """A profile takes a shape where it lies between its ends on every axis, both included."""
    shape, fits = SHAPES[name]
    stored, built = [engine(1, (2, 8), (64, 96))], []

    def build(wanted: Wish) -> Engine:
        built.append(wanted)
        return replace(engine(2), least=wanted.shape, most=wanted.shape)

    found = graded(replace(HERE, shape=shape), stored, build)
    check_equal(
        (found.plan, len(built)),
        (1, 0) if fits else (2, 1),
        breaks=f"{shape} is {'taken by' if fits else 'new to'} an engine from (2, 3, 64, 64) to (8, 3, 96, 96)",
        likely="only the batch was looked at, an end was left out, or zip stopped at the shorter shape",
    )


@pytest.mark.parametrize("part", KEY)
def test_key(graded, part):
    """An engine of another model, precision, device or version is not used."""
    stored, builder = [engine(1, **{part: "another"})], Builder()
    found = graded(HERE, stored, builder)
    check_equal(
        (found.plan, builder.asked),
        (101, [HERE]),
        breaks=f"an engine of another {part} is not used, and one for this wish is built",
        likely=f"{part} is no part of what must be the same",
    )
    check_equal(
        [one.plan for one in stored],
        [1, 101],
        breaks=f"the engine of another {part} stays in the store",
        likely="thrown away, though another machine or another wish may need it",
    )


@pytest.mark.parametrize(
    ("numbers", "batch", "want"),
    [
        pytest.param([1, 2, 3], 2, [1, 2, 3], id="the-last-already"),
        pytest.param([1, 9, 3], 2, [1, 9, 3], id="the-last-that-fits"),
        pytest.param([1, 2, 9], 2, [1, 9, 2], id="moved-to-the-end"),
        pytest.param([1, 9, 8], 2, [9, 8, 1], id="from-the-front"),
    ],
)
def test_order_of_use(graded, numbers, batch, want):
    """Of several that fit the one used last is taken, and it goes to the end. (8 and 9 fit no batch of 2.)"""
    stored, builder = [engine(n, (5, 8) if n >= 8 else (1, 4)) for n in numbers], Builder()
    found = graded(wish(batch), stored, builder)
    check_equal(
        (found.plan, [one.plan for one in stored], len(builder.asked)),
        (want[-1], want, 0),
        breaks=f"of the engines {numbers} number {want[-1]} is used, and is the last afterwards",
        likely="the first that fits, or an order of building instead of an order of use",
    )


@pytest.mark.parametrize(
    ("asked", "room", "want", "builds"),
    [
        pytest.param([1, 5, 9], 3, [1, 5, 9], 3, id="all-fit"),
        pytest.param([1, 5, 9, 13], 3, [5, 9, 13], 4, id="the-oldest-goes"),
        pytest.param([1, 5, 9, 1, 13], 3, [9, 1, 13], 4, id="the-one-not-used-goes"),
        pytest.param([1, 5, 1, 5], 1, [5], 4, id="room-for-one"),
        pytest.param([1, 5, 9, 13, 1], 3, [9, 13, 1], 5, id="built-again"),
    ],
)
def test_room(graded, asked, room, want, builds):
    """What was not used for the longest time makes room."""
    stored, builder = [], Builder()
    for batch in asked:
        graded(wish(batch), stored, builder, room=room)
    check_equal(
        ([one.least[0] for one in stored], len(builder.asked)),
        (want, builds),
        breaks=f"asked for batches {asked} with room for {room}, the engines from {want} are left",
        likely="use was not noted, the newest was dropped, or one too many was kept",
    )


@pytest.mark.parametrize("room", [1, 2])
def test_failed_build(graded, room):
    """A build that fails costs no engine that worked."""
    stored = [engine(1, (5, 8)), engine(2, (9, 12))][:room]
    kept = list(stored)

    def fails(wanted: Wish) -> Engine:
        raise MemoryError("out of workspace")

    check_raises(
        MemoryError,
        lambda: graded(HERE, stored, fails, room=room),
        breaks="the error of the build comes through",
        says="workspace",
    )
    check_equal(stored, kept, breaks="after a failed build the store is as it was", likely="room was made beforehand")


@pytest.mark.parametrize(
    "built",
    [
        pytest.param(engine(7, (2, 8)), id="another-shape"),
        pytest.param(engine(7, version="10.9"), id="another-version"),
        pytest.param(engine(7, precision="f32"), id="another-precision"),
    ],
)
def test_wrong_build(graded, built):
    """A build that does not fit the wish is refused and not stored."""
    stored = [engine(1, (5, 8))]
    kept = list(stored)
    check_raises(
        ValueError,
        lambda: graded(HERE, stored, lambda wanted: built),
        breaks="an engine that does not fit its own wish raises ValueError",
        likely="what comes from the builder is trusted",
    )
    check_equal(stored, kept, breaks="and it is not stored")
