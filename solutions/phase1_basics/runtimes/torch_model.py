"""A PyTorch module as a `Model`, whatever kind of file it came from."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from solutions.core.errors import BackendUnavailable, ConfigError, PipelineStopped
from solutions.core.hardware.profile import usable_cores
from solutions.core.tensors import TensorSpec
from solutions.phase1_basics.runtimes.feeds import checked_feeds, one_line, sizes
from solutions.phase1_basics.runtimes.torch_specs import flatten_outputs

Call = Callable[[Any, list[torch.Tensor]], Any]


class TorchModel:
    """A module with names for what goes in and out; satisfies `Model`, and also tells the file's `metadata`.

    Args:
        module: in eval mode and on `device` already.
        name: what people call it.
        format: the kind of file it came from, e.g. "torch-weights".
        device: as `choose_device` gives it.
        inputs: one spec per positional argument of the module.
        outputs: one spec per tensor that it gives, in the order of `flatten_outputs`.
        threads: threads inside one operator. PyTorch has one such number for the whole process, so predict sets it
            where it finds another, and whatever else computes with PyTorch afterwards has it too. None leaves it as it
            is, lowered to the cores that this process may use.
        metadata: facts that came with the weights, such as labels and pixel format.
        call: how the module takes its inputs; default as positional arguments.

    Raises:
        ConfigError: threads is below 1.
    """

    def __init__(
        self,
        module: Any,
        *,
        name: str,
        format: str,
        device: torch.device,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        threads: int | None = None,
        metadata: Mapping[str, str] | None = None,
        call: Call = lambda module, tensors: module(*tensors),
    ) -> None:
        self.name, self.format, self.device = name, format, str(device)
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.metadata = dict(metadata or {})
        self.threads = threads
        self._module, self._device, self._call = module, device, call
        self._stored = {tensor.untyped_storage().data_ptr() for tensor in module.state_dict().values()}
        set_threads(threads)

    @property
    def module(self) -> nn.Module:
        """The module itself, for a profiler: an nn.Module, a ScriptModule, or the GraphModule of an exported program.

        Raises:
            PipelineStopped: the model was closed.
        """
        if self._module is None:
            raise PipelineStopped(f"{self.name} was closed: load it again to predict")
        module: nn.Module = self._module
        return module

    def predict(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name for one array per input.

        Raises:
            ConfigError: an input is missing, unknown, of the wrong shape or dtype, or of a size the module refuses.
            PipelineStopped: the model was closed.
        """
        module = self.module
        arrays = checked_feeds(self.name, self.inputs, feeds)
        if self.threads is not None and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        try:
            with torch.inference_mode():
                # A copy, because a module may write into its input, or hand it back as its output.
                tensors = [torch.from_numpy(array.copy()).to(self._device) for array in arrays]
                values = [value for _, value in flatten_outputs(self._call(module, tensors))]
                if len(values) != len(self.outputs):
                    raise RuntimeError(f"it gave {len(values)} outputs in place of {len(self.outputs)}")
                hosts = [self._on_host(value) for value in values]
        except Exception as error:  # a module raises whatever it likes, AssertionError for an exported program's guards
            raise ConfigError(f"{self.name} cannot run with {sizes(self.inputs, arrays)}: {one_line(error)}") from error
        return {spec.name: host for spec, host in zip(self.outputs, hosts, strict=True)}

    def _on_host(self, value: torch.Tensor) -> np.ndarray:
        """The caller's own C-contiguous array; bfloat16 and the 8-bit floats, which NumPy lacks, become float32."""
        if value.is_floating_point() and value.dtype not in (torch.float16, torch.float32, torch.float64):
            value = value.float()
        host = value.detach().resolve_conj().resolve_neg().cpu().contiguous()
        if host.untyped_storage().data_ptr() in self._stored:  # a stored tensor given as it is
            host = host.clone()
        array: np.ndarray = host.numpy()
        return array

    def close(self) -> None:
        """Free the module; predict raises afterwards. May be called twice."""
        self._module = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def choose_device(device: str) -> torch.device:
    """The torch device behind "auto" (a GPU where there is one, else the CPU), "cpu", "cuda", "cuda:1" or "mps".

    Raises:
        ConfigError: another word.
        BackendUnavailable: the device is not here.
    """
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (":" in device and not (kind == "cuda" and index.isdigit())):
        raise ConfigError(f"device must be auto, cpu, cuda, cuda:N or mps, got {device}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old driver is warned about; here it means: no GPU
        has_cuda = kind in ("auto", "cuda") and torch.cuda.is_available()
        has_mps = kind in ("auto", "mps") and torch.backends.mps.is_available()
    if kind == "auto":
        kind = "cuda" if has_cuda else "mps" if has_mps else "cpu"
    if kind == "cuda" and not has_cuda:
        built = "" if torch.version.cuda else ", and a PyTorch built for it"
        raise BackendUnavailable(
            f"device {device} needs an NVIDIA GPU with a working driver{built}; none is here. Use --device cpu."
        )
    if kind == "mps" and not has_mps:
        raise BackendUnavailable("device mps needs a Mac with an Apple GPU, which this is not. Use --device cpu.")
    if kind == "cuda":
        if int(index or 0) >= torch.cuda.device_count():
            raise BackendUnavailable(
                f"device {device} is not here: the last GPU is cuda:{torch.cuda.device_count() - 1}. Use that."
            )
        return torch.device("cuda", int(index or 0))
    return torch.device(kind)


def set_threads(threads: int | None) -> None:
    """Nothing comes back; set PyTorch's threads per operator, for the whole process (see `TorchModel`)."""
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, got {threads}")
    if threads is None:
        threads = min(torch.get_num_threads(), usable_cores())
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
