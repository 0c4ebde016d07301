"""The weights land in a second file."""

from __future__ import annotations

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
    program.save(path, external_data=True)
