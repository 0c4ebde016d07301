"""Small torch networks with the structures that quantizers stumble over, for the tests of training for int8."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn
from torch.nn import functional

from solutions.core.zoo.settling import settle_batch_norms


class ResidualNet(nn.Module):
    """In-place ReLU and addition, pooling, dropout, a Linear behind a flatten: `[n, 3, 16, 16]` -> `[n, 10]`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.body = nn.Conv2d(8, 8, 3, padding=1)
        self.body_norm = nn.BatchNorm2d(8)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.relu(self.norm(self.stem(x))))
        y = self.body_norm(self.body(x))
        y += x
        return self.head(self.drop(torch.flatten(self.average(self.relu(y)), 1)))


class PyramidNet(nn.Module):
    """Two scales joined by Resize, Add and Concat, two outputs: `[n, 3, 16, 16]` -> `[n, 4, 8, 8]`, `[n, 4, 4, 4]`."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.side = nn.Conv2d(8, 4, 1)
        self.fine = nn.Conv2d(16, 4, 1)
        self.coarse = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        near = functional.relu(self.down(x))
        far = functional.relu(self.deep(near))
        raised = functional.interpolate(far, scale_factor=2.0, mode="nearest") + near
        joined = torch.cat((raised, self.side(near), functional.relu6(self.side(raised))), 1)
        return self.fine(joined), self.coarse(far)


class MixedNet(nn.Module):
    """What cannot be coded in torch as ONNX Runtime does it, between two layers that can: `[n, 3, 16, 16]` -> `[n, 5]`.

    SiLU and a product with a constant array, a functional convolution, Linear on three axes, attention.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 8, 1)
        self.scale = nn.Parameter(torch.rand(8, 1, 1) + 0.5)
        self.weight = nn.Parameter(torch.randn(8, 8, 1, 1) * 0.3)
        self.project = nn.Linear(8, 24)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(functional.silu(self.first(x))) * self.scale
        rows = functional.conv2d(x, self.weight).flatten(2).transpose(1, 2)
        query, key, value = self.project(rows).chunk(3, -1)
        return self.head((torch.softmax(query @ key.transpose(1, 2), -1) @ value).mean(1))


def seeded(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """A network with random weights and the BatchNorm statistics of `images`, in eval mode."""
    torch.manual_seed(seed)
    net = kind()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.normal_(part.bias, 0, 0.3)
    return settle_batch_norms(net, ((images(32, 500 + number),) for number in range(4)))


def images(count: int, seed: int = 0) -> torch.Tensor:
    """Smooth and noisy pictures, float32 [count, 3, 16, 16] around 0."""
    random = np.random.default_rng(seed)
    smooth = random.normal(0, 1, (count, 3, 4, 4)).repeat(4, 2).repeat(4, 3)
    return torch.from_numpy((smooth + random.normal(0, 0.3, (count, 3, 16, 16))).astype(np.float32))


def run_onnx(model: onnx.ModelProto, x: torch.Tensor, *, optimised: bool = True) -> list[np.ndarray]:
    """The outputs of an ONNX model in ONNX Runtime, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})


def run_torch(module: nn.Module, x: torch.Tensor) -> list[np.ndarray]:
    """The outputs of a module in eval mode."""
    with torch.no_grad():
        outputs = module.eval()(x)
    return [part.numpy() for part in (outputs if isinstance(outputs, tuple) else (outputs,))]
