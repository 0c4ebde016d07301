"""Small PyTorch files of every kind for tests, written by PyTorch itself."""

import os
import pickle
import warnings
from pathlib import Path

import torch
import torchvision
from safetensors.torch import save_file
from torch import nn


class Doubling(nn.Module):
    """y = 2 x for float32 [N, 3]; the weight is one stored tensor."""

    def __init__(self):
        super().__init__()
        self.two = nn.Parameter(torch.full((3,), 2.0))

    def forward(self, x):
        return x * self.two


class Payload:
    """Touches `marker` if it is ever unpickled by Python's own rules."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


def network(name: str, **options) -> nn.Module:
    """A torchvision network in eval mode, always with the same random weights."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about initial values
        torch.manual_seed(0)
        return torchvision.models.get_model(name, weights=None, **options).eval()


def save_state(module: nn.Module, path: Path, *, legacy=False) -> Path:
    torch.save(module.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    return path


def save_tensors(module: nn.Module, path: Path, **metadata: str) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, path, metadata=metadata)
    return path


def save_pickle(value, path: Path) -> Path:
    path.write_bytes(pickle.dumps(value))
    return path


def save_script(module: nn.Module, path: Path, example=None, **extra: str) -> Path:
    """Traced where there is an example, else scripted; `extra` travels in the archive."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        module = module.eval()
        made = torch.jit.script(module) if example is None else torch.jit.trace(module, example)
        torch.jit.save(made, str(path), _extra_files=extra)
    return path


def export(module: nn.Module, example: torch.Tensor, **axes):
    """A program with a free batch, and other free axes as `axis2=Dim(...)`."""
    sizes = {0: torch.export.Dim("batch")} | {int(axis.removeprefix("axis")): dim for axis, dim in axes.items()}
    return torch.export.export(module, (example,), dynamic_shapes=(sizes,))


def save_program(module: nn.Module, path: Path, example: torch.Tensor, **extra: str) -> Path:
    torch.export.save(export(module.eval(), example), path, extra_files=extra)
    return path


def _example():
    return torch.rand(2, 3)


DOUBLING = {  # kind of content -> a file of that kind, called "doubling", that doubles float32 [N, 3]
    "torch-weights": lambda folder: save_state(Doubling(), folder / "doubling.pth"),
    "torch-legacy": lambda folder: save_state(Doubling(), folder / "doubling.pt", legacy=True),
    "safetensors": lambda folder: save_tensors(Doubling(), folder / "doubling.safetensors"),
    "pickle": lambda folder: save_pickle(Doubling(), folder / "doubling.pkl"),
    "torchscript": lambda folder: save_script(Doubling(), folder / "doubling.ts", _example()),
    "torch-export": lambda folder: save_program(Doubling(), folder / "doubling.pt2", _example()),
}
WEIGHTS_ONLY = {"arch": Doubling, "input_shape": (None, 3)}
OPTIONS = {  # what load_model must be told about them
    "torch-weights": WEIGHTS_ONLY,
    "torch-legacy": WEIGHTS_ONLY,
    "safetensors": WEIGHTS_ONLY,
    "pickle": {"trust_pickle": True, "input_shape": (None, 3)},
}
