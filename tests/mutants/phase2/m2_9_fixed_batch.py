"""The batch of the example is the only one."""

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
            verbose=False,
        )
    finally:
        model.train(was_training)
    onnx.save(program.model_proto, path)
