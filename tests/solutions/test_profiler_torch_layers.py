"""Times per layer of a torch network: the hooks, which layers they see, and that they go away."""

import pytest
import torch
from torch import nn

from solutions.core.errors import ConfigError
from solutions.phase1_basics.profiling.torch_layers import find_leaves, profile_torch_layers
from tests.solutions.profiler_fakes import FakeClock, Sleeper, picture, small


def test_each_layer_gets_the_time_it_takes_and_the_rest_is_outside():
    clock = FakeClock()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fast, self.slow = Sleeper(clock, 0.001), Sleeper(clock, 0.004)

        def forward(self, x):
            clock.advance(0.002)  # what no module owns
            return self.slow(self.fast(self.slow(x)))

    found = profile_torch_layers(Net(), [torch.zeros(1, 2)], runs=5, clock=clock)
    assert [(layer.name, layer.calls) for layer in found.layers] == [("slow", 2), ("fast", 1)]
    assert [layer.ms for layer in found.layers] == pytest.approx([8.0, 1.0])
    assert found.outside_ms == pytest.approx(2.0)
    assert found.total_ms == pytest.approx(11.0)
    assert sum(found.share(layer) for layer in found.layers) == pytest.approx(9 / 11)
    assert [span.name for span in found.timeline] == ["slow", "fast", "slow"]
    assert [layer.name for layer in found.slowest(1)] == ["slow"]


def test_synchronise_belongs_to_the_layer_that_queued_the_work():
    clock = FakeClock()
    queued = [0.0]

    class Launch(nn.Module):
        def __init__(self, seconds):
            super().__init__()
            self.seconds = seconds

        def forward(self, x):
            queued[0] += self.seconds
            return x

    def wait():
        clock.advance(queued[0])
        queued[0] = 0.0

    net = nn.Sequential(Launch(0.003), Launch(0.005))
    found = profile_torch_layers(net, [torch.zeros(1)], runs=2, synchronize=wait, clock=clock)
    assert [layer.ms for layer in found.layers] == pytest.approx([3.0, 5.0])


def test_warm_up_is_left_out():
    clock = FakeClock()
    layer = Sleeper(clock, 0.001)
    durations = iter([9.0, 9.0, 9.0, 0.001, 0.001])  # costs, two warm-up runs, two timed ones

    class Changing(Sleeper):
        def forward(self, x):
            clock.advance(next(durations))
            return x

    found = profile_torch_layers(nn.Sequential(Changing(clock, 0), layer), [torch.zeros(1)], runs=2, clock=clock)
    assert found.layers[0].ms == pytest.approx(1.0)


def test_a_leaf_is_what_calls_no_other_module():
    attention = nn.Sequential(nn.MultiheadAttention(8, 2, batch_first=True)).eval()

    class Self(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = attention[0]

        def forward(self, x):
            return self.attend(x, x, x, need_weights=False)[0]

    assert list(find_leaves(Self().eval(), [torch.rand(1, 3, 8)])) == ["attend"]


def test_hooks_are_gone_afterwards():
    net = small()
    profile_torch_layers(net, [torch.from_numpy(picture())], runs=1)
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in net.modules())


def test_hooks_are_gone_after_a_failure():
    net = nn.Sequential(nn.Linear(3, 3))
    with pytest.raises(RuntimeError):
        find_leaves(net, [torch.zeros(1, 4)])
    assert not net[0]._forward_hooks


def test_a_single_layer_is_its_own_leaf():
    assert list(find_leaves(nn.Linear(2, 2), [torch.zeros(1, 2)])) == ["Linear"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_runs_as_one_piece_is_refused_in_one_sentence():
    scripted = torch.jit.trace(small(), torch.from_numpy(picture()))
    with pytest.raises(ConfigError, match="runs as one piece"):
        profile_torch_layers(scripted, [torch.from_numpy(picture())], runs=1)


@pytest.mark.parametrize(("runs", "warmup"), [pytest.param(0, 0, id="no-runs"), pytest.param(1, -1, id="no-warmup")])
def test_counts_are_checked(runs, warmup):
    with pytest.raises(ConfigError):
        profile_torch_layers(small(), [torch.from_numpy(picture())], runs=runs, warmup=warmup)
