"""Which head a model needs: what its file says, else what the shapes of its tensors allow."""

from __future__ import annotations

import ast
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.tensors import Model, TensorSpec
from solutions.core.vision.images import PixelFormat
from solutions.phase4_production.video_analysis.heads.base import Head
from solutions.phase4_production.video_analysis.heads.fastestdet import FastestDetHead
from solutions.phase4_production.video_analysis.heads.grid import GridHead
from solutions.phase4_production.video_analysis.heads.ssd import AnchorPlan, SsdHead
from solutions.phase4_production.video_analysis.heads.yolo import (
    Yolov5Head,
    Yolov8Head,
    YoloxDecodedHead,
    YoloxHead,
    anchor_points,
)

HEADS: dict[str, type[Head]] = {
    head.name: head for head in (GridHead, YoloxHead, YoloxDecodedHead, Yolov5Head, Yolov8Head, SsdHead, FastestDetHead)
}


def make_head(model: Model, name: str | None = None, *, labels: Sequence[str] | None = None) -> Head:
    """The head for `model`, with labels, canvas size and pixel format from its file where that tells them.

    Args:
        model: a loaded detector.
        name: one of HEADS; None recognises it.
        labels: class names; default those of the file, else of the head's family.

    Raises:
        ModelLoadError: the head cannot be recognised.
        ConfigError: the name is unknown, or the file's metadata is malformed.
    """
    metadata: Mapping[str, str] = getattr(model, "metadata", {})
    if name is None:
        operators: Collection[str] = getattr(model, "operators", frozenset())
        name = recognise_head(model.inputs, model.outputs, metadata, operators=operators)
    elif name not in HEADS:
        raise ConfigError(f"there is no head {name}. Choose one of: {', '.join(HEADS)}.")
    try:
        settings = _settings(name, metadata)
    except (ValueError, TypeError, KeyError, SyntaxError) as error:
        raise ConfigError(f"the metadata of {model.name} is malformed ({error}). Export the model again.") from error
    if labels is not None:
        settings["labels"] = tuple(labels)
    return HEADS[name](**settings)


def recognise_head(
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    metadata: Mapping[str, str] | None = None,
    *,
    operators: Collection[str] = (),
) -> str:
    """The name of the head that reads this model: by metadata `head`, else by shapes.

    Args:
        inputs: tensors that go in.
        outputs: tensors that come out.
        metadata: key-value facts stored in the file.
        operators: operator types of the graph, where known; "Exp" tells a decoded YOLOX from a raw one.

    Raises:
        ModelLoadError: no head fits, or more than one does; names `--head` and the choices.
    """
    stated = (metadata or {}).get("head")
    if stated in HEADS:
        return stated
    canvas = inputs[0].shape[2:] if len(inputs) == 1 and len(inputs[0].shape) == 4 else ()
    sizes = [spec.shape[1:] for spec in outputs]
    fitting = _candidates(canvas, sizes)
    if "yolox" in fitting and "Exp" in operators:
        fitting[fitting.index("yolox")] = "yolox-decoded"
    if len(fitting) == 1:
        return fitting[0]
    shapes = ", ".join(f"{spec.name} {spec.describe()}" for spec in outputs)
    problem = f"fits more than one head ({', '.join(fitting)})" if fitting else "fits no head known here"
    raise ModelLoadError(f"the output {shapes} {problem}. Name it with --head: {', '.join(HEADS)}.")


def _candidates(canvas: tuple[int | None, ...], sizes: list[tuple[int | None, ...]]) -> list[str]:
    """Heads whose output can have these sizes (batch axis removed) for an input of this height and width."""
    ranks = [len(size) for size in sizes]
    if ranks == [2, 2]:
        return ["ssd"] if sum(size[1] == 4 for size in sizes) == 1 else []
    known = len(canvas) == 2 and None not in canvas
    height, width = (canvas[0] or 0, canvas[1] or 0) if known else (0, 0)
    if ranks == [3]:
        return _grid_candidates(sizes[0], height, width)
    if ranks != [2]:
        return []
    rows, columns = sizes[0]
    if not known:
        return ["yolox", "yolov5", "yolov8"]
    cells = anchor_points((height, width))
    names = []
    if rows == cells and (columns or 6) > 5:
        names.append("yolox")
    if rows == 3 * cells and (columns or 6) > 5:
        names.append("yolov5")
    if columns == cells and (rows or 5) > 4:
        names.append("yolov8")
    return names


def _grid_candidates(size: tuple[int | None, ...], height: int, width: int) -> list[str]:
    """Heads with one [channels, rows, columns] output: told apart by the stride."""
    channels, rows, columns = size
    if channels is None or channels <= 4:
        return []
    if rows is None or columns is None or not height:
        return ["grid", "fastestdet"]
    if (rows * 8, columns * 8) == (height, width):
        return ["grid"]
    if (rows * 16, columns * 16) == (height, width) and channels > 5:
        return ["fastestdet"]
    return []


def _settings(name: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Fields of a Head that the file's metadata states."""
    settings: dict[str, Any] = {}
    if metadata.get("labels"):
        settings["labels"] = tuple(metadata["labels"].split(","))
    elif metadata.get("names"):  # ultralytics writes the repr of {0: 'person', ...}
        names = ast.literal_eval(metadata["names"])
        settings["labels"] = tuple(str(names[key]) for key in sorted(names))
    if metadata.get("input_hw"):
        height, width = (int(part) for part in metadata["input_hw"].split(","))
        settings["input_hw"] = (height, width)
    if metadata.get("pixels"):
        facts = json.loads(metadata["pixels"])
        settings["pixels"] = PixelFormat(facts["rgb"], facts["scale"], tuple(facts["mean"]), tuple(facts["std"]))
    if name == "ssd" and metadata.get("anchors"):
        facts = json.loads(metadata["anchors"])
        settings["plan"] = AnchorPlan(
            scales=tuple(facts["scales"]),
            aspect_ratios=tuple(tuple(ratios) for ratios in facts["aspect_ratios"]),
            feature_hw=tuple((rows, columns) for rows, columns in facts["feature_hw"]),
        )
    return settings
