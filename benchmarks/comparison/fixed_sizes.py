"""An ONNX graph whose sizes are known but for the batch: what engines and TensorFlow want to plan ahead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from solutions.core.errors import ModelLoadError
from solutions.phase1_basics.runtimes.feeds import one_line


def fix_sizes(graph: Path, feeds: Mapping[str, np.ndarray], out: Path) -> Path:
    """Write the graph with the sizes of `feeds` in place of free ones, the first axis excepted; `out` comes back.

    Raises:
        ModelLoadError: these sizes do not fit the graph.
    """
    model = onnx.load(graph)
    for value in model.graph.input:
        for place, axis in enumerate(value.type.tensor_type.shape.dim):
            if place and value.name in feeds and not axis.dim_value:
                axis.dim_value = feeds[value.name].shape[place]
    for value in model.graph.output:
        for axis in list(value.type.tensor_type.shape.dim)[1:]:
            axis.ClearField("dim_param")  # it was named after the free sizes, and follows from the fixed ones now
    del model.graph.value_info[:]
    try:
        made = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.save(made, str(out))
    except Exception as error:  # onnx's InferenceError, and protobuf's own for files over 2 GB
        raise ModelLoadError(f"{graph.name} does not take these sizes: {one_line(error)}") from error
    return out
