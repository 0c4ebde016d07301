"""The models that come with the course, and where each lies: facts and files, never running models."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from solutions.core.errors import ConfigError

WEIGHTS = Path(__file__).parent / "weights"
SCORES = WEIGHTS / "held_out.json"
TIERS = ("small", "medium", "large")
DETECTORS = tuple(f"street-{tier}" for tier in TIERS)
CLASSIFIER = "street-classifier"


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """One embedded model.

    Attributes:
        name: what users type.
        task: "detect" or "classify".
        onnx: the graph, free in batch (and, for detectors, in size).
        weights: the torch state dict it was made from, in float16.
        held_out: its scores on seeds it never saw, as measured by the training recipe; fractions of 1.
    """

    name: str
    task: str
    onnx: Path
    weights: Path
    held_out: dict[str, float]


def embedded_names() -> tuple[str, ...]:
    """The names that `embedded` knows."""
    return (*DETECTORS, CLASSIFIER)


def embedded(name: str) -> ZooEntry:
    """The embedded model of that name.

    Raises:
        ConfigError: the name is unknown.
    """
    if name not in embedded_names():
        raise ConfigError(f"{name} is not an embedded model. Known: {', '.join(embedded_names())}.")
    scores = json.loads(SCORES.read_text()) if SCORES.exists() else {}
    task = "detect" if name in DETECTORS else "classify"
    return ZooEntry(name, task, WEIGHTS / f"{name}.onnx", WEIGHTS / f"{name}.pt", scores.get(name, {}))


def cache_folder() -> Path:
    """Where downloads, exports and rendered pictures go: $MLI_CACHE, else the user's cache folder. Not created."""
    named = os.environ.get("MLI_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ml-inference"
