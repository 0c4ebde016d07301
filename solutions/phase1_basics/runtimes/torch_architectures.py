"""Which network a set of weights belongs to, said by the names and shapes of the weights alone.

A state dict is a list of named arrays. The names follow from the code of the network that saved it, so they identify
it, and candidates are built on the meta device (shapes without memory) until all names and shapes agree. The number of
classes is read from the last layer, so that a fine-tuned head is recognised too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from torch import nn

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.tensors import TensorSpec
from solutions.core.zoo.networks import SIZES, CropNet, StreetNet
from solutions.core.zoo.registry import CLASSIFIER, DETECTORS, embedded, embedded_names
from solutions.phase1_basics.runtimes.torch_meta import Shapes, module_shapes, on_meta
from solutions.phase1_basics.runtimes.torch_torchvision import (
    build_torchvision,
    describe_torchvision,
    torchvision_candidates,
    torchvision_names,
)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network that fits certain weights.

    Attributes:
        name: what people type.
        module: on the meta device: no memory, to be filled with the weights.
        inputs: what it takes, under the names that the course's ONNX exports use.
        outputs: what it gives, likewise.
        facts: labels, pixels, input_hw and the like, as the course's ONNX exports carry them.
    """

    name: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    facts: dict[str, str]


def architecture_names() -> tuple[str, ...]:
    """The names that `named_architecture` knows."""
    return (*embedded_names(), *torchvision_names())


def named_architecture(name: str, shapes: Shapes) -> Architecture:
    """The architecture called `name`, with as many classes as the weights have.

    Raises:
        ConfigError: the name is unknown.
        ModelLoadError: the weights do not fit it; the sentence says the first difference.
    """
    if name not in architecture_names():
        raise ConfigError(f"{name} is not an architecture known here; --list-archs shows those that are.")
    made = _build(name, shapes)
    differences = list_differences(made, shapes)
    if differences:
        raise ModelLoadError(f"the weights do not fit {name}: {differences[0]} (one difference of {len(differences)}).")
    return _describe(name, made)


def infer_architecture(shapes: Shapes) -> Architecture | None:
    """The architecture whose names and shapes are exactly these; None when there is none."""
    for name in _candidates(shapes):
        made = _build(name, shapes)
        if not list_differences(made, shapes):
            return _describe(name, made)
    return None


def nearest_architecture(shapes: Shapes) -> tuple[str, str] | None:
    """The known architecture that differs least, and its first difference; None when nothing is near."""
    best: tuple[int, str, str] | None = None
    for name in _candidates(shapes)[:3]:
        differences = list_differences(_build(name, shapes), shapes)
        if differences and (best is None or len(differences) < best[0]):
            best = (len(differences), name, differences[0])
    return best[1:] if best and best[0] <= len(shapes) // 2 else None


def list_differences(module: nn.Module, shapes: Shapes) -> list[str]:
    """What separates the stored names and shapes from the module's, one noun phrase each; empty when they fit.

    `num_batches_tracked` counts for nothing: files from before 2019 lack it and inference does not read it.
    """
    wanted = module_shapes(module)
    found = []
    for key in sorted(wanted.keys() | shapes.keys()):
        if key.endswith("num_batches_tracked"):
            continue
        if key not in shapes:
            found.append(f"{key} is missing")
        elif key not in wanted:
            found.append(f"{key} is a stranger to it")
        elif wanted[key] != tuple(shapes[key]):
            found.append(f"{key} is {list(shapes[key])} and should be {list(wanted[key])}")
    return found


def _candidates(shapes: Shapes) -> list[str]:
    if "stage8.0.conv.weight" in shapes:
        return list(DETECTORS)
    if "colours.weight" in shapes:
        return [CLASSIFIER]
    return torchvision_candidates(shapes)


def _build(name: str, shapes: Shapes) -> nn.Module:
    if name not in embedded_names():
        return build_torchvision(name, shapes)
    with on_meta():
        if name == CLASSIFIER:
            return CropNet(
                classes=_rows(shapes, "classes.weight", 5),
                colours=_rows(shapes, "colours.weight", 7),
                width=_rows(shapes, "features.0.conv.weight", 16),
            ).eval()
        return StreetNet(
            SIZES[name.removeprefix("street-")], classes=max(1, _rows(shapes, "predict.weight", 9) - 4)
        ).eval()


def _rows(shapes: Shapes, key: str, default: int) -> int:
    shape = shapes.get(key) or (default,)
    return int(shape[0])


def _describe(name: str, module: nn.Module) -> Architecture:
    if name not in embedded_names():
        return Architecture(name, *describe_torchvision(name, module))
    told = {entry.key: entry.value for entry in onnx.load(embedded(name).onnx).metadata_props}
    shapes = module_shapes(module)
    if name == CLASSIFIER:
        classes, colours = shapes["classes.weight"][0], shapes["colours.weight"][0]
        facts = _without_wrong_labels(told, {"labels": classes, "colours": colours})
        outputs = (TensorSpec("classes", (None, classes)), TensorSpec("colours", (None, colours)))
        return Architecture(name, module, (TensorSpec("crops", (None, 3, 48, 48)),), outputs, facts)
    channels = shapes["predict.weight"][0]
    facts = _without_wrong_labels(told, {"labels": channels - 4})
    grid = TensorSpec("grid", (None, channels, None, None))
    return Architecture(name, module, (TensorSpec("images", (None, 3, None, None)),), (grid,), facts)


def _without_wrong_labels(facts: Mapping[str, str], counts: Mapping[str, int]) -> dict[str, str]:
    """`facts` without lists of names that are longer or shorter than what the network tells apart."""
    return {key: fact for key, fact in facts.items() if key not in counts or fact.count(",") + 1 == counts[key]}
