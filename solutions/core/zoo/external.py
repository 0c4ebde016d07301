"""Models that do not come with the course, as ONNX files: torchvision's by name, anyone's by path.

A name costs one download (into torch's own cache) and one export (10 to 20 s, kept in `cache_folder()`), afterwards
a file lookup. Offline, `random=True` gives the same graph with random weights: right for timing, useless for seeing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solutions.core.errors import BackendUnavailable, ModelLoadError
from solutions.core.zoo.registry import cache_folder

if TYPE_CHECKING:
    import torch

CLASSIFIERS = (
    "convnext_tiny", "efficientnet_b0", "efficientnet_v2_s", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small",
    "regnet_y_400mf", "resnet18", "resnet50", "shufflenet_v2_x1_0", "squeezenet1_1", "vit_b_16",
)  # fmt: skip
DETECTORS = ("ssdlite320_mobilenet_v3_large",)

_RECIPE = 1  # part of every cache key: raise it when an exported file changes
_STALL_S = 20.0  # a download that delivers nothing for so long has failed


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How one model is exported: the module, its input size, and the facts that travel in the file."""

    module: torch.nn.Module
    input_hw: tuple[int, int]
    outputs: tuple[str, ...]
    facts: dict[str, str]


def external_names() -> tuple[str, ...]:
    """The names that `external_model` knows."""
    return CLASSIFIERS + DETECTORS


def external_model(name_or_path: str | Path, *, random: bool = False, timeout_s: float = 5.0) -> Path:
    """The ONNX file of a torchvision model; a path to any file is handed back as it is.

    Classifiers take `images` float32 [N, 3, H, W] and give `logits`; ssdlite takes [N, 3, 320, 320] and gives
    `bbox_regression` [N, 3234, 4] and `cls_logits` [N, 3234, 91], decoding and NMS being left to the caller. Labels,
    size and pixel format are in the file's metadata.

    Args:
        name_or_path: one of `external_names()`, or a path.
        random: untrained weights (always the same ones), no network needed.
        timeout_s: how long a first answer from the weights' server may take.

    Raises:
        ModelLoadError: unknown name, or the download is damaged.
        BackendUnavailable: the weights are not cached and cannot be downloaded.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    name = str(name_or_path)
    if name not in external_names():
        raise ModelLoadError(f"{name} is neither a file nor a known model. Known: {', '.join(external_names())}.")
    import torchvision  # 2 s and 300 MB, only worth it here

    weights = torchvision.models.get_model_weights(name).DEFAULT
    variant = "random" if random else re.sub(r"\W+", "", weights.name).lower()
    cached = cache_folder() / "models" / f"{name}-{variant}-torchvision{torchvision.__version__}-{_RECIPE}.onnx"
    if not cached.exists():
        state = None if random else _weights(weights.url, timeout_s)
        _export(_recipe(name, weights, state), cached)
    return cached


def _recipe(name: str, weights: Any, state: dict[str, torch.Tensor] | None) -> _Recipe:
    """The module with its weights, ready for export."""
    import torch
    import torchvision

    detector = name in DETECTORS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        options: dict[str, Any] = {"weights_backbone": None} if detector else {}
        model = torchvision.models.get_model(name, weights=None, **options)
    if state is not None:
        model.load_state_dict(state)
    if detector:
        return _ssd_recipe(model.eval(), weights.meta["categories"])
    preset = weights.transforms()
    side = int(preset.crop_size[0])
    facts = {
        "head": "classifier",
        "labels": ",".join(label.replace(",", ";") for label in weights.meta["categories"]),
        "pixels": _pixel_facts(preset.mean, preset.std),
        "input_hw": f"{side},{side}",
    }
    return _Recipe(model.eval(), (side, side), ("logits",), facts)


def _ssd_recipe(model: Any, labels: list[str]) -> _Recipe:
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
    return _Recipe(BackboneAndHeads().eval(), input_hw, ("bbox_regression", "cls_logits"), facts)


def _pixel_facts(mean: Any, std: Any) -> str:
    """The fields of a `PixelFormat` as JSON."""
    return json.dumps({"rgb": True, "scale": 1 / 255, "mean": [float(m) for m in mean], "std": [float(s) for s in std]})


def _export(recipe: _Recipe, target: Path) -> None:
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


def _weights(url: str, timeout_s: float) -> dict[str, torch.Tensor]:
    """The state dict behind `url`, from torch's cache or the network."""
    import torch

    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.exists():
        _download(url, file, timeout_s)
    try:
        state: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its pickle holds
        raise ModelLoadError(f"{file} is damaged. Delete it, and it will be downloaded again.") from error
    return state


def _download(url: str, file: Path, timeout_s: float) -> None:
    """Fetch `url` to `file`, checked against the hash in its name, whole or not at all."""
    try:
        response = _answer_within(url, timeout_s)
        file.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with response, tempfile.NamedTemporaryFile(dir=file.parent, prefix=file.name, delete=False) as partial:
            try:
                while chunk := response.read(1 << 20):
                    digest.update(chunk)
                    partial.write(chunk)
            except BaseException:
                os.unlink(partial.name)
                raise
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", None) or error
        raise BackendUnavailable(
            f"the weights {file.name} are not cached and cannot be downloaded ({reason}). Go online once, copy the "
            f"file to {file.parent}, or use random weights where only speed matters."
        ) from error
    expected = re.search(r"-([0-9a-f]{8,})\.", file.name)
    if expected and not digest.hexdigest().startswith(expected.group(1)):
        os.unlink(partial.name)
        raise ModelLoadError(f"the download of {url} is damaged: its hash is wrong. Try again.")
    os.replace(partial.name, file)


def _answer_within(url: str, timeout_s: float) -> Any:
    """The open response, or TimeoutError: in a thread, because a name lookup ignores every socket timeout."""
    outcome: list[Any] = []

    def ask() -> None:
        try:
            outcome.append(urllib.request.urlopen(url, timeout=_STALL_S))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=ask, name="weights-download", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not outcome:
        raise TimeoutError(f"no answer within {timeout_s:g} s")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]
