"""The network is traced in the mode that it is in."""

from __future__ import annotations

import onnx
import torch


def export_dynamic(model, picture, path):
    was_training = model.training
    model.train(was_training)
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
    onnx.save(program.model_proto, path)
