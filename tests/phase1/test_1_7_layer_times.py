"""1.7: the bottleneck table of a network, from hooks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.grader.checks import check, check_equal, check_raises
from tests.phase1.fakes import FakeClock

pytestmark = pytest.mark.exercise("1.7")

PICTURE = torch.zeros(1, 3, 4, 4)


class Work(nn.Module):
    """A layer that takes the given seconds, call by call, and remembers whether gradients were on."""

    def __init__(self, clock: FakeClock, *seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds, self.gradients = clock, seconds, []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.clock.advance(self.seconds[len(self.gradients) % len(self.seconds)])
        self.gradients.append(torch.is_grad_enabled())
        return x


class Block(nn.Module):
    """A container with two layers, work of its own between them, and a layer that it never calls."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.conv, self.act, self.unused = Work(clock, 0.5), Work(clock, 0.25), Work(clock, 8.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        self.clock.advance(2.0)
        return self.act(x)


class Fails(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("this layer fails")


class Thrice(nn.Module):
    """Calls the same layer three times, which takes another time each time."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.shared = Work(clock, 1.0, 0.5, 0.25)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shared(self.shared(self.shared(x)))


def fields(rows) -> list[tuple[str, str, int, float]]:
    return [(row.name, row.kind, row.calls, row.seconds) for row in rows]


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_rows(graded):
    """Every layer has a row with its path, class, calls and seconds; containers have none."""
    clock = FakeClock()
    model = nn.Sequential(Work(clock, 1.0), nn.Sequential(Block(clock), Work(clock, 0.125)))
    check_equal(
        fields(graded(model, PICTURE, clock=clock)),
        [("0", "Work", 1, 1.0), ("1.0.conv", "Work", 1, 0.5), ("1.0.act", "Work", 1, 0.25), ("1.1", "Work", 1, 0.125)],
        breaks="one row per module without children that ran, with its own time",
        likely="containers were counted too (their time is that of their layers once more), or unused layers were",
    )


@pytest.mark.parametrize(
    ("seconds", "want"),
    [
        pytest.param([0.25, 1.0, 0.5], ["1", "2", "0"], id="slowest-first"),
        pytest.param([0.5, 0.5, 1.0, 0.5], ["2", "0", "1", "3"], id="equals-in-the-order-of-first-call"),
        pytest.param([0.5] * 12, [str(index) for index in range(12)], id="all-equal"),
    ],
)
def test_order(graded, seconds, want):
    """The slowest layer stands first, equals in the order of their first call."""
    clock = FakeClock()
    model = nn.Sequential(*(Work(clock, cost) for cost in seconds))
    check_equal(
        [row.name for row in graded(model, PICTURE, clock=clock)],
        want,
        breaks="the slowest layer first, equals in the order of first call",
        likely="sorted upwards, or reverse=True on a sort by (seconds, name)",
    )


def test_several_calls(graded):
    """The times of a layer that is called several times add up."""
    clock = FakeClock()
    check_equal(
        fields(graded(Thrice(clock), PICTURE, clock=clock)),
        [("shared", "Work", 3, 1.75)],
        breaks="three calls of 1, 0.5 and 0.25 s are one row with 3 calls and 1.75 s",
        likely="the last call replaced the ones before",
    )


def test_single_layer(graded):
    """A model without children is its own layer, named by its class."""
    clock = FakeClock()
    check_equal(
        fields(graded(Work(clock, 0.5), PICTURE, clock=clock)),
        [("Work", "Work", 1, 0.5)],
        breaks="a model without children has one row with the name of its class",
        likely="its path in itself is the empty string",
    )


def test_one_pass_without_gradients(graded):
    """The model runs once, without gradients, as it does in use."""
    clock = FakeClock()
    layer = Work(clock, 0.5)
    graded(nn.Sequential(layer), PICTURE, clock=clock)
    check_equal(len(layer.gradients), 1, breaks="one forward pass", likely="a second pass doubles calls and times")
    check(
        not layer.gradients[0],
        breaks="no gradients are recorded",
        likely="torch.inference_mode() or torch.no_grad() is missing: autograd keeps every activation and costs time",
    )


@pytest.mark.parametrize("fails", [pytest.param(False, id="after-a-pass"), pytest.param(True, id="after-an-error")])
def test_hooks_are_removed(graded, fails):
    """No hook is left behind, even when the pass raises."""
    clock = FakeClock()
    model = nn.Sequential(Work(clock, 0.5), Fails() if fails else Work(clock, 0.5))
    if fails:
        check_raises(
            RuntimeError,
            lambda: graded(model, PICTURE, clock=clock),
            says="this layer fails",
            breaks="an error of the model reaches the caller",
        )
    else:
        check_equal(len(graded(model, PICTURE, clock=clock)), 2, breaks="two layers have two rows")
    check_equal(
        hooks(model),
        0,
        breaks="the model has as many hooks as before",
        likely="handle.remove() is missing, or not in a finally block",
    )


def test_hooks_of_others_stay(graded):
    """Hooks that were there before stay and are called."""
    clock = FakeClock()
    layer, heard = Work(clock, 0.5), []
    layer.register_forward_hook(lambda *_: heard.append(1))
    graded(nn.Sequential(layer, Work(clock, 0.5)), PICTURE, clock=clock)
    layer(PICTURE)
    check_equal(
        len(heard),
        2,
        breaks="a hook that somebody else registered is called in the pass and afterwards",
        likely="all hooks of the layer were cleared, instead of the own handles removed",
    )
