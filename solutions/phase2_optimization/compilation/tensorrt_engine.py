"""ONNX -> TensorRT engine: parse, profiles, build, and a record that says what the engine is good for.

One builder for TensorRT 10, 11 and RTX (`tensorrt_api` knows in what they differ). Networks are strongly typed, so
precision is a property of the ONNX file: float32, float16, or symmetric int8 QDQ. With TensorRT-RTX no GPU is needed
to build, only to run.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError
from solutions.phase1_basics.runtimes.onnx import read_checked
from solutions.phase2_optimization.compilation.tensorrt_api import TensorRtApi, logger_of, tensorrt_api
from solutions.phase2_optimization.compilation.tensorrt_graph import (
    graph_sha256,
    own_profile,
    tensor_specs,
    weight_types,
)
from solutions.phase2_optimization.compilation.tensorrt_profiles import Profile, check_profile
from solutions.phase2_optimization.compilation.tensorrt_record import (
    EngineRecord,
    present_gpu,
    read_record,
    record_path,
    stale_reasons,
    write_record,
)
from solutions.phase2_optimization.compilation.tensorrt_refusals import Refusal, explain

_ONE_BUILD = threading.Lock()  # the logger, and with it the messages of a failed build, is one per process


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How to build.

    Attributes:
        profiles: one range per free input each; none lets `batches` and the file's own size decide.
        batches: smallest, usual and largest batch where no profile is given.
        targets: GPUs to build for, such as ("SM80", "SM89"); TensorRT-RTX only. Empty: the present GPU, or with RTX
            and no GPU everything from Ampere on.
        workspace_bytes: what a kernel may use besides activations; None leaves all of the GPU's memory.
        timing_cache: file that keeps measured kernel times between builds; RTX measures none and ignores it.
        version_compatible: run on later TensorRT versions too, somewhat slower.
        hardware_compatible: run on every GPU from Ampere on, somewhat slower; full TensorRT only.
        optimization_level: 0 (quick build) to 5 (search long); None is TensorRT's own 3.
        tf32: let float32 products be cut to 11 bits on tensor cores; twice as fast and no longer exact.
    """

    profiles: tuple[Profile, ...] = ()
    batches: tuple[int, int, int] = (1, 4, 8)
    targets: tuple[str, ...] = ()
    workspace_bytes: int | None = 1 << 30
    timing_cache: Path | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    optimization_level: int | None = None
    tf32: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.batches[0] <= self.batches[1] <= self.batches[2]:
            raise ConfigError(f"batches must be 1 <= smallest <= usual <= largest, got {self.batches}")
        if self.workspace_bytes is not None and self.workspace_bytes < 1:
            raise ConfigError(f"workspace_bytes must be positive, got {self.workspace_bytes}")
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise ConfigError(f"optimization_level must be 0 to 5, got {self.optimization_level}")


def build_engine(
    model: str | Path,
    out: str | Path,
    config: EngineConfig = EngineConfig(),
    *,
    api: TensorRtApi | None = None,
    gpu: str | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> EngineRecord:
    """Write the engine and its record (`out` + ".json"), whole or not at all; the record comes back.

    Args:
        model: an ONNX file; its types and QDQ nodes are the engine's precision.
        out: the engine file.
        config: how.
        api: the TensorRT to use; found by itself unless given.
        gpu: kind of the present GPU, "" for none; found by itself unless given.
        clock: seconds, monotonic.

    Raises:
        BackendUnavailable: no TensorRT, or no GPU where the build needs one.
        ConfigError: a profile, target or place that cannot be used.
        ModelLoadError: TensorRT refuses the graph; the sentence says why and the way out.
    """
    source, plan = Path(model), Path(out)
    if not plan.parent.is_dir():
        raise ConfigError(
            f"{plan} cannot be written: {plan.parent} is not a folder. Create it, or choose another place."
        )
    proto = read_checked(source)
    api = api or tensorrt_api()
    gpu = present_gpu() if gpu is None else gpu
    if not gpu and not api.targets:
        raise BackendUnavailable(
            f"{api.title} builds on the GPU that will run the engine, and there is none here. Build there, or install "
            "TensorRT-RTX, which builds without one."
        )
    inputs, outputs = tensor_specs(proto.graph.input, proto), tensor_specs(proto.graph.output, proto)
    profiles = config.profiles or own_profile(inputs, proto, config.batches)
    for profile in profiles:
        check_profile(inputs, profile)
    started_s = clock()
    with _ONE_BUILD:
        data, layers = _build(api, source, profiles, config, gpu)
    build_s = clock() - started_s
    record = EngineRecord(
        name=source.stem,
        kind=api.kind,
        version=api.version,
        targets=config.targets,
        gpu=gpu,
        portable=config.hardware_compatible or (bool(api.targets) and not config.targets),
        onnx_sha256=graph_sha256(source, proto),
        plan_sha256=hashlib.sha256(data).hexdigest(),
        inputs=inputs,
        outputs=outputs,
        profiles=tuple(dict(profile) for profile in profiles),
        precision=weight_types(proto),
        layers=layers,
        size_bytes=len(data),
        build_s=build_s,
        settings=_settings(config),
        metadata={entry.key: entry.value for entry in proto.metadata_props},
    )
    _write(plan, data)
    write_record(plan, record)
    return record


def fresh_engine(
    model: str | Path, out: str | Path, config: EngineConfig = EngineConfig()
) -> tuple[EngineRecord, bool]:
    """The record of an engine that fits the model, this TensorRT and this GPU; True when it had to be built.

    Raises:
        CourseError: see `build_engine`.
    """
    source, plan = Path(model), Path(out)
    api, gpu = tensorrt_api(), present_gpu()
    if plan.is_file() and record_path(plan).is_file():
        record = read_record(plan)
        now = graph_sha256(source, read_checked(source))
        same_profiles = not config.profiles or record.profiles == tuple(dict(profile) for profile in config.profiles)
        stale = stale_reasons(record, plan, api=api, gpu=gpu, onnx_sha256=now)
        if not stale and same_profiles and record.settings == _settings(config):
            return record, False
    return build_engine(source, plan, config, api=api, gpu=gpu), True


def _build(
    api: TensorRtApi, source: Path, profiles: tuple[Profile, ...], config: EngineConfig, gpu: str
) -> tuple[bytes, int]:
    trt = api.module
    logger, messages = logger_of(trt)
    messages.take()
    builder = trt.Builder(logger)
    network = builder.create_network(api.network_flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(source.read_bytes(), str(source.resolve())):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        refusals = [Refusal(error.desc(), error.node_operator(), error.node_name()) for error in errors]
        raise ModelLoadError(f"{api.title} cannot read {source}: {explain(refusals)}")
    settings = builder.create_builder_config()
    _apply(api, settings, config)
    for profile in profiles:
        native = builder.create_optimization_profile()
        for name, shapes in profile.items():
            native.set_shape(name, shapes.smallest, shapes.usual, shapes.largest)
        if settings.add_optimization_profile(native) < 0:
            raise ConfigError(f"{api.title} refuses a profile: {explain([Refusal(text) for text in messages.take()])}")
    cache = _timing_cache(api, settings, config.timing_cache)
    plan = builder.build_serialized_network(network, settings)
    if plan is None:
        said = [Refusal(text) for text in messages.take()]
        target = ", ".join(config.targets) or gpu or "any GPU"
        raise ModelLoadError(f"{api.title} cannot build {source} for {target}: {explain(said)}")
    if cache is not None and config.timing_cache is not None:
        _write(config.timing_cache, bytes(settings.get_timing_cache().serialize()))
    return bytes(plan), int(network.num_layers)


def _apply(api: TensorRtApi, settings: Any, config: EngineConfig) -> None:
    trt = api.module
    api.set_targets(settings, config.targets)
    if config.workspace_bytes is not None:
        settings.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, config.workspace_bytes)
    if not config.tf32:
        settings.clear_flag(trt.BuilderFlag.TF32)
    if config.version_compatible:
        settings.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if config.hardware_compatible:
        if api.kind != "tensorrt":
            raise ConfigError(f"{api.title} is told its GPUs by name: give targets in place of hardware_compatible.")
        settings.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if config.optimization_level is not None:
        settings.builder_optimization_level = config.optimization_level


def _timing_cache(api: TensorRtApi, settings: Any, path: Path | None) -> Any:
    if path is None or not api.has_timing_cache:
        return None
    kept = path.read_bytes() if path.is_file() else b""
    cache = settings.create_timing_cache(kept)
    # a cache of another GPU or version is refused; kernels are then timed anew, which only costs time
    if cache is None or not settings.set_timing_cache(cache, ignore_mismatch=False):
        cache = settings.create_timing_cache(b"")
        settings.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _settings(config: EngineConfig) -> dict[str, Any]:
    return {
        "workspace_bytes": config.workspace_bytes,
        "version_compatible": config.version_compatible,
        "hardware_compatible": config.hardware_compatible,
        "optimization_level": config.optimization_level,
        "tf32": config.tf32,
        "targets": list(config.targets),
        "batches": list(config.batches),
    }


def _write(path: Path, data: bytes) -> None:
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-") as workshop:
            made = Path(workshop) / path.name
            made.write_bytes(data)
            os.replace(made, path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}. Choose another place.") from error
