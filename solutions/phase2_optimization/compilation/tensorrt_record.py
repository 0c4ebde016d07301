"""What is to be known about an engine file, in a JSON beside it; and whether that engine may be used here and now.

An engine is machine code for one TensorRT version and kind of GPU. Loaded elsewhere it fails with a number, or works
and is slow; after the model has changed it answers like the old one. The record says all that before it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from solutions.core.errors import ModelLoadError
from solutions.core.scripts import write_json
from solutions.core.tensors import TensorSpec
from solutions.phase2_optimization.compilation.tensorrt_api import TensorRtApi
from solutions.phase2_optimization.compilation.tensorrt_profiles import ShapeRange

SCHEMA = "ml-inference/tensorrt-engine/1"


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """One engine.

    Attributes:
        name: of the model.
        kind: "tensorrt" or "tensorrt-rtx".
        version: of that.
        targets: GPUs it was built for by name, such as "SM89"; empty for the present one, or for all that RTX knows.
        gpu: the present GPU at build time, such as "SM90"; empty when there was none.
        portable: built to run on other GPUs than the present one (hardware compatibility; RTX without targets).
        onnx_sha256: of the graph, its outside weights included.
        plan_sha256: of the engine file.
        inputs: of the graph.
        outputs: of the graph.
        profiles: input -> range, one mapping per profile.
        precision: element type of weights -> number of weighted layers, such as {"float16": 20, "int8": 1}.
        layers: of the parsed network.
        size_bytes: of the engine file.
        build_s: seconds that the build took.
        settings: the rest of what it was built with.
        metadata: facts of the ONNX file, such as labels.
    """

    name: str
    kind: str
    version: str
    targets: tuple[str, ...]
    gpu: str
    portable: bool
    onnx_sha256: str
    plan_sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    profiles: tuple[dict[str, ShapeRange], ...]
    precision: dict[str, int]
    layers: int
    size_bytes: int
    build_s: float
    settings: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The record, ready for JSON."""
        plain = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        plain["inputs"] = [[spec.name, list(spec.shape), spec.dtype] for spec in self.inputs]
        plain["outputs"] = [[spec.name, list(spec.shape), spec.dtype] for spec in self.outputs]
        plain["profiles"] = [
            {name: [list(r.smallest), list(r.usual), list(r.largest)] for name, r in profile.items()}
            for profile in self.profiles
        ]
        return {"schema": SCHEMA, **plain, "targets": list(self.targets)}


def record_path(plan: str | Path) -> Path:
    """Where the record of an engine lies.

    >>> record_path("a/net.plan").name
    'net.plan.json'
    """
    plan = Path(plan)
    return plan.with_name(plan.name + ".json")


def write_record(plan: Path, record: EngineRecord) -> None:
    """Write the record beside its engine."""
    write_json(record_path(plan), record.as_dict())


def read_record(plan: str | Path) -> EngineRecord:
    """The record of an engine.

    Raises:
        ModelLoadError: there is none, or it is damaged.
    """
    path = record_path(plan)
    try:
        stored = json.loads(path.read_text())
        if stored.pop("schema") != SCHEMA:
            raise ValueError("another schema")
        stored["inputs"] = _specs(stored["inputs"])
        stored["outputs"] = _specs(stored["outputs"])
        stored["targets"] = tuple(stored["targets"])
        stored["profiles"] = tuple(
            {name: ShapeRange(*(tuple(shape) for shape in shapes)) for name, shapes in profile.items()}
            for profile in stored["profiles"]
        )
        return EngineRecord(**stored)
    except FileNotFoundError:
        raise ModelLoadError(
            f"{plan} has no {path.name} beside it, so nothing says for which TensorRT and GPU it is: build it again."
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelLoadError(f"{path} is damaged ({type(error).__name__}): build the engine again.") from error


def stale_reasons(
    record: EngineRecord, plan: Path, *, api: TensorRtApi | None, gpu: str, onnx_sha256: str | None = None
) -> list[str]:
    """Why the engine must not be used; empty when it may.

    Args:
        record: what is known of it.
        plan: the file.
        api: the TensorRT that would run it; None leaves that out.
        gpu: the GPU that would run it, such as "SM89"; "" leaves that out.
        onnx_sha256: of the graph as it is now; None leaves that out.
    """
    reasons = []
    if not plan.is_file() or file_sha256(plan) != record.plan_sha256:
        reasons.append("the file is damaged or was replaced")
    if onnx_sha256 is not None and onnx_sha256 != record.onnx_sha256:
        reasons.append("the model has changed since")
    if api is not None and (api.kind, api.version) != (record.kind, record.version):
        built, here = TensorRtApi(api.module, record.kind, record.version).title, api.title
        same_kind = api.kind == record.kind
        if not (
            same_kind and record.settings.get("version_compatible") and api.major >= int(record.version.split(".")[0])
        ):
            reasons.append(f"it was built by {built}, and here is {here}")
    if gpu and record.targets and gpu not in record.targets:
        reasons.append(f"it was built for {', '.join(record.targets)}, and here is {gpu}")
    if gpu and not record.targets and not record.portable and record.gpu and gpu != record.gpu:
        reasons.append(f"it was built on {record.gpu}, and here is {gpu}")
    return reasons


def present_gpu() -> str:
    """The first NVIDIA GPU as TensorRT names its kind, such as "SM89"; "" when there is none that works."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old driver is warned about; here it means: no GPU
        if not torch.cuda.is_available():
            return ""
        major, minor = torch.cuda.get_device_capability()
    return f"SM{major}{minor}"


def file_sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _specs(stored: list[list[Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, tuple(shape), dtype) for name, shape, dtype in stored)
