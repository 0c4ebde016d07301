"""Models that do not come with the course, as ONNX files: torchvision's by name, anyone's by path.

A name costs one download (into torch's own cache) and one export (10 to 20 s, kept in `cache_folder()`), afterwards
a file lookup. Offline, `random=True` gives the same graph with random weights: right for timing, useless for seeing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solutions.core.errors import ModelLoadError
from solutions.core.zoo.downloads import fetch_weights
from solutions.core.zoo.registry import cache_folder

if TYPE_CHECKING:
    import torch

CLASSIFIERS = (
    "convnext_tiny", "efficientnet_b0", "efficientnet_v2_s", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small",
    "regnet_y_400mf", "resnet18", "resnet50", "shufflenet_v2_x1_0", "squeezenet1_1", "vit_b_16",
)  # fmt: skip
DETECTORS = ("ssdlite320_mobilenet_v3_large",)

# torchvision builds another network with these weights than without (input size, auxiliary heads), so that a file with
# random weights would not stand for the trained one.
_CHANGED_BY_WEIGHTS = ("googlenet", "inception_v3", "vit_h_14")

_ONNX_LIMIT = 2**31  # bytes that one protobuf message may have
_RECIPE = 2  # part of every cache key: raise it when an exported file changes


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one model is exported: the module, its input size, and the facts that travel in the file."""

    module: torch.nn.Module
    input_hw: tuple[int, int]
    outputs: tuple[str, ...]
    facts: dict[str, str]


def external_names() -> tuple[str, ...]:
    """The names that are listed and tested; `external_model` takes torchvision's other classifiers too."""
    return CLASSIFIERS + DETECTORS


def is_external(name: str) -> bool:
    """True when `name` is listed, or is another classifier of the installed torchvision."""
    if name in external_names():
        return True
    import torchvision

    return name not in _CHANGED_BY_WEIGHTS and name in torchvision.models.list_models(module=torchvision.models)


def external_model(name_or_path: str | Path, *, random: bool = False, timeout_s: float = 5.0) -> Path:
    """The ONNX file of a torchvision model; a path to any file is handed back as it is.

    Classifiers take `images` float32 [N, 3, H, W] and give `logits`; ssdlite takes [N, 3, 320, 320] and gives
    `bbox_regression` [N, 3234, 4] and `cls_logits` [N, 3234, 91], decoding and NMS being left to the caller. Labels,
    size and pixel format are in the file's metadata.

    Args:
        name_or_path: a name for which `is_external` holds, or a path.
        random: untrained weights (always the same ones), no network needed.
        timeout_s: how long a first answer from the weights' server may take.

    Raises:
        ModelLoadError: unknown name, or the download is damaged, or the model is too large for one ONNX file.
        BackendUnavailable: the weights are not cached and cannot be downloaded.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    name = str(name_or_path)
    _check_known(name)
    import torchvision  # 2 s and 300 MB, only worth it here

    weights = torchvision.models.get_model_weights(name).DEFAULT
    variant = "random" if random else re.sub(r"\W+", "", weights.name).lower()
    cached = cache_folder() / "models" / f"{name}-{variant}-torchvision{torchvision.__version__}-{_RECIPE}.onnx"
    if not cached.exists():
        if not random:
            fetch_weights(name, weights.url, timeout_s)
        recipe = _recipe(name, weights, None if random else weights)
        size = sum(parameter.nbytes for parameter in recipe.module.parameters())
        if size >= _ONNX_LIMIT:
            raise ModelLoadError(
                f"{name} has {size / 1e9:.1f} GB of weights, and an ONNX file holds 2.1 GB; use another format: "
                f"`python -m solutions.core.zoo export {name} --out {name}.pth`."
            )
        _export(recipe, cached)
    return cached


def external_module(
    name: str, *, random: bool = False, timeout_s: float = 5.0
) -> tuple[torch.nn.Module, tuple[int, int]]:
    """The network that `external_model` exports, in eval mode, and the height and width of its input.

    Its state dict has torchvision's names. Arguments and errors are those of `external_model`, paths excepted.
    """
    _check_known(name)
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    if not random:
        fetch_weights(name, weights.url, timeout_s)
    recipe = _recipe(name, weights, None if random else weights)
    return recipe.module, recipe.input_hw


def _check_known(name: str) -> None:
    if not is_external(name):
        raise ModelLoadError(
            f"{name} is neither a file nor a known model. Known: {', '.join(external_names())}, and "
            "torchvision's other classifiers."
        )


def _recipe(name: str, weights: Any, load: Any) -> Recipe:
    """The module, ready for export.

    Args:
        name: what torchvision calls it.
        weights: the entry of torchvision that holds size, pixels and labels.
        load: the entry whose weights are loaded (from torch's cache), None for random ones.
    """
    import torch
    import torchvision

    detector = name in DETECTORS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        options: dict[str, Any] = {"weights_backbone": None} if detector else {}
        # torchvision loads them itself: some families rename or drop entries on the way (densenet, mnasnet)
        model = torchvision.models.get_model(name, weights=load, progress=False, **options)
    if detector:
        return ssd_recipe(model.eval(), weights.meta["categories"])
    facts = classifier_facts(weights)
    side = int(facts["input_hw"].partition(",")[0])
    return Recipe(model.eval(), (side, side), ("logits",), facts)


def classifier_facts(weights: Any) -> dict[str, str]:
    """What is to be known about a classifier, from torchvision's entry of its weights: labels, pixels, sizes."""
    preset = weights.transforms()
    side = int(preset.crop_size[0])
    resize = {"shorter_side": int(preset.resize_size[0]), "interpolation": preset.interpolation.value}
    return {
        "head": "classifier",
        "labels": ",".join(label.replace(",", ";") for label in weights.meta["categories"]),
        "pixels": _pixel_facts(preset.mean, preset.std),
        "input_hw": f"{side},{side}",
        "resize": json.dumps(resize),
    }


def ssd_recipe(model: Any, labels: list[str]) -> Recipe:
    """torchvision's SSD without its decoding: torch.export cannot follow the NMS, and a pipeline times it apart."""
    import torch

    class BackboneAndHeads(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = model.backbone, model.head

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found = self.head(list(self.backbone(images).values()))
            return found["bbox_regression"], found["cls_logits"]

    input_hw = (int(model.transform.fixed_size[1]), int(model.transform.fixed_size[0]))
    with torch.no_grad():
        features = model.backbone(torch.zeros(1, 3, *input_hw)).values()
    anchors = {
        "scales": model.anchor_generator.scales,
        "aspect_ratios": model.anchor_generator.aspect_ratios,
        "feature_hw": [list(feature.shape[-2:]) for feature in features],
    }
    facts = {
        "head": "ssd",
        "labels": ",".join(labels),
        "pixels": _pixel_facts(model.transform.image_mean, model.transform.image_std),
        "input_hw": f"{input_hw[0]},{input_hw[1]}",
        "anchors": json.dumps(anchors),
    }
    return Recipe(BackboneAndHeads().eval(), input_hw, ("bbox_regression", "cls_logits"), facts)


def _pixel_facts(mean: Any, std: Any) -> str:
    """The fields of a `PixelFormat` as JSON."""
    return json.dumps({"rgb": True, "scale": 1 / 255, "mean": [float(m) for m in mean], "std": [float(s) for s in std]})


def _export(recipe: Recipe, target: Path) -> None:
    import torch

    from solutions.core.zoo.export import export_onnx

    export_onnx(
        recipe.module,
        torch.rand(2, 3, *recipe.input_hw),
        target,
        inputs=["images"],
        outputs=recipe.outputs,
        sizes={0: torch.export.Dim("batch")},
        facts=recipe.facts,
    )
