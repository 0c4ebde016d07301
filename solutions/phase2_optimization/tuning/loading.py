"""A candidate from its file, with every setting that decides its speed said aloud.

What is imported here is imported by the process that measures a candidate's memory, too: nothing but its runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from solutions.core.tensors import Model
from solutions.phase2_optimization.compilation.backends import backend
from solutions.phase2_optimization.tuning.candidates import Candidate

# OpenVINO takes bf16 by itself where the CPU has it, so float32 is asked for by name
_PRECISION = {"fp32": "f32", "int8": "f32", "bf16": "bf16", "int8+bf16": "bf16", "fp16": "f16"}


def settings_of(candidate: Candidate) -> dict[str, Any]:
    """The options of its backend, threads apart.

    >>> settings_of(Candidate("openvino", "int8+bf16", detail="latency"))
    {'precision': 'bf16', 'hint': 'latency'}
    """
    if candidate.runtime == "onnxruntime":
        level = "all" if candidate.detail == "ours" else candidate.detail
        # idle threads that spin would take the cores from whoever is measured next
        return {"graph_level": level, "spinning": False}
    if candidate.runtime == "openvino":
        return {"precision": _PRECISION[candidate.precision], "hint": candidate.detail}
    return {}


def load_candidate(candidate: Candidate, file: Path, loader: Mapping[str, Any] | None = None) -> Model:
    """The candidate from the file that it takes, an ONNX graph or a PyTorch file.

    Raises:
        CourseError: it cannot be loaded here.
    """
    if candidate.runtime == "pytorch":
        from solutions.phase1_basics.model_loader import load_model

        return load_model(file, device="cpu", threads=candidate.threads, **dict(loader or {}))
    options = settings_of(candidate)
    if not candidate.takes_graph:
        options["options"] = dict(loader or {})
    return backend(candidate.runtime).compile()(file, threads=candidate.threads, **options)
