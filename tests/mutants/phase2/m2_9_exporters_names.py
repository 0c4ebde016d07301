"""Input and output keep the exporter's names."""

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
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    finally:
        model.train(was_training)
    onnx.save(program.model_proto, path)
