"""Which layers with weights really became integer kernels: counted in the graph that ONNX Runtime runs.

A QDQ file computes in float wherever the runtime does not recognise a pattern, and then it is slower than the float
file. Nothing says so but the optimised graph.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime

from solutions.core.errors import ModelLoadError
from solutions.phase1_basics.runtimes.feeds import one_line

_INTEGER = ("QLinearConv", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat", "ConvInteger", "MatMulInteger")
_FLOAT = ("Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "MatMul", "FusedMatMul", "Gemm", "FusedGemm")


@dataclass(frozen=True, slots=True)
class FusionCheck:
    """The optimised graph: nodes by operator, and how many layers with weights compute in integers and in float."""

    ops: Mapping[str, int]
    integer: int
    float: int


def check_fusion(path: str | Path) -> FusionCheck:
    """What ONNX Runtime's optimiser makes of a model.

    Raises:
        ModelLoadError: ONNX Runtime cannot load it.
    """
    options = onnxruntime.SessionOptions()
    # One level below the highest: that one only changes layouts, and is tied to this processor.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(target)
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no other base
            raise ModelLoadError(f"{path} does not load in ONNX Runtime: {one_line(error)}") from error
        graph = onnx.load(target, load_external_data=False).graph
    ops = Counter(node.op_type for node in graph.node)
    return FusionCheck(dict(ops), sum(ops[op] for op in _INTEGER), sum(ops[op] for op in _FLOAT))
