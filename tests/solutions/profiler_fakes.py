"""A clock that only work moves, models whose speed is known, and small networks."""

import numpy as np
import torch
from torch import nn

from solutions.core.tensors import TensorSpec


class FakeClock:
    """Time that passes only when something says so."""

    def __init__(self):
        self.now = 50.0

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


class FakeModel:
    """Doubles its input, and takes `first_s` for the first call and `seconds(rows)` for every other."""

    format = "fake"
    device = "cpu"

    def __init__(self, clock, seconds, *, first_s=None, shape=(None, 3), name="fake", metadata=None):
        self.clock, self.seconds, self.first_s, self.name = clock, seconds, first_s, name
        self.inputs = (TensorSpec("x", shape),)
        self.outputs = (TensorSpec("y", shape),)
        self.metadata = metadata or {}
        self.calls = []
        self.closed = False

    def predict(self, feeds):
        rows = feeds["x"].shape[0]
        cold = not self.calls and self.first_s is not None
        self.clock.advance(self.first_s if cold else self.seconds(rows))
        self.calls.append(rows)
        return {"y": 2 * feeds["x"]}

    def close(self):
        self.closed = True


class Sleeper(nn.Module):
    """A layer that takes a known time on the fake clock."""

    def __init__(self, clock, seconds):
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def forward(self, x):
        self.clock.advance(self.seconds)
        return x + 1


class Residual(nn.Module):
    """conv1 -> relu -> conv2 -> + -> relu: the shared relu runs twice, the sum belongs to no module."""

    def __init__(self, channels=4):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.conv2(self.relu(self.conv1(x))) + x)


class Small(nn.Module):
    """A convolution with normalisation, a residual block, a head: what the exporter folds and the runtime fuses."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.block = Residual(4)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.block(self.stem(x)).mean((2, 3)))


def small(seed=0):
    torch.manual_seed(seed)
    return Small().eval()


def picture(batch=1, side=16):
    return np.random.default_rng(0).random((batch, 3, side, side), dtype=np.float32)
