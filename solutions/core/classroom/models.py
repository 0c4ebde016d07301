"""Small classifiers opened from a file, and pictures for them: just enough for the scripts that learners complete.

The loader that takes any format is `solutions/phase1_basics/model_loader.py`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.zoo.external import CLASSIFIERS

Array = npt.NDArray[Any]
_PLANES = (3, 224, 224)  # what the default recipe makes of a picture


@dataclass(frozen=True, slots=True)
class Classifier:
    """An open classifier.

    Attributes:
        predict: float32 [N, 3, H, W] to logits [N, K].
        batch: the only N that it takes; None when any will do.
        labels: name of each class; empty where unknown.
    """

    predict: Callable[[Array], Array]
    batch: int | None = None
    labels: tuple[str, ...] = ()

    def label(self, index: int) -> str:
        """Name of a class; "class 7" where nobody told one."""
        return self.labels[index] if index < len(self.labels) else f"class {index}"


def model_file(path: str | Path) -> Path:
    """The path, if something is there.

    Raises:
        ModelLoadError: with the command that makes such a file.
    """
    path = Path(path).expanduser()
    if path.exists():
        return path
    known = path.stem in CLASSIFIERS and path.suffix in (".pth", ".pt", ".onnx")
    name, out = (path.stem, path) if known else ("resnet50", "resnet50.pth")
    raise ModelLoadError(
        f"{path} does not exist. Make {'it' if known else 'one'}: "
        f"python -m solutions.core.zoo export {name} --out {out} --random"
    )


def open_classifier(path: Path, kind: str, arch: str | None = None) -> Classifier:
    """The classifier in a file of the kind "torch" (a state dict) or "onnx".

    Args:
        path: the file.
        kind: what its content is.
        arch: torchvision's name of the network of a state dict; the file's name unless given.

    Raises:
        ModelLoadError: another kind, or a file that cannot be used.
        ConfigError: an architecture that torchvision does not know.
    """
    if kind == "onnx":
        return _open_onnx(path)
    if kind != "torch":
        raise ModelLoadError(
            f"{path} is {kind}, and this script opens torch and onnx. The loader for every format: "
            f"python -m solutions.phase1_basics.model_loader --model {path}"
        )
    import torchvision

    module = open_module(path, arch)
    labels = torchvision.models.get_model_weights(arch or path.stem).DEFAULT.meta["categories"]
    classes = list(module.parameters())[-1].shape[0]  # the last layer of these networks is the head

    def predict(rows: Array) -> Array:
        with torch.inference_mode():
            logits: Array = module(torch.from_numpy(rows)).numpy()
        return logits

    return Classifier(predict, None, tuple(labels) if len(labels) == classes else ())


def open_module(path: Path, arch: str | None = None) -> nn.Module:
    """The network of torchvision whose weights are in the file, ready to predict.

    Raises:
        ModelLoadError, ConfigError: as `open_classifier`.
    """
    import torchvision

    name = arch or path.stem
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ConfigError(f"{name} is no classifier of torchvision: name the one in {path} with --arch, as in resnet50")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0][:120]
        raise ModelLoadError(f"{path} is no state dict that torch.load reads safely: {reason}") from error
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    module: nn.Module = torchvision.models.get_model(name, weights=None, **options).eval()
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ModelLoadError(
            f"the weights in {path} do not fit {name}: name the network they belong to with --arch"
        ) from error
    return module


def read_pictures(paths: Sequence[str]) -> list[Array]:
    """uint8 [H, W, 3] BGR of each file, turned upright; of no file, one made-up picture.

    Raises:
        ConfigError: a file that is no picture.
    """
    import cv2

    if not paths:
        across, down = np.meshgrid(np.arange(320), np.arange(240))
        planes = (across % 256, down, (across + down) % 256)
        return [np.stack(planes, axis=-1).astype(np.uint8)]
    pictures: list[Array] = []
    for path in paths:
        found = cv2.imread(str(path), cv2.IMREAD_COLOR) if Path(path).is_file() else None
        if found is None:
            raise ConfigError(f"{path} is not a picture that can be read: give a JPEG or PNG file")
        pictures.append(np.asarray(found))
    return pictures


def _open_onnx(path: Path) -> Classifier:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has an exception class per way to fail
        raise ModelLoadError(f"{path} is no ONNX file that ONNX Runtime runs: {str(error)[:120]}") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if [len(spec.shape) for spec in (*inputs, *outputs)] != [4, 2]:
        raise ModelLoadError(
            f"{path} is no classifier of pictures: an input [N, 3, H, W] and logits [N, K] were expected"
        )
    batch, channels, height, width = inputs[0].shape
    told = zip((channels, height, width), _PLANES, strict=True)
    if any(isinstance(size, int) and size != made for size, made in told):
        raise ModelLoadError(
            f"{path} takes pictures of {height} x {width} with {channels} channels, and this script makes 224 x 224 "
            "with 3"
        )
    labels = session.get_modelmeta().custom_metadata_map.get("labels", "")

    def predict(rows: Array) -> Array:
        logits: Array = session.run(None, {inputs[0].name: rows})[0]
        return logits

    return Classifier(predict, batch if isinstance(batch, int) else None, tuple(labels.split(",")) if labels else ())
