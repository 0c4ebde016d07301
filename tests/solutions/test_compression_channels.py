"""Channels that depend on each other go together; what is left is smaller and answers as it should."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.hardware.model_cost import model_cost
from solutions.core.zoo.export import export_detector, load_weights
from solutions.core.zoo.networks import SIZES, CropNet, StreetNet
from solutions.core.zoo.registry import embedded
from solutions.phase2_optimization.compression.channel_trace import trace_channels
from solutions.phase2_optimization.compression.channels import (
    ChannelPruning,
    channel_scores,
    groups_of,
    prune_channels,
    remove_units,
)
from tests.solutions.channel_nets import RandomNet, seeded


@torch.no_grad()
def silence(module, dependencies, units):
    """Zero everything that makes these units: rows of weights, biases, scales and shifts."""
    tensors = dict(module.named_parameters())
    for (name, axis), owners in dependencies.axes.items():
        if name in tensors and ((name, axis) in dependencies.makers or tensors[name].ndim == 1):
            tensors[name].movedim(axis, 0)[torch.from_numpy(np.isin(owners, units))] = 0


def answers(module, *inputs):
    with torch.no_grad():
        found = module.eval()(*inputs)
    return found if isinstance(found, tuple) else (found,)


def check_silent_channels(module, example, chance):
    """Removing channels whose weights are zero changes nothing; how many parameters went, and how many there were."""
    module, example = module.double().eval(), example.double()
    dependencies = trace_channels(module, (example,))
    units = [chance.permutation(group)[: chance.integers(len(group))] for group in groups_of(dependencies)]
    units = np.concatenate(units) if units else np.zeros(0, np.int64)
    silence(module, dependencies, units)
    pruned = remove_units(module, (example,), dependencies, units)
    for want, got in zip(answers(module, example), answers(pruned.module, example), strict=True):
        # Only zeros are left out of sums, so nothing but their order changes: eps x terms x layers is far below this.
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-9 * max(1.0, float(want.abs().max())))
    before, after = pruned.parameters
    assert after < before or not len(units)
    return len(units)


@pytest.mark.parametrize("seed", range(10))
def test_silent_channels_of_generated_networks_go_without_a_trace(seed):
    chance = seeded(seed)
    assert check_silent_channels(RandomNet(chance), torch.randn(2, 3, 16, 16), chance) > 0


@pytest.mark.parametrize(
    ("build", "side"),
    [
        pytest.param(CropNet, 48, id="cropnet-residuals-and-two-heads"),
        pytest.param(lambda: StreetNet(SIZES["small"]), 64, id="streetnet-pyramid"),
        pytest.param(torchvision.models.resnet18, 32, id="resnet18"),
        pytest.param(torchvision.models.mobilenet_v3_small, 32, id="mobilenet_v3_small-depthwise-and-squeeze-excite"),
    ],
)
def test_silent_channels_of_real_networks_go_without_a_trace(build, side):
    chance = seeded()
    assert check_silent_channels(build(), torch.rand(2, 3, side, side), chance) > 10


class Tied(nn.Module):
    """A residual whose sum is concatenated with another branch; the head reads both."""

    def __init__(self):
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.side, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(14, 5, 1)

    def forward(self, x):
        x8 = self.stem(x)
        return self.head(torch.cat((x8 + self.body(x8), self.side(x)), 1))


def test_a_residual_goes_together_and_the_reader_of_a_concatenation_loses_the_right_slice():
    seeded()
    net, example = Tied(), (torch.rand(2, 3, 8, 8),)
    dependencies = trace_channels(net, example)
    groups = groups_of(dependencies)
    assert sorted(map(len, groups)) == [6, 8]
    residual = next(group for group in groups if len(group) == 8)
    pruned = remove_units(net, example, dependencies, residual[[1, 4]])
    kept = [0, 2, 3, 5, 6, 7]
    torch.testing.assert_close(pruned.module.stem.weight, net.stem.weight[kept])
    torch.testing.assert_close(pruned.module.body.weight, net.body.weight[kept][:, kept])
    torch.testing.assert_close(pruned.module.head.weight, net.head.weight[:, [*kept, *range(8, 14)]])
    assert pruned.channels == {"stem.weight": (8, 6), "body.weight": (8, 6)}
    assert (pruned.module.head.in_channels, pruned.module.body.out_channels) == (12, 6)
    assert net.stem.out_channels == 8, "the original is as it was"


class Flat(nn.Module):
    def __init__(self, written_size=None):
        super().__init__()
        self.conv, self.linear, self.size = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 2), written_size

    def forward(self, x):
        x = self.conv(x)
        return self.linear(x.view(-1, self.size) if self.size else x.flatten(1))


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.mid, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 1, groups=4), nn.Conv2d(12, 2, 1)

    def forward(self, x):
        return self.last(self.mid(self.first(x)))


class Twice(nn.Module):
    """The same convolution twice in a row: its inputs are its outputs, and one of them is the answer of `inner`."""

    def __init__(self):
        super().__init__()
        self.first, self.shared, self.last = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x):
        return self.last(self.shared(self.shared(self.first(x))))


def test_flatten_takes_all_elements_of_a_channel():
    net = Flat()
    pruned = prune_channels(net, (torch.rand(2, 3, 8, 8),), ChannelPruning(0.5, round_to=1))
    assert pruned.module.linear.weight.shape == (2, 2 * 36)
    assert pruned.module.linear.in_features == 72


def test_grouped_convolutions_lose_whole_groups():
    pruned = prune_channels(Grouped(), (torch.rand(2, 3, 8, 8),), ChannelPruning(0.5, round_to=1)).module
    assert (pruned.mid.groups, pruned.mid.in_channels, pruned.mid.out_channels) == (2, 4, 6)
    assert pruned.mid.weight.shape == (6, 2, 1, 1)
    assert (pruned.first.out_channels, pruned.last.in_channels) == (4, 6)


def test_a_layer_used_twice_shrinks_on_both_sides_alike():
    pruned = prune_channels(Twice(), (torch.rand(2, 3, 8, 8),), ChannelPruning(0.5, round_to=1)).module
    assert pruned.shared.weight.shape == (3, 3, 1, 1)
    assert (pruned.first.out_channels, pruned.last.in_channels) == (3, 3)


class Stopped(nn.Module):
    """`inner` can be followed; softmax over channels and a mean over channels cannot."""

    def __init__(self, stop):
        super().__init__()
        self.inner, self.outer, self.last, self.stop = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1), stop

    def forward(self, x):
        return self.last(self.stop(self.outer(self.inner(x))))


@pytest.mark.parametrize(
    ("stop", "barrier"),
    [
        pytest.param(lambda x: x.softmax(1), {"softmax": 1}, id="softmax-over-channels"),
        pytest.param(lambda x: x / x.mean(1, keepdim=True), {}, id="mean-over-channels"),
        pytest.param(lambda x: x.unflatten(1, (2, 2)).flatten(1, 2), {"unflatten": 1}, id="channels-cut-in-two"),
        pytest.param(lambda x: x.view(2, 2, 2, 8, 8).transpose(1, 2).reshape(2, 4, 8, 8), {}, id="channel-shuffle"),
    ],
)
def test_what_cannot_be_followed_stays(stop, barrier):
    pruned = prune_channels(Stopped(stop), (torch.rand(2, 3, 8, 8),), ChannelPruning(0.5, round_to=1))
    assert pruned.channels == {"inner.weight": (4, 2)}
    assert pruned.barriers == barrier


def test_a_size_written_into_the_code_is_refused():
    with pytest.raises(ConfigError, match="has a size written into it"):
        prune_channels(Flat(144), (torch.rand(2, 3, 8, 8),), ChannelPruning(0.5, round_to=1))


def test_a_network_that_cannot_be_captured_is_refused():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ModelLoadError, match=r"torch\.export cannot capture"):
        prune_channels(Branching(), (torch.rand(2, 3),), ChannelPruning(0.5))


def test_a_network_without_channels_is_refused():
    with pytest.raises(ConfigError, match="no channel can be judged"):
        prune_channels(nn.ReLU(), (torch.rand(2, 3),), ChannelPruning(0.5))


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        pytest.param(ChannelPruning(0.0), 16, id="nothing"),
        pytest.param(ChannelPruning(0.3, round_to=1), 12, id="floor-of-the-share"),
        pytest.param(ChannelPruning(0.3, round_to=8), 16, id="rounded-up-to-a-block"),
        pytest.param(ChannelPruning(0.5, round_to=8), 8, id="a-whole-block"),
        pytest.param(ChannelPruning(0.99, round_to=1), 1, id="one-stays"),
        pytest.param(ChannelPruning(0.99, round_to=64), 16, id="fewer-than-a-block"),
        pytest.param(ChannelPruning(0.99, scope="global", round_to=1), 1, id="one-stays-globally"),
    ],
)
def test_how_many_stay(settings, kept):
    seeded()
    net = nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, 2, 1))
    assert prune_channels(net, (torch.rand(2, 3, 4, 4),), settings).module[0].out_channels == kept


@pytest.mark.parametrize(
    ("importance", "kept"),
    [
        pytest.param("l1", [0, 2], id="l1-sum-of-sizes"),
        pytest.param("l2", [1, 2], id="l2-one-large-weight-counts-more"),
        pytest.param("bn", [0, 3], id="bn-scale"),
    ],
)
def test_importance(importance, kept):
    net = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    rows = torch.tensor([[1.0, 1, 1, 1], [3, 0, 0, 0], [2, 2, 2, 2], [0.5, 0.5, 0.5, 0.5]])
    scales = torch.tensor([2.0, -0.1, 0.2, -3.0])
    with torch.no_grad():
        net[0].weight.copy_(rows[:, :, None, None])
        net[1].weight.copy_(scales)
    pruned = prune_channels(net, (torch.rand(2, 4, 4, 4),), ChannelPruning(0.5, "group", importance, 1)).module
    torch.testing.assert_close(pruned[0].weight[:, :, 0, 0], rows[kept])
    torch.testing.assert_close(pruned[1].weight, scales[kept])
    assert pruned[1].num_features == 2


def test_global_pruning_takes_more_where_channels_do_nothing():
    """Layer 0 has eight channels that matter alike, layer 2 four that do and four that do not."""
    net = nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 1, 1))
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[2].weight.fill_(1.0)
        net[2].weight[::2] = 0.01
    settings = ChannelPruning(0.25, scope="global", round_to=1)
    pruned = prune_channels(net, (torch.rand(2, 1, 4, 4),), settings).module
    assert (pruned[0].out_channels, pruned[2].out_channels) == (8, 4)


def test_a_unit_is_judged_by_all_weights_that_make_it():
    net, example = Tied(), (torch.rand(2, 3, 8, 8),)
    dependencies = trace_channels(net, example)
    scores = channel_scores(net, dependencies, "l1")
    owners = dependencies.axes["stem.weight", 0]
    made = net.stem.weight.abs().sum((1, 2, 3)) + net.body.weight.abs().sum((1, 2, 3))
    np.testing.assert_allclose(scores[owners], made.detach(), rtol=1e-5)


def test_the_detector_shrinks_in_parameters_operations_and_file(tmp_path):
    shipped = embedded("street-small")
    net = load_weights(StreetNet(SIZES["small"]), shipped.weights)
    pruned = prune_channels(net, (torch.rand(2, 3, 64, 64),), ChannelPruning(0.5))
    path = tmp_path / "half.onnx"
    export_detector(pruned.module, path, labels=("a",) * 5, input_hw=(64, 64))
    full, half = (model_cost(file, {"images": (1, 3, 64, 64)}) for file in (shipped.onnx, path))
    # Half the channels on both sides leave a quarter; the first layer's inputs and the last one's outputs stay.
    assert 0.25 < half.macs / full.macs < 0.35
    assert 0.25 < half.weight_bytes / full.weight_bytes < 0.30
    assert 0.25 < pruned.parameters[1] / pruned.parameters[0] < 0.30
    assert path.stat().st_size < 0.4 * shipped.onnx.stat().st_size


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"share": 1.0}, id="everything"),
        pytest.param({"share": -0.1}, id="negative"),
        pytest.param({"share": 0.5, "round_to": 0}, id="no-block"),
        pytest.param({"share": 0.5, "scope": "layer"}, id="unknown-scope"),
        pytest.param({"share": 0.5, "importance": "l0"}, id="unknown-importance"),
    ],
)
def test_settings_out_of_range(values):
    with pytest.raises(ConfigError, match="got"):
        ChannelPruning(**values)
