"""The network is left in eval mode."""

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
        assert was_training in (True, False)
    onnx.save(program.model_proto, path)
