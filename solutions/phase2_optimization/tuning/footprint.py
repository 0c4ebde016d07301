"""How much memory a candidate needs, measured in a process that does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from solutions.core.measure.memory import peak_rss_during
from solutions.phase2_optimization.tuning.candidates import Candidate

_TIME_LIMIT_S = 300.0
_CALLS = 3
_MODULES = {"onnxruntime": "onnxruntime", "openvino": "openvino"}  # what runs graphs; the others stand on torch


def peak_mb(
    candidate: Candidate, file: Path, feeds: Mapping[str, np.ndarray], loader: Mapping[str, Any] | None = None
) -> float | None:
    """MB (10^6 bytes) that loading and running the candidate adds to a process that has imported its runtime.

    The peak, not what stays: a machine must have it. None where the child process did not end well.
    """
    with tempfile.TemporaryDirectory(prefix="footprint-") as folder:
        np.savez(Path(folder) / "feeds.npz", **dict(feeds))  # type: ignore[arg-type]  # its other keyword is a bool
        order = {
            "candidate": asdict(candidate),
            "file": str(file),
            "feeds": str(Path(folder) / "feeds.npz"),
            "loader": dict(loader or {}),
        }
        command = [sys.executable, "-m", __name__, json.dumps(order)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=True)
            return float(json.loads(done.stdout.splitlines()[-1])["peak_mb"])
        except (OSError, subprocess.SubprocessError, ValueError, LookupError):
            return None


def _child(order: Mapping[str, Any]) -> float:
    candidate = Candidate(**order["candidate"])
    __import__(_MODULES.get(candidate.runtime, "torch"))
    from solutions.phase2_optimization.tuning.loading import load_candidate

    with np.load(order["feeds"], allow_pickle=False) as archive:
        feeds = {name: archive[name] for name in archive.files}
    with peak_rss_during() as peak:
        models = [
            load_candidate(candidate, Path(order["file"]), order["loader"])
            for _ in range(1 if candidate.detail == "throughput" else candidate.streams)
        ]
        for model in models:
            for _ in range(_CALLS):
                model.predict(feeds)
    return peak.growth_mb


if __name__ == "__main__":
    print(json.dumps({"peak_mb": _child(json.loads(sys.argv[1]))}))
