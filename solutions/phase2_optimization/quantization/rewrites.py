"""Exact rewritings that integer kernels gain from: the same numbers from fewer, or better placed, nodes."""

from __future__ import annotations

import onnx

from solutions.phase2_optimization.compilation.passes import cascade_pools, fold_focus
from solutions.phase2_optimization.quantization.graph_edits import drop_unused
from solutions.phase2_optimization.quantization.rewrite_head import turn_heads
from solutions.phase2_optimization.quantization.rewrite_maps import double_by_copies
from solutions.phase2_optimization.quantization.rewrite_stem import gather_strides

__all__ = ["double_by_copies", "gather_strides", "rewrite_for_integers", "turn_heads"]


def rewrite_for_integers(model: onnx.ModelProto, *, channels_last: bool = True) -> dict[str, int]:
    """How often each rewriting applied to the prepared model, which is changed in place.

    Args:
        model: float, from `preparation.prepare`.
        channels_last: also those that pay only with ONNX Runtime's channels-last integer kernels.
    """
    counts = {"focus stem": fold_focus.run(model), "pooling cascade": cascade_pools.run(model)}
    drop_unused(model.graph)
    return counts | {
        "gathered strides": gather_strides(model) if channels_last else 0,
        "doubling by copies": double_by_copies(model) if channels_last else 0,
        "channels-last head": turn_heads(model) if channels_last else 0,
    }
