"""TensorRT: the engine built (`tensorrt_engine`) and run on the GPU that it was built for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError, PipelineStopped
from solutions.core.tensors import TensorSpec
from solutions.phase1_basics.runtimes.feeds import check_settings, checked_feeds
from solutions.phase1_basics.runtimes.torch_model import choose_device
from solutions.phase2_optimization.compilation.tensorrt_api import logger_of, tensorrt_api
from solutions.phase2_optimization.compilation.tensorrt_engine import EngineConfig, fresh_engine
from solutions.phase2_optimization.compilation.tensorrt_record import (
    EngineRecord,
    present_gpu,
    read_record,
    stale_reasons,
)
from solutions.phase2_optimization.compilation.tensorrt_refusals import Refusal, explain


def compile_here(
    model: str | Path,
    *,
    out: str | Path | None = None,
    threads: int | None = None,
    config: EngineConfig | None = None,
) -> TensorRtModel:
    """The engine of an ONNX file, loaded on the GPU; built unless a fresh one is there.

    Args:
        model: an ONNX file.
        out: the engine file; default beside the model, with the suffix .plan.
        threads: without meaning on a GPU; taken so that all backends are called alike.
        config: how to build; None takes the defaults.

    Raises:
        BackendUnavailable: no TensorRT; or no GPU, in which case the engine was built if it could be.
        ConfigError, ModelLoadError: see `build_engine`.
    """
    plan = Path(out) if out is not None else Path(model).with_suffix(".plan")
    fresh_engine(model, plan, config or EngineConfig())
    if not present_gpu():
        raise BackendUnavailable(f"{plan} was built; it runs on an NVIDIA GPU, and there is none here. Copy it there.")
    return load_engine(plan)


def load_engine(path: Path, *, device: str = "cuda", threads: int | None = None, **options: Any) -> TensorRtModel:
    """A `TensorRtModel` from an engine file and the record beside it.

    Raises:
        BackendUnavailable: no TensorRT, or no GPU.
        ModelLoadError: the engine is damaged, or of another TensorRT or GPU.
        ConfigError: an option that TensorRT does not have here.
    """
    check_settings("TensorRT", threads, options, ())
    record = read_record(path)
    api = tensorrt_api("tensorrt_rtx" if record.kind == "tensorrt-rtx" else "tensorrt")
    on = choose_device("cuda" if device == "auto" else device)
    stale = stale_reasons(record, path, api=api, gpu=present_gpu())
    if stale:
        raise ModelLoadError(f"{path} cannot be used: {'; '.join(stale)}. Build it again.")
    logger, messages = logger_of(api.module)
    messages.take()
    engine = api.module.Runtime(logger).deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise ModelLoadError(f"{path} does not load: {explain([Refusal(text) for text in messages.take()])}")
    return TensorRtModel(engine, record, on, name=path.stem)


class TensorRtModel:
    """An engine on a GPU; satisfies `Model`, and also tells its `record` and the model's `metadata`.

    Args:
        engine: deserialized.
        record: what is known of it.
        device: the GPU.
        name: what people call it.
    """

    format = "tensorrt"

    def __init__(self, engine: Any, record: EngineRecord, device: torch.device, *, name: str) -> None:
        self.name, self.device, self.record = name, str(device), record
        self.inputs: tuple[TensorSpec, ...] = record.inputs
        self.outputs: tuple[TensorSpec, ...] = record.outputs
        self.metadata = dict(record.metadata)
        self._engine, self._context = engine, engine.create_execution_context()
        self._device, self._profile = device, 0
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def predict(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name for one array per input.

        Raises:
            ConfigError: an input is missing, unknown, of the wrong shape or dtype, or outside every profile.
            PipelineStopped: the model was closed.
        """
        if self._context is None:
            raise PipelineStopped(f"{self.name} was closed: load it again to predict")
        arrays = checked_feeds(self.name, self.inputs, feeds)
        with torch.cuda.stream(self._stream):
            self._choose_profile(arrays)
            held = []
            for spec, array in zip(self.inputs, arrays, strict=True):
                tensor = torch.from_numpy(array).to(self._device)
                self._context.set_input_shape(spec.name, tuple(array.shape))
                self._context.set_tensor_address(spec.name, tensor.data_ptr())
                held.append(tensor)
            answers = {}
            for spec in self.outputs:
                shape = tuple(self._context.get_tensor_shape(spec.name))
                answers[spec.name] = torch.empty(shape, dtype=getattr(torch, spec.dtype), device=self._device)
                self._context.set_tensor_address(spec.name, answers[spec.name].data_ptr())
            if not self._context.execute_async_v3(self._stream.cuda_stream):
                raise ConfigError(f"{self.name} failed on the GPU: its log says why")
            self._stream.synchronize()
        return {name: tensor.cpu().numpy() for name, tensor in answers.items()}

    def _choose_profile(self, arrays: list[np.ndarray]) -> None:
        profiles = self.record.profiles
        fits = fitting_profile(self.record, arrays)
        if fits is None:
            ranges = "; ".join(
                ", ".join(f"{name} {shapes.describe()}" for name, shapes in profile.items()) for profile in profiles
            )
            got = ", ".join("x".join(map(str, array.shape)) for array in arrays)
            raise ConfigError(f"{self.name} was built for {ranges}, got {got}: build it for these sizes too.")
        if fits != self._profile:
            self._context.set_optimization_profile_async(fits, self._stream.cuda_stream)
            self._profile = fits

    def close(self) -> None:
        """Free the engine; predict raises afterwards. May be called twice."""
        self._context = self._engine = None


def fitting_profile(record: EngineRecord, arrays: list[np.ndarray]) -> int | None:
    """Index of the first profile that holds the sizes of the inputs; 0 for an engine without free sizes, else None."""
    if not record.profiles:
        return 0
    sizes = {spec.name: array.shape for spec, array in zip(record.inputs, arrays, strict=True)}
    for index, profile in enumerate(record.profiles):
        if all(shapes.holds(sizes[name]) for name, shapes in profile.items()):
            return index
    return None
