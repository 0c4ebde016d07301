"""Random networks whose channels are tied in every way that pruning has to follow."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def seeded(seed=0):
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


class RandomNet(nn.Module):
    """A network of random layers over random earlier results of the same resolution or half of it."""

    def __init__(self, chance):
        super().__init__()
        self.layers, self.steps = nn.ModuleList(), []
        channels, halvings = [3], [0]
        for _ in range(int(chance.integers(7, 12))):
            kind = chance.choice(["conv", "conv", "add", "cat", "depthwise", "grouped", "gate", "pool", "up"])
            source = int(chance.integers(len(channels)))
            count, level = channels[source], halvings[source]
            other = [
                number
                for number in range(len(channels))
                if halvings[number] == level and (kind == "cat" or channels[number] == count) and number != source
            ]
            if kind in ("add", "cat"):
                if not other:
                    continue
                partner = int(chance.choice(other))
                self.steps.append((kind, source, partner, None))
                count = count + channels[partner] if kind == "cat" else count
            elif kind in ("pool", "up"):
                if (kind == "pool" and level == 2) or (kind == "up" and level == 0):
                    continue
                self.steps.append((kind, source, None, None))
                level += 1 if kind == "pool" else -1
            else:
                layer, made = self._layer(kind, count, chance)
                if layer is None:
                    continue
                self.steps.append((kind, source, None, len(self.layers)))
                self.layers.append(layer)
                count = made
            channels.append(count)
            halvings.append(level)
        self.flat = nn.Linear(channels[-1] * (16 >> halvings[-1]) ** 2, 4)
        self.pooled = nn.Linear(channels[len(channels) // 2], 3)
        for norm in self.modules():  # as a trained network has them
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.normal_(norm.running_mean)
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.normal_(norm.bias)

    @staticmethod
    def _layer(kind, count, chance):
        made = int(chance.choice([4, 6, 8]))
        if kind == "conv":
            bias = bool(chance.integers(2))
            norm = nn.Identity() if bias else nn.BatchNorm2d(made)
            act = chance.choice([nn.ReLU, nn.SiLU, nn.Hardswish, nn.LeakyReLU])
            return nn.Sequential(nn.Conv2d(count, made, 3, padding=1, bias=bias), norm, act()), made
        if kind == "depthwise":
            return nn.Sequential(nn.Conv2d(count, count, 3, padding=1, groups=count), nn.PReLU(count)), count
        if kind == "grouped":
            return (nn.Conv2d(count, 2 * count, 1, groups=2), 2 * count) if count % 2 == 0 else (None, 0)
        hidden = nn.Conv2d(count, 4, 1)
        return nn.Sequential(
            nn.AdaptiveAvgPool2d(1), hidden, nn.ReLU(), nn.Conv2d(4, count, 1), nn.Hardsigmoid()
        ), count

    def forward(self, x):
        made = [x]
        for kind, source, partner, layer in self.steps:
            here = made[source]
            if kind == "add":
                here = functional.relu(here + made[partner])
            elif kind == "cat":
                here = torch.cat((here, made[partner]), 1)
            elif kind == "pool":
                here = functional.max_pool2d(here, 2)
            elif kind == "up":
                here = functional.interpolate(here, scale_factor=2.0, mode="nearest")
            elif kind == "gate":
                here = here * self.layers[layer](here)
            else:
                here = self.layers[layer](here)
            made.append(here)
        return self.flat(made[-1].flatten(1)), self.pooled(made[len(made) // 2].mean((2, 3)))
