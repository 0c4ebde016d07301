"""Why int8 won or lost on ONNX Runtime: float and int8 model side by side, kernel by kernel, from its own profile.

Kernels are grouped by what they do: convolutions and matrix products, depthwise convolutions (one input channel each:
little arithmetic per byte), conversions between float and int8, and everything else (activations, pooling, sums). The
sentence names the groups that gained and lost, with their milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from solutions.core.measure.metrics import PairedRatio
from solutions.core.measure.profiling import measure_pair
from solutions.phase1_basics.profiling.layer_table import Layer
from solutions.phase1_basics.profiling.onnx_layers import profile_onnx_layers
from solutions.phase1_basics.runtimes.onnx import OnnxModel

GROUPS = ("convolutions and matrix products", "depthwise convolutions", "conversions", "everything else")
_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "ReorderInput", "ReorderOutput")
_NAMED_KINDS = 3  # of the group that lost most
_WORTH_NAMING = 0.03  # of the float model's time


@dataclass(frozen=True, slots=True)
class Int8Report:
    """The two models' times.

    Attributes:
        ratio: int8 over float, interleaved.
        float_ms: milliseconds by group; those of a profiled run, which is a little slower.
        int8_ms: likewise.
        float_kinds: milliseconds by operator.
        int8_kinds: likewise.
    """

    ratio: PairedRatio
    float_ms: Mapping[str, float]
    int8_ms: Mapping[str, float]
    float_kinds: Mapping[str, float]
    int8_kinds: Mapping[str, float]

    @property
    def lost(self) -> bool:
        """True when int8 is not faster beyond doubt."""
        return self.ratio.high >= 1

    def sentence(self) -> str:
        """What happened and where the time went."""
        ratio = f"x{self.ratio.ratio:.2f} [{self.ratio.low:.2f}, {self.ratio.high:.2f}] of float's time"
        verdict = "lost" if self.ratio.low > 1 else "gained nothing beyond doubt" if self.lost else "won"
        total = sum(self.float_ms.values())
        moved = [group for group in GROUPS if abs(self._change(group)) >= _WORTH_NAMING * total]
        parts = [f"{group} {self.float_ms[group]:.2f} -> {self.int8_ms[group]:.2f} ms" for group in moved]
        text = f"INT8 {verdict} on ONNX Runtime: {ratio}. By its own profile: {'; '.join(parts) or 'nothing moved'}."
        dearest = max(GROUPS, key=self._change)
        if self._change(dearest) < _WORTH_NAMING * total:
            return text
        return f"{text} Most of what is lost lies in {dearest}: {self._kinds(dearest)}."

    def as_dict(self) -> dict[str, Any]:
        """The figures and the sentence, ready for JSON."""
        return {**asdict(self), "ratio": self.ratio.as_dict(), "lost": self.lost, "sentence": self.sentence()}

    def _change(self, group: str) -> float:
        return self.int8_ms[group] - self.float_ms[group]

    def _kinds(self, group: str) -> str:
        """The operators of a group that cost more in the int8 model, dearest first."""
        changes = {
            key.partition("/")[2]: (self.float_kinds.get(key, 0.0), ms)
            for key, ms in self.int8_kinds.items()
            if key.startswith(f"{group}/") and ms > self.float_kinds.get(key, 0.0)
        }
        dearest = sorted(changes.items(), key=lambda item: item[1][0] - item[1][1])[:_NAMED_KINDS]
        return ", ".join(f"{kind} {before:.2f} -> {after:.2f} ms" for kind, (before, after) in dearest)


def explain_int8(
    float_graph: Path, int8_graph: Path, feeds: Mapping[str, np.ndarray], *, rounds: int = 20, runs: int = 10
) -> Int8Report:
    """Both models measured on one thread: their ratio, and their kernels by group.

    Args:
        float_graph: the float model.
        int8_graph: the same, quantized for ONNX Runtime.
        feeds: inputs of one call.
        rounds: of the interleaved ratio.
        runs: of each profile.

    Raises:
        ModelLoadError, ConfigError: a model does not load or run.
    """
    models = [OnnxModel(path, device="cpu", threads=1) for path in (float_graph, int8_graph)]
    try:
        first, second = models
        pair = measure_pair(lambda: first.predict(feeds), lambda: second.predict(feeds), rounds=rounds)
    finally:
        for model in models:
            model.close()
    found = []
    for path in (float_graph, int8_graph):
        depthwise = _depthwise(path)
        layers = profile_onnx_layers(path, feeds, runs=runs, threads=1).layers
        groups, kinds = dict.fromkeys(GROUPS, 0.0), dict[str, float]()
        for layer in layers:
            group = group_of(layer, depthwise)
            groups[group] += layer.ms
            kinds[f"{group}/{layer.kind}"] = kinds.get(f"{group}/{layer.kind}", 0.0) + layer.ms
        found.append((groups, kinds))
    return Int8Report(pair.ratio, found[0][0], found[1][0], found[0][1], found[1][1])


def group_of(layer: Layer, depthwise: frozenset[str]) -> str:
    """The group of a kernel.

    Args:
        layer: of a profile.
        depthwise: names of nodes and weights of depthwise convolutions.
    """
    if layer.kind in _CONVERSIONS:
        return "conversions"
    if "Conv" in layer.kind:
        names = (layer.name, layer.node)
        return "depthwise convolutions" if any(name in depthwise for name in names) else GROUPS[0]
    return GROUPS[0] if "MatMul" in layer.kind or "Gemm" in layer.kind else "everything else"


def _depthwise(path: Path) -> frozenset[str]:
    """What layers of depthwise convolutions may be called: by node, and by module (the weight's name)."""
    names = set()
    for node in onnx.load(path, load_external_data=False).graph.node:
        group = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        if node.op_type == "Conv" and group > 1:
            names |= {node.name, node.input[1].rpartition(".")[0]}
    return frozenset(names - {""})
