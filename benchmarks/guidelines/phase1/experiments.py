"""Experiments behind the figures of phase 1's guidelines that look into files, pictures and networks.

Each function returns values for JSON. Only `layers` depends on the machine. The others are in `timings.py`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.guidelines.phase1.timings import NETWORK, PICTURE, SMALL, loaded
from solutions.core.classroom.anatomy import take_apart
from solutions.core.vision import scenes
from solutions.core.vision.images import crop_batch
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics.profiling.roofline import measure_roofs, torch_threads
from solutions.phase1_basics.profiling.torch_layers import profile_torch_layers


def first_bytes() -> list[dict[str, Any]]:
    """The first 12 bytes of files that could all be named model.pt, and which of the bytes tell what they are."""
    import torch
    from safetensors.torch import save_file

    weights = {"weight": torch.zeros(2, 3)}
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 102530333\n"
    with tempfile.TemporaryDirectory(prefix="first-bytes-") as folder:
        path = Path(folder) / "model.pt"
        makers: dict[str, tuple[Callable[[], object], list[int]]] = {
            "torch.save": (lambda: torch.save(weights, path), [0, 1, 2, 3]),
            "safetensors": (lambda: save_file(weights, path), [7, 8]),
            "ONNX": (lambda: path.write_bytes(embedded(SMALL).onnx.read_bytes()), [0, 1]),
            "a Git LFS pointer": (lambda: path.write_bytes(pointer), []),
            "a web page": (lambda: path.write_bytes(b"<!doctype html>\n<title>Sign in</title>"), []),
        }
        rows = []
        for title, (make, telling) in makers.items():
            make()
            rows.append({"file": title, "bytes": path.read_bytes()[:12].hex(" "), "telling": telling})
    return rows


def wrong_preprocessing(streets: int = 8, instants: int = 3) -> dict[str, Any]:
    """Accuracy of the embedded classifier on crops of synthetic streets, fed rightly and in five wrong ways."""
    size_hw, crop_hw = (360, 640), (48, 48)
    parts, truths = [], []
    for seed in range(streets):
        scene = scenes.StreetScene(900_000 + seed, size_hw=size_hw, traffic=1.2)
        for _ in range(instants):
            scene.advance(5.0)
            pixels, truth = scene.render()
            rows = np.flatnonzero((truth.visible >= 0.5) & scenes.counts(truth, size_hw))
            parts.append(crop_batch(pixels, truth.boxes[rows], crop_hw))
            truths.append(np.stack((truth.class_ids[rows], truth.colour_ids[rows])))
    crops, (classes, colours) = np.concatenate(parts).astype(np.float32), np.concatenate(truths, axis=1)
    mean, std = (255 * np.reshape(rgb, (3, 1, 1)) for rgb in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    fed = {
        "as in training": crops,
        "RGB for BGR": crops[:, ::-1],
        "upside down": crops[:, :, ::-1],
        "NHWC read as NCHW": crops.transpose(0, 2, 3, 1).reshape(crops.shape),
        "divided by 255": crops / 255,
        "ImageNet's mean and std": (crops[:, ::-1] - mean) / std,
    }
    results = []
    with loaded(SMALL) as model:
        for title, tensor in fed.items():
            found = model.predict({model.inputs[0].name: np.ascontiguousarray(tensor, np.float32)})
            kinds, tints = (found[name].argmax(axis=1) for name in ("classes", "colours"))
            results.append(
                {"fed": title, "class": float((kinds == classes).mean()), "colour": float((tints == colours).mean())}
            )
    return {"model": SMALL, "crops": len(crops), "rows": results}


def layers() -> dict[str, Any]:
    """Every layer's time, operations and bytes in one inference, and the two roofs above them; one thread."""
    import torch
    import torchvision

    network = torchvision.models.get_model(NETWORK, weights=None).eval()
    with torch_threads(1):
        found = profile_torch_layers(network, [torch.rand(PICTURE)], runs=10)
        roofs = measure_roofs(threads=1)
    rows = [
        {"name": one.name, "kind": one.kind, "ms": one.ms, "flops": one.cost.flops, "bytes": one.cost.bytes}
        for one in found.layers
    ]
    return {
        "model": NETWORK,
        "total_ms": found.total_ms,
        "outside_ms": found.outside_ms,
        "roofs": {"flops_per_s": roofs.flops_per_s, "bytes_per_s": roofs.bytes_per_s},
        "layers": rows,
    }


def activations() -> dict[str, Any]:
    """Bytes of tensors alive at each step of a network, and of all made so far; arithmetic, nothing is timed."""
    import torch
    import torchvision

    anatomy = take_apart(torchvision.models.get_model(NETWORK, weights=None).eval(), torch.rand(PICTURE))
    steps = anatomy.steps
    last = {name: index for index, step in enumerate(steps) for name in (step.name, *step.reads)}
    last.update(dict.fromkeys(anatomy.outputs, len(steps) - 1))
    alive = [sum(one.bytes for one in steps[: now + 1] if last[one.name] >= now) for now in range(len(steps))]
    made = np.cumsum([step.bytes for step in steps]).tolist()
    return {
        "model": NETWORK,
        "alive_bytes": alive,
        "made_bytes": made,
        "at": steps[int(np.argmax(alive))].name,
        "at_step": int(np.argmax(alive)) + 1,
    }
