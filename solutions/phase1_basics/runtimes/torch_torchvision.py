"""Torchvision's networks: found by the names of their weights, built to the number of classes that the weights have."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

import torch
import torchvision
from torch import nn

from solutions.core.tensors import TensorSpec
from solutions.core.vision.images import PixelFormat
from solutions.core.zoo.external import DETECTORS, classifier_facts, ssd_recipe
from solutions.phase1_basics.runtimes.torch_meta import Shapes, module_shapes, on_meta
from solutions.phase1_basics.runtimes.torch_specs import probe_outputs

# A name that only this family has -> the names of the family. The first that fits counts.
_FAMILIES = (
    ("backbone.features.0.0.0.weight", r"ssdlite320_mobilenet_v3_large"),
    ("classifier.low_classifier.weight", r"lraspp_.*"),
    ("backbone.layer1.0.conv1.weight", r"(fcn|deeplabv3)_resnet\d+"),
    ("backbone.1.block.0.0.weight", r"deeplabv3_mobilenet.*"),
    ("layer1.0.conv1.weight", r"(wide_)?(resnet|resnext)\d+.*"),
    ("features.denseblock1.denselayer1.conv1.weight", r"densenet\d+"),
    ("Mixed_5b.branch1x1.conv.weight", r"inception_v3"),
    ("inception3a.branch1.conv.weight", r"googlenet"),
    ("trunk_output.block1.block1-0.proj.0.weight", r"regnet_.*"),
    ("stage2.0.branch1.0.weight", r"shufflenet_v2_.*"),
    ("encoder.pos_embedding", r"vit_.*"),
    ("features.1.0.attn.relative_coords_table", r"swin_v2_.*"),
    ("features.1.0.attn.relative_position_bias_table", r"swin_[^v].*"),
    ("blocks.0.layers.0.layers.MBconv.layers.conv_a.0.weight", r"maxvit_.*"),
    ("features.1.0.layer_scale", r"convnext_.*"),
    ("features.3.squeeze.weight", r"squeezenet.*"),
    ("features.1.0.block.0.0.weight", r"efficientnet_.*"),
    ("features.1.block.0.0.weight", r"mobilenet_v3_.*"),
    ("features.1.conv.0.0.weight", r"mobilenet_v2"),
    ("layers.8.0.layers.0.weight", r"mnasnet.*"),
    ("classifier.6.weight", r"alexnet|vgg\d+(_bn)?"),
)
_NOT_LEARNED = (
    "running_mean",
    "running_var",
    "num_batches_tracked",
    "relative_position_index",
    "relative_coords_table",
)
_META = torch.device("meta")


@cache
def torchvision_names() -> tuple[str, ...]:
    """All classifiers and segmenters of the installed torchvision, and the detectors that the course uses."""
    models = torchvision.models
    return (*models.list_models(module=models), *models.list_models(module=models.segmentation), *DETECTORS)


def torchvision_candidates(shapes: Shapes) -> list[str]:
    """The names whose family has these weights, those with the most similar number of parameters first."""
    family = next((pattern for marker, pattern in _FAMILIES if marker in shapes), None)
    if family is None:
        return []
    count = sum(math.prod(shape) for name, shape in shapes.items() if not name.endswith(_NOT_LEARNED))
    names = [name for name in torchvision_names() if re.fullmatch(family, name)]
    return sorted(names, key=lambda name: abs(_weights(name).meta["num_params"] - count))


def build_torchvision(name: str, shapes: Shapes) -> nn.Module:
    """The network on the meta device, in eval mode, with as many classes as the weights show.

    Where the weights do not fit it at all, it comes with torchvision's own number of classes.
    """
    options = _options(name, shapes)
    module = _make(name, options)
    classes = _stored_classes(module, shapes, len(_weights(name).meta["categories"]))
    return module if classes is None else _make(name, {**options, "num_classes": classes})


def describe_torchvision(
    name: str, module: nn.Module
) -> tuple[nn.Module, tuple[TensorSpec, ...], tuple[TensorSpec, ...], dict[str, str]]:
    """Module, inputs, outputs and facts of what `build_torchvision` made, as the course's ONNX exports have them.

    The module is the same one, but for detectors: theirs ends before decoding and NMS.
    """
    weights = _weights(name)
    if name in _classifiers():
        facts = classifier_facts(weights)
        side = getattr(module, "image_size", None)  # of a ViT: its position embeddings are made for one size
        if side is not None:
            facts["input_hw"] = f"{side},{side}"
        images = TensorSpec("images", (None, 3, *_input_hw(facts)))
        classes: int | None = list(module.parameters())[-1].shape[0]  # in every family the last layer is the head
        outputs: tuple[TensorSpec, ...] = (TensorSpec("logits", (None, classes)),)
    elif name in DETECTORS:
        with on_meta():
            recipe = ssd_recipe(module, weights.meta["categories"])
        module, facts = recipe.module, dict(recipe.facts)
        images = TensorSpec("images", (None, 3, *recipe.input_hw))
        found = probe_outputs(lambda tensors: module(*tensors), (images,), _META)
        outputs = tuple(TensorSpec(name, spec.shape) for name, spec in zip(recipe.outputs, found, strict=True))
        classes = outputs[-1].shape[-1]
    else:
        facts = _segmenter_facts(weights)
        images = TensorSpec("images", (None, 3, None, None))
        outputs = probe_outputs(lambda tensors: module(*tensors), (images,), _META)
        classes = outputs[0].shape[1]
    if classes != facts["labels"].count(",") + 1:  # a fine-tuned head: its classes have names we do not know
        del facts["labels"]
    return module, (images,), outputs, facts


def _input_hw(facts: Mapping[str, str]) -> tuple[int, int]:
    height, width = facts["input_hw"].split(",")
    return int(height), int(width)


def _segmenter_facts(weights: Any) -> dict[str, str]:
    preset = weights.transforms()
    side = int(preset.resize_size[0])
    pixels = PixelFormat(rgb=True, scale=1 / 255, mean=tuple(preset.mean), std=tuple(preset.std))
    labels = ",".join(label.replace(",", ";") for label in weights.meta["categories"])
    return {"head": "segmenter", "labels": labels, "pixels": json.dumps(asdict(pixels)), "input_hw": f"{side},{side}"}


def _make(name: str, options: dict[str, Any]) -> nn.Module:
    with on_meta():
        module: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return module.eval()


def _options(name: str, shapes: Shapes) -> dict[str, Any]:
    """What the weights show about how the network was built."""
    if name in ("googlenet", "inception_v3"):
        # transform_input: torchvision sets it for its own weights, from which nearly every such file descends
        has_extra_heads = any(key.startswith(("aux1.", "AuxLogits.")) for key in shapes)
        return {"aux_logits": has_extra_heads, "transform_input": True, "init_weights": False}
    if name.startswith("vit_") and {"encoder.pos_embedding", "conv_proj.weight"} <= shapes.keys():
        patches, patch = shapes["encoder.pos_embedding"][1] - 1, shapes["conv_proj.weight"][-1]
        return {"image_size": max(1, math.isqrt(patches)) * patch}
    if name in DETECTORS:
        return {"weights_backbone": None}
    if name not in _classifiers():
        extra = {} if name.startswith("lraspp") else {"aux_loss": any(key.startswith("aux_") for key in shapes)}
        return {"weights_backbone": None, **extra}
    return {}


def _stored_classes(module: nn.Module, shapes: Shapes, default: int) -> int | None:
    """The number of classes in the weights, where it is another than the `default` that `module` was made for.

    Only last layers change with it, and their first axis is the number of classes, or that times the anchors of a box.
    """
    found = set()
    for name, wanted in module_shapes(module).items():
        stored = shapes.get(name, wanted)
        if stored != wanted and stored and wanted and stored[1:] == wanted[1:] and wanted[0] % default == 0:
            found.add(stored[0] * default / wanted[0])
    return int(found.pop()) if len(found) == 1 and min(found) >= 1 and min(found) % 1 == 0 else None


def _weights(name: str) -> Any:
    return torchvision.models.get_model_weights(name).DEFAULT


@cache
def _classifiers() -> frozenset[str]:
    return frozenset(torchvision.models.list_models(module=torchvision.models))
